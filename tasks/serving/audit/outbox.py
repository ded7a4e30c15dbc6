"""Records from other processes (a key or hold changed, the log read): left in a folder, written by the host.

One process at a time writes the log. What the others have to say waits in the outbox while no host runs.
"""

import logging
import os
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.serving.audit.log import AuditLog

log = logging.getLogger(__name__)

OUTBOX = "audit_outbox"


def leave(folder: Path, record: dict[str, Any]) -> None:
    """Leave a record for the log; its time and an id of its own are added."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    name = f"{time.time_ns():020d}-{os.getpid()}.json"
    write_json(folder / name, {"time": now, "event_id": uuid.uuid4().hex, **record})


async def collect(folder: Path, audit: AuditLog) -> int:
    """Write what was left, oldest first, and return how many records that was.

    A kill between writing and removing writes a record twice, with one `event_id`.
    """
    paths = sorted(folder.glob("[0-9]*.json")) if folder.is_dir() else []
    for done, path in enumerate(paths):
        try:
            record = read_json(path)
        except DataContractError as error:
            log.error("audit: %s; a tombstone stands in its place", error.message)
            record = {"kind": "tombstone", "of": "outbox", "file": path.name, "why": "no JSON"}
        if not await audit.submit(record) and not audit.healthy:
            return done
        path.unlink()
    return len(paths)
