"""How much memory a profile needs, term by term: an estimate to choose hardware by, within a fifth or so.

Sources:
    4-bit weights: Dettmers et al. 2023, arXiv:2305.14314, section 3: NF4 with double quantization holds 4.127 bits a
        parameter.
    16 bytes for every trained parameter: fp32 weight, gradient and two Adam moments (Rajbhandari et al. 2020,
        arXiv:1910.02054, section 3.1).
    Activations: Korthikanti et al. 2022, arXiv:2205.05198, section 4.1, without the attention scores, which attention
        kernels never keep: 34 bytes x sequence x batch x hidden a layer; with checkpointing 2 a layer, and 34 for the
        one that is computed again. Twice that in fp32. A CPU keeps the scores of short rows (training/attention.py).
    Shapes of a model not fetched yet: parameters = 12 x layers x hidden^2 (Kaplan et al. 2020, arXiv:2001.08361,
        table 1) with hidden = 100 x layers, as in models of 7B and more.
"""

from dataclasses import dataclass
from pathlib import Path

from tasks.core.files import read_json
from tasks.core.settings import Settings, TrainParams

GIB = 1 << 30
NF4_BITS = 4.127
TRAINED_BYTES, LAYER_BYTES = 16, 34
#: Bits a served weight takes: 4 with a 16-bit scale and a 4-bit zero point for each group of 128.
STORED_BITS = {16: 16.0, 8: 8.125, 4: 4.156}
#: Positions whose logits exist at once (tasks/training/loss.py: PIECE_POSITIONS), bytes of all copies of one.
LOSS_POSITIONS, LOGIT_BYTES = 512, 10
#: Rows up to this length keep their attention on a CPU (tasks/training/attention.py: LONGEST_TOKENS); width of a head.
SHORT_TOKENS, HEAD_WIDTH = 512, 64
#: Rows and columns of the seven linear layers together, in hidden sizes, for a LoRA rank (Llama, Qwen: about 20).
LORA_WIDTHS, LORA_MODULES = 20, 7
#: Libraries, CUDA context, fragments of the allocator: an allowance.
RUNTIME_GIB = 2.0
#: Vocabulary and share of key-value heads where the model is not here yet: Qwen2.5's vocabulary, 32B's share.
VOCABULARY, KV_SHARE = 152_064, 0.2


@dataclass(frozen=True)
class Arithmetic:
    """What a machine computes in.

    Args:
        width: bytes of a number: 2 for bf16, 4 where a CPU has none.
        on_cpu: whether it trains on a CPU.
    """

    width: int = 2
    on_cpu: bool = False

    @property
    def name(self) -> str:
        """The type's short name."""
        return "bf16" if self.width == 2 else "fp32"


BF16 = Arithmetic()


@dataclass(frozen=True)
class Shape:
    """What of a model decides its memory.

    Args:
        parameters: their number.
        layers, hidden, vocabulary: its dimensions.
        kv_share: key-value heads for each query head.
        exact: read from the model's config.json (otherwise derived from the number of parameters).
    """

    parameters: float
    layers: int
    hidden: int
    vocabulary: int
    kv_share: float
    exact: bool

    @property
    def embeddings(self) -> float:
        """Parameters of embedding and head, which stay in bf16; at most a third of a small model."""
        return min(2.0 * self.vocabulary * self.hidden, self.parameters / 3)


@dataclass(frozen=True)
class Estimate:
    """A sum of named terms in GiB, each with the formula that made it."""

    terms: tuple[tuple[str, str, float], ...]

    @property
    def gib(self) -> float:
        """The sum."""
        return sum(value for _, _, value in self.terms)

    @property
    def lines(self) -> tuple[str, ...]:
        """The terms as lines for people."""
        return tuple(f"{value:6.1f} GiB  {name}: {formula}" for name, formula, value in self.terms)


