"""The tokenizer of a model folder: what it must say for training, and its files, copied as they are or completed."""

from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_file, sha256_json
from tasks.core.errors import DataContractError
from tasks.models.files import chat_template_text
from tasks.models.tokenizer_files import completion, load_completed, present, write_tokenizer


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder, with a pad token that is none of its stop tokens.

    Raises:
        DataContractError: no chat template, no end-of-turn token, no token that can pad, or transformers reads another
            tokenizer than the folder holds.
    """
    if not chat_template_text(folder):
        raise DataContractError(f"{folder} has no chat template", "use an instruct model as base_model")
    tokenizer = load_completed(folder, completion(folder))
    if tokenizer.eos_token_id is None:
        raise DataContractError(f"{folder} has no eos_token", "set eos_token in its tokenizer_config.json")
    return tokenizer


def tokenizer_sha256(folder: Path) -> str:
    """Return one digest over the tokenizer files and chat template of a model folder."""
    return sha256_json({name: sha256_file(folder / name) for name in present(folder)})


def copy_tokenizer(source: Path, target: Path) -> str:
    """Copy the tokenizer files and chat template, unchanged where they are complete; return their digest."""
    write_tokenizer(source, target, completion(source))
    return tokenizer_sha256(target)
