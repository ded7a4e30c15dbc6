"""Some settings of a params file replaced in its text: every other byte, comments too, stays as a person wrote it."""

import json
from typing import Any

import yaml

from tasks.core.errors import ConfigError
from tasks.sweep.checks import changed
from tasks.sweep.space import Point


def with_settings(text: str, point: Point) -> str:
    """Return the text of a params file with some settings replaced.

    Args:
        text: of the file.
        point: key -> JSON value; every key stands in the file.

    Raises:
        ConfigError: the file has a form in which a value cannot be replaced by itself (anchors, keys twice).
    """
    wanted = changed(yaml.safe_load(text), point)
    for key, value in point.items():
        node = _node(text, key)
        text = text[: node.start_mark.index] + _flow(value) + text[_end(node) :]
    if yaml.safe_load(text) != wanted:
        raise ConfigError(
            f"params.yaml is written in a way in which {', '.join(point)} cannot be replaced", "edit it by hand"
        )
    return text


def _node(text: str, key: str) -> Any:
    """Return the node of a key's value, with its place in the text.

    Raises:
        ConfigError: the file has no such key.
    """
    node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    for part in key.split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [value for name, value in pairs if name.value == part]
        if not found:
            raise ConfigError(f"params.yaml has no {key}", "tunegate profile use NAME writes a whole file")
        node = found[-1]
    return node


def _end(node: yaml.Node) -> int:
    """Return where a value ends: one in block style behind its last leaf, for its own mark is behind the comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _flow(value: Any) -> str:
    """Return a JSON value as it stands in a YAML file."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(item) for item in value) + "]"
    return _scalar(value)


def _scalar(value: Any) -> str:
    """Return a scalar: text without quotes where it is read as the same text."""
    if isinstance(value, str):
        plain = value and value.isascii() and all(letter.isalnum() or letter in "_-/." for letter in value)
        return value if plain and yaml.safe_load(value) == value else json.dumps(value, ensure_ascii=False)
    if isinstance(value, float):
        # YAML 1.1 reads 1e-05 as text: a number has a point.
        text = repr(value)
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    return json.dumps(value)
