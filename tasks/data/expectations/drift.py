"""How far a dataset has moved from the last released one: the population stability index of each distribution.

Up to 0.1 is read as stable, from 0.25 as a different population; small datasets reach that by chance alone, so the
limit is never below what chance gives.

Source: Siddiqi 2006, Credit Risk Scorecards (index and its reading); Yurdakul 2018, Statistical Properties of
Population Stability Index (chance: chi-squared(bins - 1) * (1/n + 1/m)).
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from tasks.chat.conversation import LANGUAGES
from tasks.core.errors import ConfigError
from tasks.core.settings import DriftParams
from tasks.data.profile import EDGES, NAMED, read_profile

OTHERS: Final = "(others)"
#: Names with less than this share, over both datasets, count together: hundreds of rare topics are noise, not drift.
RARE_FRACTION: Final = 0.01
#: So do names of which the smaller dataset is expected to have fewer rows than this: chi-squared does not hold there.
EXPECTED_ROWS: Final = 5
#: Rows added to each bin, as a share of one row: an empty bin would make the index infinite.
PSEUDO_ROWS: Final = 0.5
#: How often chance alone may exceed the limit.
CHANCE: Final = 0.001

Counts = Mapping[str, int]


@dataclass(frozen=True)
class Drift:
    """How far one distribution has moved from the reference.

    Args:
        name: `languages`, `sources`, `concepts`, `characters_zh`, ...
        index: population stability index.
        limit: the larger of the configured limit and what chance gives once in a thousand times at these sizes.
        movers: names or bins that moved most: [name, share in the reference, share now].
    """

    name: str
    index: float
    limit: float
    movers: tuple[tuple[str, float, float], ...]


def psi(reference: Counts, current: Counts) -> float:
    """Return the population stability index: sum of (q - p) * ln(q / p) over the names of both.

    Args:
        reference: rows by name in the dataset compared with; p is a name's share.
        current: rows by name now; q is a name's share.
    """
    return float(sum(_terms(reference, current).values()))


def _terms(reference: Counts, current: Counts) -> dict[str, float]:
    """Return what each name adds to the index."""
    names = sorted({*reference, *current})
    p, q = _shares(reference, names), _shares(current, names)
    return {name: (b - a) * math.log(b / a) for name, a, b in zip(names, p, q, strict=True)}


def _shares(counts: Counts, names: Sequence[str]) -> list[float]:
    """Return each name's share, none of them zero."""
    total = sum(counts.values()) + PSEUDO_ROWS * len(names)
    return [(counts.get(name, 0) + PSEUDO_ROWS) / total for name in names]


def compare(reference: Mapping[str, Any], current: Mapping[str, Any], max_index: float) -> list[Drift]:
    """Return how far each distribution of a profile has moved.

    Args:
        reference: profile of the dataset compared with.
        current: profile of the dataset at hand.
        max_index: configured limit of the index.
    """
    return [
        drift_of(name, old, new, max_index)
        for (name, old), (_, new) in zip(_distributions(reference), _distributions(current), strict=True)
        if sum(old.values()) and sum(new.values())
    ]


def _distributions(profile: Mapping[str, Any]) -> Iterator[tuple[str, Counts]]:
    """Yield every distribution of a profile by name."""
    for name in NAMED:
        yield name, profile[name]
    for unit in EDGES:
        lengths = profile["lengths"].get(unit)
        for language in LANGUAGES:
            yield f"{unit}_{language}", _bins(lengths, language) if lengths else {}


def _bins(lengths: Mapping[str, Any], language: str) -> Counts:
    """Return a histogram as rows by name of the bin."""
    edges = lengths["edges"]
    names = [f"{low}-{high - 1}" for low, high in pairwise(edges)] + [f"{edges[-1]}+"]
    return dict(zip(names, lengths[language], strict=True))


