"""`tunegate state backup | verify | restore | move`."""

from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit, json_option, project_and_settings
from tasks.core.errors import ConfigError

PARTS = ("state", "mlflow", "prefect", "artifacts", "kept")
WITHOUT = click.option("--without", multiple=True, type=click.Choice(PARTS), help="Leave this out; several times.")
FOLDER = click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))


@click.group()
def state() -> None:
    """Back records up, bring them back, move them from sqlite to Postgres."""


@state.command("backup")
@click.option("--to", "target", required=True, type=click.Path(path_type=Path), help="A folder that does not exist.")
@WITHOUT
@click.option("--secrets", is_flag=True, help="With the keys that sign: keep such a backup as you keep keys.")
@json_option
def state_backup(target: Path, without: tuple[str, ...], secrets: bool, as_json: bool) -> None:
    """Write MLflow's and Prefect's databases, the audit log, gateway keys (hashed), journal, evidence and files.

    While others work: each database is as of one moment. Its owner alone can read it.
    """
    from tasks.backup.backup import write_backup
    from tasks.backup.manifest import MANIFEST
    from tasks.core.digest import sha256_file

    project, settings = project_and_settings()
    value = write_backup(project, settings.register_.model_name, target, without=without, secrets=secrets)
    facts = {"folder": str(target), "manifest_sha256": sha256_file(target / MANIFEST), **_summary(value)}
    emit(facts, as_json=as_json, text="\n".join(_backup_lines(target, value, facts)))


@state.command("verify")
@FOLDER
@json_option
def state_verify(folder: Path, as_json: bool) -> None:
    """Read every byte of the backup FOLDER and compare it with its list. Exit code 3 where one is another."""
    from tasks.backup.manifest import read_backup

    facts = _summary(read_backup(folder))
    text = f"{folder}: whole, {facts['files']} files, {facts['bytes'] / (1 << 20):.1f} MiB, made {facts['made']}"
    emit(facts, as_json=as_json, text=text)


@state.command("restore")
@FOLDER
@WITHOUT
@click.option("--force", is_flag=True, help="Set files that are there aside; replace databases on a server.")
@json_option
def state_restore(folder: Path, without: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Bring the backup FOLDER back into this project, whose servers must not run."""
    from tasks.backup.restore import restore_backup

    project, settings = project_and_settings()
    found = restore_backup(project, settings.register_.model_name, folder, without=without, force=force)
    lines = [f"restored: {', '.join(found['parts'])}, as of {found['made']}"]
    lines += [f"what was there is in {found['set_aside']}"] if found["set_aside"] else []
    lines += [f"note: {note}" for note in found["notes"]]
    emit(found, as_json=as_json, text="\n".join([*lines, "  next: tunegate status, tunegate audit verify"]))


@state.command("move")
@click.option("--mlflow-to", envvar="TUNEGATE_MOVE_MLFLOW_TO", help="postgresql://USER@HOST:5432/NAME, an empty one.")
@click.option("--prefect-to", envvar="TUNEGATE_MOVE_PREFECT_TO", help="The same for Prefect.")
@click.option("--artifacts-to", default="", help="Copy files of runs and versions there: a folder, s3://mlflow, ...")
@click.option("--artifacts-uri", default="", help="What records name instead: mlflow-artifacts:/ behind a server.")
@click.option("--tracking-uri", default="", help="MLFLOW_TRACKING_URI from then on.  [default: --mlflow-to]")
@json_option
def state_move(
    mlflow_to: str | None,
    prefect_to: str | None,
    artifacts_to: str,
    artifacts_uri: str,
    tracking_uri: str,
    as_json: bool,
) -> None:
    """Copy MLflow's and Prefect's records from sqlite to Postgres. The sqlite files stay as they are.

    Passwords: in the environment (the options' variables, or PGPASSWORD), not among the arguments.
    """
    from tasks.backup.move import Artifacts, move_mlflow, move_prefect

    if not (mlflow_to or prefect_to):
        raise ConfigError("nothing to move", "tunegate state move --mlflow-to postgresql://USER@HOST:5432/NAME")
    if artifacts_uri and not artifacts_to:
        raise ConfigError("--artifacts-uri names where files are copied to by --artifacts-to", "give both")
    project, settings = project_and_settings()
    found: dict[str, Any] = {}
    if mlflow_to:
        artifacts = Artifacts(artifacts_to, artifacts_uri)
        found["mlflow"] = move_mlflow(project, settings.register_.model_name, mlflow_to, artifacts,
                                      clients=tracking_uri or mlflow_to)  # fmt: skip
    if prefect_to:
        found["prefect"] = move_prefect(project, prefect_to)
    emit(found, as_json=as_json, text="\n".join([_moved_line(name, facts) for name, facts in found.items()]))


def _summary(value: dict[str, Any]) -> dict[str, Any]:
    """Return what a backup holds, without the list of its files."""
    facts = {name: value[name] for name in ("made", "tunegate", "parts", "secrets", "audit")}
    sizes = [file["bytes"] for file in value["files"].values()]
    return {**facts, "files": len(sizes), "bytes": sum(sizes)}


def _backup_lines(target: Path, value: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    """Return what was backed up, for people."""
    lines = [f"{target}: {', '.join(value['parts'])}; {facts['files']} files, {facts['bytes'] / (1 << 20):.1f} MiB",
             f"its list has SHA-256 {facts['manifest_sha256']}: note it elsewhere"]  # fmt: skip
    kept_back = value["parts"].get("state", {}).get("kept_back", [])
    if value["secrets"]:
        lines.append("SECRETS: the keys that sign are in it, and the key of Prefect's secret blocks")
    elif kept_back:
        lines.append(f"not in it: {', '.join(kept_back)} (--secrets)")
    lines += [f"warning: audit log: {problem}" for problem in (value["audit"] or {}).get("problems", [])]
    return [*lines, f"  next: tunegate state verify {target}"]


def _moved_line(name: str, facts: dict[str, Any]) -> str:
    """Return what was moved, for people."""
    rows = sum(facts["rows"].values())
    said = f"{name}: {rows} rows of {len(facts['rows'])} tables moved and compared"
    if name == "prefect":
        return f"{said}\n  next: start its server with PREFECT_API_DATABASE_CONNECTION_URL=postgresql+asyncpg://..."
    return f"{said}; files at {facts['files']}\n  next: export MLFLOW_TRACKING_URI=..., tunegate status"
