"""The tokenizer of a model folder: what it must say for training, and its files, copied byte for byte."""

import shutil
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_file, sha256_json
from tasks.core.errors import DataContractError

#: Files that make a tokenizer and its chat template; a folder holds some of them.
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer of a model folder.

    Raises:
        DataContractError: no chat template, no end-of-turn token, no pad token, or a pad token that is the end-of-turn
            token: padding would then teach the model to end, or (masked) never to end.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    if not tokenizer.chat_template:
        raise DataContractError(f"{folder} has no chat template", "use an instruct model as base_model")
    if tokenizer.eos_token_id is None:
        raise DataContractError(f"{folder} has no eos_token", "set eos_token in its tokenizer_config.json")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise DataContractError(
            f"{folder}: pad_token {tokenizer.pad_token!r} and eos_token {tokenizer.eos_token!r} must be two tokens",
            "set pad_token in its tokenizer_config.json to a token that never ends a turn",
        )
    return tokenizer


def tokenizer_sha256(folder: Path) -> str:
    """Return one digest over the tokenizer files and chat template of a model folder."""
    return sha256_json({name: sha256_file(folder / name) for name in _present(folder)})


def copy_tokenizer(source: Path, target: Path) -> str:
    """Copy the tokenizer files and chat template unchanged; return their digest."""
    for name in _present(source):
        shutil.copyfile(source / name, target / name)
    return tokenizer_sha256(target)


def _present(folder: Path) -> list[str]:
    """Return the tokenizer files a folder has."""
    return [name for name in TOKENIZER_FILES if (folder / name).is_file()]
