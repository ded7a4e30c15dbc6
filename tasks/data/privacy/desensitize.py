"""Personal data out of conversations, by the policy of its type: mask, pseudonymize, drop the row, keep.

The serving log imports `mask_text` from here: nothing heavy may be imported at the top.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.data.privacy.finder import Finder, find_spans, mask_text
from tasks.data.privacy.organisations import read_organisations
from tasks.data.privacy.pseudonyms import pseudonym, require_key
from tasks.data.privacy.spans import ALL_TYPES, COVER, Span, replace_spans

if TYPE_CHECKING:
    from tasks.chat.conversation import Message
    from tasks.core.settings import PrivacyParams

#: Between messages read as one text; no pattern reaches across it.
_BETWEEN = f"\n{COVER}\n"

__all__ = ["ALL_TYPES", "Cleaned", "Desensitizer", "Span", "find_spans", "mask_text", "replace_spans"]


@dataclass(frozen=True)
class Cleaned:
    """A conversation without personal data, and the record of what was replaced.

    Args:
        messages: the conversation; what stood under policy `drop` is masked too, so that the row can be shown.
        masks: `{"message", "type", "start", "end", "policy"}` of each span in the raw text; never the text itself.
        drop_types: types found whose policy drops the row; empty: the row stays.
    """

    messages: "tuple[Message, ...]"
    masks: tuple[dict[str, Any], ...]
    drop_types: tuple[str, ...]


class Desensitizer:
    """Finds and replaces personal data by the policies of params.yaml.

    Args:
        params: policy by type, the file of organisation names, how readily names are found.
        root: project root, which the file's path is relative to.
        key: for pseudonyms (`pseudonyms.environment_key`); None where no policy makes one.

    Raises:
        ConfigError: a policy makes pseudonyms and there is no key, or the file of organisations cannot be read.
    """

    def __init__(self, params: "PrivacyParams", root: Path, key: bytes | None) -> None:
        policies: dict[str, str] = params.policies.model_dump()
        self._policies = {type_: policy for type_, policy in policies.items() if policy != "keep"}
        self._key = require_key(key) if "pseudonymize" in self._policies.values() else None
        names = read_organisations(root / params.organisations) if params.organisations else ()
        self._finder = Finder(tuple(self._policies), names, params.names)

    def find(self, text: str) -> list[Span]:
        """Return the personal data in `text` that no policy keeps, in order, without overlaps.

        Masks and pseudonyms are no personal data.
        """
        return self._finder.find(text)

    def clean(self, messages: "Sequence[Message]") -> Cleaned:
        """Return the conversation with its personal data masked or pseudonymized, as the policies say.

        All messages are read as one text: who gave a name in the question is recognized by it in the answer.
        """
        found = self._finder.find(_BETWEEN.join([message["content"] for message in messages]))
        if not found:
            return Cleaned(tuple(messages), (), ())
        spans = deque(found)
        cleaned: list[Message] = []
        masks: list[dict[str, Any]] = []
        offset = 0
        for number, message in enumerate(messages):
            own = _taken(spans, offset, len(message["content"]))
            offset += len(message["content"]) + len(_BETWEEN)
            cleaned.append({**message, "content": self._replaced(message["content"], own)} if own else message)
            masks += [self._mask(number, span) for span in own]
        drop = sorted({mask["type"] for mask in masks if mask["policy"] == "drop"})
        return Cleaned(tuple(cleaned), tuple(masks), tuple(drop))

    def _mask(self, number: int, span: Span) -> dict[str, Any]:
        """Return the record of a span in message `number`."""
        place = {"message": number, "type": span.type, "start": span.start, "end": span.end}
        return {**place, "policy": self._policies[span.type]}

    def _replaced(self, text: str, spans: Sequence[Span]) -> str:
        """Return `text` with each span masked or under its pseudonym."""
        return replace_spans(text, spans, [self._label(span.type, text[span.start : span.end]) for span in spans])

    def _label(self, type_: str, value: str) -> str:
        """Return what stands in for a value."""
        if self._key is None or self._policies[type_] != "pseudonymize":
            return f"[{type_.upper()}]"
        return pseudonym(type_, value, self._key)


def _taken(spans: deque[Span], offset: int, length: int) -> list[Span]:
    """Take the spans that reach into `length` characters from `offset`, with their places in these."""
    own = []
    while spans and spans[0].start < offset + length:
        span = spans.popleft()
        own.append(Span(max(0, span.start - offset), min(length, span.end - offset), span.type))
    return own
