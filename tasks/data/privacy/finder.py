"""Every type of personal data in one text, without overlaps.

Presidio (presidio-analyzer 2.2.366) was measured as the engine around these recognizers, with a language model that
does nothing, on Chinese instruction rows of about 1 KB: 132 us a row without it, 153 us with all recognizers as one,
326 us with one Presidio recognizer a type. It brings 55 packages (340 MB, spaCy among them) and 3.7 s of import, which
the serving log would pay too; it resolves overlaps by score, where masking a second time must find nothing more; and it
has no recognizers for Chinese. So it is not adopted.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache

from tasks.data.privacy.organisations import OrganisationFinder
from tasks.data.privacy.screen import Likely, Screen
from tasks.data.privacy.spans import PUBLIC_PERSON, Span, covered, readable, replace_spans
from tasks.data.privacy.structured import find_structured, screened

#: Every pass finds something; a row made to need more than these keeps its tail rather than the worker.
_MOST_PASSES = 100


class Finder:
    """Finds personal data of the asked types.

    Args:
        types: which of ALL_TYPES to look for.
        organisations: names to find as `organisation`; without them there are none of this type.
        names: how readily a name is found: `careful`, `balanced` or `sparing`.
    """

    def __init__(self, types: Sequence[str], organisations: Sequence[str] = (), names: str = "balanced") -> None:
        self._types = frozenset(types)
        self._organisations = OrganisationFinder(organisations if "organisation" in self._types else ())
        self._readers, patterns = _readers(self._types, names)
        self._screen = Screen(screened(self._types) | patterns)

    def find(self, text: str) -> list[Span]:
        """Return the personal data in `text`, in order, without overlaps."""
        plain = readable(text)
        found: list[Span] = []
        parts = [(0, len(plain))]
        # What stood glued to personal data can be recognized once that is out of the way: in the lines around it, and
        # where that finds a name, in all of the text again.
        for _ in range(_MOST_PASSES):
            more = [
                Span(start + span.start, start + span.end, span.type)
                for start, end in parts
                for span in self._one_pass(plain[start:end])
            ]
            if not more:
                break
            found += more
            plain = covered(plain, more)
            whole = parts == [(0, len(plain))]
            parts = _lines_around(plain, more) if whole else [(0, len(plain))]
        return sorted(found)

    def _one_pass(self, plain: str) -> list[Span]:
        """Return what every recognizer sees in readable text, in order; the first to claim a character has it."""
        candidates = list(self._candidates(plain))
        if not candidates:
            return candidates
        found: list[Span] = []
        taken = bytearray(len(plain))
        for span in candidates:
            if not any(taken[span.start : span.end]):
                taken[span.start : span.end] = b"\1" * (span.end - span.start)
                found.append(span)
        return sorted(found)

    def _candidates(self, plain: str) -> Iterable[Span]:
        """Yield candidates of every type, the more specific type first."""
        likely = self._screen.likely(plain)
        yield from find_structured(plain, self._types, likely)
        yield from self._organisations.find(plain)
        for reader in self._readers:
            for span in reader(plain, likely):
                if span.type in self._types:
                    yield span


def _lines_around(plain: str, spans: Sequence[Span]) -> list[tuple[int, int]]:
    """Return the parts of a text that are the lines of these spans and the lines beside them."""
    parts: list[tuple[int, int]] = []
    for span in spans:
        start = plain.rfind("\n", 0, max(0, plain.rfind("\n", 0, span.start))) + 1
        following = plain.find("\n", span.end)
        end = plain.find("\n", following + 1) if following >= 0 else -1
        end = end if end >= 0 else len(plain)
        if parts and start <= parts[-1][1]:
            parts[-1] = parts[-1][0], max(end, parts[-1][1])
        else:
            parts.append((start, end))
    return parts


#: What finds spans in readable text, given the names of the patterns that may match.
_Reader = Callable[[str, Likely], Iterator[Span]]


def _readers(types: frozenset[str], names: str) -> tuple[list[_Reader], dict[str, str]]:
    """Return what finds addresses and names, and the patterns that say whether it has to look.

    Imported late, since the patterns take as long as the rest together.
    """
    readers: list[_Reader] = []
    patterns: dict[str, str] = {}
    if "address" in types:
        from tasks.data.privacy.addresses import ADDRESSES, find_addresses

        readers.append(find_addresses)
        patterns |= ADDRESSES
    if not types.isdisjoint(("person_name", PUBLIC_PERSON)):
        from tasks.data.privacy import chinese_names, english_names

        readers += [
            lambda plain, likely: chinese_names.find_chinese_names(plain, names, likely),
            lambda plain, likely: english_names.find_english_names(plain, likely, sparing=names == "sparing"),
        ]
        patterns |= chinese_names.screened() | english_names.ENGLISH_NAMES
    return readers, patterns


def find_spans(text: str, types: Sequence[str]) -> list[Span]:
    """Return the personal data of these types in `text`, in order, without overlaps.

    Where two types claim the same characters, the more specific one (`ALL_TYPES` order) has them.
    """
    return _finder(tuple(types)).find(text)


@lru_cache(maxsize=16)
def _finder(types: tuple[str, ...]) -> Finder:
    """Return the finder of these types."""
    return Finder(types)


def mask_text(text: str, types: Sequence[str]) -> tuple[str, dict[str, int]]:
    """Replace personal data of these types by `[TYPE]` and count what was replaced.

    Masking twice changes nothing more.
    """
    spans = find_spans(text, types)
    return replace_spans(text, spans), dict(Counter(span.type for span in spans))
