"""Chinese personal names in running text, without a language model.

Every surname followed by characters that names like is a candidate. It gains by how surely the surname is one, by
given-name characters, by roles, titles and verbs around it, and loses where an ordinary word runs across its borders
(测量程高: 量程, 程高). The weights were set on sentences written for the purpose and on published instruction rows.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tasks.data.privacy import name_cues as cues
from tasks.data.privacy.public_names import is_public
from tasks.data.privacy.spans import Span
from tasks.data.privacy.surnames import COMPOUND, GIVEN, MIXED, PURE, RARE, WEAK

_SINGLE = "".join(sorted(PURE | MIXED | RARE))
_CANDIDATE = re.compile(rf"(?={COMPOUND}|[{_SINGLE}])")
_SURE = re.compile(rf"{COMPOUND}|[{''.join(sorted(PURE))}]|(?:{cues.TITLE})")
_TITLED = re.compile(rf"({COMPOUND}|[{''.join(sorted(PURE | MIXED))}])(?=(?:{cues.TITLE})(?!们))")
_ENGINEER = re.compile(
    rf"([{''.join(sorted(PURE))}])(?=工(?:[\s,.;:!?、)。，；：！？）]|$|说|在|的|确认|到|负责|复核|检查|审核|联系|已|对|把|和|与|来|去))"
)
_FAMILIAR = re.compile(rf"[老小]([{''.join(sorted(PURE))}])")
_FOREIGN = re.compile(r"(?<![\u4e00-\u9fff])[\u4e00-\u9fff]{1,8}(?:[·•・][\u4e00-\u9fff]{1,8}){1,3}")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")

_SURNAME_POINTS = {**dict.fromkeys(RARE, -1.0), **dict.fromkeys(MIXED, 1.0), **dict.fromkeys(PURE, 3.0)}
_COMPOUND_POINTS = 4.0
_GIVEN_POINTS, _WEAK_POINTS, _OTHER_POINTS = 2.0, 1.0, -1.5
_STRONG_BEFORE, _STRONG_AFTER, _WEAK_CUE = 4.0, 3.5, 1.0
_WORD_ACROSS, _WORD_WITHIN, _WORD_AT_START = -2.5, -1.0, -3.0
_LEAST = {1: 6.0, 2: 6.5}


def find_chinese_names(plain: str) -> Iterator[Span]:
    """Yield Chinese personal names in readable text."""
    if not _CHINESE.search(plain):
        return
    names: set[str] = set()
    position = 0
    for match in _CANDIDATE.finditer(plain):
        if match.start() < position:
            continue
        end = _best_end(plain, match.start())
        if end:
            position = end
            names.add(plain[match.start() : end])
            yield Span(match.start(), end, "person_name")
    yield from _mentioned_again(plain, names)
    yield from _surnames_with_title(plain)


@lru_cache(maxsize=1)
def _words() -> frozenset[str]:
    """Return the ordinary two-character words."""
    seconds = json.loads((Path(__file__).parent / "lexicon.json").read_text(encoding="utf-8"))
    return frozenset(first + second for first, rest in seconds.items() for second in rest)


def _best_end(plain: str, start: int) -> int:
    """Return where the best name at `start` ends, or 0 where there is none."""
    surname = 2 if re.match(COMPOUND, plain[start : start + 4]) else 1
    best, end = 0.0, 0
    base = _surname_points(plain, start, surname)
    for given in (2, 1):
        stop = start + surname + given
        name = plain[start:stop]
        if len(name) < surname + given or not all("\u4e00" <= character <= "\u9fff" for character in name):
            continue
        surplus = base + _given_points(plain, start, start + surname, stop) - _LEAST[given]
        if surplus >= best and not (end and surplus == best) and not is_public(name):
            best, end = surplus, stop
    return end


def _surname_points(plain: str, start: int, length: int) -> float:
    """Return what speaks for a surname, by itself and by what stands before."""
    left = cues.left_of(plain, start)
    points = _COMPOUND_POINTS if length == 2 else _SURNAME_POINTS[plain[start]]
    if cues.STRONG_BEFORE.search(left):
        return points + _STRONG_BEFORE
    if cues.COUNT_BEFORE.search(left):
        points -= 3.0
    if cues.WEAK_BEFORE.search(left):
        return points + _WEAK_CUE
    return points + (_WORD_ACROSS if left and left[-1] + plain[start] in _words() else 0.0)


def _given_points(plain: str, start: int, given: int, stop: int) -> float:
    """Return what speaks for the characters after a surname being a name that ends at `stop`."""
    words = _words()
    points = 0.0
    for character in plain[given:stop]:
        liked = character in GIVEN
        points += (_WEAK_POINTS if character in WEAK else _GIVEN_POINTS) if liked else _OTHER_POINTS
    if plain[given - 1 : given + 1] in words:
        points += _WORD_AT_START
    if stop - given == 2 and plain[given:stop] in words:
        points += _WORD_WITHIN
    right = cues.right_of(plain, stop)
    if cues.STRONG_AFTER.match(right):
        return points + _STRONG_AFTER
    if cues.WEAK_AFTER.match(right):
        points += _WEAK_CUE
    if right and plain[stop - 1] + right[0] in words:
        points += _WORD_ACROSS
    return points


def _mentioned_again(plain: str, names: set[str]) -> Iterator[Span]:
    """Yield further mentions of names of three characters and more: shorter ones may be part of a word."""
    for name in sorted(names):
        if len(name) >= 3:
            for match in re.finditer(name, plain):
                yield Span(match.start(), match.end(), "person_name")


def _surnames_with_title(plain: str) -> Iterator[Span]:
    """Yield surnames that only a title makes personal: 李主任, 由张工复核."""
    for match in _TITLED.finditer(plain):
        left = cues.left_of(plain, match.start())
        inside = bool(left) and left[-1] + plain[match.start()] in _words()
        pure = match[1] in PURE or len(match[1]) > 1
        if (pure and not inside) or cues.SURNAME_BEFORE.search(left):
            yield Span(match.start(1), match.end(1), "person_name")
    for pattern in (_ENGINEER, _FAMILIAR):
        for match in pattern.finditer(plain):
            followed = pattern is _ENGINEER or cues.WEAK_AFTER.match(cues.right_of(plain, match.end()))
            if followed and cues.SURNAME_BEFORE.search(cues.left_of(plain, match.start())):
                yield Span(match.start(1), match.end(1), "person_name")
