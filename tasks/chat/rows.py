"""Prepared chat rows to token ids, with the loss on the assistant's own tokens alone."""

import json
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tasks.chat.conversation import OPEN, split_thought, with_thought
from tasks.chat.sequences import common_prefix
from tasks.chat.template import Message, served_messages, served_tools, thought_and_answer, thought_opened
from tasks.core.errors import DataContractError
from tasks.core.files import read_jsonl

log = logging.getLogger(__name__)

#: Label of a token that carries no loss (the constant of torch's cross entropy).
IGNORED = -100
#: Characters between the start of an answer and its thought: a tag, a channel's name, line ends.
_ROOM_FOR_TAGS = 64


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
    #: Prompt and last answer were encoded apart, as a server sends and samples them: whole, tokens would join them.
    joined: bool = False
    #: Which messages carry loss.
    trained_turns: tuple[int, ...] = ()
    #: Answers that carry none because of the template: place -> why (a key of `NO_LOSS`).
    history_turns: tuple[tuple[int, str], ...] = ()

    @property
    def completion_ids(self) -> list[int]:
        """The ids that carry loss, in order."""
        return [label for label in self.labels if label != IGNORED]


@dataclass(frozen=True)
class EncodedRows:
    """The rows to train on, and each row left out: `row_id`, `reason`, `tokens`.

    Args:
        rows: what is trained, in order; samples of earlier thoughts stand behind the row they are of.
        dropped: what is not.
        thought_samples: how many of `rows` are such samples.
    """

    rows: list[TokenRow]
    dropped: list[dict[str, Any]]
    thought_samples: int = 0

    @property
    def conversations(self) -> int:
        """Prepared rows among `rows`."""
        return len(self.rows) - self.thought_samples


#: Why an answer carries no loss with a template.
NO_LOSS = {
    "never_asked": "the server never asks for an answer in the form that it has as history",
    "thought_dropped": "the template drops its thought",
    "rewritten": "the template writes what stands before it in another way once the conversation goes on",
    "merges": "its first token is one with the prompt's last",
    "too_long_alone": "the template drops its thought, and up to there the row with it is longer than training takes",
}


def taught_alone(turns: Sequence[int]) -> str:
    """Say in words which answers are taught in samples of their own.

    Args:
        turns: their places, from 0.
    """
    names = ", ".join(str(turn + 1) for turn in turns)
    return f"turn {names}: taught in a sample of its own, where it is last: the template drops earlier thoughts"


class RowRefused(Exception):
    """A single row cannot be trained on; the argument is the reason."""


def encode_rows(path: Path, tokenizer: Any, max_length_tokens: int, *, every_thought: bool = False) -> EncodedRows:
    """Render and tokenize every row of a prepared split.

    Rows that do not fit are left out whole (a cut answer would teach the model to stop early) and are reported.

    Args:
        path: JSON Lines of chat rows.
        tokenizer: of the base model; its own chat template is used.
        max_length_tokens: longest row that is trained on.
        every_thought: teach earlier thoughts that the template drops, in samples of their own (`thought_samples`).

    Raises:
        DataContractError: a row is not a chat row, or nothing is left to train on.
    """
    rows: list[TokenRow] = []
    dropped: list[dict[str, Any]] = []
    further = 0
    for number, value in enumerate(read_jsonl(path), start=1):
        row_id, messages, tools, untaught = _chat_row(value, f"{path}:{number}")
        try:
            row = encode_row(row_id, messages, tokenizer, tools, untaught)
        except RowRefused as refusal:
            dropped.append({"row_id": row_id, "reason": str(refusal), "tokens": None})
            continue
        samples = thought_samples(row, messages, tokenizer, tools) if every_thought else ()
        for one in (row, *samples):
            if len(one.input_ids) <= max_length_tokens:
                rows.append(one)
                further += one is not row
                continue
            dropped.append({"row_id": one.row_id, "reason": "too_long", "tokens": len(one.input_ids)})
            if one is row:
                break
    _report(path, rows, dropped, max_length_tokens)
    return EncodedRows(rows, dropped, further)


def thought_samples(
    row: TokenRow, messages: list[Message], tokenizer: Any, tools: list[Any] | None = None
) -> Iterator[TokenRow]:
    """Yield what teaches earlier answers whose thought (or one they follow on) the template drops: the row up to each.

    Where such an answer is last the template shows its thought, and a server asks for it with nothing behind it. What
    the row itself or another sample teaches carries no loss; thoughts shown together (around calls) are one sample.

    Args:
        row: the whole conversation, encoded.
        messages: as it was given to `encode_row`.
        tokenizer: of the base model.
        tools: functions on offer.
    """
    waiting = {
        turn for turn, why in row.history_turns
        if why == "rewritten" or thought_and_answer(row.messages[turn])[0].strip()
    }  # fmt: skip
    while waiting:
        end = max(waiting) + 1
        others = [
            turn for turn, said in enumerate(messages[:end]) if said["role"] == "assistant" and turn not in waiting
        ]
        waiting.discard(end - 1)
        try:
            sample = encode_row(f"{row.row_id}#{end}", messages[:end], tokenizer, tools, others)
        except RowRefused:
            continue  # the template shows this thought nowhere: the answer stays without loss
        waiting.difference_update(sample.trained_turns)
        yield sample


