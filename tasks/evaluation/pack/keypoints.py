"""Key points in an answer: found by rules a person can apply with a pencil (README.md)."""

import functools
import re
from typing import Any

from tasks.evaluation.pack.denials import is_denied
from tasks.exams.pack.quantities import with_one_spelling
from tasks.exams.pack.schema import key_point_forms
from tasks.exams.pack.spelling import cleaned, with_one_range_sign

#: A last word of so many letters may go on: melt, melted, melting.
LONG_WORD = 4

_HYPHEN = re.compile(r"(?<=[^\W_])-(?=[^\W_])")
_UNIT_TWICE = re.compile(r"(\d) ?([^\d\s~]+) ?(?:~|-|至|到|to) ?(\d+(?:\.\d+)?) ?\2(?![A-Za-z])")
_CHINESE = r"\u3400-\u9fff\uf900-\ufaff\U00020000-\U000323af，。、；：？！（）《》“”"
#: Spaces that mean nothing: beside Chinese, and between a number and a word.
_MEANINGLESS = re.compile(
    rf"(?<=[{_CHINESE}]) | (?=[{_CHINESE}])|(?<=\d) (?=[a-zμ°%/])|(?<=[a-zμ°]) (?=\d)|(?<=[,;:()]) (?=\D)| (?=[,;:()])"
)


def folded(text: str) -> str:
    """Return a text as key points are looked for in it: one spelling, small letters, no spaces that mean nothing."""
    text = _UNIT_TWICE.sub(r"\1~\3\2", with_one_spelling(cleaned(text)))
    text = _HYPHEN.sub(" ", with_one_range_sign(text).casefold())
    return _MEANINGLESS.sub("", re.sub(r"\s+", " ", text)).strip()


def stands_in(form: str, answer: str) -> bool:
    """Tell whether one form of a key point stands in a folded answer, beginning and ending where words and numbers do.

    Args:
        form: as the pack's author wrote it.
        answer: `folded`.
    """
    return _pattern(form).search(answer) is not None


def is_said(form: str, answer: str, *, wanted: bool) -> bool:
    """Tell whether one form stands in an answer somewhere where it is not denied.

    Args:
        form: as the pack's author wrote it.
        answer: `folded` line by line.
        wanted: whether the answer should hold it.
    """
    return any(
        not is_denied(answer, found.start(), found.end(), wanted=wanted) for found in _pattern(form).finditer(answer)
    )


def found_points(points: list[Any], answer: str, reference: str = "") -> list[bool]:
    """Return for each key point whether one of its forms stands in an answer and is not denied there.

    Args:
        points: of the item.
        answer: as received.
        reference: of the item; what it holds only in denials is asked for as words, denied or not.
    """
    return [_is_found(list(key_point_forms(point) or ()), answer, reference) for point in points]


def said(forms: list[str], answer: str, *, wanted: bool) -> list[str]:
    """Return the forms that stand in an answer and are not denied there.

    Args:
        forms: as the pack's author wrote them.
        answer: as received.
        wanted: whether the answer should hold them.
    """
    text, lines = folded(answer), _folded_lines(answer)
    # Words that only meet over the end of a line are in no clause: they count as they stand.
    return [
        form for form in forms
        if is_said(form, lines, wanted=wanted) or (stands_in(form, text) and not stands_in(form, lines))
    ]  # fmt: skip


def standing(forms: list[str], answer: str) -> list[str]:
    """Return the forms that stand in an answer."""
    text = folded(answer)
    return [form for form in forms if stands_in(form, text)]


def _is_found(forms: list[str], answer: str, reference: str) -> bool:
    """Tell whether a key point of these forms is in an answer."""
    if said(forms, answer, wanted=True):
        return True
    only_denied = standing(forms, reference) and not said(forms, reference, wanted=True)
    return bool(only_denied and standing(forms, answer))


def _folded_lines(answer: str) -> str:
    """Return an answer folded, with a clause's end where a line ends."""
    return "。".join(folded(line) for line in answer.splitlines() if line.strip())


@functools.lru_cache(maxsize=4096)
def _pattern(form: str) -> re.Pattern[str]:
    """Return what finds a form in a folded text."""
    text = folded(form)
    before = after = ""
    if text[:1].isdigit():
        # Not inside a number: 5 is neither in 15 nor in 0.5, nor the power in 3e5.
        before = r"(?<!\d)(?<!\d\.)(?<!\de)(?<!\d\^)"
    elif re.match("[a-z]", text):
        before = "(?<![a-z])"
    last_word = re.search(r"[a-z]+$", text)
    if text[-1:].isdigit():
        after = r"(?!\d|\.\d|e[+-]?\d)"
    elif last_word and len(last_word[0]) < LONG_WORD:
        after = "(?![a-z])"
    if re.search(r"\d\S*[a-zμ]$", text):
        # A dose is no dose rate.
        after += "(?!/[a-zμ])"
    return re.compile(before + re.escape(text) + after)
