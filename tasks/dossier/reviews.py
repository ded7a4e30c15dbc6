"""What people said of this model's answers: the reports of reviews that read them, held to the marks beside them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tasks.core.digest import file_digests
from tasks.core.files import read_json
from tasks.core.layout import HOPS

REPORT: Final = "report.json"
MEASURES_ZH: Final = {
    "points": ("key points met", "要点达到"),
    "right": ("answer or refusal right", "回答或拒绝正确"),
    "factual_error": ("with a factual error", "有事实错误"),
    "severity": ("harm if acted on", "据此行动的危害"),
}
SEVERITIES_ZH: Final = {"none": "无", "minor": "轻微", "major": "严重", "dangerous": "危险"}


def review_facts(folder: Path | None, lineage_id: str) -> list[dict[str, Any]]:
    """Return what each review of this model found; one whose marks have changed since says that alone.

    Args:
        folder: of all reviews; None or absent: there is none.
        lineage_id: of the model.
    """
    return list(_facts(folder, lineage_id)) if folder and folder.is_dir() else []


def _facts(folder: Path, lineage_id: str) -> Iterator[dict[str, Any]]:
    """Yield the facts of each review of a model."""
    for path in sorted(folder.glob(f"*/{REPORT}")):
        found = read_json(path)
        if lineage_id not in found["lineages"].values():
            continue
        if file_digests(path.parent, skip=frozenset({REPORT})) != found["made_from"]:
            yield {"name": path.parent.name, "stale": True}
            continue
        yield {
            "name": path.parent.name,
            "stale": False,
            "cards": found["cards"],
            "reviewers": found["reviewers"],
            "disputed": len(found["disputed"]),
            "agreement": [_agreement(name, found) for name in MEASURES_ZH],
            "hops": [{"hop": hop, **found["hops"][hop]} for hop in HOPS if hop in found["hops"]],
        }


def _agreement(measure: str, found: dict[str, Any]) -> dict[str, Any]:
    """Return how far people agree on a measure, with each other and with the scorer."""
    between = found["between"][measure]
    against = found["against_automatic"].get(measure, [])
    return {
        "words": MEASURES_ZH[measure],
        "alpha": _measured(between["alpha"]),
        "kappa": [_measured(pair) for pair in between["kappa"]],
        "automatic": [f"{one['reviewer']} {_measured(one)}" for one in against],
    }


def _measured(one: dict[str, Any]) -> str:
    """Return a measure with its interval."""
    if one["value"] is None:
        return "–"
    low_high = " [{:.2f}, {:.2f}]".format(*one["interval"]) if one["interval"] else ""
    return f"{one['value']:.2f}{low_high} ({one['units']})"
