"""Functions on offer, which of them may be called, and the form an answer is held to."""

import re
from typing import Any

from tasks.serving.api.caps import Caps
from tasks.serving.api.checks import Check, Flag, Schema, Text
from tasks.serving.api.refusal import bad, unsupported
from tasks.serving.api.schemas import WORDS, read_schema

MOST_TOOLS = 128
#: As OpenAI's API has it.
NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
NAME_SCHEMA: Schema = {"type": "string", "pattern": f"^{NAME.pattern}$"}
LONGEST_DESCRIPTION = 4096
CHOICES = ("none", "auto", "required")
TOOLS_WORDS = f"at most {MOST_TOOLS} functions: name, description, strict, and parameters as {WORDS}"
FLAT_TOOLS_WORDS = f"{TOOLS_WORDS}; the fields of a function beside its type"
CHOICE_WORDS = f"{', '.join(CHOICES)}, or one function by its name"
FORMAT_WORDS = f"text, json_object, or json_schema with {WORDS}"
_TOOL = frozenset({"type", "function"})
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})
_FORMAT = frozenset({"name", "description", "schema", "strict"})


def read_tools(tools: Any, where: str, caps: Caps) -> list[dict[str, Any]]:
    """Return functions on offer as the chat API has them.

    Raises:
        Refusal: 400, naming the tool and what is wrong with it.
    """
    if not isinstance(tools, list):
        raise bad(f"{where} must be a list", where)
    if len(tools) > MOST_TOOLS:
        raise bad(f"{where} has {len(tools)} entries, the most here is {MOST_TOOLS}", where, "over_the_cap")
    found = [_tool(tool, f"{where}[{place}]", caps) for place, tool in enumerate(tools)]
    names = [tool["function"]["name"] for tool in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise bad(f"{where}: two functions are called {twice}", where)
    return found


def read_flat_tools(tools: Any, where: str, caps: Caps) -> list[dict[str, Any]]:
    """Return functions on offer as the Responses API has them: the function's fields beside its type.

    Raises:
        Refusal: 400, naming the tool and what is wrong with it; what is no function would be run by the server.
    """
    for place, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind != "function":
            raise unsupported(f"{where}[{place}].type must be function: no other tool is run here", f"{where}[{place}]")
    nested = [
        {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}
        for tool in tools
    ] if isinstance(tools, list) else tools  # fmt: skip
    return [{"type": "function", **tool["function"]} for tool in read_tools(nested, where, caps)]


def read_choice(choice: Any, where: str, caps: Caps) -> str | dict[str, Any]:
    """Return which function may or must be called, as the chat API has it."""
    if isinstance(choice, str) and choice in CHOICES:
        return choice
    if isinstance(choice, dict) and set(choice) == {"type", "function"} and choice["type"] == "function":
        function = choice["function"]
        if isinstance(function, dict) and set(function) == {"name"}:
            return {"type": "function", "function": {"name": _name(function["name"], f"{where}.function.name")}}
    raise bad(f"{where} must be {CHOICE_WORDS}", where)


def read_flat_choice(choice: Any, where: str, caps: Caps) -> str | dict[str, Any]:
    """Return which function may or must be called, as the Responses API has it: the name beside the type."""
    if isinstance(choice, dict) and set(choice) == {"type", "name"} and choice["type"] == "function":
        return {"type": "function", "name": _name(choice["name"], f"{where}.name")}
    if isinstance(choice, str) and choice in CHOICES:
        return choice
    raise bad(f"{where} must be {CHOICE_WORDS}", where)


def named_in(choice: Any) -> str | None:
    """Return the name of the function a choice asks for, in either API's shape; None where it names none."""
    return choice.get("function", choice)["name"] if isinstance(choice, dict) else None


def read_format(form: Any, where: str, caps: Caps) -> dict[str, Any] | None:
    """Return the form an answer is held to, None where it is free text."""
    kind = form.get("type") if isinstance(form, dict) else None
    if kind not in ("text", "json_object", "json_schema"):
        raise unsupported(f"{where}.type must be text, json_object or json_schema", where)
    if unknown := sorted(set(form) - ({"type", "json_schema"} if kind == "json_schema" else {"type"})):
        raise unsupported(f"{where} has fields not supported here: {', '.join(unknown)}", where)
    if kind != "json_schema":
        return None if kind == "text" else {"type": kind}
    return {"type": kind, "json_schema": read_named_schema(form.get("json_schema"), f"{where}.json_schema", caps)}


def read_named_schema(given: Any, where: str, caps: Caps) -> dict[str, Any]:
    """Return the schema an answer is held to, with its name."""
    if not isinstance(given, dict) or unknown_in(given, _FORMAT):
        raise bad(f"{where} must be an object with name and schema", where)
    found: dict[str, Any] = {"name": _name(given.get("name"), f"{where}.name")}
    found["schema"] = read_schema(given.get("schema"), f"{where}.schema", caps)
    return found | _described(given, where, caps)


def tools_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `tools`."""
    function = {"type": "object", "required": ["name"], "additionalProperties": False, "properties": {
        "name": NAME_SCHEMA, "description": {"type": ["string", "null"], "maxLength": LONGEST_DESCRIPTION},
        "parameters": {"type": ["object", "null"]}, "strict": {"type": ["boolean", "null"]},
    }}  # fmt: skip
    tool = {"type": "object", "required": ["type", "function"], "additionalProperties": False,
            "properties": {"type": {"const": "function"}, "function": function}}  # fmt: skip
    return {"type": "array", "maxItems": MOST_TOOLS, "items": tool}


def choice_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `tool_choice`."""
    function = {"type": "object", "required": ["name"], "properties": {"name": NAME_SCHEMA}}
    named = {"type": "object", "required": ["type", "function"],
             "properties": {"type": {"const": "function"}, "function": function}}  # fmt: skip
    return {"anyOf": [{"type": "string", "enum": list(CHOICES)}, named]}


def flat_tools_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `tools` of the Responses API."""
    nested = tools_schema(caps)
    function = nested["items"]["properties"]["function"]
    flat = function | {"required": ["type", "name"], "properties": {"type": {"const": "function"},
                                                                    **function["properties"]}}  # fmt: skip
    return nested | {"items": flat}


def flat_choice_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `tool_choice` of the Responses API."""
    named = {"type": "object", "required": ["type", "name"], "additionalProperties": False,
             "properties": {"type": {"const": "function"}, "name": NAME_SCHEMA}}  # fmt: skip
    return {"anyOf": [{"type": "string", "enum": list(CHOICES)}, named]}


def format_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `response_format`."""
    named = {"type": "object", "required": ["name", "schema"], "additionalProperties": False, "properties": {
        "name": NAME_SCHEMA, "schema": {"type": "object"}, "strict": {"type": ["boolean", "null"]},
        "description": {"type": ["string", "null"], "maxLength": LONGEST_DESCRIPTION},
    }}  # fmt: skip
    return {"type": "object", "required": ["type"], "properties": {
        "type": {"enum": ["text", "json_object", "json_schema"]}, "json_schema": named,
    }}  # fmt: skip


def unknown_in(value: dict[str, Any], known: frozenset[str]) -> list[str]:
    """Return names that are not known and say something."""
    return sorted(name for name in set(value) - known if value[name] is not None)


def _tool(tool: Any, where: str, caps: Caps) -> dict[str, Any]:
    """Return one function on offer."""
    if not isinstance(tool, dict) or tool.get("type") != "function" or unknown_in(tool, _TOOL):
        raise unsupported(f"{where} must be a function: {{type: function, function: {{name, ...}}}}", where)
    function = tool.get("function")
    if not isinstance(function, dict) or (unknown := unknown_in(function, _FUNCTION)):
        named = f" with name, description, parameters, strict; not {', '.join(unknown)}" if function else ""
        raise bad(f"{where}.function must be an object{named}", f"{where}.function")
    found: dict[str, Any] = {"name": _name(function.get("name"), f"{where}.function.name")}
    if (parameters := function.get("parameters")) is not None:
        found["parameters"] = read_schema(parameters, f"{where}.function.parameters", caps)
    return {"type": "function", "function": found | _described(function, f"{where}.function", caps)}


def _described(given: dict[str, Any], where: str, caps: Caps) -> dict[str, Any]:
    """Return description and strictness, where they are given."""
    checks: dict[str, Check] = {"description": Text(LONGEST_DESCRIPTION), "strict": Flag()}
    return {name: check(given[name], f"{where}.{name}", caps) for name, check in checks.items()
            if given.get(name) is not None}  # fmt: skip


def _name(name: Any, where: str) -> str:
    """Return a function's or a schema's name."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise bad(f"{where} must be 1 to 64 letters, digits, _ or -", where)
    return name
