"""Which files of the log go, and which a legal hold keeps."""

import logging
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, write_json
from tasks.serving.audit.chain import HEAD, Link, day_files, read_end, read_kept, read_link, read_start, write_kept
from tasks.serving.audit.day_file import cut_torn_line

log = logging.getLogger(__name__)

HOLDS = "holds.json"


@dataclass(frozen=True)
class Hold:
    """Days that retention must leave alone.

    Args:
        name: what it is lifted by.
        first, last: days, ISO, both included; the log's days are UTC.
        by, reason, since: who asked for it, why and when.
    """

    name: str
    first: str
    last: str
    by: str
    reason: str
    since: str


def holds(folder: Path) -> list[Hold]:
    """Return the holds on a log."""
    path = folder / HOLDS
    return [Hold(**value) for value in read_json(path)["holds"]] if path.exists() else []


def add_hold(folder: Path, name: str, first: date, last: date, *, by: str, reason: str) -> Hold:
    """Keep the files of some days until the hold is lifted, whatever their age.

    Raises:
        ConfigError: the name is taken, or the days are the wrong way round.
    """
    if last < first:
        raise ConfigError(f"the hold would end ({last}) before it begins ({first})", "give --from before --to")
    found = holds(folder)
    if any(hold.name == name for hold in found):
        raise ConfigError(f"there is a hold called {name}", f"tunegate audit hold lift {name}, or take another name")
    now = datetime.now(UTC).isoformat(timespec="seconds")
    hold = Hold(name, first.isoformat(), last.isoformat(), by, reason, now)
    _write(folder, [*found, hold])
    return hold


def lift_hold(folder: Path, name: str) -> Hold:
    """Let retention have the days of a hold again, and return the hold.

    Raises:
        ConfigError: there is none of the name.
    """
    found = holds(folder)
    for hold in found:
        if hold.name == name:
            _write(folder, [other for other in found if other is not hold])
            return hold
    raise ConfigError(f"no hold is called {name}", "tunegate audit hold list")


def _write(folder: Path, found: list[Hold]) -> None:
    """Replace the file of holds."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(folder / HOLDS, {"holds": [asdict(hold) for hold in found]})


def expire(folder: Path, oldest: str, end: Link) -> list[dict[str, Any]]:
    """Remove the files of days before `oldest` that no hold keeps; return a record of each removal.

    A file that is damaged at an end goes too, and its record says so: personal data must not stay longer for it.

    Args:
        end: where the chain stands; what the last file ends with where it cannot say so itself.
    """
    kept_by = holds(folder)
    removed = []
    for path in due(folder, oldest):
        if any(hold.first <= path.stem <= hold.last for hold in kept_by):
            continue
        removed.append(_remove(folder, path, end))
    return removed


def due(folder: Path, oldest: str) -> list[Path]:
    """Return the files of days before `oldest`."""
    return [path for path in day_files(folder) if path.stem < oldest]


def _remove(folder: Path, path: Path, end: Link) -> dict[str, Any]:
    """Remove one file, remembering where the chain stands behind it."""
    files = day_files(folder)
    place = files.index(path)
    kept = read_kept(folder)
    problems: list[str] = []
    # Each border stands in two files: where one is damaged, its neighbour knows it.
    before = _first_known(problems, [(read_start, path), *_neighbour(files, place - 1, read_end)]) or kept.start
    after = _first_known(problems, [(read_end, path), *_neighbour(files, place + 1, read_start)]) or end
    kept.removed(before, after)
    write_kept(folder, kept)
    path.unlink()
    path.with_name(f"{path.name}.torn").unlink(missing_ok=True)
    log.info("audit: removed %s, past its retention", path.name)
    record = {"kind": "expired", "file": path.name, "first": before.sequence + 1, "last": after.sequence}
    return {**record, "problems": problems} if problems else record


def _neighbour(files: list[Path], place: int, read: Any) -> list[tuple[Any, Path]]:
    """Return how to ask the file at a place, where there is one."""
    return [(read, files[place])] if 0 <= place < len(files) else []


def _first_known(problems: list[str], sources: list[tuple[Any, Path]]) -> Link | None:
    """Return the first link that can be read; note those that cannot."""
    for read, path in sources:
        try:
            if (link := read(path)) is not None:
                return link  # type: ignore[no-any-return]
        except DataContractError as error:
            problems.append(error.message.rpartition("/")[2])
            log.error("audit: %s; it is removed all the same, past its retention", error.message)
    return None


def end_of_chain(folder: Path, oldest: str) -> Link:
    """Return the last record's link.

    Raises:
        DataContractError: the last complete line is no audit record, and its file is not due to be removed.
    """
    for path in reversed(day_files(folder)):
        cut_torn_line(path)
        try:
            if (link := read_end(path)) is not None:
                return link
        except DataContractError:
            if path.stem >= oldest:
                raise
            # The file goes in a moment; what was noted outside it says where the chain stood.
            return max((read_link(folder / HEAD), read_kept(folder).start), key=lambda link: link.sequence)
    return read_kept(folder).start
