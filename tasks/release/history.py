"""Which version was champion when, and who did it: append-only, hash-chained, kept on the registered model.

Every entry is signed with the key of the host's machine, and so is the head, so that the last entry cannot be edited
and none cut off; the head seen last is kept on this machine, too, so that an old one put back is seen. Entries of older
releases have no signature: they stand before the first one that has.
"""

import getpass
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tasks.core import tracking
from tasks.core.digest import sha256_json
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.core.project import Project
from tasks.proof.envelope import HISTORY, genuine, signed
from tasks.proof.keys import PublicKey
from tasks.proof.signers import machine_signer
from tasks.proof.trust import known_hosts
from tasks.release.registry import PREFIX, Registry

ENTRY = f"{PREFIX}history."
HEAD = f"{PREFIX}history_head"
#: Fields that entries of older releases do not have.
LATER = frozenset({"lineage_id", "key_id", "signature"})
#: How a version became champion: by `tunegate promote`, by `tunegate rollback`, or by moving the alias in MLflow.
Kind = Literal["promote", "rollback", "alias"]


@dataclass(frozen=True)
class Event:
    """One change of champion."""

    sequence: int
    time: str
    kind: Kind
    version: str
    by: str
    reason: str
    previous: str
    lineage_id: str = ""
    key_id: str = ""
    signature: str = ""

    def row(self) -> dict[str, Any]:
        """Return the JSON form; an entry of an older release has no signature in it."""
        return {name: value for name, value in asdict(self).items() if value or name not in LATER}


def read_history(registry: Registry) -> list[Event]:
    """Return all changes of champion, oldest first, after checking the chain.

    Raises:
        DataContractError: an entry was changed, removed or put in by hand.
    """
    events, problems = readable_history(registry)
    if problems:
        raise DataContractError(
            f"champion history of {registry.name}: {problems[0]}",
            "somebody edited the tags of the registered model: compare with a backup of the MLflow store; where an "
            "older one was restored on purpose: rm .tunegate/serving/history_seen.json",
        )
    return events


def readable_history(registry: Registry) -> tuple[list[Event], list[str]]:
    """Return the changes of champion that can be read, oldest first, and what is wrong with the rest.

    For what must not wait for a damaged entry: a rollback, or finishing a change that is under way.
    """
    tags, hosts, seen = _tags(registry), known_hosts(registry.project), _read_seen(registry)
    events, problems = _parsed(tags, registry.name, hosts)
    problems += _head_problems(tags, registry.name, hosts, seen, events)
    if not problems and events:
        _note_seen(registry, events[-1])
    return events, problems


@tracking.answering()
def append_event(registry: Registry, kind: Kind, version: str, by: str, reason: str, *, lineage_id: str = "") -> Event:
    """Add one change of champion to the history, behind every entry there is, readable or not, and return it."""
    tags, seen = _tags(registry), _read_seen(registry)
    events, _ = _parsed(tags, registry.name, known_hosts(registry.project))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    previous = _link(events[-1]) if events else ""
    # Behind what was cut off, too: the gap stays.
    number = max(len(_entries(tags)), events[-1].sequence if events else 0, int(seen["sequence"])) + 1
    signer = machine_signer(registry.project, "host")
    row = Event(number, now, kind, version, by, reason, previous, lineage_id).row()
    row = signed(HISTORY, {**row, "model": registry.name}, signer)
    row.pop("model")
    event = Event(**row)
    _set(registry, f"{ENTRY}{event.sequence:06d}", row)
    head = {"model": registry.name, "sequence": event.sequence, "link": _link(event)}
    _set(registry, HEAD, signed(HISTORY, head, signer))
    _note_seen(registry, event)
    return event


def champions_before(events: list[Event]) -> list[str]:
    """Return the versions a rollback can go back to, oldest first, the present champion last.

    A promotion is put on top; a rollback takes off what it left, so that two rollbacks in a row go back two champions
    instead of returning to the one that was left.
    """
    stack: list[str] = []
    for event in events:
        if event.kind == "rollback":
            while stack and stack[-1] != event.version:
                stack.pop()
        elif not stack or stack[-1] != event.version:
            stack.append(event.version)
    return stack


