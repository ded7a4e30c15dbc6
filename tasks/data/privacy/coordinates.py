"""GPS coordinates: a latitude and a longitude, precise enough to find a house.

A lone parallel (北纬30°) or a range is geography, and two decimals side by side are a table of readings: only a pair
with hemispheres, with a word for coordinates, or inside the country's own box counts.
"""

import re
from collections.abc import Iterator

from tasks.data.privacy.spans import COVER, Span

_DEGREES = (
    r"\d{1,3}(?:\.\d{2,8}\s?[°度]?"
    # Degrees and whole minutes are a town: geography asks for those.
    r"|\s?[°度]\s?\d{1,2}(?:\.\d{2,}\s?[′'’分]|(?:\.\d+)?\s?[′'’分]\s?\d{1,2}(?:\.\d+)?\s?(?:[″\"”秒]|''|′′)))"
)
_BETWEEN = r"[\s,;、/和及与]{0,3}"


def _axis(word: str, hemispheres: str) -> str:
    """Return the pattern of one coordinate, named before the number or by its hemisphere after it."""
    end = rf"\s?[{hemispheres}](?![A-Za-z])"
    return (
        rf"(?:(?:{word}|[{hemispheres}])[\s:=为是]{{0,3}}[+-]?{_DEGREES}(?:{end})?"
        rf"|[+-]?{_DEGREES}{end})"
    )


_LATITUDE = _axis("北纬|南纬|纬度|[Ll]at(?:itude)?", "NS")
_LONGITUDE = _axis("东经|西经|经度|[Ll](?:on|ng)(?:gitude)?", "EW")
_NAMED = re.compile(
    rf"(?<![0-9A-Za-z.])(?:{_LATITUDE}{_BETWEEN}{_LONGITUDE}|{_LONGITUDE}{_BETWEEN}{_LATITUDE})(?![0-9A-Za-z])"
)
#: Where a latitude can be: its word, or the letter of its hemisphere beside a number.
_LATITUDE_HINT = re.compile(
    r"[NS纬](?:(?<=纬)|(?<=[0-9°度分秒′'’″\"” ][NS])(?![A-Za-z])|[\s:=为是]{0,3}[+-]?[0-9]{1,3}[.°度 ])"
)
_WORD_HINT = re.compile(r"[Ll]at(?:itude)?[\s:=为是]{0,3}[+-]?[0-9]")
_PAIR = re.compile(
    r"(?<![0-9A-Za-z.-])([+-]?\d{1,3}\.(\d{3,8}))°?\s{0,2}[,;/、 ]\s{0,2}"
    r"([+-]?\d{1,3}\.(\d{3,8}))°?(?![0-9A-Za-z%]|\.\d)"
)
#: Begins with its rarest character.
_PAIR_HINT = re.compile(r"\.\d{3,8}°?\s{0,2}[,;/、 ]\s{0,2}[+-]?\d{1,3}\.\d{3}")
_WORD = re.compile(
    r"GPS|坐标|经纬|定位|位置|方位|[Cc]oordinates?|[Ll]ocat|[Pp]osition|[Ll]at|[Ll]ongitude|北斗|导航|[Ww]aypoint"
)
_WORD_REACH = 24
#: Longer than two coordinates in degrees, minutes and seconds.
_REACH = 72
_BOX = ((3.0, 54.0), (73.0, 136.0))
#: For `screen.Screen`: where neither stands, there are none.
COORDINATES = {"latitude and longitude": _NAMED.pattern, "two decimals": _PAIR_HINT.pattern}
_UNIT = re.compile(r"\s?(?:[kKMGmuµμn]?(?:Bq|Sv|Gy|Hz|eV|Ci|Pa|[mgsVWAJ])(?![a-z])|[%℃×]|米|毫|微|千)")


def find_coordinates(plain: str) -> Iterator[Span]:
    """Yield pairs of latitude and longitude in readable text."""
    places = [match.start() for match in _LATITUDE_HINT.finditer(plain)]
    if "lat" in plain or "Lat" in plain:
        places += [match.start() for match in _WORD_HINT.finditer(plain)]
    end = 0
    for place in sorted(places):
        for match in _NAMED.finditer(plain, max(end, place - _REACH), place + _REACH):
            end = match.end()
            yield Span(match.start(), end, "coordinates")
    for hint in _PAIR_HINT.finditer(plain):
        match_ = _PAIR.search(plain, max(0, hint.start() - 5), hint.end() + 8)
        if match_ and _is_place(match_):
            yield Span(match_.start(), match_.end(), "coordinates")


def _is_place(match: re.Match[str]) -> bool:
    """Tell whether two decimals are a place on the globe rather than readings."""
    first, second = float(match[1]), float(match[3])
    if _UNIT.match(match.string[match.end() : match.end() + 8]):
        return False
    near = match.string[max(0, match.start() - _WORD_REACH) : match.start()].rpartition(COVER)[2]
    if _WORD.search(near):
        return _fits(first, second) or _fits(second, first)
    precise = min(len(match[2]), len(match[4])) >= 4
    return precise and (_in_box(first, second) or _in_box(second, first))


def _fits(latitude: float, longitude: float) -> bool:
    """Tell whether two numbers can be latitude and longitude."""
    return abs(latitude) <= 90 and abs(longitude) <= 180


def _in_box(latitude: float, longitude: float) -> bool:
    """Tell whether a place lies in or near China."""
    return _BOX[0][0] <= latitude <= _BOX[0][1] and _BOX[1][0] <= longitude <= _BOX[1][1]
