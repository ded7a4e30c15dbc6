"""What MLflow's page of a version says first: the verdict in words, the figures, where the reports are.

For people alone: what decides is signed (tasks/release/proofs.py). MLflow shows it as Markdown above forty tags.
"""

from collections.abc import Mapping
from typing import Any

from tasks.core.layout import DOSSIER, GATE, HOPS, VALIDATION

#: Name -> page below the version's artifacts.
PAGES = {
    "dossier": f"{DOSSIER}/index.html".removeprefix("data/"),
    "data checks": f"{VALIDATION}/data_docs/index.html".removeprefix("data/"),
    "verdict": f"{GATE}/verdict.md".removeprefix("data/"),
}
#: MLflow's database takes no more; the figures go first.
MOST_CHARACTERS = 5000


def artifact_route(experiment_id: str, run_id: str, page: str) -> str:
    """Return the route of a run's file on an MLflow server, the part of its address after `#`."""
    return f"/experiments/{experiment_id}/runs/{run_id}/artifacts/{page}"


def description(verdict: Mapping[str, Any], metrics: Mapping[str, Mapping[str, float]], run: Any) -> str:
    """Return a version's description, in Markdown.

    Args:
        verdict: verdict.json.
        metrics: of every hop.
        run: MLflow's run that holds the version's files.
    """
    demo = ", a demonstration" if verdict["demo"] else ""
    words = [verdict.get(name, "") for name in ("summary_words", "summary_words_zh")]
    links = " · ".join(f"[{name}](#{artifact_route(run.info.experiment_id, run.info.run_id, page)})"
                       for name, page in PAGES.items())  # fmt: skip
    parts = [f"**{verdict['verdict']}**{demo} · lineage `{verdict['lineage_id']}`", *filter(None, words), links]
    whole = "\n\n".join([*parts, _figures(metrics)])
    return whole if len(whole) <= MOST_CHARACTERS else "\n\n".join(parts)[:MOST_CHARACTERS]


def _figures(metrics: Mapping[str, Mapping[str, float]]) -> str:
    """Return a row a metric, a column a hop; a dash where it was not asked."""
    names = sorted({name for found in metrics.values() for name in found})
    rows = [["metric", *HOPS], ["---", *["---:"] * len(HOPS)]]
    rows += [[name, *(f"{metrics[hop][name]:.3f}" if name in metrics[hop] else "–" for hop in HOPS)] for name in names]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
