"""Postal addresses in English: house number and street, post box, rural route, with what stands around them."""

import re
from collections.abc import Iterator

from tasks.data.privacy.screen import Likely
from tasks.data.privacy.spans import Span
from tasks.data.privacy.wordlists import word_set

_STREET_WORD = (
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Way|Place|Pl|Square|Sq"
    r"|Close|Crescent|Terrace|Parkway|Pkwy"
    r"|Highway|Hwy|Circle|Alley|Row|Grove|Gardens|Mews|Walk|Hill|Trail|Quay|Embankment)"
)
#: Suffixes that head other phrases as well: a house number of two digits and a name before them, an address around.
#: Source: USPS Publication 28, appendix C1.
_RARE_STREET_WORD = (
    r"(?:Port|Crossing|Loop|Path|Pass|Point|Plaza|Ridge|Run|View|Heights|Junction|Brook|Creek|Falls|Fields?|Fords?|Forest|Forge"
    r"|Forks?|Garden|Glens?|Greens?|Harbors?|Haven|Hollow|Inlet|Islands?|Isle|Keys?|Knolls?|Lakes?|Landing|Lights?|Locks?"
    r"|Lodge|Manors?|Meadows?|Mills?|Mission|Motorway|Mount|Mountains?|Neck|Orchard|Oval|Overpass|Parks?|Passage|Pike|Pines?"
    r"|Plains?|Ports|Prairie|Radial|Ramp|Ranch|Rapids?|Rest|River|Roads|Rue|Shoals?|Shores?|Skyway|Springs?|Spurs?|Stravenue"
    r"|Stream|Streets|Summit|Throughway|Trace|Track|Trafficway|Tunnel|Turnpike|Underpass|Unions?|Valleys?|Via|Viaduct|Villages?"
    r"|Ville|Vista|Walks|Wall|Wells?|Extensions?|Estates?|Drives|Divide|Dam|Dale|Curve|Cove|Courts|Course|Corners?|Commons?"
    r"|Club|Cliffs?|Cape|Canyon|Camp|Bypass|Burgs?|Bridge|Branch|Bottom|Bluffs?|Beach|Bend|Bayou|Arcade|Annex|Expressway"
    r"|Freeway|Flats?|Ferry|Hills|Hollow|Squares|Station|Circles|Center|Centers|Causeway)"
)
_SIDE = r"(?:North|South|East|West|NW|NE|SW|SE|N|S|E|W)"
_UNIT = (
    r"(?:(?:Apt|Apartment|Flat|Unit|Suite|Ste|Room|Rm|Building|Bldg|Block|Floor"
    r"|House)\.?[ ]?#?[0-9A-Za-z-]{1,6}|#[ ]?[0-9A-Z]{1,5})"
)
_BRITISH = r"[A-Z]{1,2}[0-9]"
_PLACE = rf"(?![A-Z]{{2}}(?![A-Za-z]))[A-Z][A-Za-z'.-]+(?:[ ](?!{_BRITISH})[A-Z][A-Za-z'.-]+){{0,3}}"
_POSTCODE = r"(?:[0-9]{5,6}(?:-[0-9]{4})?|[A-Z]{1,2}[0-9][0-9A-Z]?[ ][0-9][A-Z]{2})(?![0-9A-Za-z])"
_CITY = rf"(?:,[ ]{_PLACE}){{0,4}}(?:,?[ ][A-Z]{{2}}(?![A-Za-z0-9]))?(?:,?[ ]{_POSTCODE})?"
_NAME = rf"(?:{_SIDE}\.?[ ])?(?:(?:[A-Z][A-Za-z'’-]*\.?|[0-9]{{1,3}}(?:st|nd|rd|th))[ ]){{1,4}}?"
#: Begins with a digit and nothing else, so that the search skips the rest of the text quickly.
_HOUSE = re.compile(
    rf"[0-9](?<![0-9A-Za-z.,-][0-9])[0-9]{{0,4}}[A-Za-z]?(?:-[0-9]{{1,4}})?,?[ ]"
    rf"(?:({_NAME}){_STREET_WORD}\b\.?(?:[ ]{_SIDE}\b)?|(?:{_SIDE}[ ])?(?:Broadway|[A-Z][a-z]{{2,9}}(?:sway|gate))\b)"
    rf"(?:,?[ ]{_UNIT}){{0,3}}{_CITY}"
)
_ESTATE = (
    r"(?:[A-Z][a-z'’-]+[ ]){1,3}"
    r"(?:Estate|House|Building|Court|Park|Towers?|Mansions|Centre|Center|Wharf|Mill|Farm|Cottage),[ ]"
)
_UNITS_BEFORE = re.compile(rf"(?<![A-Za-z0-9])(?:{_UNIT},?[ ]){{0,3}}(?:{_ESTATE})?(?:No\.?[ ]?)?\Z")
_BOX = re.compile(
    rf"P\.? ?O\.? ?Box[ ][0-9]{{1,6}}(?![0-9]){_CITY}|Rural Route[ ][0-9]{{1,3}}(?:,? Box [0-9]{{1,5}})?{_CITY}"
)
_UNITS_REACH = 64
_RARE_HOUSE = re.compile(
    rf"[0-9](?<![0-9A-Za-z.,$-][0-9])[0-9]{{1,4}}[ ]((?:{_SIDE}[ ])?(?:[A-Z][a-z'’-]+[ ]){{1,2}}?){_RARE_STREET_WORD}\b"
    rf"((?:,?[ ]{_UNIT}){{0,2}}{_CITY})"
)
_LIVING = re.compile(
    r"(?:\b[Aa]ddress(?: is)?|\b[Aa]t|\b[Ll]iv(?:es?|ed|ing) (?:on|in)|\b[Rr]esid\w+ (?:at|of)|\b[Nn]ear|\b[Tt]o|"
    r"\b[Ff]rom|\b[Oo]f|\b[Oo]ffice"
    r"|\b[Ss]treet|\b[Cc]all|\b[Hh]ome|:|[\n\"(|]|\A)[ :\"]{0,2}\Z"
)
#: Drives, rows and courts of machines and tables.
_THINGS = word_set(
    "control rod motor reactor coolant valve turbine shaft speed hard disk direct variable fuel safety data steam main "
    "pump feed gear servo drum tube first second each every belt chain bit table matrix usb flash hot cold fast slow "
    "best only new full total standard"
)


