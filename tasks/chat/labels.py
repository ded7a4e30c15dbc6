"""What a trained row teaches: its unmasked labels must decode to exactly the assistant's turns, each with its stop."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from tasks.chat.conversation import OPEN, with_thought
from tasks.chat.rows import IGNORED
from tasks.chat.template import thought_and_answer


@dataclass(frozen=True)
class Taught:
    """One run of labels.

    Args:
        first: place of its first token in the row.
        ids: its tokens, the stop token last.
        text: what they decode to, without the stop token.
    """

    first: int
    ids: list[int]
    text: str


def taught(input_ids: list[int], labels: list[int], tokenizer: Any) -> list[Taught]:
    """Return the runs of labels of a row, in order."""
    runs: list[Taught] = []
    start: int | None = None
    for place, label in enumerate([*labels, IGNORED]):
        if label != IGNORED and start is None:
            start = place
        elif label == IGNORED and start is not None:
            ids = input_ids[start:place]
            runs.append(Taught(start, ids, tokenizer.decode(ids[:-1], clean_up_tokenization_spaces=False)))
            start = None
    return runs


def label_faults(
    messages: list[dict[str, Any]],
    input_ids: list[int],
    labels: list[int],
    trained_turns: Sequence[int],
    tokenizer: Any,
) -> Iterator[str]:
    """Yield what is wrong with the labels of one row, in words that name the first differing token.

    Args:
        messages: the conversation as served (calls as structure where the template writes them).
        input_ids: of the row, length n.
        labels: of the row, length n.
        trained_turns: indices of the messages that are taught.
        tokenizer: of the base model.
    """
    if len(labels) != len(input_ids):
        yield f"{len(labels)} labels for {len(input_ids)} tokens"
        return
    for place, (label, token) in enumerate(zip(labels, input_ids, strict=True)):
        if label not in (IGNORED, token):
            yield f"token {place}: the label is {tokenizer.decode([label])!r}, the token {tokenizer.decode([token])!r}"
            return
    answers = [messages[turn] for turn in trained_turns]
    if len(messages) - 1 not in trained_turns or any(answer["role"] != "assistant" for answer in answers):
        yield f"messages {list(trained_turns)} are said to be taught, the last answer is message {len(messages) - 1}"
        return
    runs = taught(input_ids, labels, tokenizer)
    if len(runs) != len(answers):
        yield f"{_first_extra(runs, answers)}: {len(runs)} runs of labels for {len(answers)} completions"
        return
    for run, answer in zip(runs, answers, strict=True):
        stopped = run.ids[-1] in set(tokenizer.all_special_ids)
        text = run.text if stopped else tokenizer.decode(run.ids, clean_up_tokenization_spaces=False)
        if not _is_completion(text, answer):
            yield _difference(run, answer["content"], tokenizer)
        elif not stopped:
            yield f"token {run.first + len(run.ids) - 1}: the last label {run.ids[-1]} is no token that ends a turn"


def is_exact(text: str, answer: dict[str, Any]) -> bool:
    """Tell whether a decoded run is the answer to the letter (a template may trim it or move its thought)."""
    return bool(text == answer["content"]) and not answer.get("tool_calls")


def _is_completion(text: str, answer: dict[str, Any]) -> bool:
    """Tell whether a decoded run is an answer as a chat template may write it: trimmed, its thought kept or dropped."""
    if calls := answer.get("tool_calls"):
        return all(_writes_call(text, call["function"]) for call in calls)
    thought, reply = thought_and_answer(answer)
    thinking = with_thought(thought, reply)
    forms = (answer["content"], reply, thinking, thinking.removeprefix(f"{OPEN}\n"))
    return _plain(text) in {_plain(form) for form in forms}


def _plain(text: str) -> str:
    """Return a text without what templates trim and tokenizers compose (Unicode form C)."""
    return normalize("NFC", text).strip()


def _writes_call(text: str, function: dict[str, Any]) -> bool:
    """Tell whether a text names a function and carries its arguments, as JSON or one by one (Qwen3.5's tags)."""
    arguments = function["arguments"]
    forms = [[value] if isinstance(value, str) else [json.dumps(value, ensure_ascii=False), str(value)]
             for value in arguments.values()]  # fmt: skip
    if f"<function={function['name']}>" in text and all(any(form in text for form in one) for one in forms):
        return True
    decoder = json.JSONDecoder()
    starts = [place for place, character in enumerate(text) if character == "{"]
    return function["name"] in text and any(_read_at(decoder, text, place) == arguments for place in starts)


def _read_at(decoder: json.JSONDecoder, text: str, place: int) -> Any:
    """Return the JSON value that begins at a place, None where none does."""
    try:
        return decoder.raw_decode(text, place)[0]
    except ValueError:
        return None


def _first_extra(runs: list[Taught], answers: list[dict[str, Any]]) -> str:
    """Name the first run of labels that is no completion."""
    for run, answer in zip(runs, answers, strict=False):
        if not _is_completion(run.text, answer):
            return f"token {run.first} begins {run.text[:20]!r}"
    extra = runs[len(answers) :]
    return f"token {extra[0].first} begins {extra[0].text[:20]!r}" if extra else "a completion is missing"


def _difference(run: Taught, expected: str, tokenizer: Any) -> str:
    """Name the first token after which the decoded labels are no beginning of the expected text."""
    for count in range(1, len(run.ids)):
        text = tokenizer.decode(run.ids[:count], clean_up_tokenization_spaces=False)
        if not _plain(expected).startswith(_plain(text.rstrip("\ufffd"))):
            token = tokenizer.decode([run.ids[count - 1]])
            return f"token {run.first + count - 1}: labels teach {token!r} where the answer goes {expected[:40]!r}"
    return f"token {run.first + len(run.ids) - 1}: labels end after {run.text[-20:]!r}, the answer is longer"
