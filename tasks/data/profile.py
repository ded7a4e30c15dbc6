"""What a prepared dataset looks like in numbers.

A profile is a small JSON file of counts (no text): kept with a release, it is what the next dataset is compared with
(`drift`).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tasks.chat.conversation import LANGUAGES
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, write_json
from tasks.core.manifest import read_manifest

SCHEMA: Final = 1
#: First value of each bin, the last one open; two bins for each doubling, so that a picture shows the shape.
CHARACTER_EDGES: Final = (0, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192)
TOKEN_EDGES: Final = (0, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096, 8192)
EDGES: Final = {"characters": CHARACTER_EDGES, "tokens": TOKEN_EDGES}
COUNTED: Final = ("languages", "sources", "concepts", "formats")
#: What is compared with the reference.
NAMED: Final = ("languages", "sources", "concepts")
COMPARED: Final = (*NAMED, *(f"{unit}_{name}" for unit in EDGES for name in LANGUAGES))
UNNAMED: Final = "unnamed"


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