def shape_of(settings: Settings, folder: Path | None) -> Shape:
    """Return the base model's shape: from its config.json where it is here, else from its number of parameters."""
    parameters = settings.hardware.parameters_billion * 1e9
    if folder is None or not (folder / "config.json").is_file():
        layers = round((parameters / (12 * 100**2)) ** (1 / 3))
        return Shape(parameters, max(layers, 1), max(layers, 1) * 100, VOCABULARY, KV_SHARE, exact=False)
    config = read_json(folder / "config.json")
    heads = config["num_attention_heads"]
    return Shape(
        parameters,
        config["num_hidden_layers"],
        config["hidden_size"],
        config["vocab_size"],
        config.get("num_key_value_heads", heads) / heads,
        exact=True,
    )


def training(params: TrainParams, shape: Shape, computed: Arithmetic = BF16) -> Estimate:
    """Return the memory of one training process: on its GPU where there is one, else of the machine.

    Divided weights are put together one layer at a time, while the next one comes in (Rajbhandari et al. 2020, 5.3).
    """
    weights, parts = _weights(params, shape, computed), params.parallel.parts
    held = [_share(term, parts) for term in [*weights, *_trained(params, shape)]]
    if parts > 1:
        held.append(_together(params, shape, weights))
    terms = [*held, *_activations(params, shape, computed), _logits(shape)]
    return Estimate((*terms, ("libraries", "an allowance", RUNTIME_GIB)))


def loading(params: TrainParams, shape: Shape, computed: Arithmetic = BF16) -> Estimate:
    """Return the memory of one process while the model is read: 4-bit weights are whole on each GPU, then divided."""
    whole = params.mode == "qlora"
    weights = [_share(term, 1 if whole else params.parallel.parts) for term in _weights(params, shape, computed)]
    return Estimate((*weights, ("libraries", "an allowance", RUNTIME_GIB)))


def serving(settings: Settings, shape: Shape, computed: Arithmetic = BF16) -> Estimate:
    """Return the memory of one vLLM server with the largest hop, the 16-bit model that evaluation serves.

    On GPUs the sum over all of a server's GPUs, with the cache of one longest conversation: less, and vLLM refuses to
    start. On a CPU the cache is as large as set.
    """
    vllm = settings.serve.vllm
    weights = _whole(shape, computed)
    if not settings.hardware.gpus:
        return Estimate((weights, ("cache", "serve.vllm.kv_cache_gib", float(vllm.kv_cache_gib)),
                         ("libraries", "an allowance", RUNTIME_GIB)))  # fmt: skip
    per_token = 2 * shape.layers * shape.hidden * shape.kv_share * 2
    cache = (
        "cache of one longest conversation",
        f"2 x {shape.layers} layers x {shape.hidden} hidden x {shape.kv_share:.2f} key-value share x 2 B "
        f"x {vllm.max_model_length_tokens} tokens",
        per_token * vllm.max_model_length_tokens / GIB,
    )
    allowance = ("libraries", f"an allowance, {vllm.tensor_parallel} GPU(s)", RUNTIME_GIB * vllm.tensor_parallel)
    return Estimate((weights, cache, allowance))


def serving_at(shape: Shape, bits: int, context_tokens: int) -> Estimate:
    """Return the memory of one vLLM server with weights of so many bits and the cache of one conversation.

    Args:
        shape: of the model.
        bits: of a weight in the linear layers: 16, 8 or 4; embeddings and head stay in 16.
        context_tokens: length of the conversation.
    """
    linear, stored = shape.parameters - shape.embeddings, STORED_BITS[bits]
    cache = 2 * shape.layers * shape.hidden * shape.kv_share * 2 * context_tokens / GIB
    return Estimate((
        (f"weights, {bits} bits", f"{linear / 1e9:.3g}e9 x {stored:g} bits", linear * stored / 8 / GIB),
        ("embeddings and head, bf16", f"{shape.embeddings / 1e9:.3g}e9 x 2 B", shape.embeddings * 2 / GIB),
        ("cache of one conversation", f"{context_tokens} tokens", cache),
        ("libraries", "an allowance", RUNTIME_GIB),
    ))  # fmt: skip


