"""Finding records, and giving a part of the log away with the proof of where it stood."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_file
from tasks.core.errors import ConfigError
from tasks.core.files import write_json
from tasks.proof.keys import Signer
from tasks.serving.audit.chain import HEAD, day_files, read_link, verify, whole_lines
from tasks.serving.audit.head import signed_statement
from tasks.serving.audit.record import text_digest

RECORDS, PROOF = "records.jsonl", "proof.json"


@dataclass(frozen=True)
class Wanted:
    """What is looked for; None: everything. Days are UTC and included.

    Args:
        fields: values that a record must have.
        text: a whole question, prompt or answer, as it was; found by its keyed digest.
        user: what a caller gave as `user`; found likewise.
    """

    fields: dict[str, Any]
    since: date | None = None
    until: date | None = None
    text: str | None = None
    user: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return what was looked for, for the record of it: of texts only that they were."""
        found = {name: str(value) for name, value in asdict(self).items() if value and name not in ("text", "user")}
        return found | {name: "given" for name in ("text", "user") if getattr(self, name) is not None}


def find(folder: Path, wanted: Wanted, key: bytes) -> Iterator[dict[str, Any]]:
    """Yield the records that are wanted, oldest first; lines that are no records are passed over (`verify` names them).

    Args:
        key: of the keyed digests.
    """
    for _, record in _lines(folder, wanted, key):
        yield record


def export(folder: Path, target: Path, wanted: Wanted, key: bytes, signer: Signer) -> dict[str, Any]:
    """Write the wanted records as they stand, and a signed proof of where they stood; return the proof.

    Args:
        key: of the keyed digests.
        signer: signs the proof.

    Raises:
        ConfigError: the target is not empty.
    """
    if target.exists() and any(target.iterdir()):
        raise ConfigError(f"{target} is not empty", "name a folder that does not exist yet")
    target.mkdir(parents=True, exist_ok=True, mode=0o700)
    count = 0
    with (target / RECORDS).open("wb") as stream:
        for line, _ in _lines(folder, wanted, key):
            stream.write(line + b"\n")
            count += 1
    head = read_link(folder / HEAD)
    proof = signed_statement({
        "records": count, "sha256": sha256_file(target / RECORDS), "wanted": wanted.facts(),
        "head": asdict(head), "problems": verify(folder)["problems"],
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }, signer)  # fmt: skip
    write_json(target / PROOF, proof)
    return proof


def _lines(folder: Path, wanted: Wanted, key: bytes) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield (line, record) of the wanted records."""
    fits = _fits(wanted, key)
    for path in day_files(folder):
        if (wanted.since and path.stem < wanted.since.isoformat()) or (
            wanted.until and path.stem > wanted.until.isoformat()
        ):
            continue
        for _, line in whole_lines(path):
            record = _record(line)
            if record is not None and fits(record):
                yield line, record


def _fits(wanted: Wanted, key: bytes) -> Any:
    """Return the test of a record."""
    text = text_digest(wanted.text, key) if wanted.text is not None else None
    user = text_digest(wanted.user, key) if wanted.user is not None else None

    def fits(record: dict[str, Any]) -> bool:
        """Return whether a record is wanted."""
        if any(record.get(name) != value for name, value in wanted.fields.items()):
            return False
        if text is not None and text not in (record.get("prompt_digest"), record.get("answer_digest")):
            return False
        return user is None or record.get("user_digest") == user

    return fits


def _record(line: bytes) -> dict[str, Any] | None:
    """Return a line's record, None where it is none."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
