"""Prepared chat rows to token ids, with the loss on the assistant's own tokens alone."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_jsonl

log = logging.getLogger(__name__)

#: Label of a token that carries no loss (the constant of torch's cross entropy).
IGNORED = -100

Message = dict[str, str]


@dataclass(frozen=True)
class TokenRow:
    """One conversation as it is trained: ids of the rendered chat, and labels (`IGNORED` where no loss is taken)."""

    row_id: str
    messages: list[Message]
    input_ids: list[int]
    labels: list[int]
    tools: list[Any] | None = None

    @property
    def completion_ids(self) -> list[int]:
        """The ids that carry loss, in order."""
        return [label for label in self.labels if label != IGNORED]


@dataclass(frozen=True)
class EncodedRows:
    """The rows to train on, and each row left out: `row_id`, `reason`, `tokens`."""

    rows: list[TokenRow]
    dropped: list[dict[str, Any]]


class _Refused(Exception):
    """A single row cannot be trained on; the argument is the reason."""


def encode_rows(path: Path, tokenizer: Any, max_length_tokens: int) -> EncodedRows:
    """Render and tokenize every row of a prepared split.

    Rows that do not fit are left out whole (a cut answer would teach the model to stop early) and are reported.

    Args:
        path: JSON Lines of chat rows.
        tokenizer: of the base model; its own chat template is used.
        max_length_tokens: longest row that is trained on.

    Raises:
        DataContractError: a row is not a chat row, or nothing is left to train on.
    """
    rows: list[TokenRow] = []
    dropped: list[dict[str, Any]] = []
    for number, value in enumerate(read_jsonl(path), start=1):
        row_id, messages, tools = _chat_row(value, f"{path}:{number}")
        try:
            row = encode_row(row_id, messages, tokenizer, tools)
        except _Refused as refusal:
            dropped.append({"row_id": row_id, "reason": str(refusal), "tokens": None})
            continue
        if len(row.input_ids) > max_length_tokens:
            dropped.append({"row_id": row_id, "reason": "too_long", "tokens": len(row.input_ids)})
        else:
            rows.append(row)
    _report(path, rows, dropped, max_length_tokens)
    return EncodedRows(rows, dropped)


def encode_row(row_id: str, messages: list[Message], tokenizer: Any, tools: list[Any] | None = None) -> TokenRow:
    """Return one conversation as token ids; loss on each assistant turn, its end-of-turn token included.

    Args:
        row_id: name of the row.
        messages: the conversation.
        tokenizer: of the base model.
        tools: functions on offer, as the chat template takes them.

    Raises:
        DataContractError: the chat template closes no assistant turn: a model trained on it would never stop.
    """
    special = set(tokenizer.all_special_ids)
    if any(token in message["content"] for message in messages for token in tokenizer.all_special_tokens):
        raise _Refused("special_token_in_text")
    text = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False)
    ids = _tokenize(tokenizer, text)
    labels = [IGNORED] * len(ids)
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        # Comparing ids, not characters: a merge across the border would put the first answer token elsewhere.
        first = _common_prefix(
            _tokenize(tokenizer, text[: _answer_start(messages[:turn], text, tokenizer, tools)]), ids
        )
        last = next((place for place in range(first, len(ids)) if ids[place] in special), None)
        if last is None:
            raise DataContractError(
                f"the chat template does not close assistant turns (row {row_id})", "use another base_model"
            )
        labels[first : last + 1] = ids[first : last + 1]
    return TokenRow(row_id, messages, ids, labels, tools)


def _answer_start(before: list[Message], text: str, tokenizer: Any, tools: list[Any] | None) -> int:
    """Return the character of `text` at which the model starts to write after the messages `before`.

    Some templates open more after the generation prompt than they render for a finished turn (`<think>`): the answer
    starts where the two part, but never inside the messages before it.
    """
    closed = tokenizer.apply_chat_template(before, tools=tools, tokenize=False)
    opened = tokenizer.apply_chat_template(before, tools=tools, tokenize=False, add_generation_prompt=True)
    start = _common_prefix(opened, text)
    if start < len(closed) or (len(opened) > len(closed) and start == len(closed)):
        raise _Refused("template_rewrites_earlier_turns")
    return start


def _common_prefix(first: Any, second: Any) -> int:
    """Return how many leading items two sequences share."""
    pairs = zip(first, second, strict=False)
    shorter = min(len(first), len(second))
    return next((place for place, (one, other) in enumerate(pairs) if one != other), shorter)


def _tokenize(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of rendered text; the template already wrote every special token."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _chat_row(value: Any, where: str) -> tuple[str, list[Message], list[Any] | None]:
    """Return id, messages and tools of a chat row.

    Raises:
        DataContractError: it is not one.
    """
    try:
        row_id, messages = value["row_id"], [{"role": m["role"], "content": m["content"]} for m in value["messages"]]
        tools = json.loads(value["tools"]) if value.get("tools") else None
    except (KeyError, TypeError, ValueError) as error:
        raise DataContractError(f"{where} is not a chat row: {error!r}", "dvc repro prepare") from error
    if not messages or messages[-1]["role"] != "assistant":
        raise DataContractError(f"{where} (row {row_id}) does not end with the assistant", "dvc repro prepare")
    return row_id, messages, tools


def _report(path: Path, rows: list[TokenRow], dropped: list[dict[str, Any]], max_length_tokens: int) -> None:
    """Log what was left out; refuse an empty result."""
    names = ", ".join(f"{item['row_id']} ({item['reason']})" for item in dropped[:5])
    if not rows:
        raise DataContractError(
            f"{path}: no row to train on; {len(dropped)} left out{': ' + names if names else ''}",
            f"raise train.max_length_tokens (now {max_length_tokens}) or add rows to data/raw",
        )
    if dropped:
        more = f" and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        log.warning("train: %d of %d rows left out, all in training.json: %s%s",
                    len(dropped), len(dropped) + len(rows), names, more)  # fmt: skip
