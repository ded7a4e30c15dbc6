"""`tunegate data explain | summary | preview | diff | export | profile | reveal`."""

import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, get_args

import click

from tasks.cli.main import emit, project_and_settings
from tasks.core.errors import ConfigError
from tasks.core.layout import PREPARED, RAW
from tasks.core.project import Project
from tasks.core.settings import Format

WORKSPACE = "workspace"
SHOWN = 10


@click.group()
def data() -> None:
    """Ask what became of the data: each row's fate and why, the counts, what changed; write it in other formats."""


@data.command()
@click.argument("row_id")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def explain(row_id: str, as_json: bool) -> None:
    """Tell what became of a raw row, by which rule, on what evidence. ROW_ID is r-... or SOURCE:INDEX."""
    from tasks.data.ledger.questions import explain as answer
    from tasks.data.ledger.questions import latest_run

    project = Project.here()
    found = answer(latest_run(project.root / PREPARED, project.state), row_id)
    emit(found, as_json=as_json, text=_explanation(found))


@data.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def summary(as_json: bool) -> None:
    """Show the counts: rows in, kept, dropped, quarantined, why; masks, leaks, languages, splits."""
    from tasks.data.ledger.questions import latest_run, read_summary

    project = Project.here()
    prepared = project.root / PREPARED
    folder = latest_run(prepared, project.state)
    found = read_summary(folder)
    refused = "" if folder == prepared else f"of the last run, which left nothing to train on: {folder}\n"
    emit(found, as_json=as_json, text=refused + _summary(found))


@data.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--rows", default=5, show_default=True, type=click.IntRange(1, 100), help="How many rows.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def preview(file: Path, rows: int, as_json: bool) -> None:
    """Show rows of FILE as training will see them: what was read, what was masked, and what is taught."""
    from tasks.chat.tokenizer import load_tokenizer
    from tasks.data.preview import preview as answer
    from tasks.data.privacy.pseudonyms import environment_key
    from tasks.models.base import materialize

    project, settings = project_and_settings()
    tokenizer = load_tokenizer(materialize(settings.base_model, project).path)
    longest = settings.train.max_length_tokens
    found = answer(file, project.root / RAW, settings.prepare, tokenizer, longest, environment_key(), rows)
    emit(found, as_json=as_json, text="\n\n".join(map(_previewed, found)))


@data.command()
@click.argument("rev_a")
@click.argument("rev_b", default=WORKSPACE)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def diff(rev_a: str, rev_b: str, as_json: bool) -> None:
    """Show the rows added, removed, changed, or given another fate between two DVC revisions.

    A revision is anything Git knows (HEAD~1, a tag, a branch), or `workspace` for what lies here now.
    """
    from tasks.data.ledger.questions import diff_ledgers

    with ExitStack() as stack:
        folders = [_prepared_at(revision, stack) for revision in (rev_a, rev_b)]
        found = diff_ledgers(*folders).as_json()
    emit(found, as_json=as_json, text=_difference(found, rev_a, rev_b))


