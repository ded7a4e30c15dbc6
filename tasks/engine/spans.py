"""Where an answer begins in token ids: behind the empty or real thought that training puts before it.

What is scored is the answer alone. A template may write an empty thought before it, a prompt may open one that has to
be closed first, a row may hold a real one: all of that stands before the scored span, as it does in training's own ids.
"""

import re
from typing import Any

from tasks.chat.conversation import CLOSE, OPEN, split_thought, with_thought
from tasks.chat.labels import taught
from tasks.chat.rows import RowRefused, encode_row
from tasks.chat.template import Message, thought_opened

_EMPTY_THOUGHT = re.compile(rf"\s*(?:{OPEN})?\s*{CLOSE}\s*")
#: An answer to look for where only what stands before answers is wanted.
_PROBE = "1"


def answer_span(
    tokenizer: Any, messages: list[Message], answer: str, tools: list[Any] | None = None
) -> tuple[list[int], list[int]]:
    """Return the token ids before an answer and those of the answer, without its end-of-turn token.

    The ids are those training makes. A row that training would refuse is encoded as a server sees it: the prompt, then
    the thought, then the answer.

    Args:
        tokenizer: of the model; its chat template is used.
        messages: up to the user's last turn, as prepared rows carry them.
        answer: the assistant's text; a thought in it stands before the span.
        tools: functions on offer, as prepared rows carry them.
    """
    turns = [*messages, {"role": "assistant", "content": answer}]
    try:
        row = encode_row("", turns, tokenizer, tools)
    except RowRefused:
        return _as_served(tokenizer, messages, answer, tools)
    run = taught(row.input_ids, row.labels, tokenizer)[-1]
    ids = run.ids[:-1]
    first = _tokens_before(ids, _beginning(run.text, row.messages[-1]), tokenizer)
    return row.input_ids[: run.first + first], ids[first:]


def opening_ids(tokenizer: Any) -> list[int]:
    """Return what stands between the prompt a server renders and an answer without a thought; empty for most templates.

    Args:
        tokenizer: of the model; its chat template is used.
    """
    question = [{"role": "user", "content": "?"}]
    before, _ = answer_span(tokenizer, question, _PROBE)
    asked = tokenizer.apply_chat_template(question, tokenize=False, add_generation_prompt=True)
    return before[len(tokenizer.encode(asked, add_special_tokens=False)) :]


def split_ids(tokenizer: Any, context: str, continuation: str, *, special: bool) -> tuple[list[int], list[int]]:
    """Return the token ids of a context and of what follows it, split exactly where the server's prompt ends.

    Args:
        tokenizer: of the served model.
        context: the prompt as text.
        continuation: what follows.
        special: add the tokens that the tokenizer puts around plain text.
    """
    before: list[int] = tokenizer.encode(context, add_special_tokens=special)
    both: list[int] = tokenizer.encode(context + continuation, add_special_tokens=special)
    if both[: len(before)] == before:
        return before, both[len(before) :]
    # Tokens merge across the boundary: a server that got the context cannot produce that; score what it can.
    return before, tokenizer.encode(continuation, add_special_tokens=False)


def _beginning(text: str, answer: Message) -> int:
    """Return at which character of a taught text the answer begins: behind the last thought before it.

    Args:
        text: what the labels of a turn decode to.
        answer: the turn as served.
    """
    thought, reply = split_thought(answer["content"])
    reply = reply.strip()
    if reply and not answer.get("tool_calls") and text.rstrip().endswith(reply):
        # White space before an answer belongs to it where no thought or mark of the template stands there.
        start = len(text.rstrip()) - len(reply)
        return start if text[:start].strip() else 0
    if thought or _EMPTY_THOUGHT.match(text) or answer.get("reasoning_content"):
        end = text.find(CLOSE) + len(CLOSE)
        return end + len(text[end:]) - len(text[end:].lstrip())
    return 0


def _tokens_before(ids: list[int], place: int, tokenizer: Any) -> int:
    """Return how many tokens end at or before a character of what they decode to."""
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high + 1) // 2
        within = len(tokenizer.decode(ids[:middle], clean_up_tokenization_spaces=False)) <= place
        low, high = (middle, high) if within else (low, middle - 1)
    return low


def _as_served(
    tokenizer: Any, messages: list[Message], answer: str, tools: list[Any] | None
) -> tuple[list[int], list[int]]:
    """Return the ids before an answer and of it, prompt, thought and answer encoded one behind the other."""
    asked = tokenizer.apply_chat_template(messages, tools=tools, tokenize=False, add_generation_prompt=True)
    thought, reply = split_thought(answer)
    opening = _opening_text(tokenizer, messages, asked, thought, tools)
    prompt: list[int] = tokenizer.encode(asked, add_special_tokens=False)
    before, after = split_ids(tokenizer, opening, reply, special=False) if opening else ([], None)
    if after is None:
        return split_ids(tokenizer, asked, reply, special=False)
    return prompt + before, after


def _opening_text(tokenizer: Any, messages: list[Message], asked: str, thought: str, tools: list[Any] | None) -> str:
    """Return what stands between a rendered prompt and the answer."""
    if thought or thought_opened(asked):
        opening = with_thought(thought)
        return opening.removeprefix(f"{OPEN}\n") if thought_opened(asked) else opening
    turns = [*messages, {"role": "assistant", "content": _PROBE}]
    whole: str = tokenizer.apply_chat_template(turns, tools=tools, tokenize=False)
    written = whole[len(asked) :] if whole.startswith(asked) else ""
    return written[: written.find(_PROBE)] if CLOSE in written else ""
