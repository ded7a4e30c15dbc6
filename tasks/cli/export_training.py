"""`tunegate export-training`: the same rows and settings for LLaMA-Factory, Axolotl, Unsloth or ms-swift."""

from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit, json_option, project_and_settings
from tasks.core.layout import PREPARED

#: Row ids stand in the manifest; the screen has the counts.
SHOWN = 5


@click.command()
@click.argument("trainer", type=click.Choice(["llamafactory", "axolotl", "unsloth", "swift"]))
@click.option("--out", "folder", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--model", help="What the settings call the base model there: a folder or a hub's name.  [its folder]")
@json_option
def export_training(trainer: str, folder: Path, model: str | None, as_json: bool) -> None:
    """Write the prepared rows and the train section of params.yaml for another trainer.

    Rows go out tokenized and labelled as stage train has them, so the same tokens are learnt. Nothing is written again
    while rows, settings and base model are the same.
    """
    from tasks.models.base import materialize
    from tasks.training.other_trainers.export import export_training as export

    project, settings = project_and_settings()
    base = materialize(settings.base_model, project)
    found = export(trainer, settings, base, project.root / PREPARED, folder, model)
    emit(
        {name: value for name, value in found.items() if name != "row_ids"}, as_json=as_json, text=_text(folder, found)
    )


def _text(folder: Path, found: dict[str, Any]) -> str:
    """Return what was written as a person reads it."""
    samples = f" and {found['thought_samples']} samples of earlier thoughts" if found["thought_samples"] else ""
    lines = [
        f"{folder}: {found['rows']} rows{samples}, {found['tokens']} tokens, {found['labelled_tokens']} of them learnt"
        f"{'' if found['written'] else ' (as it was)'}",
    ]
    left = found["left_out"]
    names = ", ".join(f"{row['row_id']} ({row['reason']})" for row in left[:SHOWN])
    lines += [f"left out: {len(left)} rows, as in stage train; all in manifest.json: {names}"] if left else []
    lines += [f"not the same there: {what}" for what in found["not_carried"]]
    checked = found["checked_against"] or "labels checked against TRL alone; Unsloth itself was not run"
    lines += [f"checked against: {checked}", f"start it: cd {folder} && {found['command']}"]
    return "\n".join(lines)
