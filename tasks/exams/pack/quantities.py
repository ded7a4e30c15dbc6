"""Numbers with their units in Chinese and English text, and what they amount to in one unit of their kind."""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.files import read_json
from tasks.exams.pack.spelling import cleaned

_MULTIPLES = {"万亿": 1e12, "千亿": 1e11, "百亿": 1e10, "亿": 1e8, "千万": 1e7, "百万": 1e6, "万": 1e4}
_MULTIPLES |= {"thousand": 1e3, "million": 1e6, "billion": 1e9}
_DIGITS = dict(zip("零〇一二两三四五六七八九", (0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9), strict=True))
_TENS = {"十": 10, "百": 100, "千": 1000}
_HAN_NUMBER = r"[零〇一二两三四五六七八九十百千万亿]+(?:点[零〇一二三四五六七八九]+)?|半"
_NUMBER = r"(?:(?<!\d)10\^[+-]?\d+|(?:\d+(?:\.\d+)?|(?<!\d)\.\d+)(?:[eE][+-]?\d+)?)"


_PER = r"(?: ?/ ?| ?每 ?| per )"
#: Between the parts of one time: 3 天 8 小时, 1 hour and 20 minutes.
_AND = re.compile(r" ?(?:又|零|and )?")


@dataclass(frozen=True)
class Unit:
    """A unit: what it measures and how much of that.

    Args:
        dimension: the kind, as the base unit it is converted to (`Sv`, `Sv/s`, `Bq/m^2`; a counted thing's own name).
        factor: base units in one of this.
        symbol: one spelling for all its names.
        counted: a thing that is counted, not measured: a number without it is enough.
    """

    dimension: str
    factor: float
    symbol: str
    counted: bool = False


@dataclass(frozen=True)
class Quantity:
    """A number, or the two ends of a range, and the unit behind it.

    Args:
        low, high: as written, in `unit`; equal where it is no range.
        unit: None where none follows.
        start, end: place in the text.
    """

    low: float
    high: float
    unit: Unit | None
    start: int
    end: int


def unit_named(text: str) -> Unit | None:
    """Return the unit of a name, None if it is not known."""
    found = _patterns().unit.fullmatch(cleaned(text))
    return _unit(found["unit"]) if found else None


def quantities(text: str) -> list[Quantity]:
    """Return every number of a text cleaned by `normalization.cleaned`, in order.

    A number in Chinese characters counts only where a unit follows it. A time in parts (3 天 8 小时) is one quantity.
    """
    whole: list[Quantity] = []
    for found in _each(text):
        if whole and _continues(whole[-1], found, text):
            last = whole.pop()
            found = _sum(last, found)
        whole.append(found)
    return whole


def _continues(one: Quantity, other: Quantity, text: str) -> bool:
    """Tell whether two quantities are parts of one time: the second in a smaller unit, nothing between."""
    if not (one.unit and other.unit and one.unit.dimension == other.unit.dimension == "s"):
        return False
    return one.unit.factor > other.unit.factor and _AND.fullmatch(text[one.end : other.start]) is not None


def _sum(one: Quantity, other: Quantity) -> Quantity:
    """Return two parts of a time as one quantity, in the second's unit."""
    assert one.unit is not None
    assert other.unit is not None
    ratio = one.unit.factor / other.unit.factor
    return Quantity(one.low * ratio + other.low, one.high * ratio + other.high, other.unit, one.start, other.end)


def _each(text: str) -> Iterator[Quantity]:
    """Yield every number of a cleaned text, the parts of a time one by one."""
    for found in _patterns().quantity.finditer(text):
        low, high = _number(found["low"]), _number(found["high"] or found["low"])
        unit = _unit(found["unit"]) if found["unit"] else None
        first = _unit(found["first"]) if found["first"] else unit
        unit = unit or first
        if unit and first and first.dimension == unit.dimension:
            low *= first.factor / unit.factor
        if unit and "/" not in unit.dimension and found["each"] and (each := unit_named(found["each"])):
            unit = _per(unit, each)
        multiple = _MULTIPLES.get((found["multiple"] or "").casefold(), 1.0)
        yield Quantity(low * multiple, high * multiple, unit, found.start(), found.end())


def with_one_spelling(text: str) -> str:
    """Return a cleaned text with every unit behind a number in one spelling."""
    return _patterns().behind_number.sub(lambda found: _unit(found["unit"]).symbol, text)


@dataclass(frozen=True)
class _Patterns:
    """What recognizes units and quantities."""

    unit: re.Pattern[str]
    quantity: re.Pattern[str]
    behind_number: re.Pattern[str]


