"""One prepared chat row, whatever format it came in."""

from dataclasses import dataclass, field, replace
from typing import Any

from tasks.data.matching.normalization import normalize

Message = dict[str, str]
SEPARATOR = "\x1f"


@dataclass(frozen=True)
class ChatRow:
    """A conversation and where it comes from.

    Args:
        row_id: stable name from content and origin (`ledger.row_ids`).
        source: file relative to data/raw.
        index: position of the row in its file, from 0.
        line: line (JSON Lines) or item number (JSON array) from 1, for messages to people.
        format: which reader understood it.
        language: `zh` or `en`.
        concept: what the row teaches, where it says so.
        messages: optional system, then user and assistant in turn, ending with assistant.
        masks: spans of personal data that were replaced: message number, type, start and end in the raw text.
    """

    row_id: str
    source: str
    index: int
    line: int
    format: str
    language: str
    concept: str | None
    messages: tuple[Message, ...]
    masks: tuple[dict[str, Any], ...] = field(default=())

    @property
    def spoken(self) -> list[str]:
        """Texts of user and assistant; a system prompt shared by many rows says nothing about their likeness."""
        return [message["content"] for message in self.messages if message["role"] != "system"]

    @property
    def answer_characters(self) -> int:
        """Characters of all assistant turns."""
        return sum(len(message["content"]) for message in self.messages if message["role"] == "assistant")

    def with_messages(self, messages: tuple[Message, ...], masks: tuple[dict[str, Any], ...]) -> "ChatRow":
        """Return the row with other texts and the record of what was replaced."""
        return replace(self, messages=messages, masks=masks)

    def as_json(self) -> dict[str, Any]:
        """Return the row as training reads it."""
        return {
            "row_id": self.row_id,
            "source": self.source,
            "language": self.language,
            "concept": self.concept,
            "messages": list(self.messages),
        }


def content_key(messages: list[Message] | tuple[Message, ...]) -> str:
    """Return what makes two conversations one: normalized user and assistant turns in order.

    A turn of nothing but symbols keeps them, or all such rows would be one.
    """
    spoken = (message["content"] for message in messages if message["role"] != "system")
    return SEPARATOR.join(normalize(text) or text.strip() for text in spoken)
