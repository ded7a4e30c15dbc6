"""One reader a format: the fields of a raw row to turns."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from tasks.data.problems import BadRowError
from tasks.data.reading.formats.columns import (
    CHOSEN,
    CONTAINERS,
    CONTEXTS,
    PAIRS,
    PROMPTS,
    REJECTED,
    SYSTEMS,
    fields_in_words,
    first_given,
    lowered,
    mapping_to_write,
)
from tasks.data.reading.formats.fields import Draft, Said, from_json, is_given, list_of, said, system, text_of
from tasks.data.reading.formats.marks import is_taught, mark_turns
from tasks.data.reading.formats.parts import read_parts
from tasks.data.reading.formats.thoughts import ROW_THOUGHT_FIELDS, THOUGHT_FIELDS, add_row_thoughts, thought_of
from tasks.data.reading.formats.tools import tools_of
from tasks.data.reading.formats.turns import ROLES, read_turns, turns_of

Roles = Mapping[str, str]
Reader = Callable[[dict[str, Any], Roles], Draft]
_TURNS: Final = ("[{", '{"from"', '{"role"')


def detect(row: Mapping[str, Any]) -> str:
    """Return the format of a row from the fields it has; fields that say something come first.

    Raises:
        BadRowError: none fits.
    """
    for present in ({name for name in row if is_given(row, name)}, row.keys()):
        if not present.isdisjoint(CHOSEN) and not present.isdisjoint(REJECTED):
            return "preference"
        for name in CONTAINERS:
            if name in present:
                return "sharegpt" if name.startswith("conversation") else "messages"
        if "instruction" in present:
            return "alpaca"
        if any(asked in present and answered in present for asked, answered in PAIRS):
            return "alpaca"
    if "output" in row:
        raise BadRowError("missing_field", f"an Alpaca row without `instruction`; {_to_map(row)}")
    if any(name in row for name in ("chosen", "rejected")):
        raise BadRowError("missing_field", "a preference row without `chosen` or `rejected`")
    raise BadRowError("unknown_format", _to_map(row))


def _to_map(row: Mapping[str, Any]) -> str:
    """Return which fields a row has, and how to name them."""
    return f"the fields are {fields_in_words(row)}; name them: prepare.read.files: {mapping_to_write(row)}"


def read_alpaca(row: dict[str, Any], roles: Roles = ROLES) -> Draft:
    """Read rows of one exchange: system, history pairs, question with context, answer, under all names they have."""
    asked, answered = _pair(row)
    tools = tools_of(row)
    if isinstance(row.get(asked), list) or _is_turns(row.get(answered)):
        read = _from_lists(row, asked, answered, tools, roles)
        notes = add_row_thoughts(row, read, ROW_THOUGHT_FIELDS)
        return Draft("alpaca", read, tools, _rejected_beside(row, roles), notes=notes)
    before = _alpaca_prompt(row, asked)
    thought = thought_of(row, fields=ROW_THOUGHT_FIELDS)
    read = [*before, said("assistant", text_of(row, answered), thought)]
    return Draft("alpaca", read, tools, _rejected_beside(row, roles))


def _pair(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return the names of question and answer."""
    for present in (lambda field: is_given(row, field), row.__contains__):
        found = next((pair for pair in PAIRS if all(map(present, pair))), None)
        if found:
            return found
    return "instruction", "output"


def _alpaca_prompt(row: dict[str, Any], asked: str) -> list[Said]:
    """Return the turns of a row of one exchange up to the question."""
    question = text_of(row, asked)
    name = first_given(row, CONTEXTS)
    context = text_of(row, name, optional=True).strip() if name and name != asked else ""
    if context:
        question = f"{question}\n{context}"
    turns = _system_of(row)
    for number, pair in enumerate(list_of(row, "history"), start=1):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise BadRowError("wrong_type", f"`history` item {number} is no pair of texts")
        turns += [said("user", pair[0]), said("assistant", pair[1])]
    return [*turns, said("user", question)]


def _system_of(row: Mapping[str, Any]) -> list[Said]:
    """Return the system turn a row has in a field of its own."""
    name = first_given(row, SYSTEMS)
    if name and isinstance(row[name], (list, Mapping)):
        return system(read_parts(row[name], f"`{name}`: ").text)
    return system(text_of(row, name, optional=True)) if name else []


def _from_lists(row: dict[str, Any], asked: str, answered: str, tools: str | None, roles: Roles) -> list[Said]:
    """Return the turns of a question and an answer that are lists: of turns (TRL's), or of texts side by side."""
    questions, answers = row[asked], row.get(answered)
    if isinstance(questions, list) and all(isinstance(one, str) for one in questions) and isinstance(answers, list):
        if len(questions) != len(answers) or not all(isinstance(one, str) for one in answers):
            raise BadRowError("wrong_type", f"`{asked}` and `{answered}` are no lists of texts of one length")
        pairs = zip(questions, answers, strict=True)
        return [*_system_of(row), *(said(*turn) for q, a in pairs for turn in (("user", q), ("assistant", a)))]
    before = (
        read_turns(turns_of(row, asked), tools, roles) if _is_turns(questions) else [said("user", text_of(row, asked))]
    )
    # What stands in the prompt is given; the completion is what is learnt.
    for turn in before:
        turn.taught = False
    if _is_turns(answers):
        return [*_system_of(row), *before, *read_turns(turns_of(row, answered), tools, roles)]
    return [*_system_of(row), *before, said("assistant", text_of(row, answered))]


def _is_turns(value: Any) -> bool:
    """Tell whether a value is a list of turns."""
    if isinstance(value, str):
        return value.startswith("[{")
    return isinstance(value, list) and bool(value) and all(isinstance(turn, dict) for turn in value)