_HOUSE_NAME, _RARE_NAME, _BOX_NAME = "house", "house of a rare street", "box"
#: For `screen.Screen`.
ENGLISH_ADDRESSES = {_HOUSE_NAME: _HOUSE.pattern, _RARE_NAME: _RARE_HOUSE.pattern, _BOX_NAME: _BOX.pattern}


def find_english_addresses(plain: str, likely: Likely = frozenset(ENGLISH_ADDRESSES)) -> Iterator[Span]:
    """Yield English postal addresses in readable text.

    Args:
        plain: readable text.
        likely: names of `ENGLISH_ADDRESSES` that may match.
    """
    for match in _HOUSE.finditer(plain) if _HOUSE_NAME in likely else ():
        if match[1] and _THINGS.intersection(match[1].casefold().split()):
            continue
        left = max(0, match.start() - _UNITS_REACH)
        units = _UNITS_BEFORE.search(plain, left, match.start())
        yield Span(units.start() if units else match.start(), match.end(), "address")
    for match in _RARE_HOUSE.finditer(plain) if _RARE_NAME in likely else ():
        if _leads_to_a_house(plain, match):
            yield Span(match.start(), match.end(), "address")
    for match in _BOX.finditer(plain) if _BOX_NAME in likely else ():
        yield Span(match.start(), match.end(), "address")


def _leads_to_a_house(plain: str, match: re.Match[str]) -> bool:
    """Tell whether a number and a name with a rare suffix are an address: a unit or a town after it, or a word before.

    1984 Apollo Mission is a year and a thing.
    """
    if _THINGS.intersection(match[1].casefold().split()):
        return False
    if any(character.isdigit() for character in match[2]):
        return True
    year = re.match(r"(?:19|20)\d\d ", match[0])
    return not year and bool(_LIVING.search(plain, max(0, match.start() - 24), match.start()))
