"""Nulls that Arrow put into schemas and arguments: a table gives every struct all fields of all rows.

Rule. In a structure (and in JSON text in which a null stands where no schema has one) every null field is padding and
is removed; items of lists stay (`enum: ["a", null]`), and so does `default: null` of a type that admits null. JSON text
without such a null is its author's, to the letter. Of arguments given as an object the nulls are removed, except where
the tool's schema requires the argument and lets it be null; of arguments given as text only those the tool does not
declare.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

#: Fields whose null an author may have written.
_MEANT: Final = frozenset({"default", "const"})
#: Objects that stay where nothing is left in them: a function without arguments has these, empty.
_STAYING: Final = frozenset({"properties", "parameters", "arguments"})


def is_padded(value: Any) -> bool:
    """Tell whether a null stands in a schema where no author puts one."""
    if isinstance(value, Mapping):
        return any((inner is None and name not in _MEANT) or is_padded(inner) for name, inner in value.items())
    return isinstance(value, list) and any(map(is_padded, value))


def without_padding(value: Any) -> Any:
    """Return a value without its null fields."""
    if isinstance(value, Mapping):
        kept = {name: without_padding(inner) for name, inner in value.items() if inner is not None}
        # An object of nothing but nulls was absent; an empty one was meant.
        kept = {n: v for n, v in kept.items() if v != {} or value[n] == {} or n in _STAYING}
        if "default" in value and value["default"] is None and admits_null(value):
            kept["default"] = None
        return kept
    return [without_padding(inner) for inner in value] if isinstance(value, list) else value


def admits_null(schema: Any) -> bool:
    """Tell whether a schema lets its value be null."""
    if not isinstance(schema, Mapping):
        return False
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    choices = [*(schema.get("anyOf") or []), *(schema.get("oneOf") or [])]
    return "null" in kinds or schema.get("nullable") is True or any(map(admits_null, choices))


def pruned_arguments(arguments: dict[str, Any], name: str, tools: str | None, *, as_text: bool) -> dict[str, Any]:
    """Return the arguments of a call without padding.

    Args:
        arguments: of the call.
        name: of the function.
        tools: JSON text of the tools on offer.
        as_text: whether the row had them as JSON text.
    """
    if as_text and None not in arguments.values():
        return arguments
    schema = _schema_of(name, tools)
    declared = schema.get("properties") if isinstance(schema.get("properties"), Mapping) else None
    if as_text:
        return {n: v for n, v in arguments.items() if v is not None or declared is None or n in declared}
    meant = {n for n in schema.get("required") or [] if admits_null((declared or {}).get(n))}
    kept: dict[str, Any] = without_padding(arguments)
    return {n: kept.get(n) for n in arguments if n in kept or (n in meant and arguments[n] is None)}


def _schema_of(name: str, tools: str | None) -> Mapping[str, Any]:
    """Return the parameters of a function on offer; empty where it is not."""
    for tool in json.loads(tools) if tools else ():
        function = tool.get("function") or tool
        if isinstance(function, Mapping) and function.get("name") == name:
            found = function.get("parameters")
            return found if isinstance(found, Mapping) else {}
    return {}
