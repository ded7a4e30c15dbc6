"""The conversations token parity is checked on: one fixed set with every shape, and rows of the validation split."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

from tasks.chat.conversation import LANGUAGES, OPEN
from tasks.chat.template import THOUGHT_FIELDS
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, read_jsonl

BUILT_IN = Path(__file__).with_name("shapes.json")
#: Every shape a report names, whether the model's template can render it or not.
SHAPES = (
    "single", "system", "multi_turn", "thinking", "thinking_on", "thinking_off", "tools", "whitespace",
    "rare_characters", "short", "long",
)  # fmt: skip


@dataclass(frozen=True)
class Conversation:
    """One conversation that ends with the assistant.

    Args:
        row_id: its name.
        shape: one of SHAPES.
        messages: `role` and `content`, calls as text, as prepared rows carry them.
        tools: functions on offer.
        enable_thinking: the switch callers may send; None: not sent.
        untaught: places of answers that are not to be learnt.
    """

    row_id: str
    shape: str
    messages: list[dict[str, Any]]
    tools: list[Any] | None = None
    enable_thinking: bool | None = field(default=None)
    untaught: tuple[int, ...] = ()

    @property
    def template_settings(self) -> dict[str, Any]:
        """Settings for the chat template, as `chat_template_kwargs` of a request carry them."""
        return {} if self.enable_thinking is None else {"enable_thinking": self.enable_thinking}


@lru_cache(1)
def built_in() -> tuple[Conversation, ...]:
    """Return the fixed set: at least one conversation of every shape."""
    return tuple(Conversation(**row) for row in read_json(BUILT_IN))


def choose_conversations(path: Path, rows: int) -> list[Conversation]:
    """Return up to `rows` conversations of a prepared file, languages and shapes taking turns, in file order.

    Raises:
        DataContractError: the file has no rows.
    """
    found: dict[tuple[str, str], list[Conversation]] = {}
    for row in read_jsonl(path):
        conversation = of_row(row)
        found.setdefault((row["language"], conversation.shape), []).append(conversation)
    if not found:
        raise DataContractError(f"{path} has no rows", "raise prepare.validation_fraction, then tunegate run")
    order = sorted(found, key=lambda key: (SHAPES.index(key[1]), _language_rank(key[0])))
    return list(_taking_turns(found[key] for key in order))[:rows]


def of_row(row: dict[str, Any]) -> Conversation:
    """Return a prepared row as a conversation of its own shape."""
    tools = json.loads(row["tools"]) if row.get("tools") else None
    messages = [{"role": message["role"], "content": message["content"]} for message in row["messages"]]
    untaught = tuple(row.get("untaught") or ())
    return Conversation(row["row_id"], shape_of(messages, tools), messages, tools, untaught=untaught)


def shape_of(messages: list[dict[str, Any]], tools: list[Any] | None) -> str:
    """Return the shape of a conversation: the rarest of those it has."""
    if tools or any(message["role"] == "tool" or message.get("tool_calls") for message in messages):
        return "tools"
    if any(message["role"] == "assistant" and _thinks(message) for message in messages):
        return "thinking"
    if sum(message["role"] == "user" for message in messages) > 1:
        return "multi_turn"
    return "system" if messages[0]["role"] == "system" else "single"


def spread(items: Iterable[tuple[str, Any]], count: int) -> list[Any]:
    """Return up to `count` of (shape, item) pairs, the shapes taking turns, in the order given."""
    groups: dict[str, list[Any]] = {}
    for shape, item in items:
        groups.setdefault(shape, []).append(item)
    return list(_taking_turns(groups[shape] for shape in sorted(groups, key=SHAPES.index)))[:count]


def _thinks(message: dict[str, Any]) -> bool:
    """Tell whether an answer carries its reasoning, in the text or as the template reads it."""
    return OPEN in message["content"] or any(message.get(name) for name in THOUGHT_FIELDS)


def _language_rank(language: str) -> int:
    """Return the place of a language; others come last."""
    return LANGUAGES.index(language) if language in LANGUAGES else len(LANGUAGES)


def _taking_turns(groups: Iterable[list[Any]]) -> Iterator[Any]:
    """Yield the first of each group, then the second of each, and so on."""
    for turn in zip_longest(*groups):
        yield from (item for item in turn if item is not None)
