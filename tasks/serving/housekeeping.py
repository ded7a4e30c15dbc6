"""What the host does beside serving: it writes down what others left for the log, follows new limits, anchors."""

import asyncio
import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core.errors import TransientError, TunegateError
from tasks.core.params.release import GatewayParams
from tasks.core.settings import load_settings
from tasks.proof.keys import Signer
from tasks.serving.audit import AuditLog
from tasks.serving.audit.anchor import send, statement, target
from tasks.serving.audit.chain import HEAD, Link, read_link
from tasks.serving.audit.head import note_seen, read_seen
from tasks.serving.audit.outbox import collect
from tasks.serving.gateway import Gateway

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
MINUTE_S = 60.0
#: Settings that a running gateway follows; the others count from the next start of the host.
FOLLOWED = (
    "completions", "max_completion_tokens", "over_max_completion_tokens", "max_choices", "max_prompts",
    "max_embedding_inputs", "json_schema", "requests_per_minute", "tokens_per_minute", "door", "audit",
)  # fmt: skip


class Housekeeping:
    """The loop of it.

    Args:
        outbox: where other processes leave records.
        params_path: params.yaml; limits changed there count within a second or two, no model is loaded for it.
        seen: where the last head is noted, outside the log's folder.
        signer: the host's key.
    """

    def __init__(
        self, audit: AuditLog, gateway: Gateway, outbox: Path, params_path: Path, seen: Path, signer: Signer
    ) -> None:
        self.audit, self.gateway, self.outbox, self.params_path = audit, gateway, outbox, params_path
        self.seen, self.signer = seen, signer
        self._seen = read_seen(seen)
        self._stamp = _stamp(params_path)
        self._anchor_due = time.monotonic()
        self._anchored, self._anchor_fails = Link(), False

    async def run(self) -> None:
        """Keep house until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await collect(self.outbox, self.audit)
            self.note_head()
            await self.follow_params()
            await self.anchor()

    def note_head(self) -> None:
        """Note outside the log's folder where the log stands."""
        if (head := read_link(self.audit.folder / HEAD)).sequence > self._seen.sequence:
            try:
                note_seen(self.seen, head)
                self._seen = head
            except OSError as error:
                # A full disk: the log itself falls ill of it and says so.
                log.debug("audit: the head was not noted: %s", error)

    async def anchor(self) -> None:
        """Have the signed head kept elsewhere, where it is due and there is something new."""
        where = target()
        if where is None or time.monotonic() < self._anchor_due:
            return
        self._anchor_due = time.monotonic() + MINUTE_S * self.gateway.parts.params.audit.anchor_every_minutes
        if (head := read_link(self.audit.folder / HEAD)) == self._anchored:
            return
        try:
            await send(where, statement(self.audit.folder, self.signer))
        except TransientError as error:
            self._anchor_failed(error)
            return
        self._anchored, self._anchor_fails = head, False

    def _anchor_failed(self, error: TransientError) -> None:
        """Tell of it, in the log once, and try again in a minute."""
        log.error("audit: %s", error)
        self._anchor_due = min(self._anchor_due, time.monotonic() + MINUTE_S)
        if not self._anchor_fails:
            self.audit.submit({"kind": "anchor_failed", "time": _now(), "why": error.message})
        self._anchor_fails = True

    async def follow_params(self) -> None:
        """Follow params.yaml where it has changed. What is wrong in it is told, and the limits stay as they are."""
        stamp = _stamp(self.params_path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            settings = await asyncio.to_thread(load_settings, self.params_path)
        except TunegateError as error:
            log.error("gateway: the limits stay as they are: %s", error)
            return
        before, after = self.gateway.parts.params, settings.serve.gateway
        changed = changes(before, after)
        if changed:
            self.gateway.follow(before.model_copy(update={name: getattr(after, name) for name in FOLLOWED}))
            log.info("gateway: follows new limits: %s", ", ".join(changed))
            self.audit.submit({"kind": "settings", "time": _now(), "changed": changed})


def changes(before: GatewayParams, after: GatewayParams) -> dict[str, list[Any]]:
    """Return {dotted name: [before, after]} of the followed settings that differ."""
    old, new = _flat(before.model_dump(include=set(FOLLOWED))), _flat(after.model_dump(include=set(FOLLOWED)))
    return {name: [old[name], new[name]] for name in sorted(old) if old[name] != new[name]}


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by dotted names."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= _flat(item, f"{prefix}{name}.") if isinstance(item, dict) else {f"{prefix}{name}": item}
    return found


def _now() -> str:
    """Return the time for a record."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with a file's content, None where it is not there (as while an editor saves it)."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
