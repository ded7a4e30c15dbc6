"""Special tokens, stop tokens and chat template of a model folder, held to the base's: a swap never shows in text."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.files import read_json

SPECIAL = ("bos", "eos", "pad")


def check_special_tokens(model: Path, base: Path, tokenizer: Any, base_tokenizer: Any) -> list[dict[str, Any]]:
    """Return what is wrong with a model folder's special tokens, stop tokens and chat template."""
    found = [*_against_base(tokenizer, base_tokenizer), *_against_generation_config(model, base, tokenizer)]
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id == tokenizer.eos_token_id:
        found.append(
            _fault("pad = eos", f"pad and eos are one token, {tokenizer.eos_token!r}: ends of turns get no loss")
        )
    if template_sha256(tokenizer) != template_sha256(base_tokenizer):
        found.append(_fault("chat_template", "the chat template differs from the base model's"))
    return found


def template_sha256(tokenizer: Any) -> str:
    """Return the digest of the chat template a tokenizer carries ("" where there is none)."""
    template = tokenizer.chat_template or ""
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _against_base(tokenizer: Any, base_tokenizer: Any) -> Iterator[dict[str, Any]]:
    """Yield special tokens that are others than the base model's."""
    for kind in SPECIAL:
        own, base = getattr(tokenizer, f"{kind}_token"), getattr(base_tokenizer, f"{kind}_token")
        if own != base:
            yield _fault(kind, f"{kind} is {own!r}, the base model's is {base!r}")


def _against_generation_config(model: Path, base: Path, tokenizer: Any) -> Iterator[dict[str, Any]]:
    """Yield stop and pad ids of generation_config.json that fit neither the tokenizer nor the base model."""
    own, theirs = _generation_ids(model), _generation_ids(base)
    stops = own["eos"] or set()
    if stops and tokenizer.eos_token_id not in stops:
        yield _fault(
            "stop", f"generation stops at {sorted(stops)}, not at the tokenizer's eos {tokenizer.eos_token_id}"
        )
    for kind in ("eos", "pad"):
        if own[kind] != theirs[kind]:
            yield _fault(
                f"generation_config {kind}", f"{_listed(own[kind])}, the base model's is {_listed(theirs[kind])}"
            )


def _generation_ids(folder: Path) -> dict[str, set[int] | None]:
    """Return the eos and pad ids of generation_config.json (None where it names none)."""
    path = folder / "generation_config.json"
    config = read_json(path) if path.is_file() else {}
    values = {kind: config.get(f"{kind}_token_id") for kind in ("eos", "pad")}
    return {
        kind: None if value is None else set(value) if isinstance(value, list) else {value}
        for kind, value in values.items()
    }


def _listed(ids: set[int] | None) -> str:
    """Return ids as a reader sees them."""
    return "none" if ids is None else ", ".join(map(str, sorted(ids)))


def _fault(what: str, words: str) -> dict[str, Any]:
    """Return one mismatch that is no row's."""
    return {
        "shape": None,
        "row_id": None,
        "form": "special tokens",
        "between": ["training", "evaluation"],
        "what": what,
        "words": words,
    }
