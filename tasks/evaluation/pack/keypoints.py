"""Key points in an answer: found by rules a person can apply with a pencil (README.md)."""

import functools
import re
from typing import Any

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


def found_points(points: list[Any], answer: str) -> list[bool]:
    """Return for each key point whether one of its forms stands in an answer."""
    text = folded(answer)
    return [any(stands_in(form, text) for form in key_point_forms(point) or ()) for point in points]


def standing(forms: list[str], answer: str) -> list[str]:
    """Return the forms that stand in an answer."""
    text = folded(answer)
    return [form for form in forms if stands_in(form, text)]


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