def _share(term: tuple[str, str, float], parts: int) -> tuple[str, str, float]:
    """Return what one of several processes holds of a term."""
    name, formula, gib = term
    return term if parts == 1 else (name, f"{formula} / {parts} GPUs", gib / parts)


def _together(params: TrainParams, shape: Shape, weights: list[tuple[str, str, float]]) -> tuple[str, str, float]:
    """Return what is put together at once: two layers, and the embeddings, which are a unit of their own."""
    if params.mode == "full":
        linear, ends = (shape.parameters - shape.embeddings) * 2 / GIB, shape.embeddings * 2 / GIB
    else:
        whole = sum(gib for _, _, gib in weights)
        ends = shape.embeddings * 2 / GIB
        linear = whole - ends
    return "layers put together", f"2 of {shape.layers} layers, and the embeddings", linear * 2 / shape.layers + ends


def _whole(shape: Shape, computed: Arithmetic) -> tuple[str, str, float]:
    """Return all weights in the type that is computed in."""
    formula = f"{shape.parameters / 1e9:g}e9 x {computed.width} B"
    return f"weights, {computed.name}", formula, shape.parameters * computed.width / GIB


def _weights(params: TrainParams, shape: Shape, computed: Arithmetic) -> list[tuple[str, str, float]]:
    """Return the weights that are not trained."""
    if params.mode == "full":
        return []
    if params.mode == "lora":
        return [_whole(shape, computed)]
    ends = f"{shape.embeddings / 1e9:.3g}e9 x {computed.width} B"
    linear = shape.parameters - shape.embeddings
    return [
        ("weights, NF4", f"{linear / 1e9:.3g}e9 x {NF4_BITS} bits", linear * NF4_BITS / 8 / GIB),
        (f"embeddings and head, {computed.name}", ends, shape.embeddings * computed.width / GIB),
    ]


def _trained(params: TrainParams, shape: Shape) -> list[tuple[str, str, float]]:
    """Return what every trained parameter costs."""
    if params.mode == "full":
        count, name = shape.parameters, "trained weights"
    else:
        modules = len(params.lora.target_modules) / LORA_MODULES
        count, name = params.lora.rank * LORA_WIDTHS * shape.hidden * shape.layers * modules, "adapter"
    what = "fp32 weight, gradient, two Adam moments"
    return [(name, f"{count / 1e9:.3g}e9 x {TRAINED_BYTES} B ({what})", count * TRAINED_BYTES / GIB)]


def _activations(params: TrainParams, shape: Shape, computed: Arithmetic) -> list[tuple[str, str, float]]:
    """Return what the forward pass keeps for the backward pass."""
    tokens, wider = params.batch_rows * params.max_length_tokens, computed.width / BF16.width
    layers = f"{shape.layers} layers"
    if params.gradient_checkpointing:
        count, words = 2 * shape.layers + LAYER_BYTES, f"(2 B x {layers} + {LAYER_BYTES} B)"
    else:
        count, words = LAYER_BYTES * shape.layers, f"{LAYER_BYTES} B x {layers}"
    formula = f"{params.batch_rows} rows x {params.max_length_tokens} tokens x {shape.hidden} hidden x {words}"
    formula += " x 2 (fp32)" if wider > 1 else ""
    terms = [("activations", formula, tokens * shape.hidden * count * wider / GIB)]
    if computed.on_cpu and params.max_length_tokens <= SHORT_TOKENS:
        heads = shape.hidden / HEAD_WIDTH
        kept = 1 if params.gradient_checkpointing else shape.layers
        words = f"{tokens} x {params.max_length_tokens} tokens x {heads:g} heads x {kept} layers x {computed.width} B"
        terms.append(("attention of short rows", words,
                      tokens * params.max_length_tokens * heads * kept * computed.width / GIB))  # fmt: skip
    return terms


def _logits(shape: Shape) -> tuple[str, str, float]:
    """Return the logits that exist at once."""
    formula = f"{LOSS_POSITIONS} positions x {shape.vocabulary} words x {LOGIT_BYTES} B"
    return "logits", formula, LOSS_POSITIONS * shape.vocabulary * LOGIT_BYTES / GIB
