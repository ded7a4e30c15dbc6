"""`tunegate eval live`: hold the endpoint that is live to the evidence its version was released on."""

from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit
from tasks.core.errors import GateFailedError
from tasks.core.layout import report_of
from tasks.core.project import Project
from tasks.core.settings import load_settings

OUTPUT = report_of("served")


@click.command()
@click.option("--url", help="Gateway to ask, without /v1; by default this project's.")
@click.option("--limit", type=click.IntRange(min=1), help="First items of each subject and each kind: a quick look.")
@click.option("--concurrency", type=click.IntRange(1, 64), default=4, show_default=True,
              help="Requests in flight; callers want to be answered too.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), help=f"Report folder.  [default: {OUTPUT}]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def live(url: str | None, limit: int | None, concurrency: int, output: Path | None, as_json: bool) -> None:
    """Ask the live endpoint what its version was evaluated on, through the gateway, and compare item by item.

    The key (role evaluator) comes from $TUNEGATE_API_KEY; without it a key is made for this call and revoked after it.
    A killed run goes on where it was. Ends with exit code 4 where the endpoint does not answer as the released version
    did.
    """
    from tasks.monitor.released import Asking, ask_released, problems

    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    folder = output or project.root / OUTPUT
    asking = Asking((url or project.gateway_url).rstrip("/"), limit, concurrency, folder)
    results = ask_released(project, settings, asking)
    found = problems(results)
    emit(_summary(results, found, folder), as_json=as_json, text=_text(results, found, folder))
    if found:
        raise GateFailedError(f"version {results['version']} live is not what was released: {'; '.join(found)}",
                              f"tunegate status; read {folder / 'results.json'}")  # fmt: skip


def _summary(results: dict[str, Any], problems: list[str], folder: Path) -> dict[str, Any]:
    """Return the result for machines."""
    agreement = results["agreement"]
    return {
        "version": results["version"],
        "lineage_id": results["model_lineage_id"],
        "agrees": not problems,
        "problems": problems,
        "fingerprint": agreement["fingerprint"],
        "choices": agreement["choices"],
        "texts": agreement["texts"],
        "metrics": results["metrics"],
        "not_asked": agreement["not_asked"],
        "report": str(folder),
    }


def _text(results: dict[str, Any], problems: list[str], folder: Path) -> str:
    """Return the result for people."""
    agreement = results["agreement"]
    rows = [f"{'suite':<24}{'items':>6}{'live':>9}{'released':>10}{'better':>8}{'worse':>7}{'same answer':>13}"]
    for name, suite in sorted(agreement["suites"].items()):
        share = suite["same"] / suite["items"]
        rows.append(f"{name:<24}{suite['items']:>6}{suite['value']:>9.3f}{suite['released_value']:>10.3f}"
                    f"{suite['better']:>8}{suite['worse']:>7}{share:>13.1%}")  # fmt: skip
    if agreement["not_asked"]:
        rows.append(f"not asked: {', '.join(agreement['not_asked'])}")
    verdict = "does not answer as" if problems else "answers as"
    rows.append(
        f"version {results['version']} live {verdict} its evidence (fingerprint {agreement['fingerprint']:.0%}); "
        f"report: {folder}"
    )
    return "\n".join(rows)