def _tags(registry: Registry) -> dict[str, str]:
    """Return the tags of the registered model."""
    model = tracking.find_registered_model(registry.client, registry.name)
    return dict(model.tags) if model else {}


def _set(registry: Registry, name: str, value: dict[str, Any]) -> None:
    """Keep a JSON value on the registered model."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    registry.client.set_registered_model_tag(registry.name, name, text)


def _entries(tags: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the entries as they stand on the registered model, oldest first."""
    return sorted((name, value) for name, value in tags.items() if name.startswith(ENTRY))


def _parsed(tags: Mapping[str, str], model: str, hosts: Mapping[str, PublicKey]) -> tuple[list[Event], list[str]]:
    """Return the entries that can be read, and what is wrong with the chain."""
    events: list[Event] = []
    problems: list[str] = []
    link = ""
    for number, (name, value) in enumerate(_entries(tags), start=1):
        try:
            event = Event(**json.loads(value))
        except (ValueError, TypeError) as error:
            problems.append(f"entry {name} cannot be read: {error}")
            continue
        if event.sequence != number or event.previous != link:
            problems.append(f"entry {name} breaks the hash chain")
        if event.signature and not genuine(HISTORY, {**event.row(), "model": model}, hosts):
            problems.append(f"entry {name} was changed, or is not signed by a known host")
        if not event.signature and any(earlier.signature for earlier in events):
            problems.append(f"entry {name} is not signed")
        link = _link(event)
        events.append(event)
    return events, problems


def _head_problems(
    tags: Mapping[str, str], model: str, hosts: Mapping[str, PublicKey], seen: dict[str, Any], events: list[Event]
) -> list[str]:
    """Return what is wrong with the end of the chain: cut off, or another one than there was."""
    links = {event.sequence: _link(event) for event in events}
    if seen["sequence"] and links.get(seen["sequence"]) != seen["link"]:
        return [f"entry {seen['sequence']}, seen on this machine, is gone or is another one"]
    if HEAD not in tags:
        return ["its signed head is gone"] if any(event.signature for event in events) else []
    try:
        head = json.loads(tags[HEAD])
        if head["model"] != model or not genuine(HISTORY, head, hosts):
            return ["its head was changed, or is not signed by a known host"]
        # A head one behind: its writer ended between the two. The entry is signed itself.
        if links.get(head["sequence"]) != head["link"]:
            return [f"entry {head['sequence']}, which its signed head names, is gone or is another one"]
    except (ValueError, KeyError, TypeError) as error:
        return [f"its head cannot be read: {error}"]
    return []


def _seen_path(project: Project) -> Path:
    """Return the file with the last entry that was seen here."""
    return project.state / "serving" / "history_seen.json"


def _read_seen(registry: Registry) -> dict[str, Any]:
    """Return {"sequence", "link"} of the last entry that was seen on this machine, of this model in this store."""
    path = _seen_path(registry.project)
    value: dict[str, Any] = read_json(path) if path.is_file() else {}
    nothing: dict[str, Any] = {"sequence": 0, "link": ""}
    found: dict[str, Any] = value.get(place_of(registry.project.mlflow_uri, registry.name), nothing)
    return found


def _note_seen(registry: Registry, event: Event) -> None:
    """Keep on this machine which entry is the last."""
    path = _seen_path(registry.project)
    value = read_json(path) if path.is_file() else {}
    last = {"sequence": event.sequence, "link": _link(event)}
    place = place_of(registry.project.mlflow_uri, registry.name)
    if value.get(place) != last:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(path, value | {place: last})


def place_of(mlflow_uri: str, model: str) -> str:
    """Return the digest that stands for a model in its store: the address may hold a password."""
    return sha256_json([mlflow_uri, model])


def carry_seen(project: Project, before: str, after: str) -> None:
    """Go on from what was seen of a history whose store is in another place now; places as `place_of` has them."""
    path = _seen_path(project)
    value = read_json(path) if path.is_file() else {}
    if before in value:
        write_json(path, value | {after: value[before]})


def _link(event: Event) -> str:
    """Return the hash by which the next entry refers to this one."""
    return sha256_json(event.row())


def requester() -> str:
    """Return who asks: $TUNEGATE_USER (set by CI and schedulers), or the login name."""
    return os.environ.get("TUNEGATE_USER") or getpass.getuser()
