"""Small fields that are objects: what is streamed, and whether the model is to think."""

from typing import Any

from tasks.serving.api.caps import Caps
from tasks.serving.api.checks import Flag, Schema
from tasks.serving.api.refusal import unsupported

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
STREAM_WORDS = "include_usage; include_obfuscation and continuous_usage_stats false"
TEMPLATE_WORDS = "enable_thinking: true or false"


def read_stream_options(given: Any, where: str, caps: Caps) -> bool:
    """Return whether the usage is asked for at the end of a stream."""
    names = ("include_usage", "include_obfuscation", "continuous_usage_stats")
    if not isinstance(given, dict) or set(given) - set(names):
        raise unsupported(f"{where} may hold {', '.join(names)}", where)
    said = {name: Flag()(value, f"{where}.{name}", caps) for name, value in given.items() if value is not None}
    if surplus := next((name for name in names[1:] if said.get(name)), None):
        raise unsupported(f"{where}.{surplus} is not supported here", f"{where}.{surplus}")
    return said.get("include_usage", False)


def read_template_settings(given: Any, where: str, caps: Caps) -> bool | None:
    """Return whether the model is to think, None where that is not said."""
    if not isinstance(given, dict) or set(given) - {"enable_thinking"}:
        raise unsupported(f"{where} may hold enable_thinking and nothing else", where)
    thinks = given.get("enable_thinking")
    return None if thinks is None else Flag()(thinks, f"{where}.enable_thinking", caps)


def stream_options_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `stream_options`."""
    return {"type": "object", "additionalProperties": False, "properties": {
        "include_usage": {"type": ["boolean", "null"]}, "include_obfuscation": {"enum": [False, None]},
        "continuous_usage_stats": {"enum": [False, None]},
    }}  # fmt: skip


def template_schema(caps: Caps) -> Schema:
    """Return the JSON schema of `chat_template_kwargs`."""
    return {"type": "object", "additionalProperties": False,
            "properties": {"enable_thinking": {"type": ["boolean", "null"]}}}  # fmt: skip
