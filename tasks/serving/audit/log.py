"""The writing end of the audit log: JSON Lines, one file a day, each record chained to the one before.

A request's record is in the file before the first byte of its answer leaves; the answer's record follows it. Records
are queued and written by one task in a thread, so nobody waits for the disk while the model is thinking. A long text is
recorded at once as its keyed digest, and masked in a process of its own: a record of kind `text` follows. A full disk
makes the log unhealthy, and the gateway refuses; a reserved file is given up first, so that the answers under way are
still recorded. After a power cut the last second may be missing; after a crash nothing is but long texts still to mask.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.proof.keys import Signer
from tasks.serving.audit.chain import Link
from tasks.serving.audit.day_file import DayFile
from tasks.serving.audit.head import write_head
from tasks.serving.audit.lock import locked
from tasks.serving.audit.masker import MaskerLostError
from tasks.serving.audit.record import (
    TEXTS,
    UNWRITABLE,
    Redact,
    chained,
    characters,
    masked,
    resolved,
    tombstone,
)  # fmt: skip
from tasks.serving.audit.retention import end_of_chain, expire
from tasks.serving.audit.room import Room

log = logging.getLogger(__name__)

RETRY_S = 1.0
SYNC_EVERY_S = 1.0
#: Longer texts are masked apart; up to this length masking takes a few milliseconds.
SHORT_CHARACTERS = 4096
#: Long texts that may wait to be masked, and how long a stop waits for them.
BEHIND_CHARACTERS = 32 << 20
CLOSE_TIMEOUT_S = 60.0

#: A JSON value in; out with its texts masked, and the number of masks by type.
MaskFar = Callable[[Any], Awaitable[tuple[Any, dict[str, int]]]]


def utc_now() -> datetime:
    """Return the time, in UTC as all of the log."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Ways:
    """How the log treats what it writes.

    Args:
        redact: masks a text; runs in the writer's thread.
        retention_days: files older than this are removed whole.
        mask_far: masks a long text elsewhere; None: long ones are masked as short ones are.
        digest_key: of the keyed digests of unmasked text; empty: there are none.
        room: what the log needs of its disk.
        on_death: told the bug that ended the writer.
        signer: signs the head; None: it is not signed.
    """

    redact: Redact
    retention_days: int
    mask_far: MaskFar | None = None
    digest_key: bytes = b""
    room: Room = field(default_factory=Room)
    on_death: Callable[[BaseException], None] = lambda error: None
    signer: Signer | None = None


@dataclass(eq=False)
class _Entry:
    """A record on its way to the file; `written` tells its sender how it went.

    Args:
        ready: as it is written, once it is known; it is not masked again when the disk was full.
        text: what is still to be masked, elsewhere.
        lost: whether a tombstone took its place.
    """

    record: dict[str, Any]
    written: "asyncio.Future[bool]"
    ready: dict[str, Any] | None = None
    text: dict[str, Any] = field(default_factory=dict)
    lost: bool = False


