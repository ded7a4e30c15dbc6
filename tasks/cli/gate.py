"""`tunegate gate explain | simulate`: what the gate found, and how often its rules would be wrong."""

from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit, json_option, project_and_settings


@click.group()
def gate() -> None:
    """Explain a verdict; simulate how often the rules would be wrong."""


@gate.command()
@click.argument("version", required=False)
@json_option
def explain(version: str | None, as_json: bool) -> None:
    """Say which rule, which hop and which items decided about VERSION, and what to do next.

    Without VERSION: the verdict of the last run, in data/reports/gate. The verdict of a registered version comes from
    MLflow, with its comparison with the champion.
    """
    from tasks.gate.explain import explanation
    from tasks.release.verdicts import verdict_of

    project, settings = project_and_settings()
    verdict = verdict_of(project, settings, version)
    emit(verdict, as_json=as_json, text=explanation(verdict))


@gate.command()
@click.option("--runs", default=2000, show_default=True, type=click.IntRange(min=100), help="Simulated runs.")
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same rates.")
@click.option("--assumed", is_flag=True, help="Take the assumed spreads even where evaluations are at hand.")
@click.option("--canary", is_flag=True, help="Simulate rollouts (promote.rollout) instead of the gate's rules.")
@click.option("--requests-per-minute", default=60.0, show_default=True, type=click.FloatRange(min=0.1),
              help="With --canary: traffic of both versions together.")  # fmt: skip
@json_option
def simulate(runs: int, seed: int, assumed: bool, canary: bool, requests_per_minute: float, as_json: bool) -> None:
    """Simulate runs of equal models and of models that lost twice a margin: how often would the gate be wrong?

    Items and spreads come from data/reports/eval where all hops were evaluated, else from what the settings would
    evaluate and from stated assumptions. With --canary: how often is an equal model aborted on its way to all of the
    traffic, how often is a loss of two margins caught, and after how many requests?
    """
    from tasks.gate.simulation import simulate_families, simulation_words

    project, settings = project_and_settings()
    if canary:
        from tasks.serving.rollout.simulation import rollout_words, simulate_rollouts

        rates = simulate_rollouts(
            settings.promote.rollout, rollouts=runs, seed=seed, requests_per_minute=requests_per_minute
        )
        emit(rates, as_json=as_json, text=rollout_words(rates))
        return
    folder = None if assumed else _evaluated(project.root)
    found = simulate_families(settings, project.root, reports=folder, runs=runs, seed=seed)
    emit(found, as_json=as_json, text=simulation_words(found))


def _evaluated(root: Path) -> dict[str, Any] | None:
    """Return the reports' folders by hop, None where a hop was not evaluated."""
    from tasks.core.layout import HOPS, report_of

    folders = {hop: root / report_of(hop) for hop in HOPS}
    return folders if all((folder / "results.json").is_file() for folder in folders.values()) else None
