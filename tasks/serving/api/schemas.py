"""JSON schemas of callers, bounded before a grammar is compiled from them.

A small hostile schema can keep the grammar compiler busy for minutes: long repetitions, large choices, patterns. What
is bounded here is what makes grammars large; how long an answer may take to begin is bounded by `timeout_s`.
"""

import json
from collections.abc import Iterator
from typing import Any

from tasks.serving.api.caps import Caps
from tasks.serving.api.checks import is_whole
from tasks.serving.api.refusal import bad, unsupported

#: Keywords that count repetitions, and the largest count: a grammar grows with it.
COUNTS = frozenset({"minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"})
MOST_COUNTED = 1024
#: Entries of one `enum`, `anyOf`, `properties` and so on.
MOST_ENTRIES = 256
LONGEST_PATTERN = 256
#: Keywords whose value is plain data or names of the schema's own, not a schema.
_DATA = frozenset({"enum", "const", "default", "examples", "example", "required"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})
WORDS = (
    f"a JSON schema of at most `json_schema.max_bytes` and `json_schema.max_depth`, lists of at most {MOST_ENTRIES}, "
    f"counts up to {MOST_COUNTED}, patterns of at most {LONGEST_PATTERN} characters, `$ref` within itself only"
)


def read_schema(schema: Any, where: str, caps: Caps) -> dict[str, Any]:
    """Return a JSON schema that a grammar can be made of in bounded time.

    Raises:
        Refusal: 400, naming what is too large or reaches outside.
    """
    if not isinstance(schema, dict):
        raise bad(f"{where} must be an object: a JSON schema", where)
    size = len(json.dumps(schema, ensure_ascii=False).encode())
    if size > caps.schema_bytes:
        raise bad(f"{where} has {size} bytes, the most here is {caps.schema_bytes}", where, "over_the_cap")
    for keyword, value, depth in _keywords(schema):
        if depth > caps.schema_depth:
            raise bad(f"{where} is nested deeper than {caps.schema_depth}", where, "over_the_cap")
        _require_bounded(keyword, value, where)
    return schema


def _keywords(schema: dict[str, Any]) -> Iterator[tuple[str, Any, int]]:
    """Yield every keyword with its value and depth (names of properties are none); plain data for its depth alone."""
    waiting: list[tuple[Any, int, bool]] = [(schema, 1, False)]
    while waiting:
        value, depth, is_named = waiting.pop()
        if isinstance(value, list):
            waiting += [(one, depth + 1, False) for one in value]
        elif isinstance(value, dict) and is_named:
            waiting += [(one, depth, False) for one in value.values()]
        elif isinstance(value, dict):
            for keyword, inner in value.items():
                yield keyword, inner, depth
                if keyword not in _DATA:
                    waiting.append((inner, depth + 1, keyword in _NAMED))
                elif deep := nesting(inner):
                    yield "", None, depth + deep


def nesting(value: Any) -> int:
    """Return how deep a JSON value is nested; 0 where it is no list or object."""
    level, deep = [value], 0
    while level := [one for one in level if isinstance(one, list | dict)]:
        level = [one for outer in level for one in (outer.values() if isinstance(outer, dict) else outer)]
        deep += 1
    return deep


def _require_bounded(keyword: str, value: Any, where: str) -> None:
    """Refuse a keyword that makes a grammar large or is read from somewhere else."""
    if keyword in ("$ref", "$dynamicRef", "$recursiveRef") and not (isinstance(value, str) and value.startswith("#")):
        raise unsupported(f"{where}: {keyword} may only point into the schema itself (#/...)", where)
    if keyword in COUNTS and is_whole(value) and value > MOST_COUNTED:
        raise bad(f"{where}: {keyword} is over {MOST_COUNTED}", where, "over_the_cap")
    patterns = value if keyword == "patternProperties" and isinstance(value, dict) else [value]
    if keyword in ("pattern", "patternProperties") and any(len(str(one)) > LONGEST_PATTERN for one in patterns):
        raise bad(f"{where}: a pattern is longer than {LONGEST_PATTERN} characters", where, "over_the_cap")
    if isinstance(value, list | dict) and len(value) > MOST_ENTRIES:
        raise bad(f"{where}: {keyword} has more than {MOST_ENTRIES} entries", where, "over_the_cap")
