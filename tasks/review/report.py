"""What a review found: how far reviewers agree with each other and with the scorer, and what each hop is worth."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from tasks.core.digest import file_digests
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.review.agreement import alpha_of, kappa_of
from tasks.review.cards import ABOUT, Card, read_cards
from tasks.review.marks import SEVERITIES, Mark, read_marks

REPORT: Final = "report.json"
TRUTH: Final = (False, True)
#: Measure -> what can be said, and whether it is a scale.
MEASURES: Final[dict[str, tuple[Sequence[Any], bool]]] = {
    "points": (TRUTH, False),
    "right": (TRUTH, False),
    "factual_error": (TRUTH, False),
    "severity": (SEVERITIES, True),
}
#: Those the scorer says something about, too.
AUTOMATIC: Final = ("points", "right")

Marks = Mapping[str, Mapping[str, Mark]]


def report(folder: Path) -> dict[str, Any]:
    """Return what a review found, and write it beside the marks (report.json).

    Args:
        folder: of the review.

    Raises:
        DataContractError: nobody has marked anything, or cards or marks are damaged.
    """
    cards = read_cards(folder)
    marks = read_marks(folder, cards)
    if not any(marks.values()):
        raise DataContractError(f"nobody has marked an answer of {folder.name}", "tunegate review serve --reviewer ID")
    about = read_json(folder / ABOUT)
    found = {
        "schema": 1,
        "name": about["name"],
        "lineages": about["lineages"],
        "cards": len(cards),
        "reviewers": [{"id": name, "marked": len(given)} for name, given in sorted(marks.items())],
        "between": {name: _between(name, cards, marks) for name in MEASURES},
        "against_automatic": {name: _against(name, cards, marks) for name in AUTOMATIC},
        "hops": {hop: _hop([card for card in cards if hop in card.hops], marks) for hop in about["hops"]},
        "disputed": [card.card_id for card in cards if is_disputed(card, marks)],
        "made_from": file_digests(folder, skip=frozenset({REPORT})),
    }
    write_json(folder / REPORT, found)
    return found


def said(mark: Mark | None, measure: str, place: int = 0) -> Any:
    """Return what a mark says of a measure; None: nothing."""
    if mark is None:
        return None
    if measure == "points":
        return mark.points[place]
    return getattr(mark, measure)


def places(card: Card, measure: str) -> range:
    """Return the units of an answer: one for each key point, else one; none where the measure is not of its kind."""
    if measure == "points":
        return range(len(card.points))
    return range(0 if measure == "right" and card.points else 1)


def is_disputed(card: Card, marks: Marks) -> bool:
    """Tell whether two reviewers said different things of an answer."""
    given = [by_card.get(card.card_id) for by_card in marks.values()]
    return any(
        len({said(mark, measure, place) for mark in given} - {None}) > 1
        for measure in MEASURES
        for place in places(card, measure)
    )


def _units(
    measure: str, cards: Sequence[Card], rate: Callable[[Card, int], Sequence[Any]]
) -> dict[str, list[Sequence[Any]]]:
    """Return item -> the ratings of its units."""
    items: dict[str, list[Sequence[Any]]] = defaultdict(list)
    for card in cards:
        items[card.item_id] += [rate(card, place) for place in places(card, measure)]
    return items


def _between(measure: str, cards: Sequence[Card], marks: Marks) -> dict[str, Any]:
    """Return how far reviewers agree: alpha of all, kappa of each two."""
    values, ordered = MEASURES[measure]
    names = sorted(marks)

    def rates(names: Sequence[str]) -> Callable[[Card, int], Sequence[Any]]:
        return lambda card, place: [said(marks[name].get(card.card_id), measure, place) for name in names]

    return {
        "alpha": alpha_of(_units(measure, cards, rates(names)), values, ordered=ordered),
        "kappa": [
            {"reviewers": list(pair), **kappa_of(_units(measure, cards, rates(pair)), values)}
            for pair in combinations(names, 2)
        ],
    }


def _against(measure: str, cards: Sequence[Card], marks: Marks) -> list[dict[str, Any]]:
    """Return how far each reviewer agrees with the scorer, and where it was kinder or harder."""
    found = []
    for name, given in sorted(marks.items()):

        def rate(card: Card, place: int, given: Mapping[str, Mark] = given) -> Sequence[Any]:
            return [said(given.get(card.card_id), measure, place), _automatic(card, measure, place)]

        units = _units(measure, cards, rate)
        pairs = Counter(tuple(unit) for one in units.values() for unit in one if None not in unit)
        found.append({
            "reviewer": name, **kappa_of(units, TRUTH),
            "scorer_alone_says_yes": pairs[False, True], "reviewer_alone_says_yes": pairs[True, False],
        })  # fmt: skip
    return found


def _hop(cards: Sequence[Card], marks: Marks) -> dict[str, Any]:
    """Return what reviewers say of one hop's answers, and the scorer of the same."""
    found: dict[str, Any] = {"answers": len(cards)}
    for measure in MEASURES:
        rated = [
            (said(given.get(card.card_id), measure, place), card, place)
            for card in cards for given in marks.values() for place in places(card, measure)
        ]  # fmt: skip
        rated = [one for one in rated if one[0] is not None]
        if measure == "severity":
            counts = Counter(value for value, *_ in rated)
            found[measure] = {name: counts[name] for name in SEVERITIES}
            continue
        found[measure] = {"ratings": len(rated), "yes": _share(value for value, *_ in rated)}
        if measure in AUTOMATIC:
            found[measure]["automatic"] = _share(_automatic(card, measure, place) for _, card, place in rated)
    return found


def _automatic(card: Card, measure: str, place: int) -> Any:
    """Return what the scorer said of a unit."""
    found = card.automatic[measure]
    return found[place] if measure == "points" else found


def _share(values: Iterable[Any]) -> float | None:
    """Return the share of yes; None where nothing was said."""
    given = [float(value) for value in values]
    return round(fmean(given), 6) if given else None
