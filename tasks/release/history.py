"""Which version was champion when, and who did it: append-only, hash-chained, kept on the registered model."""

import getpass
import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from tasks.core import tracking
from tasks.core.digest import sha256_json
from tasks.core.errors import DataContractError
from tasks.release.registry import PREFIX, Registry

ENTRY = f"{PREFIX}history."
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


def read_history(registry: Registry) -> list[Event]:
    """Return all changes of champion, oldest first, after checking the chain.

    Raises:
        DataContractError: an entry was changed, removed or put in by hand.
    """
    events, problems = readable_history(registry)
    if problems:
        raise DataContractError(
            f"champion history of {registry.name}: {problems[0]}",
            "somebody edited the tags of the registered model: compare with a backup of the MLflow store",
        )
    return events


def readable_history(registry: Registry) -> tuple[list[Event], list[str]]:
    """Return the changes of champion that can be read, oldest first, and what is wrong with the rest.

    For what must not wait for a damaged entry: a rollback, or finishing a change that is under way.
    """
    return _parsed(_entries(registry))


@tracking.answering()
def append_event(registry: Registry, kind: Kind, version: str, by: str, reason: str) -> Event:
    """Add one change of champion to the history, behind every entry there is, readable or not, and return it."""
    entries = _entries(registry)
    events, _ = _parsed(entries)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    previous = _link(events[-1]) if events else ""
    number = max(len(entries), events[-1].sequence if events else 0) + 1
    event = Event(number, now, kind, version, by, reason, previous)
    value = json.dumps(asdict(event), sort_keys=True, ensure_ascii=False)
    registry.client.set_registered_model_tag(registry.name, f"{ENTRY}{event.sequence:06d}", value)
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


def _entries(registry: Registry) -> list[tuple[str, str]]:
    """Return the entries as they stand on the registered model, oldest first."""
    model = tracking.find_registered_model(registry.client, registry.name)
    return sorted((name, value) for name, value in (model.tags if model else {}).items() if name.startswith(ENTRY))


def _parsed(entries: list[tuple[str, str]]) -> tuple[list[Event], list[str]]:
    """Return the entries that can be read, and what is wrong with the chain."""
    events: list[Event] = []
    problems: list[str] = []
    link = ""
    for number, (name, value) in enumerate(entries, start=1):
        try:
            event = Event(**json.loads(value))
        except (ValueError, TypeError) as error:
            problems.append(f"entry {name} cannot be read: {error}")
            continue
        if event.sequence != number or event.previous != link:
            problems.append(f"entry {name} breaks the hash chain")
        link = _link(event)
        events.append(event)
    return events, problems


def _link(event: Event) -> str:
    """Return the hash by which the next entry refers to this one."""
    return sha256_json(asdict(event))


def requester() -> str:
    """Return who asks: $TUNEGATE_USER (set by CI and schedulers), or the login name."""
    return os.environ.get("TUNEGATE_USER") or getpass.getuser()