def encode_row(
    row_id: str,
    messages: list[Message],
    tokenizer: Any,
    tools: list[Any] | None = None,
    untaught: Collection[int] = (),
    settings: Mapping[str, Any] = MappingProxyType({}),
) -> TokenRow:
    """Return one conversation as token ids; loss on each assistant turn, its end-of-turn token included.

    No loss on a turn its author marked, on one that the server would never ask for in this form (the template opens a
    thought for every answer and drops it from finished turns), and on one whose thought the template drops: these are
    history. The last turn always carries loss. Its prompt is encoded as the server encodes it, and where that and the
    answer would share a token, the answer apart.

    Args:
        row_id: name of the row.
        messages: the conversation.
        tokenizer: of the base model.
        tools: functions on offer, as prepared rows carry them.
        untaught: places of answers that are not to be learnt.
        settings: further names for the template (`enable_thinking`).

    Raises:
        DataContractError: the chat template closes no assistant turn: a model trained on it would never stop.
        RowRefused: the row cannot be trained on.
    """
    if any(token in message["content"] for message in messages for token in tokenizer.all_special_tokens):
        raise RowRefused("special_token_in_text")
    messages, tools = _as_served(messages, tools, tokenizer)
    write = Writer(tokenizer, tools, settings)
    text, start, restored = _trained_text(messages, write)
    ids, joined = _encoded(tokenizer, text, start)
    labels, trained, history = [IGNORED] * len(ids), [], []
    for turn, message in enumerate(messages):
        if message["role"] != "assistant" or turn in untaught:
            continue
        first, why = _first_token(messages, turn, text, ids, write)
        if why:
            history.append((turn, why))
            continue
        last = _last_token(ids, first, tokenizer, row_id)
        labels[first : last + 1] = ids[first : last + 1]
        trained.append(turn)
    if history and history[-1][0] == len(messages) - 1:
        raise RowRefused(
            "template_drops_the_thought" if history[-1][1] == "thought_dropped" else "answer_merges_with_prompt"
        )
    return TokenRow(row_id, messages, ids, labels, tools, restored, joined, tuple(trained), tuple(history))


@dataclass(frozen=True)
class Writer:
    """The chat template of a tokenizer with what stays the same over a conversation."""

    tokenizer: Any
    tools: list[Any] | None
    settings: Mapping[str, Any]

    def __call__(self, messages: list[Message], generate: bool = False) -> str:
        """Return a conversation as the chat template writes it.

        Raises:
            RowRefused: the template refuses it.
        """
        from jinja2.exceptions import TemplateError

        try:
            text: str = self.tokenizer.apply_chat_template(
                messages, tools=self.tools, tokenize=False, add_generation_prompt=generate, **self.settings
            )
        except (TemplateError, TypeError) as error:
            raise RowRefused("template_refuses") from error
        return text


def _as_served(
    messages: list[Message], tools: list[Any] | None, tokenizer: Any
) -> tuple[list[Message], list[Any] | None]:
    """Return messages and tools as a server gets them."""
    try:
        return served_messages(messages, tokenizer), served_tools(tools)
    except ValueError as error:
        raise RowRefused("tool_without_name") from error


def _trained_text(messages: list[Message], write: Writer) -> tuple[str, int, bool]:
    """Return the rendered conversation, where its last answer begins, and whether a thought was given back to it.

    Where the template opens a thought for the model to go on with but drops thoughts from finished turns (DeepSeek's
    distills), or writes an empty one in another way (Nemotron's), the last turn gets its thought back: that is what
    the model has to write when it is served.
    """
    text = write(messages)
    asked, start = _handed_over(messages[:-1], text, write)
    if start is None:
        raise RowRefused("template_rewrites_earlier_turns")
    if asked == text[:start] or not thought_opened(asked):
        return text, start, False
    thought, _ = thought_and_answer(messages[-1])
    answer = text[start:].lstrip("\n")
    if answer.startswith(OPEN):
        answer = split_thought(answer)[1]
    return asked + with_thought(thought, answer).removeprefix(f"{OPEN}\n"), len(asked), True


def _encoded(tokenizer: Any, text: str, start: int) -> tuple[list[int], bool]:
    """Return the ids of a text, and whether what stands before and after a place had to be encoded apart.

    Raises:
        RowRefused: encoded apart, the two are another text (a tokenizer that puts a space before every text).
    """
    whole, asked = _tokenize(tokenizer, text), _tokenize(tokenizer, text[:start])
    if whole[: len(asked)] == asked:
        return whole, False
    apart = asked + _tokenize(tokenizer, text[start:])
    if tokenizer.decode(apart) != tokenizer.decode(whole):
        raise RowRefused("answer_merges_with_prompt")
    return apart, True


