"""How far people agree, beyond chance: Cohen's kappa and Krippendorff's alpha, with intervals over items.

Both are functions of tables of counts that add up over items, so a bootstrap of items is a weighted sum of tables.

Sources: Cohen 1960, "A coefficient of agreement for nominal scales"; Krippendorff 2011, "Computing Krippendorff's
Alpha-Reliability"; the bootstrap draws whole items, as answers to one question are not independent of each other.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
#: What raters said of one unit; None: nothing.
Unit = Sequence[Any]
DRAWS: Final = 2000
SEED: Final = 42
#: An interval needs so many items, and a value in so many of the draws.
LEAST_ITEMS: Final = 5
LEAST_DEFINED: Final = 0.9


def cohen_kappa(table: Floats) -> Floats:
    """Return kappa of tables of two raters, not a number where one of them says one thing of everything: 0 by its form.

    Args:
        table: (..., k, k): units to which the first rater gave the row's value and the second the column's.
    """
    total = table.sum(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = np.trace(table, axis1=-2, axis2=-1) / total
        expected = (table.sum(axis=-1) * table.sum(axis=-2)).sum(axis=-1) / total**2
        both_differ = ((table.sum(axis=-1) > 0).sum(axis=-1) > 1) & ((table.sum(axis=-2) > 0).sum(axis=-1) > 1)
        kappa: Floats = np.where(both_differ, (observed - expected) / (1 - expected), np.nan)
    return kappa


def krippendorff_alpha(table: Floats, distance: Floats) -> Floats:
    """Return alpha of tables of coincidences, not a number where all is one value.

    Args:
        table: (..., k, k), from `coincidences`, added up over units.
        distance: (k, k): squared difference of two values.
    """
    totals = table.sum(axis=-1)
    n = totals.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (table * distance).sum(axis=(-2, -1)) / n
        pairs = totals[..., :, None] * totals[..., None, :]
        expected = (pairs * distance).sum(axis=(-2, -1)) / (n * (n - 1))
        alpha: Floats = np.where(expected > 0, 1 - observed / expected, np.nan)
    return alpha


def coincidences(unit: Unit, values: Sequence[Hashable]) -> Floats:
    """Return the (k, k) table of one unit: every ordered pair of its ratings counts 1 / (ratings - 1)."""
    table = np.zeros((len(values), len(values)))
    given = [values.index(value) for value in unit if value is not None]
    for place, one in enumerate(given):
        for other in given[:place] + given[place + 1 :]:
            table[one, other] += 1 / (len(given) - 1)
    return table


def confusion(unit: Unit, values: Sequence[Hashable]) -> Floats:
    """Return the (k, k) table of one unit of two raters; all zero where one of them said nothing."""
    table = np.zeros((len(values), len(values)))
    if len(unit) == 2 and None not in unit:
        table[values.index(unit[0]), values.index(unit[1])] = 1
    return table


def nominal(values: Sequence[Hashable]) -> Floats:
    """Return the distance of values without an order: one or the other."""
    return 1 - np.eye(len(values))


def ranked(values: Sequence[Hashable]) -> Floats:
    """Return the distance of values in even steps: the square of the steps between."""
    steps = np.arange(len(values), dtype=float)
    difference: Floats = (steps[:, None] - steps[None, :]) ** 2
    return difference


def kappa_of(items: Mapping[str, Sequence[Unit]], values: Sequence[Hashable]) -> dict[str, Any]:
    """Return kappa of two raters.

    Args:
        items: item -> its units, each (first rater's value, second rater's).
        values: all that can be said.

    Returns:
        `units` both rated, `agree` (share of equal ratings), `value`, `interval` [low, high]; None where undefined.
    """
    tables = _tables(items, lambda unit: confusion(unit, values))
    return _facts(tables, cohen_kappa)


def alpha_of(
    items: Mapping[str, Sequence[Unit]], values: Sequence[Hashable], *, ordered: bool = False
) -> dict[str, Any]:
    """Return alpha of any number of raters, with gaps.

    Args:
        items: item -> its units, each with one value (or None) a rater.
        values: all that can be said.
        ordered: whether values are steps of a scale.

    Returns:
        As `kappa_of`; `units` are those with two ratings or more.
    """
    distance = ranked(values) if ordered else nominal(values)
    tables = _tables(items, lambda unit: coincidences(unit, values))
    facts = _facts(tables, lambda table: krippendorff_alpha(table, distance))
    return facts | {"units": sum(_rated(unit) > 1 for units in items.values() for unit in units)}


def _rated(unit: Unit) -> int:
    """Return how many raters said something."""
    return sum(value is not None for value in unit)


def _tables(items: Mapping[str, Sequence[Unit]], count: Callable[[Unit], Floats]) -> Floats:
    """Return (items, k, k): the table of each item, those without one left out."""
    tables = [sum((count(unit) for unit in units[1:]), count(units[0])) for units in items.values() if units]
    kept = [table for table in tables if table.sum() > 0]
    return np.stack(kept) if kept else np.zeros((0, 1, 1))


def _facts(tables: Floats, measure: Callable[[Floats], Floats]) -> dict[str, Any]:
    """Return value and interval of a measure of the added tables."""
    whole = tables.sum(axis=0)
    total = float(whole.sum())
    value = float(measure(whole)) if total else float("nan")
    return {
        "units": round(total),
        "agree": round(float(np.trace(whole)) / total, 6) if total else None,
        "value": _number(value),
        "interval": _interval(tables, measure),
    }


def _interval(tables: Floats, measure: Callable[[Floats], Floats]) -> list[float] | None:
    """Return the middle 95 % of a measure over draws of items; None where too few say anything."""
    if len(tables) < LEAST_ITEMS:
        return None
    draws = np.random.default_rng(SEED).multinomial(len(tables), np.full(len(tables), 1 / len(tables)), size=DRAWS)
    found = measure(np.tensordot(draws.astype(float), tables, axes=1))
    found = found[np.isfinite(found)]
    if len(found) < LEAST_DEFINED * DRAWS:
        return None
    return [round(float(end), 6) for end in np.quantile(found, [0.025, 0.975])]


def _number(value: float) -> float | None:
    """Return a number, None where it is none."""
    return round(value, 6) if np.isfinite(value) else None