def drift_of(name: str, reference: Counts, current: Counts, max_index: float) -> Drift:
    """Return the comparison of one distribution."""
    old, new = _without_rare(reference, current)
    terms = _terms(old, new)
    ranked = sorted(terms, key=lambda key: (-terms[key], key))[:3]
    shares = [(key, _share(old, key), _share(new, key)) for key in ranked if terms[key] > 0]
    limit = max(max_index, chance_limit(len(terms), sum(old.values()), sum(new.values())))
    return Drift(name, round(sum(terms.values()), 4), round(limit, 4), tuple(shares))


def _share(counts: Counts, name: str) -> float:
    """Return a name's share of the rows."""
    return round(counts.get(name, 0) / max(sum(counts.values()), 1), 4)


def _without_rare(reference: Counts, current: Counts) -> tuple[Counts, Counts]:
    """Return both with the names that are rare counted together."""
    total, total_now = sum(reference.values()), sum(current.values())
    least = max(RARE_FRACTION, EXPECTED_ROWS / min(total, total_now))
    shares = {
        name: (reference.get(name, 0) / total + current.get(name, 0) / total_now) / 2 for name in {*reference, *current}
    }
    common = {name for name, share in shares.items() if share >= least}
    return _grouped(reference, common), _grouped(current, common)


def _grouped(counts: Counts, common: set[str]) -> Counts:
    """Return counts with every name that is not common under one name."""
    grouped = {name: count for name, count in counts.items() if name in common}
    rest = sum(count for name, count in counts.items() if name not in common)
    return grouped | ({OTHERS: rest} if rest else {})


def chance_limit(bins: int, rows: int, rows_now: int) -> float:
    """Return the index that two samples of one population exceed once in a thousand times.

    Source: Yurdakul 2018: the index is about chi-squared with bins - 1 degrees of freedom, times (1/n + 1/m).
    """
    if bins < 2:
        return 0.0
    from scipy.stats import chi2

    return float(chi2.ppf(1 - CHANCE, bins - 1)) * (1 / rows + 1 / rows_now)


@dataclass(frozen=True)
class Comparison:
    """What a dataset was compared with, and what came out.

    Args:
        reference: the profile's file as params.yaml names it; None: there is nothing to compare with.
        rows: rows of the reference.
        lineage_id: lineage of the reference, where its profile has one.
        drifts: every distribution that both have.
    """

    reference: str | None
    rows: int
    lineage_id: str | None
    drifts: tuple[Drift, ...]

    @property
    def words(self) -> str:
        """One sentence for people."""
        if self.reference is None:
            return (
                "Nothing to compare with: validate.drift.reference is null. After a release: tunegate data profile "
                "--write data/raw/reference/profile.json, then reference: reference/profile.json."
            )
        moved = [drift.name for drift in self.drifts if drift.index > drift.limit]
        result = f"moved: {', '.join(moved)}" if moved else "none has moved"
        return f"{len(self.drifts)} distributions compared with {self.reference} ({self.rows:,} rows): {result}."

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as validation.json holds it."""
        return asdict(self) | {"words": self.words}


def read_reference(params: DriftParams, raw: Path) -> dict[str, Any] | None:
    """Return the profile of the last released dataset, None where params.yaml names none.

    Args:
        params: where it is.
        raw: data/raw of the project. The file must lie there, or DVC would not see it change.

    Raises:
        ConfigError: the file is absent, or elsewhere.
        DataContractError: it is no profile.
    """
    if params.reference is None:
        return None
    file = (raw / params.reference).resolve()
    if not file.is_relative_to(raw.resolve()):
        raise ConfigError(
            f"validate.drift.reference: {params.reference} is not under data/raw",
            "move it to data/raw/reference/ and name it reference/FILE, so that a change of it is seen",
        )
    return read_profile(file)


def compare_with(params: DriftParams, reference: Mapping[str, Any] | None, current: Mapping[str, Any]) -> Comparison:
    """Return how far a dataset has moved from the reference, or that there is none."""
    if reference is None:
        return Comparison(None, 0, None, ())
    drifts = compare(reference, current, params.max_stability_index)
    return Comparison(params.reference, reference["rows"], reference.get("lineage_id"), tuple(drifts))
