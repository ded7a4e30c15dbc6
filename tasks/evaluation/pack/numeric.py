"""The number of an answer, its unit converted: right only when number x unit agrees."""

import re
from typing import Any

from tasks.exams.pack.quantities import Quantity, Unit, quantities, unit_named
from tasks.exams.pack.schema import TOLERANCE, Item
from tasks.exams.pack.spelling import cleaned

#: What stands before the result.
_ANSWER_WORD = re.compile(r"答案|结果|\b(?:final )?answer\b|\bresult\b", re.IGNORECASE)
_EQUALS = re.compile(r"[=≈≒]|等于|约为|\bequals\b")
_EITHER = re.compile(r"\s*(?:或者?|还是|\bor\b)\s*")
#: Prefixes are steps of a thousand; so far off is a wrong prefix.
_PREFIX_STEPS = (1e3, 1e6, 1e9)
_BARE = Unit("", 1.0, "")


def score_numeric(item: Item, answer: str) -> tuple[float, dict[str, Any]]:
    """Return 1 when the answer's quantity is the item's within its tolerance, and what was read.

    Returns:
        Value and detail: expected, read (as text, None if nothing), failure (no_number, no_unit, off_by_1000,
        wrong_unit, wrong_value, two_answers, repeats_question, or None).
    """
    unit = unit_named(item["unit"]) or _BARE
    low, high = item["value"] if isinstance(item["value"], list) else (item["value"], item["value"])
    expected = Quantity(float(low), float(high), unit, 0, 0)
    text = cleaned(answer)
    found, other = _decisive(text, unit.dimension)
    failure = _failure(expected, found, item.get("tolerance", TOLERANCE))
    if failure is None and other and _failure(expected, other, item.get("tolerance", TOLERANCE)):
        failure = "two_answers"
    if failure is None and found and _repeats(found, item["question"], unit):
        failure = "repeats_question"
    shown = f"{item['value']} {item['unit']}".strip()
    read = text[found.start : found.end] if found else None
    return float(failure is None), {"expected": shown, "read": read, "failure": failure}


def _decisive(text: str, dimension: str) -> tuple[Quantity | None, Quantity | None]:
    """Return the quantity an answer gives, and the other one where it gives two to choose from."""
    found = list(quantities(text))
    answer_words = list(_ANSWER_WORD.finditer(text))
    after = [one for one in found if answer_words and one.start >= answer_words[-1].end()]
    if after:
        end = _end_of_line(text, after[0].start)
        line = [one for one in after if one.start < end]
        chosen = _of_kind(_behind_equals(text, line, end) or line, dimension)[0]
    elif behind := _behind_equals(text, found, len(text)):
        chosen = _of_kind(behind, dimension)[0]
    elif found:
        chosen = _of_kind(found, dimension)[-1]
    else:
        return None, None
    return chosen, next((one for one in found if one is not chosen and _joined(text, one, chosen)), None)


def _of_kind(found: list[Quantity], dimension: str) -> list[Quantity]:
    """Return the quantities that measure what was asked for; all where none does."""
    return [one for one in found if one.unit and one.unit.dimension == dimension] or found


def _behind_equals(text: str, found: list[Quantity], end: int) -> list[Quantity]:
    """Return the quantities behind the last equals sign that has any, before `end`."""
    for sign in reversed([sign.end() for sign in _EQUALS.finditer(text, 0, end)]):
        if behind := [one for one in found if one.start >= sign]:
            return behind
    return []


def _end_of_line(text: str, start: int) -> int:
    """Return where the line of a place ends."""
    end = text.find("\n", start)
    return len(text) if end < 0 else end


def _joined(text: str, one: Quantity, other: Quantity) -> bool:
    """Tell whether nothing but an `or` stands between two quantities."""
    first, second = sorted((one, other), key=lambda quantity: quantity.start)
    return _EITHER.fullmatch(text[first.end : second.start]) is not None


def _repeats(found: Quantity, question: str, unit: Unit) -> bool:
    """Tell whether a quantity is one of the question's own, in a unit that was not asked for: nothing was converted."""
    asked = found.unit is None or found.unit.symbol == unit.symbol
    return not asked and any(
        (given.low, given.high, given.unit) == (found.low, found.high, found.unit)
        for given in quantities(cleaned(question))
    )


def _failure(expected: Quantity, found: Quantity | None, tolerance: float) -> str | None:
    """Return why a quantity is not the one expected, None if it is."""
    assert expected.unit is not None
    if found is None:
        return "no_number"
    if found.unit is None:
        same = _agrees(expected, found.low, found.high, tolerance)
        return "wrong_value" if not same else None if expected.unit.counted or not expected.unit.symbol else "no_unit"
    if expected.unit is _BARE:
        usable = found.unit.counted and _agrees(expected, found.low, found.high, tolerance)
        return None if usable else "wrong_value" if found.unit.counted else "wrong_unit"
    if found.unit.dimension != expected.unit.dimension:
        return "wrong_unit"
    ratio = found.unit.factor / expected.unit.factor
    low, high = found.low * ratio, found.high * ratio
    if _agrees(expected, low, high, tolerance):
        return None
    steps = [step for size in _PREFIX_STEPS for step in (size, 1 / size)]
    prefix = any(_agrees(expected, low * step, high * step, tolerance) for step in steps)
    return "off_by_1000" if prefix else "wrong_value"


def _agrees(expected: Quantity, low: float, high: float, tolerance: float) -> bool:
    """Tell whether both ends are within the tolerance, a share of the end expected."""
    # Binary fractions: 0.049 x 1000 is not 49 to the last digit.
    allowed = tolerance + 1e-9
    ends = ((expected.low, low), (expected.high, high))
    return all(abs(found - wanted) <= allowed * abs(wanted) for wanted, found in ends)
