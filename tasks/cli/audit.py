"""`tunegate audit verify | find | export | hold | anchor`."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import click

from tasks.cli.main import emit, json_option
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_jsonl
from tasks.core.project import Project

DAY = click.DateTime(["%Y-%m-%d"])
#: Of a record, on a line for people.
SHOWN = ("time", "kind", "key", "client", "status", "code", "request_id", "prompt", "answer", "action", "of", "why")
SHOWN_CHARACTERS = 80


FOLDERS = click.option("--folder", "folders", multiple=True, help="Of another gateway; may be given several times.",
                       type=click.Path(exists=True, file_okay=False, path_type=Path))  # fmt: skip


@click.group()
def audit() -> None:
    """Verify, search, export and hold the log of what was asked and answered."""


@audit.command("verify")
@click.option("--anchors", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Signed heads kept elsewhere, one JSON object a line: hold the log to them, too.")  # fmt: skip
@click.option("--key", multiple=True, help="Public key of a host (ssh-ed25519 ...), beside those of approvers.yaml.")
@FOLDERS
@json_option
def audit_verify(anchors: Path | None, key: tuple[str, ...], folders: tuple[Path, ...], as_json: bool) -> None:
    """Check the hash chain over every record, and the signed head; public keys are enough for it.

    Exit code 3 where a record was changed, removed or put in, or the head is not the host's.
    """
    from tasks.proof.trust import known_hosts
    from tasks.serving.audit import verify
    from tasks.serving.audit.anchor import absent, check
    from tasks.serving.audit.chain import Link
    from tasks.serving.audit.head import head_problems, read_seen
    from tasks.serving.audit.secret import audit_secret
    from tasks.serving.paths import audit_folder, audit_seen

    project = Project.here()
    if anchors and len(folders) > 1:
        raise ConfigError("--anchors are of one log", "give the --folder that they were made from")
    own, hosts = audit_folder(project), known_hosts(project, key)
    each, lines = [], []
    for folder in folders or (own,):
        # What was seen last is known of this machine's own log.
        seen = read_seen(audit_seen(project)) if folder.resolve() == own.resolve() else Link()
        one = verify(folder)
        one["problems"] += head_problems(folder, hosts, seen)
        one["problems"] += [
            f"record {link.sequence}, seen before, is not in the log" for link in absent(folder, [seen])
        ]
        if anchors:
            one["problems"] += check(folder, read_jsonl(anchors), hosts, audit_secret(project))
        each.append(one)
        lines.append(f"{folder}: {one['records']} records in {one['files']} file(s), {len(one['problems'])} problem(s)")
    named = [f"{folder}: " for folder in folders] if len(folders) > 1 else [""]
    problems = [name + problem for name, one in zip(named, each, strict=True) for problem in one["problems"]]
    counted = {name: sum(one[name] for one in each) for name in ("records", "files")}
    found = each[0] if len(each) == 1 else each[0] | counted | {"problems": problems}
    emit(found, as_json=as_json, text="\n".join(lines))
    if problems:
        raise DataContractError("\n  ".join(["the audit log was tampered with:", *problems]), "compare with a backup")


def _wanted(command: Any) -> Any:
    """Give a command the options that choose records."""
    for option in (
        click.option("--text", help="A whole question or answer as it was, found by its keyed digest."),
        click.option("--user", help="What a caller gave as `user`, found by its keyed digest."),
        click.option("--until", type=DAY, help="Last day, UTC."),
        click.option("--since", type=DAY, help="First day, UTC."),
        click.option("--status", type=int, help="HTTP status."),
        click.option("--version", help="Version that answered."),
        click.option("--client", help="Address of the caller."),
        click.option("--kind", help="request, answer, text, refusal, refusals, key, settings, admin, tombstone, ..."),
        click.option("--request-id", help="The x-request-id of an answer."),
        click.option("--key-id", help="Id of a key."),
        click.option("--key", help="Name of a key."),
    ):
        command = option(command)
    return command


@audit.command("find")
@_wanted
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The newest so many.")
@FOLDERS
@json_option
def audit_find(limit: int, folders: tuple[Path, ...], as_json: bool, **asked: Any) -> None:
    """Show records; personal data in them is masked. That somebody looked is recorded."""
    import heapq
    from collections import deque

    from tasks.serving.audit.find import find
    from tasks.serving.audit.secret import audit_secret
    from tasks.serving.paths import audit_folder

    project, wanted = Project.here(), _of(asked)
    secret = audit_secret(project)
    # Each log is in its order of time, and so are several together.
    each = [find(folder, wanted, secret) for folder in folders or (audit_folder(project),)]
    found = list(deque(heapq.merge(*each, key=lambda record: str(record.get("time", ""))), maxlen=limit))
    _left(project, "read", wanted=wanted.facts(), records=len(found))
    emit(found, as_json=as_json, text="\n".join(_line(record) for record in found) or "no such record")


@audit.command("export")
@click.argument("target", type=click.Path(file_okay=False, path_type=Path))
@_wanted
@json_option
def audit_export(target: Path, as_json: bool, **asked: Any) -> None:
    """Write records as they stand to the folder TARGET, with a signed proof of where they stood. It is recorded."""
    from tasks.proof.signers import machine_signer
    from tasks.serving.audit.find import export
    from tasks.serving.audit.secret import audit_secret
    from tasks.serving.paths import audit_folder

    project, wanted = Project.here(), _of(asked)
    proof = export(audit_folder(project), target, wanted, audit_secret(project), machine_signer(project, "host"))
    _left(project, "export", wanted=wanted.facts(), records=proof["records"], sha256=proof["sha256"])
    emit(proof, as_json=as_json, text=f"{target}: {proof['records']} records, {len(proof['problems'])} problem(s)")


@audit.group("hold")
def audit_hold() -> None:
    """Keep days of the log beyond their retention, for as long as a case needs them."""


@audit_hold.command("add")
@click.argument("name")
@click.option("--from", "first", type=DAY, required=True, help="First day to keep, UTC.")
@click.option("--to", "last", type=DAY, required=True, help="Last day to keep, UTC.")
@click.option("--reason", required=True, help="Why; stands in the log.")
@json_option
def audit_hold_add(name: str, first: datetime, last: datetime, reason: str, as_json: bool) -> None:
    """Keep the files of some days until the hold called NAME is lifted."""
    from tasks.serving.audit.retention import add_hold
    from tasks.serving.paths import audit_folder

    project = Project.here()
    hold = add_hold(audit_folder(project), name, first.date(), last.date(), by=_by(), reason=reason)
    _left(project, "hold", name=name, first=hold.first, last=hold.last, reason=reason)
    emit(vars(hold), as_json=as_json, text=f"{name}: {hold.first} to {hold.last} are kept until it is lifted")


@audit_hold.command("list")
@json_option
def audit_hold_list(as_json: bool) -> None:
    """List the holds."""
    from tasks.serving.audit.retention import holds
    from tasks.serving.paths import audit_folder

    found = holds(audit_folder(Project.here()))
    lines = [f"{hold.name:<24} {hold.first} to {hold.last}  by {hold.by}: {hold.reason}" for hold in found]
    emit([vars(hold) for hold in found], as_json=as_json, text="\n".join(lines) or "no holds")


@audit_hold.command("lift")
@click.argument("name")
@click.option("--reason", required=True, help="Why; stands in the log.")
@json_option
def audit_hold_lift(name: str, reason: str, as_json: bool) -> None:
    """Let retention have the days of the hold called NAME again."""
    from tasks.serving.audit.retention import lift_hold
    from tasks.serving.paths import audit_folder

    project = Project.here()
    hold = lift_hold(audit_folder(project), name)
    _left(project, "hold_lifted", name=name, first=hold.first, last=hold.last, reason=reason)
    emit(vars(hold), as_json=as_json, text=f"{name} is lifted: {hold.first} to {hold.last} go when they are due")


@audit.command("anchor")
@json_option
def audit_anchor(as_json: bool) -> None:
    """Sign the head of the log and hand it to TUNEGATE_AUDIT_ANCHOR, or print it where that is not set.

    The host does the same every serve.gateway.audit.anchor_every_minutes.
    """
    import asyncio

    from tasks.proof.signers import machine_signer
    from tasks.serving.audit.anchor import send, statement, target
    from tasks.serving.paths import audit_folder

    project = Project.here()
    value = statement(audit_folder(project), machine_signer(project, "host"))
    if where := target():
        asyncio.run(send(where, value))
    emit(value, as_json=as_json or not where, text=f"record {value['sequence']} is anchored")


def _of(asked: dict[str, Any]) -> Any:
    """Return what is looked for."""
    from tasks.serving.audit.find import Wanted

    since, until = _day(asked.pop("since")), _day(asked.pop("until"))
    if since and until and until < since:
        raise ConfigError(f"--until {until} is before --since {since}", "turn them round")
    text, user = asked.pop("text"), asked.pop("user")
    return Wanted({name: value for name, value in asked.items() if value is not None}, since, until, text, user)


def _day(value: datetime | None) -> date | None:
    """Return the day of an option."""
    return value.date() if value else None


def _by() -> str:
    """Return who asks."""
    from tasks.release.history import requester

    return requester()


def _left(project: Project, kind: str, **facts: Any) -> None:
    """Leave a record of what was done with the log."""
    from tasks.serving.audit.outbox import leave
    from tasks.serving.paths import audit_outbox

    leave(audit_outbox(project), {"kind": kind, "by": _by(), **facts})


def _line(record: dict[str, Any]) -> str:
    """Return a record as one line."""
    return "  ".join(f"{name}={str(record[name])[:SHOWN_CHARACTERS]}" for name in SHOWN if record.get(name) is not None)
