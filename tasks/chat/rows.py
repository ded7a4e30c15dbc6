"""Prepared chat rows to token ids, with the loss on the assistant's own tokens alone."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.chat.conversation import CLOSE, OPEN
from tasks.chat.sequences import common_prefix
from tasks.chat.template import Message, served_messages, served_tools, split_thought, thought_opened
from tasks.core.errors import DataContractError
from tasks.core.files import read_jsonl

log = logging.getLogger(__name__)

#: Label of a token that carries no loss (the constant of torch's cross entropy).
IGNORED = -100


@dataclass(frozen=True)
class TokenRow:
    """One conversation as it is trained: ids of the rendered chat, and labels (`IGNORED` where no loss is taken)."""

    row_id: str
    messages: list[Message]
    input_ids: list[int]
    labels: list[int]
    tools: list[Any] | None = None
    #: The template drops the last turn's thought; it was given back, so the text is not the rendered conversation.
    thought_restored: bool = False
    #: Which messages carry loss.
    trained_turns: tuple[int, ...] = ()

    @property
    def completion_ids(self) -> list[int]:
        """The ids that carry loss, in order."""
        return [label for label in self.labels if label != IGNORED]


@dataclass(frozen=True)
class EncodedRows:
    """The rows to train on, and each row left out: `row_id`, `reason`, `tokens`."""

    rows: list[TokenRow]
    dropped: list[dict[str, Any]]


class RowRefused(Exception):
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
        except RowRefused as refusal:
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

    A turn that the server would never ask for in this form (the template opens a thought for every answer and drops it
    from finished turns) is history and carries no loss; the last turn always does.

    Args:
        row_id: name of the row.
        messages: the conversation.
        tokenizer: of the base model.
        tools: functions on offer, as prepared rows carry them.

    Raises:
        DataContractError: the chat template closes no assistant turn: a model trained on it would never stop.
        RowRefused: the row cannot be trained on.
    """
    if any(token in message["content"] for message in messages for token in tokenizer.all_special_tokens):
        raise RowRefused("special_token_in_text")
    messages, tools = _as_served(messages, tools, tokenizer)
    text, restored = _trained_text(messages, tools, tokenizer)
    ids = _tokenize(tokenizer, text)
    labels, trained = [IGNORED] * len(ids), []
    for turn, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        asked, start = _handed_over(messages[:turn], text, tokenizer, tools)
        if asked != text[:start] and thought_opened(asked):
            continue
        first, last = _span(ids, text[:start], tokenizer, row_id)
        labels[first : last + 1] = ids[first : last + 1]
        trained.append(turn)
    return TokenRow(row_id, messages, ids, labels, tools, restored, tuple(trained))


def _as_served(
    messages: list[Message], tools: list[Any] | None, tokenizer: Any
) -> tuple[list[Message], list[Any] | None]:
    """Return messages and tools as a server gets them."""
    try:
        return served_messages(messages, tokenizer), served_tools(tools)
    except ValueError as error:
        raise RowRefused("tool_without_name") from error


def _trained_text(messages: list[Message], tools: list[Any] | None, tokenizer: Any) -> tuple[str, bool]:
    """Return the rendered conversation, and whether a thought was given back to it.

    Where the template opens a thought for the model to go on with but drops thoughts from finished turns (DeepSeek's
    distills), the last turn gets its thought back: that is what the model has to write when it is served.
    """
    text = _render(tokenizer, messages, tools)
    asked, start = _handed_over(messages[:-1], text, tokenizer, tools)
    if asked == text[:start] or not thought_opened(asked):
        return text, False
    thought, _ = split_thought(messages[-1]["content"])
    return f"{asked}{thought}\n{CLOSE}\n\n{text[start:].lstrip(chr(10))}", True


def _handed_over(before: list[Message], text: str, tokenizer: Any, tools: list[Any] | None) -> tuple[str, int]:
    """Return what the server renders to ask for the turn after `before`, and the character of `text` it begins at.

    Some templates open more after the generation prompt than they render for a finished turn (`<think>`): the answer
    starts where the two part, but never inside the messages before it.
    """
    closed = _render(tokenizer, before, tools)
    asked = _render(tokenizer, before, tools, generate=True)
    handed = asked.rstrip().removesuffix(OPEN) if thought_opened(asked) else asked
    start = next((len(form) for form in (asked, handed) if text.startswith(form)), common_prefix(asked, text))
    if start < len(closed) or (len(asked) > len(closed) and start == len(closed)):
        raise RowRefused("template_rewrites_earlier_turns")
    return asked, start


def _span(ids: list[int], before: str, tokenizer: Any, row_id: str) -> tuple[int, int]:
    """Return the first and last place of one answer, its end-of-turn token included."""
    asked, special = _tokenize(tokenizer, before), set(tokenizer.all_special_ids)
    first = common_prefix(asked, ids)
    last = next((place for place in range(first, len(ids)) if ids[place] in special), None)
    if last is None:
        raise DataContractError(
            f"the chat template does not close assistant turns (row {row_id})", "use another base_model"
        )
    # Comparing ids, not characters: a token that merges across the border is one no server could ask after.
    if first < len(asked):
        raise RowRefused("answer_merges_with_prompt")
    return first, last


def _render(tokenizer: Any, messages: list[Message], tools: list[Any] | None, generate: bool = False) -> str:
    """Return a conversation as the chat template writes it."""
    from jinja2.exceptions import TemplateError

    try:
        text: str = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=generate)
    except (TemplateError, TypeError) as error:
        raise RowRefused("template_refuses") from error
    return text


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
