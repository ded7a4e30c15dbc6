"""`tunegate approve | withdraw`: the doors to one approval, a person's own signature."""

import json
from pathlib import Path
from typing import Any

import click

from tasks.cli.keys import Lifetime
from tasks.cli.main import emit, json_option, project_and_settings
from tasks.core.errors import ConfigError
from tasks.core.project import Project
from tasks.core.settings import Settings

KEY = "TUNEGATE_APPROVER_KEY"
KEY_HELP = f"Your own key: a file, agent[:COMMENT] or pkcs11:LABEL. [env: {KEY}]"


def registry_of(project: Project, settings: Settings) -> Any:
    """Return the registry; imported late, MLflow takes seconds."""
    from tasks.release.registry import Registry

    return Registry(project, settings.register_.model_name)


@click.command()
@click.argument("version")
@click.option("--reason", help="What you read and why it may go live.")
@click.option("--key", envvar=KEY, help=KEY_HELP)
@click.option("--role", help="In which of your roles; needed where infra/approvers.yaml gives you several.")
@click.option("--expires", type=Lifetime(), default="30d", show_default=True, help="How long it may be used: 30d, 12h.")
@click.option("--out", metavar="FILE", help="Write the signed approval to FILE (- for stdout) and keep it nowhere.")
@click.option("--record", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
              help="Sign the release record in FILE, as the page gives it: no registry is asked.")  # fmt: skip
@click.option("--environment", type=click.Choice(["demo", "production"]),
              help="With --record: where it shall go live. Usually promote.environment.")  # fmt: skip
@click.option("--signed", metavar="FILE", help="Take an approval that was signed elsewhere (- for stdin).")
@click.option("--serve", "as_page", is_flag=True,
              help="Show record, verdict, dossier and who approved on a page of this machine; it takes signed "
                   "approvals, never keys.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Of the page; without it a free one.")
@json_option
def approve(version: str, as_json: bool, **given: Any) -> None:
    """Approve a registered VERSION: sign its record, this environment, your role and reason with your own key.

    Who may, with which key and in which roles, is in infra/approvers.yaml. On a machine without the registry: take
    the record from the page of --serve, sign it there with --record and --out, and give what that wrote to --signed or
    to the page.
    """
    _require_one_way(given)
    if given["as_page"]:
        _serve(version, given["port"])
    elif given["record"]:
        _write(_signed_record(given), given["out"])
    elif given["out"]:
        _write(_signed_version(version, given), given["out"])
    else:
        _keep(version, given, as_json=as_json)


def _require_one_way(given: dict[str, Any]) -> None:
    """Refuse options that do not belong together.

    Raises:
        click.UsageError: some do not, or one is missing.
    """
    ways = [name for name in ("as_page", "signed", "record") if given[name]]
    if len(ways) > 1:
        raise click.UsageError("--serve, --signed and --record are different ways: give one of them.")
    if given["record"] and not given["out"]:
        raise click.UsageError("--record needs --out FILE (- for stdout): there is no registry to keep it in.")
    if given["out"] and (given["as_page"] or given["signed"]):
        raise click.UsageError("--out is where a new signature is written to.")
    if given["environment"] and not given["record"]:
        raise click.UsageError("--environment goes with --record; a registered version has its own.")
    if not given["as_page"] and not given["signed"]:
        for name in ("reason", "key"):
            if not given[name]:
                raise click.UsageError(f"Missing option '--{name}'.")


def _keep(version: str, given: dict[str, Any], *, as_json: bool) -> None:
    """Keep an approval with its version: a new one, or one that was signed elsewhere."""
    from tasks.proof.approval import read_approval
    from tasks.proof.signers import load_signer
    from tasks.release.approvals import approve as approve_here
    from tasks.release.approvals import take

    project, settings = project_and_settings()
    registry, params = registry_of(project, settings), settings.promote
    if given["signed"]:
        approved = take(registry, version, params, read_approval(_text(given["signed"])))
    else:
        approved = approve_here(registry, version, params, load_signer(given["key"]), given["reason"],
                                role=given["role"], lives=given["expires"])  # fmt: skip
    needed = params.approvals_required
    text = f"version {version}: {len(approved.approvals)} of {needed} approvals\n  next: tunegate promote {version}"
    emit({"version": version, "approvals": approved.approvals, "required": needed}, as_json=as_json, text=text)


def _signed_version(version: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return a new approval of a registered version."""
    from tasks.proof.signers import load_signer
    from tasks.release.approvals import sign_approval

    project, settings = project_and_settings()
    return sign_approval(
        registry_of(project, settings), version, settings.promote, load_signer(given["key"]), given["reason"],
        role=given["role"], lives=given["expires"],
    )  # fmt: skip


def _signed_record(given: dict[str, Any]) -> dict[str, Any]:
    """Return a new approval of a record that lies here as a file."""
    from tasks.core.files import read_json
    from tasks.proof.signers import load_signer
    from tasks.proof.trust import APPROVERS, read_trust
    from tasks.release.approvals import sign_record

    project, settings = project_and_settings()
    return sign_record(
        read_json(given["record"]), read_trust(project.root / APPROVERS),
        given["environment"] or settings.promote.environment, load_signer(given["key"]), given["reason"],
        role=given["role"], lives=given["expires"],
    )  # fmt: skip


def _text(place: str) -> str:
    """Return what stands in a file, or on stdin.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        with click.open_file(place, encoding="utf-8") as file:
            text: str = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{place}: {error}", "tunegate approve VERSION --signed FILE") from error
    return text


def _write(envelope: dict[str, Any], place: str) -> None:
    """Write a signed approval to a file, or to stdout."""
    with click.open_file(place, "w", encoding="utf-8") as file:
        file.write(json.dumps(envelope) + "\n")
    if place != "-":
        click.echo(
            f"signed, and kept nowhere but in {place}\n  next: tunegate approve VERSION --signed {place}, or its page"
        )


def _serve(version: str, port: int) -> None:
    """Serve the page until Ctrl-C."""
    from tasks.release.page.server import serve

    project, settings = project_and_settings()
    serve(registry_of(project, settings), version, settings.promote, port, told=click.echo)


@click.command()
@click.argument("what", metavar="VERSION|APPROVAL")
@click.option("--reason", required=True, help="Why it may not go live after all.")
@click.option("--key", envvar=KEY, required=True, help=KEY_HELP)
@json_option
def withdraw(what: str, reason: str, key: str, as_json: bool) -> None:
    """Withdraw all approvals of a VERSION, or one APPROVAL by its id; any listed person may.

    What is live stays live until a rollback.
    """
    from tasks.proof.signers import load_signer
    from tasks.release.approvals import withdraw as take_back

    project, settings = project_and_settings()
    numbers = take_back(registry_of(project, settings), what, load_signer(key), reason)
    text = f"withdrawn: version {', '.join(numbers)}\n  next: tunegate status; what is live ends with tunegate rollback"
    emit({"withdrawn": what, "versions": numbers}, as_json=as_json, text=text)
