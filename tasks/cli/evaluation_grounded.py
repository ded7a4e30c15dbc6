"""`tunegate eval grounded`: does the live version answer the pack better with documents than without?"""

from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit, project_and_settings
from tasks.core.layout import GROUNDED_REPORT


@click.command()
@click.option("--url", help="Gateway to ask, without /v1; by default this project's.")
@click.option("--limit", type=click.IntRange(min=2), help="First items of each kind: a quick look.")
@click.option("--concurrency", type=click.IntRange(1, 64), default=4, show_default=True, help="Requests in flight.")
@click.option("--output", type=click.Path(path_type=Path, file_okay=False),
              help=f"Report folder.  [default: {GROUNDED_REPORT}]")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def grounded(url: str | None, limit: int | None, concurrency: int, output: Path | None, as_json: bool) -> None:
    """Ask the live version the domain pack's short and unknowable questions, with and without documents.

    Both answers are scored by the pack's rules and compared item by item, as the gate compares two hops. The key (role
    evaluator) comes from $TUNEGATE_API_KEY; without it one is made for this call. A killed run goes on where it was.
    """
    from tasks.core.digest import sha256_json
    from tasks.exams.pack.reading import load_pack
    from tasks.monitor.released import caller_key, lineage_live
    from tasks.retrieval.comparison import Asked, compare_grounded
    from tasks.retrieval.index import read_index

    project, settings = project_and_settings()
    at, folder = (url or project.gateway_url).rstrip("/"), output or project.root / GROUNDED_REPORT
    index = read_index(project, settings).lineage_id
    rules = sha256_json(settings.serve.grounded.model_dump())[:8]
    with caller_key(project) as key:
        asked = Asked(at, key, lineage_live(at, key), f"{index}-{rules}", concurrency,
                      project.state / "grounded" / "answers.jsonl", limit)  # fmt: skip
        asked.cache.parent.mkdir(parents=True, exist_ok=True)
        results = compare_grounded(
            load_pack(project.root / settings.evaluate.domain.path), settings.gate, asked, folder
        )
    emit(results, as_json=as_json, text=_text(results, folder))


def _text(results: dict[str, Any], folder: Path) -> str:
    """Return the result for people."""
    lines = [f"{results['lineage_id']} with {results['index']} and without"]
    for name, suite in results["suites"].items():
        low, high = suite["interval"]
        gain = f"{suite['base_value']:.3f} -> {suite['value']:.3f}, difference {suite['difference']:+.3f}"
        chance = f"[{low:+.3f}, {high:+.3f}], p {suite['p_value']:.4f}, n {suite['n']}"
        lines.append(f"{name}: {gain} {chance}: {suite['verdict']}")
        outcomes = ", ".join(f"{name} {count}" for name, count in sorted(suite["outcomes"].items()))
        lines.append(f"  {outcomes}; quoted {suite['quoted']}; problems {suite['problems'] or 'none'}")
    return "\n".join([*lines, f"report: {folder}"])
