"""One reader of turns, whatever the container is called: `messages`, `conversations`, `conversation`, ...

A turn may be written as OpenAI's (`role`, `content`) or as ShareGPT's (`from`, `value`), with calls, results, reasoning
and marks in any of it; results are paired with their calls here.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tasks.data.problems import BadRowError
from tasks.data.reading.formats.fields import Call, Said, from_json, is_given, list_of, said
from tasks.data.reading.formats.marks import is_taught
from tasks.data.reading.formats.media import MEDIA_FIELDS, refuse_media
from tasks.data.reading.formats.parts import Parts, read_parts
from tasks.data.reading.formats.thoughts import thought_of
from tasks.data.reading.formats.tools import CALL_IDS, is_nothing, one_form, read_calls, results_in, written_calls

#: A turn that is nothing but calls; it becomes the assistant's.
CALL: Final = "function_call"
ROLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "tool_response", "ipython"), "tool"),
    **dict.fromkeys((CALL, "tool_call", "tool_calls"), CALL),
}
SPEAKERS: Final = ("role", "from", "speaker", "sender")
TEXTS: Final = ("content", "value", "text", "message", "utterance")
_PLAIN: Final = frozenset({"user", "system", "assistant"})
_CALL_FIELDS: Final = ("tool_calls", "function_call")


def turns_of(row: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """Return a list of turns, each an object; a column of lists side by side is one turn an item."""
    value = row.get(field)
    if field in row and value is None:
        raise BadRowError("wrong_type", f"`{field}` is no list")
    if isinstance(value, str) and value.lstrip()[:1] == "{":
        value = from_json(value, field)
    if isinstance(value, Mapping):
        return _side_by_side(value, field)
    turns = list_of(row, field)
    for number, turn in enumerate(turns, start=1):
        if not isinstance(turn, dict):
            raise BadRowError("wrong_type", f"turn {number} of `{field}` is no object")
    return turns


def _side_by_side(columns: Mapping[str, Any], field: str) -> list[dict[str, Any]]:
    """Return the turns of {"role": [...], "content": [...]}, as some tables hold them."""
    lists = {name: values for name, values in columns.items() if isinstance(values, list)}
    lengths = {len(values) for values in lists.values()}
    if len(lengths) != 1 or not any(name in lists for name in SPEAKERS):
        raise BadRowError("wrong_type", f"`{field}` is no list")
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


def read_turns(turns: Sequence[Mapping[str, Any]], tools: str | None, roles: Mapping[str, str] = ROLES) -> list[Said]:
    """Return turns as read, calls joined to the words before them, results in the order of their calls.

    Args:
        turns: of a container.
        tools: JSON text of the tools on offer.
        roles: what each speaker is.

    Raises:
        BadRowError: a turn is not what a turn must be, or a result belongs to no call.
    """
    read: list[Said] = []
    special = False
    for number, turn in enumerate(turns, start=1):
        for one in _turn(turn, number, tools, roles):
            special = special or one.is_call or one.role == "tool"
            before = read[-1] if read else None
            if one.is_call and before and before.role == "assistant" and _may_go_on(before):
                _join(before, one)
            else:
                read.append(one)
    return _paired(read) if special else read


def _turn(turn: Mapping[str, Any], number: int, tools: str | None, roles: Mapping[str, str]) -> list[Said]:
    """Return one turn; parts with results of tools make several."""
    where = f"turn {number}: "
    role, content = _role(turn, roles, number), _content(turn)
    if len(turn) == 2 and type(content) is str and role in _PLAIN and "<tool_call>" not in content:
        # A speaker and a text, as most turns are: nothing else can stand in it.
        return [said(role, content)]
    if not MEDIA_FIELDS.isdisjoint(turn):
        refuse_media(turn, where)
    if role == CALL:
        text, calls = read_calls(content, number, tools)
        return [
            said("assistant", text, thought_of(turn, where), taught=is_taught(turn, where), calls=calls, is_call=True)
        ]
    parts = _parts(turn, results_in(content) if role == "tool" else content, role, where)
    if role == "assistant":
        return [_assistant(turn, parts, number, tools)]
    if thought_of(turn, where).strip() or parts.thought.strip():
        raise BadRowError("misplaced_think", f"{where}a {role} turn has reasoning")
    if parts.calls or _has_calls(turn):
        raise BadRowError("malformed_tool_call", f"{where}a {role} turn calls tools")
    results = [said("tool", text, result_of=id_) for id_, text in parts.results]
    if results and not parts.text.strip():
        return results
    if role != "tool":
        return [*results, said(role, parts.text)]
    return [*results, said(role, parts.text, result_of=_id(turn), result_name=_name(turn))]


def _assistant(turn: Mapping[str, Any], parts: Parts, number: int, tools: str | None) -> Said:
    """Return an assistant's turn with its reasoning and its calls in one text."""
    where = f"turn {number}: "
    text, blocks = parts.text, []
    calls: list[Call] = []
    if "<tool_call>" in text:
        text = one_form(text, number, tools)
        calls += written_calls(text)
    for value in [
        *(turn[name] for name in _CALL_FIELDS if is_given(turn, name)),
        *([parts.calls] if parts.calls else []),
    ]:
        if is_nothing(value):
            continue
        called, found = read_calls(value, number, tools)
        blocks.append(called)
        calls += found
    text = "\n".join([text.strip(), *blocks] if text.strip() else blocks) if blocks else text
    thought = thought_of(turn, where) or parts.thought
    return said("assistant", text, thought, taught=is_taught(turn, where), calls=tuple(calls))


