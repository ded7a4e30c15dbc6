"""What holds the records together: each holds the hash of the one before it.

The chain shows a changed, removed or inserted record. It cannot show that a person with write access rewrote all of it:
the head that is signed and kept elsewhere (`anchor`) does.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_json
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json

HEAD = "head.json"
ANCHOR = "anchor.json"
TAIL_BYTES = 1 << 20
#: A live log may lose its oldest file, past its retention, while it is read.
READINGS = 20
_DAY_FILES = "[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].jsonl"


@dataclass(frozen=True)
class Link:
    """Where the chain stands: number and hash of the last record."""

    sequence: int = 0
    hash: str = ""


@dataclass
class Kept:
    """What retention has removed: all up to `start`, and whole files between records that a hold keeps.

    Args:
        gaps: (last record before the gap, last record in it).
    """

    start: Link
    gaps: list[tuple[Link, Link]]

    @property
    def ends(self) -> set[Link]:
        """The last record of each removed stretch."""
        return {self.start, *(last for _, last in self.gaps)}

    def removed(self, before: Link, after: Link) -> None:
        """Note that the records behind `before` up to `after` were removed with their file."""
        if before == after or after in self.ends:
            return
        if before == self.start:
            self.start = after
            while joined := [gap for gap in self.gaps if gap[0] == self.start]:
                self.start = joined[0][1]
                self.gaps.remove(joined[0])
            return
        for place, (first, last) in enumerate(self.gaps):
            if last == before:
                self.gaps[place] = (first, after)
                return
        self.gaps.append((before, after))

    def over(self, link: Link) -> Link:
        """Return where the chain goes on behind `link`: behind the gap where there is one."""
        return next((last for first, last in self.gaps if first == link), link)


def day_files(folder: Path) -> list[Path]:
    """Return the log's files, oldest first."""
    return sorted(folder.glob(_DAY_FILES))


def verify(folder: Path) -> dict[str, Any]:
    """Check the whole chain and return {"files", "records", "head", "problems"}; no problem means untouched.

    Each problem names the file and line. After a break the chain is taken up again, so that one report shows them all.
    A log that is being written is read as far as its last whole line.
    """
    for _ in range(READINGS):
        kept = read_kept(folder)
        try:
            found = _verify(folder, kept)
        except FileNotFoundError:
            continue
        if read_kept(folder) == kept:
            return found
    raise DataContractError(f"{folder} changes faster than it can be read", "tunegate audit verify, once more")


def _verify(folder: Path, kept: Kept) -> dict[str, Any]:
    """Check the chain behind what retention has removed."""
    # Before the records: a head written while they are read may be of one that was not there yet.
    head = read_link(folder / HEAD)
    link, problems, records = kept.start, [], 0
    seen = kept.ends
    # Noted as removed and still there: retention is at it, or was killed between the two.
    files = [path for path in day_files(folder) if path.stat().st_size == 0 or _last(path) not in seen]
    for path in files:
        for number, line in whole_lines(path):
            records += 1
            link, problem = _check(line, link, kept)
            seen.add(link)
            if problem:
                problems.append(f"{path.name}:{number}: {problem}")
    if head not in seen and head.sequence > kept.start.sequence:
        problems.append(f"{HEAD}: record {head.sequence} is not in the log: records at the end were removed or changed")
    return {"files": len(files), "records": records, "head": link.sequence, "problems": problems}


def whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number from 1, line) of a file's whole lines; a last one without its end is being written, or torn."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if line.endswith(b"\n"):
                yield number, line[:-1]


def _last(path: Path) -> Link | None:
    """Return the link of a file's last record, None where it is damaged or there is none."""
    try:
        return read_end(path)
    except DataContractError:
        return None


def _check(line: bytes, link: Link, kept: Kept) -> tuple[Link, str | None]:
    """Return the chain after one line, and what is wrong with it."""
    try:
        entry = json.loads(line)
        claimed = Link(entry["sequence"], entry.pop("hash"))
        previous = entry["previous"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return link, "is not an audit record"
    if sha256_json(entry) != claimed.hash:
        return claimed, f"record {claimed.sequence} was changed"
    for last in (link, kept.over(link)):
        if (claimed.sequence, previous) == (last.sequence + 1, last.hash):
            return claimed, None
    return claimed, f"record {claimed.sequence} does not follow record {link.sequence}: removed, inserted or moved"


def read_end(path: Path) -> Link | None:
    """Return the link of a file's last record, None where it has no line.

    Raises:
        DataContractError: its last line is no audit record.
    """
    line = _last_line(path)
    return _link_of(line, path, "last") if line else None


def read_start(path: Path) -> Link | None:
    """Return the link that a file's first record follows, None where it has no line.

    Raises:
        DataContractError: its first line is no audit record.
    """
    line = next((line for _, line in whole_lines(path)), b"")
    return _link_of(line, path, "first") if line else None


def _link_of(line: bytes, path: Path, which: str) -> Link:
    """Return the link of a line: of its record, or of the record before the first one."""
    try:
        entry = json.loads(line)
        if which == "first":
            return Link(int(entry["sequence"]) - 1, str(entry["previous"]))
        return Link(int(entry["sequence"]), str(entry["hash"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DataContractError(
            f"the {which} line of {path} is no audit record",
            "tunegate audit verify; then move the folder to a safe place and start again",
        ) from error


def _last_line(path: Path) -> bytes:
    """Return the last line of a file that ends with a newline; empty where it has none."""
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(max(0, size - TAIL_BYTES))
        return (stream.read(min(size, TAIL_BYTES)).rpartition(b"\n")[0].rpartition(b"\n"))[2]


def read_link(path: Path) -> Link:
    """Return the link kept in a file; the beginning of the chain where there is none."""
    if not path.exists():
        return Link()
    value = read_json(path)
    return Link(int(value["sequence"]), str(value["hash"]))


def read_kept(folder: Path) -> Kept:
    """Return what retention has removed from a log."""
    path = folder / ANCHOR
    if not path.exists():
        return Kept(Link(), [])
    value = read_json(path)
    gaps = [(Link(**first), Link(**last)) for first, last in value.get("gaps", [])]
    return Kept(Link(int(value["sequence"]), str(value["hash"])), gaps)


def write_kept(folder: Path, kept: Kept) -> None:
    """Note what retention has removed."""
    gaps = [[asdict(first), asdict(last)] for first, last in kept.gaps]
    write_json(folder / ANCHOR, {**asdict(kept.start), "gaps": gaps})