def read_sharegpt(row: dict[str, Any], roles: Roles = ROLES) -> Draft:
    """Read `conversations` (or `conversation`), with calls, observations and tools."""
    return _read_container(row, "sharegpt", roles)


def read_messages(row: dict[str, Any], roles: Roles = ROLES) -> Draft:
    """Read `messages`, with reasoning in a field of its own and OpenAI's tool calls."""
    return _read_container(row, "messages", roles)


def _read_container(row: dict[str, Any], name: str, roles: Roles) -> Draft:
    """Read the turns of a row, whatever the column is called."""
    first = "messages" if name == "messages" else "conversations"
    container = first_given(row, (first, *CONTAINERS)) or first
    turns, tools = turns_of(row, container), tools_of(row)
    if turns and all("output" in turn and "input" in turn for turn in turns):
        read = [one for turn in turns for one in _exchange(turn)]
    else:
        read = read_turns(turns, tools, roles)
    thinks = name == "messages" and any(is_given(turn, "thinking") for turn in turns)
    if len(row) == 1 and container in row:
        # Turns and nothing beside them, as most rows are.
        return Draft("multilingual_thinking" if thinks else name, read)
    given = len(read)
    read = [*_system_of(row), *read]
    mark_turns(row, read, given)
    notes = add_row_thoughts(row, read, THOUGHT_FIELDS)
    language = text_of(row, "reasoning_language", optional=True) or None
    thinks = thinks or (name == "messages" and language is not None)
    rejected = _rejected_beside(row, roles)
    return Draft("multilingual_thinking" if thinks else name, read, tools, rejected, language, notes)


def _exchange(turn: dict[str, Any]) -> list[Said]:
    """Return an item of XTuner's `conversation`: system, input, output in one."""
    answer = said("assistant", text_of(turn, "output"), thought_of(turn), taught=is_taught(turn, ""))
    return [*system(text_of(turn, "system", optional=True)), said("user", text_of(turn, "input")), answer]


def _rejected_beside(row: dict[str, Any], roles: Roles) -> str | None:
    """Return the refused answer that stands beside an answer (ms-swift's `rejected_response`), None for none."""
    name = first_given(row, REJECTED)
    if not name or not is_given(row, name):
        return None
    return _answer(row, name, None, roles, as_it_stands=True)[0].content.strip() or None


def read_preference(row: dict[str, Any], roles: Roles = ROLES) -> Draft:
    """Read prompt, chosen and rejected: texts, or turns (LLaMA-Factory's, or whole conversations as TRL has them)."""
    tools = tools_of(row)
    chosen, shared = _answer(row, first_given(row, CHOSEN) or "chosen", tools, roles)
    rejected, _ = _answer(row, first_given(row, REJECTED) or "rejected", tools, roles, as_it_stands=True)
    asked = _preference_prompt(row, shared, roles)
    if not rejected.content.strip():
        raise BadRowError("empty_turn", "`rejected` is empty")
    return Draft("preference", [*asked, chosen], tools, rejected.content.strip())


def _preference_prompt(row: dict[str, Any], shared: list[Said], roles: Roles) -> list[Said]:
    """Return the turns before the two answers."""
    container = first_given(row, CONTAINERS)
    if container and is_given(row, container):
        return _read_container(row, "messages" if container == "messages" else "sharegpt", roles).said
    if shared:
        return shared
    if is_given(row, "instruction"):
        return _alpaca_prompt(row, "instruction")
    name = first_given(row, PROMPTS)
    if not name or not is_given(row, name):
        raise BadRowError("missing_field", "a preference row without `prompt`")
    if not isinstance(row[name], str) or row[name].startswith("[{"):
        return _read_container({**row, "messages": row[name]}, "messages", roles).said
    return [*_system_of(row), said("user", text_of(row, name))]


def _answer(
    row: dict[str, Any], field: str, tools: str | None, roles: Roles, *, as_it_stands: bool = False
) -> tuple[Said, list[Said]]:
    """Return an answer of a preference row, and the turns before it where it is a whole conversation.

    A rejected answer may be bad in any way; its text is kept as it stands.
    """
    value = row.get(field)
    if isinstance(value, str) and value.startswith(_TURNS):
        value = from_json(value, field)
    if isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        text = text_of(row, field)
        return Said("assistant", text) if as_it_stands else said("assistant", text), []
    if not value or not all(isinstance(turn, dict) for turn in value):
        raise BadRowError("wrong_type", f"`{field}` holds something that is no turn")
    if (
        as_it_stands
        and isinstance(text := value[-1].get("content", value[-1].get("value")), str)
        and not is_given(value[-1], "tool_calls")
    ):
        return Said("assistant", text), []
    *before, answer = read_turns(value, tools, roles)
    if answer.role != "assistant":
        raise BadRowError("wrong_role_order", f"`{field}` does not end with the assistant")
    return answer, before


READERS: dict[str, Reader] = {
    "alpaca": read_alpaca,
    "sharegpt": read_sharegpt,
    "messages": read_messages,
    "multilingual_thinking": read_messages,
    "preference": read_preference,
}


def as_row(value: Any) -> dict[str, Any]:
    """Return a raw value as a row: a bare list of turns is one, and names in upper case are the same names.

    Raises:
        BadRowError: it is neither an object nor a list of turns.
    """
    if isinstance(value, list) and value and all(isinstance(turn, dict) for turn in value):
        return {"messages": value}
    if not isinstance(value, dict):
        raise BadRowError("not_an_object", f"the row is a {type(value).__name__}")
    return value


__all__ = ["READERS", "Reader", "as_row", "detect", "lowered"]
