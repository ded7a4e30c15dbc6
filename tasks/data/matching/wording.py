"""Whether two conversations are one in other words, judged turn by turn on what differs: answers decide.

Rows that share a long instruction, a form or a template are alike to any count of n-grams and still teach other things.
So two rows are one only where all that differs is slight: talk around a turn, particles, a typing error. A number, a
unit, a denial, a name, an option, a further question makes two rows of them.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from functools import cache, cached_property
from itertools import islice

import numpy as np
import numpy.typing as npt

from tasks.core.folding import is_digit
from tasks.data.matching.leak_rules import weight_of
from tasks.data.matching.ngrams import Grams, joined
from tasks.data.matching.normalization import WORD_GAP, NormalizedRow
from tasks.data.matching.slips import Place, Tokens, is_numeral, is_slip, is_telling, may_be_slip
from tasks.data.matching.talk import core, without_talk

__all__ = ["Wording", "core_keys", "differences", "fact_keys", "slight", "wordings"]

#: An answer up to this many characters is a label: rows with others are never compared.
SHORT_ANSWER = 16
#: Where answers of this weight are the same word for word, the question may differ by a typing error not known as one.
TELLING_ANSWER = 12.0
#: Where the rest is the same, an answer of this weight may, too.
LONG_ANSWER = 40.0
#: Places that may differ, and the longest text between the first and the last of them that is looked into.
MOST_PLACES, MOST_TOKENS = 3, 400
#: Most characters before or behind a question that are no part of it.
LONGEST_INTRODUCTION = 40
#: Places and characters of a difference that the ledger shows, and the tokens of a turn it looks at.
MOST_SHOWN, MOST_SHOWN_CHARACTERS, MOST_SHOWN_TOKENS = 5, 60, 1000

#: Beside digits; normalization leaves points only between these.
_FACTS = ".不没未无勿非"
#: Stands behind each of several texts.
_TEXT_END = 0x1F
#: A number, a Chinese character, another word.
_TOKENS = re.compile(r"\d+(?:[.-]\d+)*|[\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af]|[^\W\d_\u3400-\u9fff]+|\S")


class Wording:
    """What a row says, without talk.

    Args:
        row: the normalized row.
    """

    def __init__(self, row: NormalizedRow) -> None:
        self.roles = row.roles
        self.cores = tuple(map(core, row.turns))
        self._row = row

    @cached_property
    def squeezed(self) -> tuple[str, ...]:
        """The cores without word gaps: what equal wording is told by."""
        turns = zip(self.cores, self._row.turns, self._row.texts, strict=True)
        # Most turns have no talk at their ends, and squeezed they are known.
        return tuple(text if core is turn else core.replace(WORD_GAP, "") for core, turn, text in turns)

    def facts(self, told: Iterator[str]) -> str:
        """Return what rows that are one have in common: roles, numbers and denials in order, short answers.

        Args:
            told: numbers and denials of each turn.
        """
        parts = [self.roles]
        for role, text, facts in zip(self.roles, self.squeezed, told, strict=False):
            parts.append(text if role == "a" and len(text) <= SHORT_ANSWER else facts)
        return "\x1f".join(parts)


def wordings(rows: Sequence[NormalizedRow]) -> list[Wording]:
    """Return the wording of each row."""
    return [Wording(row) for row in rows]


def core_keys(rows: Sequence[Wording]) -> Grams:
    """Return 64 bits for each row, equal where two say the same but for talk; shape (rows,).

    Args:
        rows: wordings of the rows before anything was masked: who is another person is another row.
    """
    return _digests(["\x1e".join((row.roles, *row.squeezed)) for row in rows])


def fact_keys(rows: Sequence[Wording], masked: Sequence[str]) -> Grams:
    """Return 64 bits for each row, different where two rows cannot be one however alike they are; shape (rows,).

    Args:
        rows: wordings of the rows before anything was masked.
        masked: what was masked in each: the texts that are compared later do not show it any more.
    """
    told = iter(_facts_in([text for row in rows for text in row.squeezed]))
    facts = [row.facts(islice(told, len(row.squeezed))) for row in rows]
    return _digests([f"{one}\x1e{gone}" for one, gone in zip(facts, masked, strict=True)])


def _facts_in(texts: Sequence[str]) -> list[str]:
    """Return the numbers and denials of each text in order, a space between them; all texts at once cost a third."""
    points, _ = joined(texts)
    kept = _is_fact()[points]
    kept[np.cumsum([len(text) + 1 for text in texts], dtype=np.int64) - 1] = True
    places = np.flatnonzero(kept)
    found = points[places]
    apart = (np.diff(places) > 1) & (found[1:] != _TEXT_END) & (found[:-1] != _TEXT_END)
    spread = np.full(len(found) + np.count_nonzero(apart), ord(WORD_GAP), dtype=np.uint32)
    spread[np.arange(len(found)) + np.cumsum(np.append(False, apart))[: len(found)]] = found
    return spread.tobytes().decode("utf-32-le").split(chr(_TEXT_END))[:-1]


@cache
def _is_fact() -> npt.NDArray[np.bool_]:
    """Tell for every code point whether numbers and denials are written with it; shape (0x110000,)."""
    table = is_digit().copy()
    table[[*map(ord, _FACTS)]] = True
    return table


def _digests(texts: Sequence[str]) -> Grams:
    """Return 64 bits of each text."""
    joined = b"".join(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in texts)
    return np.frombuffer(joined, dtype=">u8").astype(np.uint64)


def slight(left: Wording, right: Wording) -> bool:
    """Tell whether two rows are one: all that differs, talk aside, is slight."""
    if left.roles != right.roles:
        return False
    pairs = list(zip(left.squeezed, right.squeezed, strict=True))
    differing = [turn for turn, (one, other) in enumerate(pairs) if one != other]
    lenient = len(differing) == 1 and _is_carried(left, differing[0])
    if lenient and left.roles[differing[0]] == "u" and _is_introduced(*pairs[differing[0]]):
        return True
    return all(_slight_turn(left.cores[turn], right.cores[turn], lenient=lenient) for turn in differing)


def _is_carried(row: Wording, turn: int) -> bool:
    """Tell whether what two rows have in common says enough for an unknown slip in this turn to be one."""
    if row.roles[turn] == "a":
        return weight_of(row.squeezed[turn]) >= LONG_ANSWER
    answers = (text for role, text in zip(row.roles, row.squeezed, strict=True) if role == "a")
    return row.roles[turn] == "u" and sum(map(weight_of, answers)) >= TELLING_ANSWER


def _slight_turn(left: str, right: str, *, lenient: bool) -> bool:
    """Tell whether two turns differ slightly."""
    one, other = _middles(*_unswapped(tokens(left), tokens(right)))
    if max(len(one), len(other)) > MOST_TOKENS:
        return False
    found = list(differing_places(one, other))
    return len(found) <= MOST_PLACES and all(is_slip(place) or (lenient and may_be_slip(place)) for place in found)


def _is_introduced(left: str, right: str) -> bool:
    """Tell whether one turn is the other with something before or behind it that is no fact."""
    shorter, longer = sorted((left, right), key=len)
    if len(longer) - len(shorter) > LONGEST_INTRODUCTION:
        return False
    added = longer.removeprefix(shorter) if longer.startswith(shorter) else longer.removesuffix(shorter)
    return len(added) < len(longer) and not any(map(is_telling, without_talk(added)))


def tokens(text: str) -> Tokens:
    """Return what two turns are compared by: Chinese characters, numbers, other words."""
    return tuple(_TOKENS.findall(text))


def _middles(left: Tokens, right: Tokens) -> tuple[Tokens, Tokens]:
    """Return two sequences without what they begin and end with alike, but for one token of it on each side."""
    most = min(len(left), len(right))
    front = next((at for at in range(most) if left[at] != right[at]), most)
    back = next((at for at in range(most - front) if left[-1 - at] != right[-1 - at]), most - front)
    start, end = max(front - 1, 0), max(back - 1, 0)
    return left[start : len(left) - end], right[start : len(right) - end]


def _unswapped(left: Tokens, right: Tokens) -> tuple[Tokens, Tokens]:
    """Return two sequences with neighbours put in one order, as far as they differ in nothing else."""
    ordered = list(left)
    for at in range(min(len(left), len(right)) - 1):
        if ordered[at] == right[at]:
            continue
        pair = (ordered[at], ordered[at + 1])
        if pair != (right[at + 1], right[at]) or any(map(is_numeral, pair)):
            break
        ordered[at : at + 2] = right[at : at + 2]
    return tuple(ordered), right


def differing_places(left: Tokens, right: Tokens) -> Iterator[Place]:
    """Yield the places where two sequences of tokens differ."""
    for tag, start, end, first, last in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag != "equal":
            beside = (*left[max(start - 1, 0) : start], *left[end : end + 1])
            yield Place(left[start:end], right[first:last], beside)


def differences(row: NormalizedRow, kept: NormalizedRow) -> list[dict[str, str]]:
    """Return where a row differs from the one kept in its place, as the ledger shows it.

    Args:
        row: the dropped row, masked and normalized.
        kept: the row that stands for it, likewise.

    Returns:
        `{"turn", "row", "kept"}` of the first places: number and role of the turn, what stands there in each.
    """
    shown = []
    for number, (role, one, other) in enumerate(zip(row.roles, row.turns, kept.turns, strict=False), start=1):
        left, right = (tokens(text)[:MOST_SHOWN_TOKENS] for text in (one, other))
        if one.replace(WORD_GAP, "") != other.replace(WORD_GAP, ""):
            shown += [
                {"turn": f"{number}{role}", "row": _shown(place.left), "kept": _shown(place.right)}
                for place in differing_places(*_middles(left, right))
            ]
    return shown[:MOST_SHOWN]


def _shown(found: Tokens) -> str:
    """Return tokens as text, cut."""
    text = ""
    for token in found:
        text += WORD_GAP * (bool(text) and text[-1].isascii() and token.isascii()) + token
    return text if len(text) <= MOST_SHOWN_CHARACTERS else f"{text[:MOST_SHOWN_CHARACTERS]}…"
