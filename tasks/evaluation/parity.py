"""Token parity: the same conversation must become the same tokens in training, in the base model and when served.

Rendered three ways: the model folder's tokenizer, the base folder's tokenizer (which training started from), and the
server's own /tokenize. Special tokens are held to the base's as well: a swapped end-of-turn token never shows in text.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, read_jsonl
from tasks.evaluation.client import Query, ServedClient

TOKENIZE = "/tokenize"
LANGUAGES = ("zh", "en")
SPECIAL = ("bos", "eos", "pad")

Messages = list[dict[str, str]]


def choose_conversations(path: Path, rows: int) -> list[dict[str, Any]]:
    """Return up to `rows` conversations of a prepared file, the languages taking turns, in file order.

    Raises:
        DataContractError: the file has no rows.
    """
    by_language: dict[str, list[dict[str, Any]]] = {language: [] for language in LANGUAGES}
    for row in read_jsonl(path):
        by_language.setdefault(row["language"], []).append(row)
    turns = [row for group in zip_longest(*by_language.values()) for row in group if row is not None]
    if not turns:
        raise DataContractError(f"{path} has no rows", "raise prepare.validation_fraction, then tunegate run")
    return turns[:rows]


def check_parity(
    conversations: list[dict[str, Any]], tokenizer: Any, base_tokenizer: Any, client: ServedClient
) -> list[dict[str, Any]]:
    """Return every difference between the three ways to make tokens, the first differing token named.

    Args:
        conversations: chat rows, each ending with an assistant message.
        tokenizer: of the model folder.
        base_tokenizer: of the base model folder.
        client: the server that serves the model folder.
    """
    forms = [
        (row["row_id"], form, *_form(row["messages"], form))
        for row in conversations
        for form in ("conversation", "prompt")
    ]
    served = client.ask([_query(messages, generate) for _, _, messages, generate in forms], "token parity")
    mismatches = []
    for (row_id, form, messages, generate), served_ids in zip(forms, served, strict=True):
        own = render(tokenizer, messages, generate)
        for other, ids in (("base", render(base_tokenizer, messages, generate)), ("served", served_ids)):
            if found := first_difference(own, ids, tokenizer):
                mismatches.append({"row_id": row_id, "form": form, "between": ["model", other], **found})
    return mismatches


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


def render(tokenizer: Any, messages: Messages, generate: bool) -> list[int]:
    """Return the token ids of a conversation as training and serving make them."""
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def template_sha256(tokenizer: Any) -> str:
    """Return the digest of the chat template a tokenizer carries ("" where there is none)."""
    template = tokenizer.chat_template or ""
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def first_difference(own: Sequence[int], other: Sequence[int], tokenizer: Any) -> dict[str, Any] | None:
    """Return position, ids and texts of the first token in which two sequences differ, or None."""
    for position, (ours, theirs) in enumerate(zip_longest(own, other)):
        if ours != theirs:
            ids = {"expected": ours, "found": theirs}
            texts = {name: None if token is None else tokenizer.decode([token]) for name, token in ids.items()}
            return {
                "position": position,
                **ids,
                "words": f"token {position}: {texts['expected']!r} became {texts['found']!r}",
            }
    return None


def _form(messages: Messages, form: str) -> tuple[Messages, bool]:
    """Return the messages and whether the assistant is to speak next."""
    return (messages, False) if form == "conversation" else (messages[:-1], True)


def _query(messages: Messages, generate: bool) -> Query:
    """Return the request for the server's own tokens of a conversation."""
    body = {"messages": messages, "add_generation_prompt": generate}
    return Query(TOKENIZE, body, _read_tokens, f"conversation {messages[0]['content'][:40]!r}")


def _read_tokens(answer: dict[str, Any]) -> list[int]:
    """Return the token ids of an answer of /tokenize."""
    tokens = answer.get("tokens")
    if not isinstance(tokens, list):
        raise DataContractError("the server's /tokenize returned no tokens", "serve with vLLM")
    return [int(token) for token in tokens]


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
    return {"row_id": None, "form": "special tokens", "between": ["model", "base"], "what": what, "words": words}
