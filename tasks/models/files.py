"""Facts of a model folder, read from its files without loading a model: tokens, template, tensor types, sizes."""

import csv
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_json

#: Name of the second low-rank matrix: it starts at zero, so an adapter whose every one is zero learned nothing.
LORA_OUTPUT = "lora_B"
CHUNK_BYTES = 1 << 24


def model_config(folder: Path) -> dict[str, Any]:
    """Return a model's config.json, empty where it has none."""
    found: dict[str, Any] = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    return found


def chat_template_text(folder: Path) -> str:
    """Return the chat template a folder carries, in its own file or in tokenizer_config.json ("" for none)."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    template = read_json(folder / "tokenizer_config.json").get("chat_template") or ""
    return template if isinstance(template, str) else json.dumps(template, sort_keys=True)


def token_ids(folder: Path) -> dict[str, int | None]:
    """Return the ids of the pad and eos tokens that tokenizer_config.json names.

    Raises:
        DataContractError: tokenizer.json does not know a token that the configuration names.
    """
    config = read_json(folder / "tokenizer_config.json")
    tokenizer = read_json(folder / "tokenizer.json")
    known = (
        dict(tokenizer.get("model", {}).get("vocab", {}))
        if isinstance(tokenizer.get("model", {}).get("vocab", {}), dict)
        else {}
    )
    known |= {token["content"]: token["id"] for token in tokenizer.get("added_tokens", [])}
    return {kind: _token_id(config.get(f"{kind}_token"), known, folder) for kind in ("pad", "eos")}


def _token_id(token: Any, known: dict[str, int], folder: Path) -> int | None:
    """Return the id of a token given as text or as {"content": text}."""
    text = token.get("content") if isinstance(token, dict) else token
    if text is None:
        return None
    if text not in known:
        raise DataContractError(f"{folder / 'tokenizer.json'} does not know the token {text!r}", "tunegate run")
    return known[text]


def stop_ids(folder: Path) -> set[int]:
    """Return the ids at which a server stops generating: the tokenizer's eos and the generation config's."""
    found = {token_ids(folder)["eos"]}
    if (folder / "generation_config.json").is_file():
        configured = read_json(folder / "generation_config.json").get("eos_token_id")
        found |= set(configured) if isinstance(configured, list) else {configured}
    return {value for value in found if value is not None}


def weight_bytes(folder: Path) -> int:
    """Return the size of a folder's weights, in bytes."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


def tensor_types(folder: Path) -> dict[str, str]:
    """Return {tensor name: stored type} over all safetensors files of a folder, from their headers alone."""
    return {name: facts["dtype"] for path in _weights(folder) for name, facts in _header(path)[0].items()}


def tensor_shapes(folder: Path) -> dict[str, list[int]]:
    """Return {tensor name: shape} over all safetensors files of a folder, from their headers alone."""
    return {name: facts["shape"] for path in _weights(folder) for name, facts in _header(path)[0].items()}


def adapter_changes_nothing(folder: Path) -> bool:
    """Return whether a folder holds LoRA matrices and every `lora_B` of them is zero."""
    found = False
    for path in _weights(folder):
        header, start = _header(path)
        for name, facts in header.items():
            if LORA_OUTPUT in name:
                found = True
                if any(any(chunk) for chunk in _bytes(path, start, facts["data_offsets"])):
                    return False
    return found


def read_losses(path: Path, column: str = "loss") -> list[tuple[int, float]]:
    """Return (step, value) of each line of loss.csv.

    Args:
        path: loss.csv.
        column: `loss`, or `learning_rate`.

    Raises:
        DataContractError: the file is absent, empty or not in the form that training writes.
    """
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            curve = [(int(row["step"]), float(row[column])) for row in csv.DictReader(stream)]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise DataContractError(f"{path} is no loss curve: {error!r}", "tunegate stage train") from error
    if not curve:
        raise DataContractError(f"{path} has no steps", "tunegate stage train")
    return curve


def _weights(folder: Path) -> list[Path]:
    """Return the safetensors files of a folder, sorted."""
    return sorted(folder.glob("*.safetensors"))


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """Return the tensors a safetensors file describes, and where its data starts.

    Raises:
        DataContractError: the file is cut short or is no safetensors file.
    """
    with path.open("rb") as stream:
        try:
            (length,) = struct.unpack("<Q", stream.read(8))
            header: dict[str, Any] = json.loads(stream.read(min(length, path.stat().st_size)))
        except (struct.error, ValueError) as error:
            raise DataContractError(
                f"{path} is no complete safetensors file: {error}", "dvc checkout, or tunegate run"
            ) from error
    header.pop("__metadata__", None)
    return header, 8 + length


def _bytes(path: Path, start: int, offsets: list[int]) -> Iterator[bytes]:
    """Yield a tensor's bytes, a chunk at a time."""
    with path.open("rb") as stream:
        stream.seek(start + offsets[0])
        left = offsets[1] - offsets[0]
        while left > 0 and (chunk := stream.read(min(CHUNK_BYTES, left))):
            left -= len(chunk)
            yield chunk