class AuditLog:
    """The writing end of the log. `open`, then `submit`, then `close`, all in one event loop.

    Args:
        folder: one file a day goes here; one process at a time may write there.
        now: the clock.
    """

    def __init__(self, folder: Path, ways: Ways, *, now: Callable[[], datetime] = utc_now) -> None:
        self.folder, self.ways, self.now = folder, ways, now
        self.healthy = False
        self.link = Link()
        self.behind_characters = 0
        self._queue: asyncio.Queue[_Entry | None] = asyncio.Queue()
        self._far: asyncio.Queue[_Entry] = asyncio.Queue()
        self._kept: list[_Entry] = []
        self._own: list[dict[str, Any]] = []
        self._with_text: list[_Entry] = []
        self._task: asyncio.Task[None] | None = None
        self._far_task: asyncio.Task[None] | None = None
        self._file: DayFile | None = None
        self._lock = -1
        self._synced_at = 0.0

    @property
    def pending(self) -> int:
        """Records not yet in the file."""
        return self._queue.qsize() + len(self._kept)

    @property
    def behind(self) -> bool:
        """Whether so much long text waits to be masked that no more should come in."""
        return self.behind_characters > BEHIND_CHARACTERS

    async def open(self) -> None:
        """Find the end of the chain and start writing.

        Raises:
            ConfigError: another process writes this log.
            DataContractError: the last record is damaged.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = locked(self.folder)
        try:
            self.link = end_of_chain(self.folder, self._oldest())
            await asyncio.to_thread(self._recover)
        except BaseException:
            self._unlock()
            raise
        self._task = asyncio.create_task(self._write_forever(), name="audit")
        self._task.add_done_callback(self._tell_bug)
        self._far_task = asyncio.create_task(self._mask_forever(), name="audit-texts")
        self._far_task.add_done_callback(self._tell_bug)

    def submit(self, record: dict[str, Any]) -> "asyncio.Future[bool]":
        """Queue a record; the future tells whether it is in the file.

        False: it is not yet, and the log is unhealthy; or it never will be, and a tombstone stands in its place.
        """
        entry = _Entry(record, asyncio.get_running_loop().create_future())
        if self._task is None or self._task.done():
            entry.written.set_result(False)
        else:
            self._queue.put_nowait(entry)
        return entry.written

    async def close(self) -> None:
        """Write what is queued and stop."""
        try:
            if self._task:
                await self._finish_texts(self._task)
                self._queue.put_nowait(None)
                await self._task
        finally:
            self._task = None
            if self._file:
                self._file.close()
            self._unlock()

    async def _finish_texts(self, writing: "asyncio.Task[None]") -> None:
        """Let the long texts be masked and recorded that are known of by now, within a limit."""
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        while (self.pending or self._with_text or self.behind_characters) and self.healthy and not writing.done():
            if time.monotonic() > deadline:
                log.error("audit: %d characters were not masked in time; of them there is the digest alone",
                          self.behind_characters)  # fmt: skip
                break
            await asyncio.sleep(0.01)
        if self._far_task:
            self._far_task.cancel()
            await asyncio.gather(self._far_task, return_exceptions=True)

    async def _write_forever(self) -> None:
        """Write what has come in since the last write, in one go; try again each second while the disk is full."""
        open_ = True
        batch: list[_Entry] = []
        try:
            while open_:
                batch, open_ = await self._next_batch()
                self._kept += batch
                await asyncio.to_thread(self._write_kept)
                self._answer(batch)
                if self._dirty and (not open_ or time.monotonic() - self._synced_at > SYNC_EVERY_S):
                    await asyncio.to_thread(self._sync)
        finally:
            # Also when a bug ends the task: nobody waits for ever, and nothing is answered unrecorded.
            self.healthy = False
            while not self._queue.empty():
                batch += [entry] if (entry := self._queue.get_nowait()) else []
            for entry in {*batch, *self._kept}:
                _tell(entry, written=False)
            if self._kept:
                log.error("audit: %d records were lost with the disk full", len(self._kept))

    @property
    def _dirty(self) -> bool:
        """Whether the disk has still to confirm something."""
        return self._file is not None and not self._file.confirmed

    async def _next_batch(self) -> tuple[list[_Entry], bool]:
        """Wait for records (a moment only while there is something to retry) and return them, and whether to go on."""
        idle = self.healthy and not self._dirty and not self.ways.room.watched
        try:
            entry = await asyncio.wait_for(self._queue.get(), None if idle else RETRY_S)
        except TimeoutError:
            return [], True
        batch: list[_Entry] = []
        while entry is not None:
            batch.append(entry)
            if self._queue.empty():
                return batch, True
            entry = self._queue.get_nowait()
        return batch, False

    def _write_kept(self) -> None:
        """Write all records that are to be written, giving up the reserve where that helps."""
        try:
            self._append()
            if self.healthy:
                self.ways.room.require(self.folder)
        except OSError as error:
            self._fall_ill(error)
            if self._kept and self.ways.room.give_up(self.folder):
                if self._file:
                    # At once, before what filled the disk takes this, too.
                    self._file.allocate(self.ways.room.reserve_bytes)
                self._write_kept()
            return
        if not self.healthy:
            self._recover()

    def _fall_ill(self, error: OSError) -> None:
        """Be unhealthy from here on, and say why once."""
        if self.healthy:
            log.error("audit: cannot write to %s: %s; requests are refused until that is over", self.folder, error)
        self.healthy = False
        if self._file:
            self._file.close()

    def _append(self) -> None:
        """Write the kept records as one block and move the chain on."""
        file = self._roll()
        if not self._kept and not self._own:
            return
        link, lines = self.link, []
        for record in self._own:
            line, link = chained({**record, "time": self.now().isoformat(timespec="milliseconds")}, link)
            lines.append(line)
        for entry in self._kept:
            line, link = self._line(entry, link)
            lines.append(line)
        file.append("".join(lines).encode("utf-8", "replace"))
        self.link = link
        self._with_text += [entry for entry in self._kept if entry.text]
        self._kept, self._own = [], []

    def _line(self, entry: _Entry, link: Link) -> tuple[str, Link]:
        """Return the line of an entry, or of its tombstone, and the new end of the chain."""
        try:
            if entry.ready is None:
                entry.ready = self._ready(entry)
            return chained(entry.ready, link)
        except UNWRITABLE as error:
            entry.lost, entry.text = True, {}
            entry.ready = tombstone(entry.record, error)
            log.error("audit: a record of %s cannot be written (%s at %s); a tombstone stands in its place",
                      entry.ready.get("request_id"), entry.ready["why"], entry.ready["at"])  # fmt: skip
            return chained(entry.ready, link)

    def _ready(self, entry: _Entry) -> dict[str, Any]:
        """Return a record as it is written: masked, or without its text where that is masked elsewhere."""
        found = resolved(entry.record, self.ways.digest_key)
        if self.ways.mask_far is None or entry.record.get("kind") == "text" or characters(found) <= SHORT_CHARACTERS:
            return masked(found, self.ways.redact)
        entry.text = {name: found.pop(name) for name in TEXTS if name in found}
        return masked({**found, "text": "follows"}, self.ways.redact)

    def _answer(self, batch: list[_Entry]) -> None:
        """Tell the senders of a batch how it went, and send long texts to be masked."""
        kept = set(self._kept)
        for entry in batch:
            _tell(entry, written=entry not in kept and not entry.lost)
        for entry in self._with_text:
            self.behind_characters += characters(entry.text)
            self._far.put_nowait(entry)
        self._with_text = []

    async def _mask_forever(self) -> None:
        """Have long texts masked one after the other, and record each."""
        while True:
            entry = await self._far.get()
            size = characters(entry.text)
            known: dict[str, Any] = {
                name: entry.record[name] for name in ("request_id", "key", "key_id") if name in entry.record
            }
            found = await self._masked_far(entry.text)
            record: dict[str, Any] = {**known, "kind": "text", "of": entry.record.get("kind"), **found}
            written = _Entry(record, asyncio.get_running_loop().create_future(), ready=record)
            self._queue.put_nowait(written)
            entry.text = {}
            await written.written
            self.behind_characters -= size

    async def _masked_far(self, text: dict[str, Any]) -> dict[str, Any]:
        """Return texts masked elsewhere with their masks, or why there are none."""
        assert self.ways.mask_far
        try:
            value, masks = await self.ways.mask_far(text)
        except (MaskerLostError, *UNWRITABLE) as error:
            why = str(error) if isinstance(error, MaskerLostError) else type(error).__name__
            log.error("audit: a long text could not be masked (%s); of it there is the digest alone", why)
            return {"kind": "tombstone", "why": why}
        found: dict[str, Any] = dict(value)
        return {**found, "masks": masks} if masks else found

    def _oldest(self) -> str:
        """Return the oldest day that retention keeps."""
        return (self.now().date() - timedelta(days=self.ways.retention_days)).isoformat()

    def _roll(self) -> DayFile:
        """Return today's file; on a new day remove the files that are too old.

        Raises:
            OSError: yesterday's records are not on the disk, or today's file cannot be opened.
        """
        path = self.folder / f"{self.now().date().isoformat()}.jsonl"
        if self._file and self._file.path == path:
            return self._file
        if self._file:
            # Not a sync: after one that failed, the next succeeds whether or not the records were kept.
            self._file.prove()
            self._file.close()
        self._file = DayFile(path)
        self._own += expire(self.folder, self._oldest(), self.link)
        return self._file

    def _recover(self) -> None:
        """Become healthy where the disk proves that it keeps what is written, and there is room."""
        try:
            self._append()
            self._roll().prove()
            self.ways.room.set_aside(self.folder)
            self.ways.room.require(self.folder)
        except OSError as error:
            log.log(logging.DEBUG if self._task else logging.ERROR, "audit: no healthy disk: %s", error)
            return
        self.healthy = True

    def _sync(self) -> None:
        """Have the disk keep what was written, and note where the chain stands; nobody waits for this."""
        self._synced_at = time.monotonic()
        try:
            if self._file:
                self._file.sync()
            write_head(self.folder, self.link, self.ways.signer)
        except OSError as error:
            self._fall_ill(error)

    def _unlock(self) -> None:
        """Let another process write this log."""
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _tell_bug(self, task: "asyncio.Task[None]") -> None:
        """Tell of the bug that ended the writer at once, not when the gateway stops."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("audit: the writer ended, nothing is answered from here on", exc_info=error)
            self.ways.on_death(error)


def _tell(entry: _Entry, *, written: bool) -> None:
    """Tell an entry's sender whether it is in the file."""
    if not entry.written.done():
        entry.written.set_result(written)