@data.command()
@click.option("--write", "file", required=True, type=click.Path(path_type=Path), help="File under data/raw.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def profile(file: Path, as_json: bool) -> None:
    """Write what the prepared dataset looks like in numbers, for validate.drift.reference: keep one with a release."""
    from tasks.data.profile import write_profile

    written = write_profile(Project.here().root / PREPARED, file)
    emit(written, as_json=as_json, text=f"{file}: profile of {written['rows']} rows, lineage {written['lineage_id']}")


@data.command()
@click.option("--format", "name", required=True, type=click.Choice(get_args(Format)), help="What a row looks like.")
@click.option("--to", "folder", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@click.option("--container", default="jsonl", show_default=True, type=click.Choice(["json", "jsonl", "parquet", "csv"]))
@click.option("--gzip", "packed", is_flag=True, help="Compress the files.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def export(name: str, folder: Path, container: str, packed: bool, as_json: bool) -> None:
    """Write the prepared rows in another format, with LLaMA-Factory's dataset_info.json beside them."""
    from tasks.data.writing.export import export as write

    found = write(Project.here().root / PREPARED, folder, name, container, packed)
    lines = [f"{folder / file}: {found['rows'][split]} rows" for split, file in found["files"].items()]
    left_out = {split: rows for split, rows in found["left_out"].items() if rows}
    lines += [f"left out of {split}: {rows} rows with no room in {name}" for split, rows in left_out.items()]
    lines += [f"no room for {what}: {rows} rows" for what, rows in found["no_room_for"].items()]
    lines += [f"not in the files: {field} of {rows} rows" for field, rows in found["lost"].items()]
    emit(found, as_json=as_json, text="\n".join(lines))


@data.command()
@click.argument("pseudonym")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def reveal(pseudonym: str, as_json: bool) -> None:
    """Tell which value a pseudonym stands for; needs TUNEGATE_PSEUDONYM_KEY."""
    from tasks.data.privacy.pseudonyms import environment_key
    from tasks.data.privacy.pseudonyms import reveal as answer

    value = answer(pseudonym, environment_key())
    emit({"pseudonym": pseudonym, "value": value}, as_json=as_json, text=value)


def _prepared_at(revision: str, stack: ExitStack) -> Path:
    """Return the prepared data of a revision; DVC brings it from its cache or remote."""
    root = Project.here().root
    if revision == WORKSPACE:
        return root / PREPARED
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tunegate-diff-"))) / "prepared"
    options = ["--rev", revision, "--out", str(folder), "--quiet"]
    command = [sys.executable, "-m", "dvc", "get", str(root), PREPARED, *options]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigError(
            f"DVC has no {PREPARED} at revision {revision}: {reason}",
            "git log --oneline dvc.lock shows the revisions with data; dvc pull fetches theirs",
        )
    return folder


def _explanation(found: dict[str, Any]) -> str:
    """Return the fate of a row as a person reads it."""
    entry = found["entry"]
    lines = [
        f"{entry['row_id']}   {entry['source']}, line {entry['line']} (row {entry['index']})",
        f"fate     {entry['fate']}: {entry['reason']}",
        f"rule     {entry['rule']}",
    ]
    for name, value in entry["evidence"].items():
        if name != "spans":
            lines.append(f"  {name.replace('_', ' ')}: {value}")
    for row_id, other in found["related"].items():
        lines.append(f"related  {row_id} stands in {other['source']}, line {other['line']}: {other['fate']}")
    for message in (found["row"] or {}).get("messages", []):
        lines.append(f"{message['role']:<9}{message['content']}")
    return "\n".join(lines)


def _previewed(row: dict[str, Any]) -> str:
    """Return a previewed row as a person reads it."""
    lines = [f"line {row['line']}   {row['format'] or ''}   {row['language'] or ''}".rstrip()]
    if row["turns"]:
        more = [name for name in ("tools", "rejected") if row[name]]
        lines.append(f"turns    {', '.join([*row['turns'], *more])}")
    lines += [f"note     {note}" for note in row["notes"]]
    masked = ", ".join(f"{count} {what}" for what, count in row["masked"].items())
    lines += [f"masked   {masked}"] if masked else []
    lines += [f"refused  {row['refused']}"] if row["refused"] else []
    lines += [f"text     {row['tokens']} tokens, taught between ⟦ and ⟧", row["text"]] if row["text"] else []
    for text in row["thought_samples"]:
        lines += ["sample   of an earlier thought, its own", text]
    return "\n".join(lines)


def _summary(found: dict[str, Any]) -> str:
    """Return the counts as a person reads them."""
    rows = found["rows"]
    lines = [
        f"{rows['in']} rows in = {rows['kept']} kept + {rows['dropped']} dropped + {rows['quarantined']} quarantined"
    ]
    for fate, reasons in found["reasons"].items():
        lines += [f"  {fate:<12}{reason:<26}{count:>9}" for reason, count in reasons.items()]
    masks = {name: count for name, count in found["masks"].items() if count}
    lines.append(f"replaced     {_named(masks) or 'nothing'}")
    masked = found.get("masked", {})
    lines.append(f"in answers   {_named(masked.get('in_answers', {})) or 'nothing'}")
    lines += [f"  {_masked_often(one)}" for one in masked.get("commonest", [])[:5]]
    lines.append(f"duplicates   {found['duplicates']['clusters']} clusters; kept: {found['duplicates']['rule']}")
    lines += [
        f"leaks        {name}: {leak['leaked_items']} of {leak['items']} items in {leak['leaked_rows']} rows"
        for name, leak in found["leaks"].items()
    ]
    lines.append(f"languages    {_named(found['languages'])}")
    lines.append(f"formats      {_named(found['formats'])}")
    lines.append(
        f"too long     {found['tokens']['too_long']} of more than {found['tokens']['max_length_tokens']} tokens"
    )
    lines.append(f"splits       {_named(found['splits'])}")
    added = {kind: text for kind, text in found.get("template", {}).items() if text}
    lines += [
        f"template     adds: {kind.replace('_', ' ')}: {' '.join(text.split())[:100]}" for kind, text in added.items()
    ]
    lines += [f"note         {note}" for note in found.get("notes", ())]
    return "\n".join(lines)


def _named(counts: dict[str, int]) -> str:
    """Return counts in one line."""
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _masked_often(one: dict[str, Any]) -> str:
    """Return one of the strings masked most often, which its hash stands for."""
    return f"{one['type']} {one['hash']}: {one['spans']} times in {one['rows']} rows ({_named(one['roles'])})"


def _difference(found: dict[str, Any], rev_a: str, rev_b: str) -> str:
    """Return what changed as a person reads it."""
    lines = [
        f"{rev_a} -> {rev_b}: {len(found['added'])} rows added, {len(found['removed'])} removed, "
        f"{len(found['changed'])} changed, {len(found['moved'])} with another fate, {found['unchanged']} as before"
    ]
    lines += _some("+", found["added"]) + _some("-", found["removed"])
    lines += _some("~", [f"{before} -> {after}" for before, after in found["changed"]])
    lines += _some(">", [f"{row}: {before} -> {after}" for row, (before, after) in found["moved"].items()])
    return "\n".join(lines)


def _some(sign: str, names: list[str]) -> list[str]:
    """Return the first lines of a long list, and how many more there are."""
    more = [f"  {sign} … {len(names) - SHOWN} more (--json lists all)"] if len(names) > SHOWN else []
    return [f"  {sign} {name}" for name in names[:SHOWN]] + more
