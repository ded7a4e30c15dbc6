"""Who asked what and what was answered: append-only JSON Lines, one file a day, each record chained to the one before.

A request's record is in the file before the first byte of its answer leaves; the answer's record follows it. Records
are queued and written by one task in a thread, so nobody waits for the disk while the model is thinking. A full disk
makes the log unhealthy, and the gateway refuses; a reserved file is given up first, so that the answers under way are
still recorded. After a power cut the last second may be missing; after a crash nothing is.

The chain shows a changed, removed or inserted record. It cannot show that a person with write access rewrote all of it:
keep a copy of `head.json` elsewhere for that.
"""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_json
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json

log = logging.getLogger(__name__)

HEAD = "head.json"
ANCHOR = "anchor.json"
RESERVE = ".reserve"
#: Room for the answers under way when the disk fills: hundreds of full-length ones.
RESERVE_BYTES = 4 << 20
RETRY_S = 1.0
SYNC_EVERY_S = 1.0
TAIL_BYTES = 1 << 20
_DAY_FILES = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].jsonl"

#: Text in, text without personal data and the number of masks by type out.
Redact = Callable[[str], tuple[str, dict[str, int]]]


def utc_now() -> datetime:
    """Return the time, in UTC as all of the log."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Link:
    """Where the chain stands: number and hash of the last record."""

    sequence: int = 0
    hash: str = ""


@dataclass(eq=False)
class _Entry:
    """A record on its way to the file; `written` tells its sender how it went."""

    record: dict[str, Any]
    written: "asyncio.Future[bool]"


class AuditLog:
    """The writing end of the log. `open`, then `submit`, then `close`, all in one event loop.

    Args:
        folder: one file a day goes here.
        redact: applied to the values of `prompt` and `answer` before they are written; runs in the writer's thread.
        retention_days: files older than this are removed whole.
        now: the clock.
    """

    def __init__(
        self, folder: Path, *, redact: Redact, retention_days: int, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.folder, self.redact, self.retention_days, self.now = folder, redact, retention_days, now
        self.healthy = False
        self.link = Link()
        self._queue: asyncio.Queue[_Entry | None] = asyncio.Queue()
        self._kept: list[_Entry] = []
        self._task: asyncio.Task[None] | None = None
        self._day: str | None = None
        self._file = -1
        self._synced_at = 0.0
        self._dirty = False

    @property
    def pending(self) -> int:
        """Records not yet in the file."""
        return self._queue.qsize() + len(self._kept)

    async def open(self) -> None:
        """Find the end of the chain and start writing.

        Raises:
            DataContractError: the last record is damaged.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.link = _end_of_chain(self.folder)
        await asyncio.to_thread(self._recover)
        self._task = asyncio.create_task(self._write_forever(), name="audit")
        self._task.add_done_callback(_tell_bug)

    def submit(self, record: dict[str, Any]) -> "asyncio.Future[bool]":
        """Queue a record; the future tells whether it is in the file (False: not yet, and the log is unhealthy)."""
        entry = _Entry(record, asyncio.get_running_loop().create_future())
        if self._task is None or self._task.done():
            entry.written.set_result(False)
        else:
            self._queue.put_nowait(entry)
        return entry.written

    async def close(self) -> None:
        """Write what is queued and stop."""
        if self._task:
            self._queue.put_nowait(None)
            await self._task
            self._task = None
        self._close_file()

    async def _write_forever(self) -> None:
        """Write what has come in since the last write, in one go; try again each second while the disk is full."""
        open_ = True
        batch: list[_Entry] = []
        try:
            while open_:
                batch, open_ = await self._next_batch()
                self._kept += batch
                await asyncio.to_thread(self._write_kept)
                _answer(batch, self._kept)
                if self._dirty and (not open_ or time.monotonic() - self._synced_at > SYNC_EVERY_S):
                    await asyncio.to_thread(self._sync)
        finally:
            # Also when a bug ends the task: nobody waits for ever, and nothing is answered unrecorded.
            self.healthy = False
            while not self._queue.empty():
                batch += [entry] if (entry := self._queue.get_nowait()) else []
            _answer(batch, [*batch, *self._kept])
            if self._kept:
                log.error("audit: %d records were lost with the disk full", len(self._kept))

    async def _next_batch(self) -> tuple[list[_Entry], bool]:
        """Wait for records (a moment only while there is something to retry) and return them, and whether to go on."""
        idle = self.healthy and not self._dirty
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
        except OSError as error:
            if self.healthy:
                log.error("audit: cannot write to %s: %s; requests are refused until there is room", self.folder, error)
            self.healthy = False
            self._close_file()
            with contextlib.suppress(FileNotFoundError):
                (self.folder / RESERVE).unlink()
                self._write_kept()
            return
        if not self.healthy:
            self._recover()

    def _append(self) -> None:
        """Write the kept records as one block and move the chain on."""
        if not self._kept:
            return
        self._roll()
        link, lines = self.link, []
        for entry in self._kept:
            line, link = self._line(entry.record, link)
            lines.append(line)
        block = "".join(lines).encode("utf-8", "replace")
        while block:
            block = block[os.write(self._file, block) :]
        self.link = link
        self._kept, self._dirty = [], True

    def _line(self, record: dict[str, Any], link: Link) -> tuple[str, Link]:
        """Return the line of a record, redacted and chained, and the new end of the chain."""
        masks: dict[str, int] = {}
        kept = {
            name: self._redacted(value, masks) if name in ("prompt", "answer") else value
            for name, value in record.items()
        }
        if masks:
            kept["masks"] = masks
        body = {**kept, "sequence": link.sequence + 1, "previous": link.hash}
        digest = sha256_json(body)
        line = json.dumps({**body, "hash": digest}, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return f"{line}\n", Link(link.sequence + 1, digest)

    def _redacted(self, value: Any, masks: dict[str, int]) -> Any:
        """Return a JSON value with every text in it redacted; `masks` counts what was taken out.

        A callable gives its value here, in the writer's thread: putting a streamed answer together takes milliseconds.
        """
        if callable(value):
            value = value()
        if isinstance(value, str):
            # A server's answer may hold half a surrogate pair; UTF-8 cannot.
            text, found = self.redact(value.encode("utf-8", "replace").decode())
            for kind, count in found.items():
                masks[kind] = masks.get(kind, 0) + count
            return text
        if isinstance(value, list):
            return [self._redacted(item, masks) for item in value]
        if isinstance(value, dict):
            return {name: self._redacted(item, masks) for name, item in value.items()}
        return value

    def _roll(self) -> None:
        """Have today's file open; on a new day remove the files that are too old."""
        today = self.now().date().isoformat()
        if self._file >= 0 and today == self._day:
            return
        self._close_file()
        path = self.folder / f"{today}.jsonl"
        _cut_torn_line(path)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._day = today
        _expire(self.folder, (self.now().date() - timedelta(days=self.retention_days)).isoformat())

    def _recover(self) -> None:
        """Become healthy where the reserve can be set aside and today's file opened."""
        try:
            self._roll()
            reserve = os.open(self.folder / RESERVE, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(reserve, 0, RESERVE_BYTES)
            finally:
                os.close(reserve)
        except OSError as error:
            log.debug("audit: still no room: %s", error)
            return
        self.healthy = True

    def _sync(self) -> None:
        """Have the disk keep what was written, and note where the chain stands; nobody waits for this."""
        self._synced_at, self._dirty = time.monotonic(), False
        if self._file < 0:
            return
        try:
            os.fdatasync(self._file)
            write_json(self.folder / HEAD, {"sequence": self.link.sequence, "hash": self.link.hash})
        except OSError as error:
            log.error("audit: the disk did not keep the last records: %s", error)
            self.healthy = False

    def _close_file(self) -> None:
        """Close today's file."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


def _answer(batch: list[_Entry], kept: list[_Entry]) -> None:
    """Tell the senders of a batch whether their record is in the file."""
    for entry in batch:
        if not entry.written.done():
            entry.written.set_result(entry not in kept)


def _tell_bug(task: "asyncio.Task[None]") -> None:
    """Log the bug that ended the writer at once, not when the gateway stops."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("audit: the writer ended, nothing is answered from here on", exc_info=error)


def verify(folder: Path) -> dict[str, Any]:
    """Check the whole chain and return {"files", "records", "head", "problems"}; no problem means untouched.

    Each problem names the file and line. After a break the chain is taken up again, so that one report shows them all.
    """
    anchor = _read_link(folder / ANCHOR)
    link, problems, records = anchor, [], 0
    seen = {anchor}
    files = sorted(folder.glob(_DAY_FILES))
    for path in files:
        for number, line in enumerate(path.read_bytes().splitlines(), start=1):
            records += 1
            link, problem = _check(line, link)
            seen.add(link)
            if problem:
                problems.append(f"{path.name}:{number}: {problem}")
    head = _read_link(folder / HEAD)
    if head not in seen:
        problems.append(f"{HEAD}: record {head.sequence} is not in the log: records at the end were removed or changed")
    return {"files": len(files), "records": records, "head": link.sequence, "problems": problems}


def _check(line: bytes, link: Link) -> tuple[Link, str | None]:
    """Return the chain after one line, and what is wrong with it."""
    try:
        entry = json.loads(line)
        claimed = Link(entry["sequence"], entry.pop("hash"))
        previous = entry["previous"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return link, "is not an audit record"
    if sha256_json(entry) != claimed.hash:
        return claimed, f"record {claimed.sequence} was changed"
    if (claimed.sequence, previous) != (link.sequence + 1, link.hash):
        return claimed, f"record {claimed.sequence} does not follow record {link.sequence}: removed, inserted or moved"
    return claimed, None


def _end_of_chain(folder: Path) -> Link:
    """Return the last record's link.

    Raises:
        DataContractError: the last complete line is no audit record.
    """
    for path in sorted(folder.glob(_DAY_FILES), reverse=True):
        _cut_torn_line(path)
        if line := _last_line(path):
            try:
                entry = json.loads(line)
                return Link(entry["sequence"], entry["hash"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataContractError(
                    f"the last line of {path} is no audit record",
                    "tunegate audit verify; then move the folder to a safe place and start again",
                ) from error
    return _read_link(folder / ANCHOR)


def _last_line(path: Path) -> bytes:
    """Return the last line of a file that ends with a newline; empty where it has none."""
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(0, size - TAIL_BYTES))
        return (stream.read(min(size, TAIL_BYTES)).rstrip(b"\n").rpartition(b"\n"))[2]


def _cut_torn_line(path: Path) -> None:
    """Move what a killed process left half-written at the end of a file into `<file>.torn`."""
    size = path.stat().st_size if path.is_file() else 0
    if size == 0:
        return
    with path.open("r+b") as stream:
        stream.seek(max(0, size - TAIL_BYTES))
        torn = stream.read().rpartition(b"\n")[2]
        if torn:
            log.warning("audit: %s ended in half a record; kept in %s.torn", path, path.name)
            with path.with_name(f"{path.name}.torn").open("ab") as kept:
                kept.write(torn + b"\n")
            stream.truncate(size - len(torn))


def _expire(folder: Path, oldest: str) -> None:
    """Remove the files of days before `oldest`, remembering where the chain stood after them."""
    for path in sorted(folder.glob(_DAY_FILES)):
        if path.stem >= oldest:
            return
        if line := _last_line(path):
            entry = json.loads(line)
            write_json(folder / ANCHOR, {"sequence": entry["sequence"], "hash": entry["hash"]})
        path.unlink()
        log.info("audit: removed %s, past its retention", path.name)


def _read_link(path: Path) -> Link:
    """Return the link kept in a file; the beginning of the chain where there is none."""
    if not path.exists():
        return Link()
    value = read_json(path)
    return Link(int(value["sequence"]), str(value["hash"]))
