"""`tunegate eval new-pack | check-pack | live | grounded`."""

from pathlib import Path
from typing import Any

import click

from tasks.cli.evaluation_grounded import grounded
from tasks.cli.evaluation_live import live
from tasks.cli.main import emit
from tasks.core.errors import DataContractError
from tasks.core.layout import PREPARED
from tasks.core.project import Project
from tasks.core.settings import load_settings

SHOWN = 20


@click.group("eval")
def evaluation() -> None:
    """Write and check packs of your own questions; ask the live endpoint."""


evaluation.add_command(live)
evaluation.add_command(grounded)


@evaluation.command("new-pack")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the pack; by default the folder's.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def new_pack(folder: Path, name: str | None, as_json: bool) -> None:
    """Write a pack to start from into FOLDER: one item of every kind in Chinese and English."""
    from tasks.evaluation.own_pack.new import new_pack as write

    files = write(folder, name or folder.resolve().name)
    text = "\n".join(map(str, files)) + f"\n\nedit the files, then: tunegate eval check-pack {folder}"
    emit({"folder": str(folder), "files": [path.name for path in files]}, as_json=as_json, text=text)


@evaluation.command("check-pack")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--rows",
    type=click.Choice(["prepared", "raw", "none"]),
    default="prepared",
    show_default=True,
    help="Training rows to search for the questions: those a model is made with, all raw ones, or none.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def check_pack(folder: Path, rows: str, as_json: bool) -> None:
    """Check the pack in FOLDER: schema, duplicates, balance of answers, languages, own answers, leaks into training.

    Ends with exit code 3 where there are errors; warnings alone end with 0.
    """
    from tasks.evaluation.own_pack import checks

    project = Project.here()
    prepare = load_settings(project.root / "params.yaml").prepare
    pack, found = checks.check_pack(folder, prepare.near_duplicate)
    searched, leaks = _leaks(pack, rows, project, prepare)
    report = checks.facts(pack, [*found, *leaks])
    report |= {"folder": str(folder), "rows": rows, "searched_rows": searched}
    emit(report, as_json=as_json, text=_text(report))
    if report["errors"]:
        raise DataContractError(f"{folder}: {report['errors']} errors", "mend what is marked error, then check again")


def _leaks(pack: Any, rows: str, project: Project, prepare: Any) -> tuple[int, list[Any]]:
    """Return how many training rows were searched and the leaks found in them."""
    from tasks.evaluation.own_pack.leaks import find_leaks, prepared_rows, raw_rows

    if rows == "none":
        return 0, []
    prepared = rows == "prepared"
    source = prepared_rows(project.root / PREPARED) if prepared else raw_rows(project.root / "data" / "raw", prepare)
    found = find_leaks(pack, source, prepare, trained_on=prepared)
    return found["searched_rows"], found["findings"]


def _text(report: dict[str, Any]) -> str:
    """Return a report as a person reads it."""
    lines = [f"{report['name']} {report['version']} (schema {report['schema']}): {report['items']} items"]
    for kind, languages in report["kinds"].items():
        lines.append(f"  {kind:<10}{sum(languages.values()):>4}   {_named(languages)}")
    lines.append(f"difficulty  {_named(report['difficulty'])}")
    lines.append(f"answers     {_named(report['answers'])}")
    lines.append(f"concepts    {len(report['concepts'])}: {_named(report['concepts'])}")
    lines.append(f"leaks       searched {report['searched_rows']} training rows ({report['rows']})")
    shown = sorted(report["findings"], key=lambda finding: finding["severity"])
    lines += [_line(finding) for finding in shown[:SHOWN]]
    if len(shown) > SHOWN:
        lines.append(f"… {len(shown) - SHOWN} more (--json lists all)")
    lines.append(f"{report['errors']} errors, {report['warnings']} warnings")
    return "\n".join(lines)


def _named(counts: dict[str, int]) -> str:
    """Return counts in one line."""
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _line(finding: dict[str, str]) -> str:
    """Return a finding in one line."""
    where = f"{finding['where']}: " if finding["where"] else ""
    return f"{finding['severity']:<8}{finding['check']}: {where}{finding['message']}"
