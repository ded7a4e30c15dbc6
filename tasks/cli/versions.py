"""`tunegate versions list | prune`: which versions there are, and disk freed from old ones."""

import click

from tasks.cli.main import emit, json_option, project_and_settings


@click.group()
def versions() -> None:
    """List registered versions; free the disk that old ones take."""


@versions.command("list")
@json_option
def list_versions(as_json: bool) -> None:
    """Show every registered version: verdict, approvals, whether its weights are still kept."""
    from tasks.release.status import serving_status, version_lines

    project, settings = project_and_settings()
    state = serving_status(project, settings)
    emit(state["versions"], as_json=as_json, text="\n".join(version_lines(state)) or "no version yet: tunegate run")


@versions.command()
@click.option("--keep", default=3, show_default=True, type=click.IntRange(min=1), help="Newest versions that stay.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@json_option
def prune(keep: int, dry_run: bool, as_json: bool) -> None:
    """Delete the weights of old versions; their reports, verdicts, approvals and history stay.

    The champion, every version a rollback can go back to and what is being served are never touched.
    """
    from tasks.release.prune import prune as prune_versions
    from tasks.release.prune import pruned_words
    from tasks.release.registry import Registry

    project, settings = project_and_settings()
    registry = Registry(project, settings.register_.model_name)
    found = prune_versions(project, registry, keep=keep, dry_run=dry_run)
    emit(found, as_json=as_json, text=pruned_words(found))