@functools.cache
def _patterns() -> _Patterns:
    """Return the patterns, made from units.json."""
    atoms, below = _alternatives(_atoms()), _alternatives(_atoms() | _after_slash())
    unit = rf"(?:{atoms})(?:{_PER}(?:{below}))?"
    multiple = "|".join(_MULTIPLES)
    named = rf"(?P<unit>{unit})"
    low = rf"(?P<low>{_NUMBER}|(?:{_HAN_NUMBER})(?= ?(?:{multiple})? ?(?:{unit})))"
    each = rf"(?:每(?P<each>{atoms}) ?约? ?)?"
    # The first end of a range may have its own unit: 30 km～50 km.
    second = rf"(?: ?(?P<first>{unit})? ?(?:~|-+|至|到|\bto\b) ?(?P<high>{_NUMBER}))?"
    error = rf"(?: ?± ?{_NUMBER})?"
    before_unit = r"(?:[ \n]?\(?|[,;] ?(?:单位|unit)[为是:]? ?)"
    end = rf"{error}(?: ?(?P<multiple>{multiple}))?(?:{before_unit}{named})?"
    quantity = rf"(?<![\d.])(?<!\d[eE]){each}{low}{second}{end}"
    return _Patterns(
        re.compile(named),
        re.compile(quantity),
        re.compile(rf"(?<=[\d万亿]) ?{named}"),
    )


def _alternatives(table: dict[str, Unit]) -> str:
    """Return a pattern of all names, longest first; a Latin name ends where its word ends."""
    names = sorted(table, key=lambda name: (-len(name), name))
    return "|".join(re.escape(name) + ("(?![A-Za-z0-9])" if name[-1].isascii() else "") for name in names)


def _unit(text: str) -> Unit:
    """Return the unit of a matched name."""
    if text in _atoms():
        return _atoms()[text]
    above, below = re.split(_PER, text, maxsplit=1)
    return _per(_atoms()[above], (_atoms() | _after_slash())[below])


def _per(above: Unit, below: Unit) -> Unit:
    """Return a unit for each of another."""
    return Unit(f"{above.dimension}/{below.dimension}", above.factor / below.factor, f"{above.symbol}/{below.symbol}")


@functools.cache
def _table() -> dict[str, Any]:
    """Return units.json."""
    table: dict[str, Any] = read_json(Path(__file__).with_name("units.json"))
    return table


@functools.cache
def _atoms() -> dict[str, Unit]:
    """Return every name of a unit that is not made of two."""
    names: dict[str, Unit] = {}
    for base in _table()["prefixed"]:
        names |= _prefixed(base)
    for lone in _table()["lone"]:
        names |= {form: Unit(lone["dimension"], lone["factor"], lone["symbol"]) for form in lone["forms"]}
    for thing in _table()["counted"]:
        names |= {form: Unit(thing["symbol"], 1, thing["symbol"], counted=True) for form in thing["forms"]}
    return names


@functools.cache
def _after_slash() -> dict[str, Unit]:
    """Return names that are a unit only below a fraction line."""
    return {
        form: Unit(one["dimension"], one["factor"], one["symbol"])
        for one in _table()["after_slash"]
        for form in one["forms"]
    }


def _prefixed(base: dict[str, Any]) -> dict[str, Unit]:
    """Return a base unit's names, alone and with each prefix."""
    names: dict[str, Unit] = {}
    nothing = {"symbol": "", "forms": ["", "", ""], "factor": 1}
    for prefix in (nothing, *_table()["prefixes"]):
        *letters, han, word = prefix["forms"]
        unit = Unit(base["dimension"], base["factor"] * prefix["factor"], prefix["symbol"] + base["symbol"])
        for letter in letters:
            names[letter + base["symbol"]] = unit
            # In lower case mBq and MBq are one: neither is known. Nobody means a megasievert.
            if len(base["symbol"]) > 1 and letter != "M" and (letter, base["symbol"]) not in _UNCLEAR:
                names[(letter + base["symbol"]).lower()] = unit
        names |= {han + name: unit for name in (*base["zh"], base["symbol"])}
        names |= {word + name + end: unit for name in base["en"] for end in ("", "s")}
    return names


_UNCLEAR = {("m", "Bq"), ("m", "Ci"), ("m", "eV"), ("m", "Pa"), ("P", "Pa")}


def _number(text: str) -> float:
    """Return the number of digits, of a power of ten, or of Chinese characters."""
    if text.startswith("10^"):
        return 10.0 ** int(text[3:])
    return _han_number(text) if text[0] in "半点" or text[0] in _DIGITS or text[0] in _TENS else float(text)


def _han_number(text: str) -> float:
    """Return the number written in Chinese characters: 三千七百万, 两, 十五, 零点五, 半."""
    if text == "半":
        return 0.5
    whole, _, fraction = text.partition("点")
    total = section = digit = 0
    for character in whole:
        if character in _DIGITS:
            digit = _DIGITS[character]
        elif character in _TENS:
            section += (digit or 1) * _TENS[character]
            digit = 0
        else:
            total = (total + section + digit) * (10**4 if character == "万" else 10**8)
            section = digit = 0
    tail = "".join(str(_DIGITS[character]) for character in fraction)
    return total + section + digit + (float(f"0.{tail}") if tail else 0.0)