def _role(turn: Mapping[str, Any], roles: Mapping[str, str], number: int) -> str:
    """Return the chat role of a turn."""
    field = next((name for name in SPEAKERS if turn.get(name) is not None), None)
    if field is None:
        raise BadRowError("missing_field", f"turn {number} has no `role` (or `from`)")
    speaker = turn[field]
    if type(speaker) is not str:
        raise BadRowError("wrong_type", f"turn {number}: `{field}` is a {type(speaker).__name__}, not text")
    role = roles.get(speaker) or roles.get(speaker.strip().lower())
    if role is None:
        raise BadRowError(
            "unknown_role",
            f"turn {number} is spoken by none of system, user (human), assistant (gpt), tool (observation); "
            "name other speakers: prepare.read.files: roles",
        )
    return role


def _content(turn: Mapping[str, Any]) -> Any:
    """Return what a turn says: the first of the known fields that says something."""
    for name in TEXTS:
        value = turn.get(name)
        if value is not None:
            return value
    return None


def _parts(turn: Mapping[str, Any], content: Any, role: str, where: str) -> Parts:
    """Return what a turn says, calls and reasoning in fields of their own aside."""
    if isinstance(content, str):
        return Parts(content)
    if isinstance(content, (list, Mapping)):
        return read_parts(content, where)
    if content is not None:
        raise BadRowError("wrong_type", f"{where}the content is a {type(content).__name__}, not text")
    if role == "assistant" and _has_calls(turn):
        return Parts()
    if not any(name in turn for name in TEXTS):
        raise BadRowError("missing_field", f"{where}no `content` (or `value`)")
    raise BadRowError("empty_turn", f"{where}the content is null")


def _has_calls(turn: Mapping[str, Any]) -> bool:
    """Tell whether a turn calls tools in a field of its own."""
    return any(name in turn and not is_nothing(turn[name]) for name in _CALL_FIELDS)


def _id(turn: Mapping[str, Any]) -> str | None:
    """Return the id of the call a tool's turn answers."""
    found = next((turn[name] for name in CALL_IDS if turn.get(name)), None)
    return found if isinstance(found, str) else None


def _name(turn: Mapping[str, Any]) -> str | None:
    """Return the name of the function a tool's turn answers."""
    found = turn.get("name")
    return found if isinstance(found, str) and found else None


def _may_go_on(before: Said) -> bool:
    """Tell whether a turn of calls belongs to the assistant's turn before it: words, or calls beside these."""
    return before.is_call or not before.calls


def _join(before: Said, call: Said) -> None:
    """Add a turn of calls to the assistant's turn before it."""
    before.content += f"\n{call.content}"
    before.calls += call.calls
    before.is_call = True
    before.taught = before.taught and call.taught


def _paired(turns: list[Said]) -> list[Said]:
    """Return turns with the results of each turn's calls in the order of the calls."""
    paired: list[Said] = []
    place = 0
    while place < len(turns):
        end = place
        while end < len(turns) and turns[end].role == "tool":
            end += 1
        if end == place:
            paired.append(turns[place])
            place += 1
            continue
        caller = paired[-1] if paired and paired[-1].role == "assistant" else None
        paired += _in_order(turns[place:end], caller.calls if caller else (), len(paired) + 1)
        place = end
    return paired


def _in_order(results: list[Said], calls: tuple[Call, ...], number: int) -> list[Said]:
    """Return the results of one turn's calls in the order of the calls.

    Raises:
        BadRowError: a result names a call that was not made or was answered before, or there are more than calls.
    """
    open_calls = list(range(len(calls)))
    by_place: list[tuple[int, Said]] = []
    unnamed: list[Said] = []
    for result in results:
        place = _answered(result, calls, open_calls)
        if place is None:
            unnamed.append(result)
            if _names_a_call(result, calls):
                raise BadRowError("orphan_result", f"turn {number}: a result belongs to no call before it")
        else:
            open_calls.remove(place)
            by_place.append((place, result))
    if calls and len(unnamed) > len(open_calls):
        raise BadRowError("orphan_result", f"turn {number}: more results than calls")
    by_place += zip(open_calls, unnamed, strict=False) if calls else enumerate(unnamed)
    return [result for _, result in sorted(by_place, key=lambda pair: pair[0])]


def _answered(result: Said, calls: tuple[Call, ...], open_calls: list[int]) -> int | None:
    """Return the place of the open call that a result names, by id or by the function's name."""
    if result.result_of is not None and any(call.id for call in calls):
        return next((place for place in open_calls if calls[place].id == result.result_of), None)
    if result.result_name is not None:
        return next((place for place in open_calls if calls[place].name == result.result_name), None)
    return None


def _names_a_call(result: Said, calls: tuple[Call, ...]) -> bool:
    """Tell whether a result says which call it belongs to, so that belonging to none is a fault."""
    if result.result_of is not None and (not calls or any(call.id for call in calls)):
        return True
    return bool(calls) and result.result_name is not None
