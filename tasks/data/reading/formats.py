"""Alpaca, ShareGPT and multilingual-thinking rows to one list of chat messages; detected row by row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks.data.conversation import Message
from tasks.data.matching.normalization import is_mojibake, language_of
from tasks.data.problems import BadRowError
from tasks.data.reading.reasoning import fold

TOOL_ROLES = frozenset({"observation", "function_call", "function", "tool", "tool_call", "tool_response"})
SHAREGPT_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
MESSAGE_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True)
class Parsed:
    """What a raw row says.

    Args:
        format: which reader understood it.
        language: `zh` or `en`, of what is said (without the system turn).
        concept: what the row teaches, where it names it.
        messages: optional system, then user, assistant and tool turns in order, ending with assistant.
        tools: JSON text of the tools on offer.
        rejected: the answer a preference row refuses; the chosen one is the last message.
        repairs: {"field": ..., "read_as": encoding} of each text that was decoded wrongly and repaired.
    """

    format: str
    language: str
    concept: str | None
    messages: tuple[Message, ...]
    tools: str | None = None
    rejected: str | None = None
    repairs: tuple[dict[str, str], ...] = ()


def parse(row: Any, override_format: str | None = None, *, repair_mojibake: bool = True) -> Parsed:
    """Return a raw row as a chat.

    Args:
        row: the value of a raw row.
        override_format: the format all rows of the file have (`params.files`); None: told by the row's fields.
        repair_mojibake: repair wrongly decoded text where the round trip proves it; else such a row is refused.

    Raises:
        BadRowError: the row is no object, of no known format, or breaks its format's rules.
    """
    if not isinstance(row, dict):
        raise BadRowError("not_an_object", f"the row is a {type(row).__name__}")
    name = detect(row)
    messages = tuple(_checked_roles(READERS[name](row)))
    for message in messages:
        _check_text(message["content"])
    language = language_of("\n".join(m["content"] for m in messages if m["role"] != "system"))
    if language is None:
        raise BadRowError("unsupported_language", "most letters are neither Chinese nor Latin")
    concept = row.get("concept")
    return Parsed(name, language, concept if isinstance(concept, str) and concept else None, messages)


def detect(row: dict[str, Any]) -> str:
    """Return the format of a row from the fields it has.

    Raises:
        BadRowError: none fits.
    """
    for field, name in (
        ("messages", "multilingual_thinking"),
        ("conversations", "sharegpt"),
        ("instruction", "alpaca"),
    ):
        if field in row:
            return name
    if "output" in row:
        raise BadRowError("missing_field", "an Alpaca row without `instruction`")
    raise BadRowError("unknown_format", "none of `instruction`, `conversations`, `messages` is a field of the row")


def _read_alpaca(row: dict[str, Any]) -> list[Message]:
    """Return the messages of an Alpaca row: system, history pairs, instruction with input, output."""
    question = _text(row, "instruction")
    if context := _text(row, "input", optional=True).strip():
        question = f"{question}\n{context}"
    messages = _system(_text(row, "system", optional=True))
    for number, pair in enumerate(_history(row), start=1):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise BadRowError("wrong_type", f"`history` item {number} is no pair of texts")
        messages += [_turn("user", pair[0]), _turn("assistant", pair[1])]
    return [*messages, _turn("user", question), _turn("assistant", _text(row, "output"))]


def _history(row: dict[str, Any]) -> list[Any]:
    """Return the earlier turns of an Alpaca row."""
    history = row.get("history") or []
    if not isinstance(history, list):
        raise BadRowError("wrong_type", "`history` is no list")
    return history


def _read_sharegpt(row: dict[str, Any]) -> list[Message]:
    """Return the messages of a ShareGPT row."""
    if row.get("tools"):
        raise BadRowError("tool_role", "the row offers tools")
    messages = _system(_text(row, "system", optional=True))
    for number, turn in enumerate(_turns(row, "conversations"), start=1):
        speaker, said = ("from", "value") if "from" in turn else ("role", "content")
        role = _role(turn, speaker, SHAREGPT_ROLES, number)
        messages.append(_turn(role, _text(turn, said, where=f"turn {number}: ")))
    return messages


def _read_messages(row: dict[str, Any]) -> list[Message]:
    """Return the messages of a multilingual-thinking row; plain `messages` rows are the case without thinking."""
    messages = []
    for number, turn in enumerate(_turns(row, "messages"), start=1):
        role = _role(turn, "role", MESSAGE_ROLES, number)
        if turn.get("tool_calls"):
            raise BadRowError("tool_role", f"turn {number} calls tools")
        thinking = _text(turn, "thinking", optional=True, where=f"turn {number}: ")
        if thinking.strip() and role != "assistant":
            raise BadRowError("misplaced_think", f"turn {number}: a {role} turn has `thinking`")
        messages.append(_turn(role, _text(turn, "content", where=f"turn {number}: "), thinking))
    return messages


READERS: dict[str, Callable[[dict[str, Any]], list[Message]]] = {
    "alpaca": _read_alpaca,
    "sharegpt": _read_sharegpt,
    "multilingual_thinking": _read_messages,
}


def _turns(row: dict[str, Any], field: str) -> list[dict[str, Any]]:
    """Return a list of turns, each an object."""
    turns = row[field]
    if not isinstance(turns, list):
        raise BadRowError("wrong_type", f"`{field}` is no list")
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict):
            raise BadRowError("wrong_type", f"turn {number} of `{field}` is no object")
    return turns


def _role(turn: dict[str, Any], field: str, known: dict[str, str], number: int) -> str:
    """Return the chat role of a turn."""
    role = turn.get(field)
    if role is None:
        raise BadRowError("missing_field", f"turn {number} has no `{field}`")
    if not isinstance(role, str):
        raise BadRowError("wrong_type", f"turn {number}: `{field}` is a {type(role).__name__}, not text")
    if role in TOOL_ROLES:
        raise BadRowError("tool_role", f"turn {number} is a `{role}` turn")
    if role not in known:
        raise BadRowError("unknown_role", f"turn {number} has none of the roles {', '.join(sorted(known))}")
    return known[role]


def _text(fields: dict[str, Any], name: str, *, optional: bool = False, where: str = "") -> str:
    """Return a text field; an optional one may be absent or null."""
    value = fields.get(name)
    if value is None and optional:
        return ""
    if name not in fields:
        raise BadRowError("missing_field", f"{where}no `{name}`")
    if not isinstance(value, str):
        raise BadRowError("wrong_type", f"{where}`{name}` is a {type(value).__name__}, not text")
    return value


def _system(text: str) -> list[Message]:
    """Return a leading system message, or none for an empty one."""
    return [_turn("system", text)] if text.strip() else []


def _turn(role: str, content: str, thinking: str = "") -> Message:
    """Return one message; an assistant's reasoning is folded into its content."""
    return {"role": role, "content": fold(content, thinking) if role == "assistant" else content.strip()}


def _checked_roles(messages: list[Message]) -> list[Message]:
    """Return the messages with leading system turns joined into one.

    Raises:
        BadRowError: a turn is empty, or roles do not alternate from user to a last assistant.
    """
    leading = 0
    while leading < len(messages) and messages[leading]["role"] == "system":
        leading += 1
    turns = messages[leading:]
    if not turns:
        raise BadRowError("empty_turn", "there is no turn")
    for number, message in enumerate(turns):
        expected = "assistant" if number % 2 else "user"
        if message["role"] != expected:
            raise BadRowError(
                "wrong_role_order", f"{message['role']} where {expected} is due, turn {leading + number + 1}"
            )
        if not message["content"]:
            raise BadRowError("empty_turn", f"turn {leading + number + 1} is empty")
    if len(turns) % 2:
        raise BadRowError("wrong_role_order", "the last turn is not the assistant's")
    system = "\n\n".join(message["content"] for message in messages[:leading] if message["content"])
    return _system(system) + turns


def _check_text(text: str) -> None:
    """Refuse text that cannot be stored or was damaged on its way."""
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadRowError("invalid_text", "NUL or half a surrogate pair")
    if is_mojibake(text):
        raise BadRowError("mojibake", "the text was decoded with the wrong encoding")
