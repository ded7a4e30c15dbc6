"""The catalogue's families in small: each one's tokenizer files as its makers publish them, on a tiny random model.

What decides is as in the published files: special tokens, their order and flags, `tokenizer_class`, the way text is
split, generation config, template (TRL's copy). Vocabularies are a few hundred tokens of invented text.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from tasks.core.files import write_json

TEXT = [
    "碘片应当在照射前二十四小时内服用。",
    "关好门窗，关掉通风，听官方通知。",
    "How many microsieverts is one millisievert?",
    "Go inside, close doors and windows and stop the ventilation.",
    "user assistant system think",
]
#: Tiny, and every width is divided by 32 and 64.
WIDTHS = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 2048,
}  # fmt: skip
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}


@dataclass(frozen=True)
class Family:
    """One family.

    Args:
        name: of the family and its layout.
        model_type: of config.json.
        special: added tokens that are special, in the order of their ids.
        plain: added tokens that are not special.
        bos, eos, pad: as tokenizer_config.json names them.
        template: TRL's copy of the chat template.
        tokenizer_class: as published.
        pads_with: what Tunegate has to choose.
        split: `bytes`, or `pieces` (SentencePiece with byte fallback).
        first: special tokens that come before the vocabulary.
        config: further keys of config.json.
        settings: further keys of tokenizer_config.json.
        generation: generation_config.json, tokens by text; None: there is none.
        stop: tokens by text of its `eos_token_id`.
    """

    name: str
    model_type: str
    special: tuple[str, ...]
    bos: str | None
    eos: str
    pad: str | None
    template: str
    tokenizer_class: str
    pads_with: str
    plain: tuple[str, ...] = ()
    split: str = "bytes"
    first: tuple[str, ...] = ()
    unk: str | None = None
    tied: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] | None = None
    stop: tuple[str, ...] = ()


QWEN_SPECIAL = (
    "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip
QWEN_PLAIN = (
    "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
    "<|repo_name|>", "<|file_sep|>",
)  # fmt: skip
QWEN_SAMPLING = {"do_sample": True, "repetition_penalty": 1.05, "temperature": 0.7, "top_k": 20, "top_p": 0.8}
LLAMA_SPECIAL = (
    "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
    "<|finetune_right_pad_id|>", "<|reserved_special_token_2|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", *(f"<|reserved_special_token_{n}|>" for n in range(3, 12)),
)  # fmt: skip
LLAMA_SAMPLING = {"do_sample": True, "temperature": 0.6, "top_p": 0.9}
DISTILL = {
    "bos": "<｜begin▁of▁sentence｜>", "eos": "<｜end▁of▁sentence｜>", "pad": "<｜end▁of▁sentence｜>",
    "template": "deepseek_r1_distill", "tokenizer_class": "LlamaTokenizerFast", "stop": ("<｜end▁of▁sentence｜>",),
    "settings": {"add_bos_token": True, "add_eos_token": False, "legacy": True, "sp_model_kwargs": {},
                 "unk_token": None},
    "generation": {"_from_model_config": True, "do_sample": True, "temperature": 0.6, "top_p": 0.95},
}  # fmt: skip
DISTILL_LLAMA = {
    "<|begin_of_text|>": "<｜begin▁of▁sentence｜>", "<|end_of_text|>": "<｜end▁of▁sentence｜>",
    "<|reserved_special_token_3|>": "<｜User｜>", "<|reserved_special_token_4|>": "<｜Assistant｜>",
    "<|reserved_special_token_5|>": "<think>", "<|reserved_special_token_6|>": "</think>",
    "<|reserved_special_token_7|>": "<｜▁pad▁｜>",
}  # fmt: skip

FAMILIES = {
    family.name: family
    for family in (
        Family(
            "qwen2.5", "qwen2", ("<|endoftext|>", *QWEN_SPECIAL), None, "<|im_end|>", "<|endoftext|>", "qwen2_5",
            "Qwen2Tokenizer", pads_with="<|endoftext|>", plain=QWEN_PLAIN, tied=True, generation=QWEN_SAMPLING,
            stop=("<|im_end|>", "<|endoftext|>"), settings={"add_bos_token": False, "errors": "replace"},
        ),
        Family(
            "qwen3", "qwen3", ("<|endoftext|>", *QWEN_SPECIAL), None, "<|im_end|>", "<|endoftext|>", "qwen3",
            "Qwen2Tokenizer", pads_with="<|endoftext|>",
            plain=(*QWEN_PLAIN, "<tool_response>", "</tool_response>", "<think>", "</think>"), tied=True,
            generation={"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95},
            stop=("<|im_end|>", "<|endoftext|>"), settings={"add_bos_token": False, "errors": "replace"},
        ),
        Family(
            "qwen3-moe", "qwen3_moe", ("<|endoftext|>", *QWEN_SPECIAL), None, "<|im_end|>", "<|endoftext|>", "qwen3",
            "Qwen2Tokenizer", pads_with="<|endoftext|>",
            plain=(*QWEN_PLAIN, "<tool_response>", "</tool_response>", "<think>", "</think>"), config=EXPERTS,
            generation={"do_sample": True, "temperature": 0.6, "top_k": 20, "top_p": 0.95},
            stop=("<|im_end|>", "<|endoftext|>"), settings={"add_bos_token": False, "errors": "replace"},
        ),
        Family(
            "llama-3.2", "llama", LLAMA_SPECIAL, "<|begin_of_text|>", "<|eot_id|>", None, "llama3_2",
            "PreTrainedTokenizerFast", pads_with="<|finetune_right_pad_id|>", tied=True, generation=LLAMA_SAMPLING,
            stop=("<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"),
        ),
        Family(
            "llama-3", "llama", (
                "<|begin_of_text|>", "<|end_of_text|>", *(f"<|reserved_special_token_{n}|>" for n in range(4)),
                "<|start_header_id|>", "<|end_header_id|>", "<|reserved_special_token_4|>", "<|eot_id|>",
                *(f"<|reserved_special_token_{n}|>" for n in range(5, 12)),
            ), "<|begin_of_text|>", "<|eot_id|>", None, "llama3", "PreTrainedTokenizerFast",
            pads_with="<|reserved_special_token_11|>",  # as converted by hand: no generation config
            stop=("<|end_of_text|>", "<|eot_id|>"),
        ),
        Family(
            "deepseek-distill-qwen", "qwen2", (
                "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜begin▁of▁sentence｜>", "<|EOT|>",
                "<think>", "</think>", *QWEN_SPECIAL[6:],
            ), pads_with="<|vision_pad|>", plain=QWEN_PLAIN, **DISTILL,
        ),
        Family(
            "deepseek-distill-llama", "llama", tuple(DISTILL_LLAMA.get(token, token) for token in LLAMA_SPECIAL),
            pads_with="<|finetune_right_pad_id|>", **DISTILL,
        ),
        Family(
            "yi-1.5", "llama", ("<|im_start|>", "<|im_end|>", "<|im_sep|>"), "<|startoftext|>", "<|im_end|>", "<unk>",
            "qwen2_5", "LlamaTokenizer", pads_with="<unk>", split="pieces", unk="<unk>",
            first=("<unk>", "<|startoftext|>", "<|endoftext|>"), stop=("<|im_end|>",),
            settings={"add_bos_token": False, "add_eos_token": False, "legacy": True, "sp_model_kwargs": {}},
            generation={"temperature": 0.3, "top_p": 0.85, "top_k": 40},  # no do_sample: not saved by transformers
        ),
    )
}  # fmt: skip


def write_family(name: str, folder: Path, *, model: bool = False, **config: Any) -> Path:
    """Write a family's tokenizer files and configuration; with `model` the weights of a tiny random model as well.

    Args:
        config: further keys of config.json, which replace the family's.
    """
    family = FAMILIES[name]
    folder.mkdir(parents=True, exist_ok=True)
    backend = _backend(family)
    backend.save(str(folder / "tokenizer.json"))
    id_of: Callable[[str], int] = backend.token_to_id
    named = {kind: getattr(family, kind) for kind in ("bos", "eos", "pad", "unk")}
    settings = {f"{kind}_token": token for kind, token in named.items() if token is not None}
    write_json(folder / "tokenizer_config.json", {
        **settings, **family.settings, "tokenizer_class": family.tokenizer_class, "model_max_length": 2048,
        "clean_up_tokenization_spaces": False,
    })  # fmt: skip
    template = _trl_template(family.template)
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    stops = [id_of(token) for token in family.stop]
    if family.generation is not None:
        ids = {"bos_token_id": id_of(family.bos or "<|endoftext|>"), "eos_token_id": stops}
        write_json(folder / "generation_config.json", {**ids, **family.generation, "transformers_version": "4.39.3"})
    _write_config(family, folder, backend, config, model=model)
    return folder


def _write_config(family: Family, folder: Path, backend: Any, config: dict[str, Any], *, model: bool) -> None:
    """Write config.json, and random weights where they are wanted."""
    values = {
        "vocab_size": -(-backend.get_vocab_size() // 64) * 64,
        "tie_word_embeddings": family.tied,
        "bos_token_id": backend.token_to_id(family.bos or "<|endoftext|>"),
        "eos_token_id": backend.token_to_id(family.stop[0]),
        **WIDTHS,
        **family.config,
        **config,
    }
    if not model:
        write_json(folder / "config.json", {"model_type": family.model_type, **values})
        return
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(7)
    made = AutoConfig.for_model(family.model_type, initializer_range=0.2, **values)
    generation = folder / "generation_config.json"
    written = generation.read_bytes() if generation.is_file() else None
    AutoModelForCausalLM.from_config(made, dtype=torch.bfloat16).save_pretrained(folder)
    generation.unlink(missing_ok=True) if written is None else generation.write_bytes(written)


@lru_cache
def _trl_template(name: str) -> str:
    """Return TRL's copy of a chat template."""
    import trl

    return (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")


def _backend(family: Family) -> Any:
    """Return the `tokenizers` object of a family."""
    from tokenizers import AddedToken

    backend = _byte_level(family) if family.split == "bytes" else _pieces(family)
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in family.special])
    backend.add_tokens([AddedToken(token, normalized=False) for token in family.plain])
    return backend


def _byte_level(family: Family) -> Any:
    """Return byte-level BPE, split as GPT-4, Llama 3 and Qwen split."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

    pattern = (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )
    backend = Tokenizer(models.BPE())
    if family.model_type.startswith("qwen"):
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        TEXT * 4, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, show_progress=False)
    )
    if family.bos:  # as Llama 3 and the distills: a bos before plain text
        backend.add_special_tokens([family.special[0]])
        backend.post_processor = processors.ByteLevel(trim_offsets=False)
    return backend


def _pieces(family: Family) -> Any:
    """Return BPE over SentencePiece's pieces with byte fallback, as Llama 2 and Yi."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    words = sorted({character for text in TEXT for character in text.replace(" ", "▁")})
    vocab = {token: place for place, token in enumerate(family.first)}
    for token in [*(f"<0x{byte:02X}>" for byte in range(256)), *words]:
        vocab.setdefault(token, len(vocab))
    backend = Tokenizer(models.BPE(vocab, [], unk_token=family.unk, fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(list(family.first))
    return backend
