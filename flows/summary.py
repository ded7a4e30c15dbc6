"""What a person reads at the end of a run: what happened, and where everything is."""

from typing import Any

from flows.clock import bars
from tasks.core.files import read_json
from tasks.core.layout import DOSSIER, GATE, HOPS, VALIDATION
from tasks.core.project import Project
from tasks.release.register import hop_metrics

#: Shown first; whatever else was measured follows.
FIRST = ("heldout_bits_per_byte", "domain_bits_per_byte", "ceval_accuracy", "cmmlu_accuracy", "domain_choice_accuracy")


def summary(project: Project, outcome: dict[str, Any]) -> str:
    """Return the closing page of `tunegate run`.

    Args:
        project: the run's folder.
        outcome: what the flow returned.
    """
    below = f"{project.root}/" if outcome.get("folder") and project.own != project.state else ""
    verdict = read_json(project.root / GATE / "verdict.json")
    demo = " (demo: it may not carry a production deployment)" if verdict["demo"] else ""
    answers = [line for item in outcome["answers"] for line in _exchange(item)]
    if answers and verdict["profile"] == "laptop":
        answers.append("(a 135M model: usable English, poor Chinese; verify-7b is the first profile for real use)")
    return "\n".join(
        [
            "",
            f"verdict {verdict['verdict']}{demo}: version {outcome['version']}, lineage {outcome['lineage_id']}",
            *_hop_table(project),
            *answers,
            "",
            outcome["outcome"],
            "",
            *bars(outcome),
            "",
            "where everything is",
            *_of_the_run(project, outcome),
            f"  report for reviewers   {below}{DOSSIER}/index.html   (opens from disk)",
            f"  data checks            {below}{VALIDATION}/data_docs/index.html",
            f"  fate of every row      {below}data/prepared/ledger.jsonl",
            "  numbers, old and new   .venv/bin/dvc metrics diff",
            "  Prefect UI             make prefect-ui   (runs, schedules, artifacts)",
            "  MLflow UI              make mlflow-ui    (loss curve, versions, alias champion)",
            "  serve and talk to it   .venv/bin/tunegate serve",
            f"  where it came from     .venv/bin/tunegate lineage {outcome['version']}",
        ]
    )


def _of_the_run(project: Project, outcome: dict[str, Any]) -> list[str]:
    """Return the lines that only a run of a commit has: its folder, with all outputs, and its branch."""
    found = []
    if project.own != project.state:
        found.append(f"  the run's folder       {project.root}   (commit {outcome['commit']})")
    if outcome.get("branch"):
        found.append(f"  dvc.lock, params.yaml  git show {outcome['branch']}")
    return found


def measured_names(reports: dict[str, dict[str, float]]) -> list[str]:
    """Return what was measured at any hop, what people look for first in front."""
    measured = {name for metrics in reports.values() for name in metrics}
    return [*(name for name in FIRST if name in measured), *sorted(measured - set(FIRST))]


def _exchange(item: dict[str, str]) -> list[str]:
    """Return one question and its answer as lines."""
    return ["", f"asked   {item['question']}", f"answer  {' '.join(item['answer'].split())}"]


def _hop_table(project: Project) -> list[str]:
    """Return the metrics of every hop as lines."""
    reports = hop_metrics(project)
    lines = [f"  {'':<24}" + "".join(f"{hop:>10}" for hop in HOPS)]
    for name in measured_names(reports):
        # The adapter is asked less than the other hops.
        cells = "".join(f"{reports[hop][name]:>10.3f}" if name in reports[hop] else f"{'-':>10}" for hop in HOPS)
        lines.append(f"  {name:<24}{cells}")
    return lines
