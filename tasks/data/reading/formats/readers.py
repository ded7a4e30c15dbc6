"""One reader a format: the fields of a raw row to messages."""

from collections.abc import Mapping
from typing import Any, Final

from tasks.chat.conversation import Message
from tasks.data.problems import BadRowError
from tasks.data.reading.formats.fields import (
    Draft,
    Reader,
    from_json,
    is_given,
    list_of,
    role_of,
    system,
    text_of,
    turn,
    turns_of,
)
from tasks.data.reading.formats.tools import call_text, openai_calls, tools_of

CALL: Final = "function_call"
SHAREGPT_ROLES: Final = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "observation": "tool",
    "tool": "tool",
    "function_call": CALL,
}
MESSAGE_ROLES: Final = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def detect(row: Mapping[str, Any]) -> str:
    """Return the format of a row from the fields it has; fields that say something come first.

    Raises:
        BadRowError: none fits.
    """
    for present in (lambda field: is_given(row, field), row.__contains__):
        if present("chosen") and present("rejected"):
            return "preference"
        for field, name in (("messages", "messages"), ("conversations", "sharegpt"), ("instruction", "alpaca")):
            if present(field):
                return name
    if "output" in row:
        raise BadRowError("missing_field", "an Alpaca row without `instruction`")
    if "chosen" in row or "rejected" in row:
        raise BadRowError("missing_field", "a preference row without `chosen` or `rejected`")
    raise BadRowError("unknown_format", "no field of the row is one a format is known by")


def read_alpaca(row: dict[str, Any]) -> Draft:
    """Read system, history pairs, instruction with input, output."""
    asked = _alpaca_prompt(row)
    return Draft("alpaca", [*asked, turn("assistant", text_of(row, "output"))], tools_of(row))


def _alpaca_prompt(row: dict[str, Any]) -> list[Message]:
    """Return an Alpaca row's messages up to the question."""
    question = text_of(row, "instruction")
    if context := text_of(row, "input", optional=True).strip():
        question = f"{question}\n{context}"
    messages = system(text_of(row, "system", optional=True))
    for number, pair in enumerate(list_of(row, "history"), start=1):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise BadRowError("wrong_type", f"`history` item {number} is no pair of texts")
        messages += [turn("user", pair[0]), turn("assistant", pair[1])]
    return [*messages, turn("user", question)]


def read_sharegpt(row: dict[str, Any]) -> Draft:
    """Read `conversations`, with calls, observations and tools."""
    messages = system(text_of(row, "system", optional=True))
    for number, said in enumerate(turns_of(row, "conversations"), start=1):
        messages.append(_sharegpt_turn(said, number))
    return Draft("sharegpt", messages, tools_of(row))


def _sharegpt_turn(said: dict[str, Any], number: int) -> Message:
    """Return one turn of `conversations`; some writers use the field names of `messages`."""
    speaker, value = ("from", "value") if "from" in said else ("role", "content")
    role = role_of(said, speaker, SHAREGPT_ROLES, number)
    text = text_of(said, value, where=f"turn {number}: ")
    return turn("assistant", call_text(text, number)) if role == CALL else turn(role, text)


def read_messages(row: dict[str, Any]) -> Draft:
    """Read `messages`, with reasoning in a field of its own and OpenAI's tool calls."""
    turns = turns_of(row, "messages")
    messages = system(text_of(row, "system", optional=True))
    messages += [_message(said, number) for number, said in enumerate(turns, start=1)]
    thinks = is_given(row, "reasoning_language") or any(is_given(said, "thinking") for said in turns)
    language = text_of(row, "reasoning_language", optional=True) or None
    name = "multilingual_thinking" if thinks else "messages"
    return Draft(name, messages, tools_of(row), reasoning_language=language)


def _message(said: dict[str, Any], number: int) -> Message:
    """Return one turn of `messages`."""
    where = f"turn {number}: "
    role = role_of(said, "role", MESSAGE_ROLES, number)
    # `reasoning_content` is what DeepSeek's and Qwen's APIs call it.
    thinking = text_of(said, "thinking" if is_given(said, "thinking") else "reasoning_content", optional=True)
    if thinking.strip() and role != "assistant":
        raise BadRowError("misplaced_think", f"{where}a {role} turn has reasoning")
    if not is_given(said, "tool_calls"):
        return turn(role, text_of(said, "content", where=where), thinking)
    if role != "assistant":
        raise BadRowError("malformed_tool_call", f"{where}a {role} turn calls tools")
    calls, content = openai_calls(said["tool_calls"], number), text_of(said, "content", optional=True, where=where)
    return turn(role, f"{content.strip()}\n{calls}" if content.strip() else calls, thinking)


def read_preference(row: dict[str, Any]) -> Draft:
    """Read prompt, chosen and rejected: texts, or turns (LLaMA-Factory's, or whole conversations as TRL has them)."""
    chosen, shared = _answer(row, "chosen")
    rejected, _ = _answer(row, "rejected")
    asked = _preference_prompt(row, shared)
    if not rejected.strip():
        raise BadRowError("empty_turn", "`rejected` is empty")
    # The rejected answer may be bad in any way; it is kept as it stands.
    return Draft("preference", [*asked, turn("assistant", chosen)], tools_of(row), rejected.strip())


def _preference_prompt(row: dict[str, Any], shared: list[Message]) -> list[Message]:
    """Return the messages before the two answers."""
    if is_given(row, "conversations"):
        return read_sharegpt(row).messages
    if shared:
        return shared
    if is_given(row, "instruction"):
        return _alpaca_prompt(row)
    if not is_given(row, "prompt"):
        raise BadRowError("missing_field", "a preference row without `prompt`")
    if not isinstance(row["prompt"], str) or row["prompt"].startswith("[{"):
        return read_messages({**row, "messages": row["prompt"]}).messages
    return [*system(text_of(row, "system", optional=True)), turn("user", text_of(row, "prompt"))]


def _answer(row: dict[str, Any], field: str) -> tuple[str, list[Message]]:
    """Return an answer of a preference row, and the turns before it where it is a whole conversation."""
    value = row.get(field)
    if isinstance(value, str) and value.startswith(("[{", '{"from"', '{"role"')):
        value = from_json(value, field)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        return text_of(row, field), []
    if not value or not all(isinstance(said, dict) for said in value):
        raise BadRowError("wrong_type", f"`{field}` holds something that is no turn")
    speaker, said = ("from", "value") if "from" in value[-1] else ("role", "content")
    if role_of(value[-1], speaker, SHAREGPT_ROLES, len(value)) != "assistant":
        raise BadRowError("wrong_role_order", f"`{field}` does not end with the assistant")
    before = [_sharegpt_turn(turn_, number) for number, turn_ in enumerate(value[:-1], start=1)]
    return text_of(value[-1], said, where=f"{field}: "), before


READERS: dict[str, Reader] = {
    "alpaca": read_alpaca,
    "sharegpt": read_sharegpt,
    "messages": read_messages,
    "multilingual_thinking": read_messages,
    "preference": read_preference,
}
