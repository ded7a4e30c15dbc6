"""What a prepared dataset looks like in numbers, and how far another one has moved from it.

A profile is a small JSON file of counts (no text): kept with a release, it is what the next dataset is compared with.
The measure is the population stability index; up to 0.1 is read as stable, from 0.25 as a different population.

Source: Siddiqi 2006, Credit Risk Scorecards (index and its reading); Yurdakul 2018, Statistical Properties of
Population Stability Index (what chance alone gives: chi-squared(bins - 1) * (1/n + 1/m)).
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, write_json
from tasks.core.manifest import read_manifest

SCHEMA: Final = 1
#: First value of each bin, the last one open; two bins for each doubling, so that a picture shows the shape.
CHARACTER_EDGES: Final = (0, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192)
TOKEN_EDGES: Final = (0, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192)
EDGES: Final = {"characters": CHARACTER_EDGES, "tokens": TOKEN_EDGES}
LANGUAGES: Final = ("zh", "en")
COUNTED: Final = ("languages", "sources", "concepts", "formats")
UNNAMED: Final = "unnamed"
OTHERS: Final = "(others)"
#: Names with less than this share of both datasets count together: hundreds of rare topics are noise, not drift.
RARE_FRACTION: Final = 0.01
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

    def as_json(self) -> dict[str, Any]:
        """Return the comparison as validation.json holds it."""
        return asdict(self)


def histogram(values: npt.ArrayLike, edges: Sequence[int]) -> list[int]:
    """Return how many values fall into each bin; bin i is [edges[i], edges[i + 1]), the last one is open.

    Args:
        values: whole numbers from edges[0] on.
        edges: first value of each bin, rising.
    """
    places = np.searchsorted(np.asarray(edges), np.asarray(values), side="right") - 1
    return [int(count) for count in np.bincount(places, minlength=len(edges))]


def distributions(
    *,
    languages: Sequence[str],
    sources: Sequence[str],
    concepts: Sequence[str | None],
    formats: Sequence[str | None],
    characters: npt.ArrayLike,
    tokens: npt.ArrayLike | None = None,
) -> dict[str, Any]:
    """Return the distributions of the kept rows (train and validation) as summary.json holds them.

    Every argument has one entry a kept row, all in the same order.

    Args:
        languages: `zh` or `en`.
        sources: file relative to data/raw.
        concepts: what the row teaches, None where it does not say.
        formats: which reader understood it.
        characters: characters of all messages together.
        tokens: tokens of the whole conversation as training renders it; None where they were not counted.

    Returns:
        `languages`, `sources`, `concepts`, `formats`: {name: rows}, and `lengths`: {"characters": {"edges", "zh",
        "en"}, "tokens": ...} (without `tokens` where they were not counted).
    """
    spoken = np.asarray(languages, dtype=str)
    lengths = {"characters": _by_language(spoken, np.asarray(characters), CHARACTER_EDGES)}
    if tokens is not None:
        lengths["tokens"] = _by_language(spoken, np.asarray(tokens), TOKEN_EDGES)
    return {
        "languages": _counts(languages),
        "sources": _counts(sources),
        "concepts": _counts(concepts),
        "formats": _counts(formats),
        "lengths": lengths,
    }


def _by_language(languages: npt.NDArray[np.str_], values: npt.NDArray[Any], edges: Sequence[int]) -> dict[str, Any]:
    """Return a histogram for each language."""
    return {"edges": list(edges)} | {
        language: histogram(values[languages == language], edges) for language in LANGUAGES
    }


def _counts(names: Sequence[str | None]) -> dict[str, int]:
    """Return rows by name, by name."""
    found = Counter(names)
    return {str(name): found[key] for name, key in sorted((key or UNNAMED, key) for key in found)}


def profile_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return the profile of a prepared dataset.

    Args:
        summary: summary.json of stage prepare, or the distributions of its rows with `rows`.
    """
    rows = summary["rows"]
    return {"schema": SCHEMA, "rows": rows["kept"] if isinstance(rows, Mapping) else rows} | {
        name: summary[name] for name in (*COUNTED, "lengths")
    }


def write_profile(prepared: Path, file: Path) -> dict[str, Any]:
    """Write the profile of a finished prepared folder, with the lineage it belongs to, and return it.

    Raises:
        DataContractError: the folder is absent or incomplete.
    """
    manifest = read_manifest(prepared)
    profile = profile_of(read_json(prepared / "summary.json")) | {"lineage_id": manifest.get("lineage_id")}
    write_json(file, profile)
    return profile


def read_profile(file: Path) -> dict[str, Any]:
    """Return a profile that was written before.

    Raises:
        ConfigError: there is no such file.
        DataContractError: it is no profile of this schema.
    """
    if not file.is_file():
        raise ConfigError(f"validate.drift.reference: {file} does not exist", f"tunegate data profile --write {file}")
    profile = read_json(file)
    if not _is_profile(profile):
        raise DataContractError(
            f"{file} is no dataset profile of schema {SCHEMA}", f"tunegate data profile --write {file}"
        )
    return dict(profile)


def _is_profile(value: Any) -> bool:
    """Tell whether a value has the fields of a profile, with the bins of today: other bins cannot be compared."""
    if not isinstance(value, dict) or value.get("schema") != SCHEMA or not isinstance(value.get("rows"), int):
        return False
    lengths = value.get("lengths")
    counted = all(isinstance(value.get(name), dict) for name in COUNTED)
    return (
        counted
        and isinstance(lengths, dict)
        and all(_are_bins(found, EDGES.get(unit)) for unit, found in lengths.items())
    )


def _are_bins(found: Any, edges: Sequence[int] | None) -> bool:
    """Tell whether a value holds a histogram for each language over these bins."""
    whole = isinstance(found, dict) and edges is not None and found.get("edges") == list(edges)
    return whole and all(
        isinstance(found.get(name), list) and len(found[name]) == len(edges or ()) for name in LANGUAGES
    )


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
        _drift(name, old, new, max_index)
        for (name, old), (_, new) in zip(_distributions(reference), _distributions(current), strict=True)
        if sum(old.values()) and sum(new.values())
    ]


def _distributions(profile: Mapping[str, Any]) -> Iterator[tuple[str, Counts]]:
    """Yield every distribution of a profile by name."""
    for name in ("languages", "sources", "concepts"):
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


def _drift(name: str, reference: Counts, current: Counts, max_index: float) -> Drift:
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
    """Return both with the names that are rare in both counted together."""
    total, total_now = sum(reference.values()), sum(current.values())
    common = {
        name
        for name in {*reference, *current}
        if reference.get(name, 0) >= RARE_FRACTION * total or current.get(name, 0) >= RARE_FRACTION * total_now
    }
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