def _first_token(messages: list[Message], turn: int, text: str, ids: list[int], write: Writer) -> tuple[int, str]:
    """Return the place of an answer's first token, and why it carries no loss ("" where it does)."""
    asked, start = _handed_over(messages[:turn], text, write)
    if start is None:
        return 0, "rewritten"
    if asked != text[:start] and thought_opened(asked):
        return 0, "never_asked"
    thought, _ = thought_and_answer(messages[turn])
    # A thought opens the answer; tags and line ends may stand before it.
    if thought.strip() and thought.strip() not in text[start : start + len(thought) + _ROOM_FOR_TAGS]:
        return 0, "thought_dropped"
    before = _tokenize(write.tokenizer, text[:start])
    # Comparing ids, not characters: a token that merges across the border is one no server could ask after.
    return len(before), "" if ids[: len(before)] == before else "merges"


def _handed_over(before: list[Message], text: str, write: Writer) -> tuple[str, int | None]:
    """Return what the server renders to ask for the turn after `before`, and the character of `text` it begins at.

    Some templates open more after the generation prompt than they render for a finished turn (`<think>`): the answer
    starts where the two part, but never inside the messages before it. None: these are written in another way there
    (Qwen3's thoughts around calls, once the user goes on).
    """
    closed, asked = write(before), write(before, generate=True)
    handed = asked.rstrip().removesuffix(OPEN) if thought_opened(asked) else asked
    start = next((len(form) for form in (asked, handed) if text.startswith(form)), common_prefix(asked, text))
    if start < len(closed) or (len(asked) > len(closed) and start == len(closed)):
        return asked, None
    return asked, start


def _last_token(ids: list[int], first: int, tokenizer: Any, row_id: str) -> int:
    """Return the place of the token that ends a turn."""
    special = set(tokenizer.all_special_ids)
    last = next((place for place in range(first, len(ids)) if ids[place] in special), None)
    if last is None:
        raise DataContractError(
            f"the chat template does not close assistant turns (row {row_id})", "use another base_model"
        )
    return last


def _tokenize(tokenizer: Any, text: str) -> list[int]:
    """Return the ids of rendered text; the template already wrote every special token."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _chat_row(value: Any, where: str) -> tuple[str, list[Message], list[Any] | None, list[int]]:
    """Return id, messages, tools and the places of answers that are not to be learnt, of a chat row.

    Raises:
        DataContractError: it is not one.
    """
    try:
        row_id, messages = value["row_id"], [{"role": m["role"], "content": m["content"]} for m in value["messages"]]
        tools = json.loads(value["tools"]) if value.get("tools") else None
        untaught = [int(place) for place in value.get("untaught") or ()]
    except (KeyError, TypeError, ValueError) as error:
        raise DataContractError(f"{where} is not a chat row: {error!r}", "dvc repro prepare") from error
    if not messages or messages[-1]["role"] != "assistant":
        raise DataContractError(f"{where} (row {row_id}) does not end with the assistant", "dvc repro prepare")
    return row_id, messages, tools, untaught


#: Why a row is left out -> what helps; else the length does.
_HELP = {
    "template_drops_the_thought": "the chat template of base_model never shows reasoning: another base_model, or rows "
    "without it",
    "template_rewrites_earlier_turns": "the chat template of base_model writes earlier turns anew: another base_model",
    "answer_merges_with_prompt": "base_model's tokenizer joins the prompt's end with the answer: another base_model",
    "template_refuses": "the chat template of base_model refuses these conversations: another base_model",
    "special_token_in_text": "take the special tokens of base_model out of the rows",
    "tool_without_name": "name every tool of the rows' `tools`",
}


def _report(path: Path, rows: list[TokenRow], dropped: list[dict[str, Any]], max_length_tokens: int) -> None:
    """Log what was left out; refuse an empty result."""
    names = ", ".join(f"{item['row_id']} ({item['reason']})" for item in dropped[:5])
    if not rows:
        reasons = Counter(item["reason"] for item in dropped)
        most = reasons.most_common(1)[0][0] if reasons else ""
        length = f"raise train.max_length_tokens (now {max_length_tokens}) or add rows to data/raw"
        raise DataContractError(
            f"{path}: no row to train on; {len(dropped)} left out{': ' + names if names else ''}",
            _HELP.get(most, length),
        )
    if dropped:
        more = f" and {len(dropped) - 5} more" if len(dropped) > 5 else ""
        log.warning("train: %d of %d rows left out, all in training.json: %s%s",
                    len(dropped), len(dropped) + len(rows), names, more)  # fmt: skip
