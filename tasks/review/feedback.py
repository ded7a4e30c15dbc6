"""A caller's word on an answer: good or bad, by its request id, kept in the audit log and nowhere else.

The log keeps texts with personal data masked, digests beside them, and each day for as long as its retention says. A
mark is one more record of it: masked as the rest before it leaves this process, chained, gone with its day. Rows are
made from what the log still has, masked.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from tasks.core.errors import ConfigError
from tasks.core.files import read_json
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.data.privacy.desensitize import mask_text
from tasks.review.rows import Row, answered, marked_bad, preference
from tasks.serving.answers import spoken
from tasks.serving.audit.find import Wanted, find
from tasks.serving.audit.outbox import leave
from tasks.serving.audit.record import SHORT_CHARACTERS, redacted
from tasks.serving.audit.secret import audit_secret
from tasks.serving.paths import audit_folder, audit_outbox

KIND: Final = "feedback"
MARKS: Final = ("good", "bad")
ANSWERED: Final = 200


def give(
    project: Project, settings: Settings, request_id: str, mark: str, *, by: str, note: str = "", answer: str = ""
) -> dict[str, Any]:
    """Leave a mark for the audit log, and return it as it was left. A later one on the same answer counts instead.

    Args:
        project: whose log.
        settings: which personal data is masked.
        request_id: the x-request-id of the answer.
        mark: good or bad.
        by: who says so.
        note: why, at most 200 characters.
        answer: as it should have been.

    Raises:
        ConfigError: the log has no answer to this request, or the note is too long.
    """
    if mark not in MARKS:
        raise ConfigError(f"`{mark}` is no mark", f"one of: {', '.join(MARKS)}")
    if len(note) > SHORT_CHARACTERS:
        raise ConfigError(f"the note has {len(note)} characters, the log keeps {SHORT_CHARACTERS}", "say it shorter")
    if mark == "good" and answer:
        raise ConfigError("a good answer needs no other", "tunegate feedback REQUEST_ID bad --answer TEXT")
    found = {record["kind"]: record for record in _of_request(project, request_id)}
    if "request" not in found or found.get("answer", {}).get("status") != ANSWERED:
        raise ConfigError(
            f"the audit log has no answer to {request_id}: it is older than the retention, or was refused",
            f"tunegate audit find --request-id {request_id}",
        )
    redact = partial(mask_text, types=settings.prepare.privacy.policies.sought)
    masks: dict[str, int] = {}
    record: dict[str, Any] = {"kind": KIND, "request_id": request_id, "mark": mark, "by": by}
    record |= {name: found["request"][name] for name in ("version", "lineage_id") if name in found["request"]}
    # Masked here: what waits in the outbox lies on the disk as well.
    record |= {name: redacted(text, redact, masks) for name, text in (("message", note), ("answer", answer)) if text}
    leave(audit_outbox(project), record)
    return record


def feedback_rows(project: Project, *, read_by: str) -> tuple[list[Row], Counter[str]]:
    """Return the rows of all marks, and how many marks gave what; that the log was read is recorded in it.

    Returns:
        Rows, and counts: `good`, `corrected`, `bad`, or why a mark is no row: `gone` (the log no longer has the texts),
        `no_text` (functions called, nothing said), `not_a_chat`.
    """
    marks = {record["request_id"]: record for record in _marks(project)}
    texts = _texts(project, set(marks))
    rows: list[Row] = []
    counts: Counter[str] = Counter()
    for request_id, mark in marks.items():
        what, row = _row(mark, texts.get(request_id, {}))
        counts[what] += 1
        rows += [row] if row else []
    leave(audit_outbox(project), {"kind": "read", "by": read_by, "wanted": {"kind": KIND}, "records": len(marks)})
    return rows, counts


def _row(mark: Mapping[str, Any], texts: Mapping[str, Any]) -> tuple[str, Row | None]:
    """Return what became of a mark, and its row where it is one."""
    if "prompt" not in texts or "answer" not in texts:
        return "gone", None
    messages = texts["prompt"]
    if isinstance(messages, str):
        messages = [{"role": "user", "content": messages}]
    if not isinstance(messages, list) or not all(isinstance(one, dict) and one.get("content") for one in messages):
        return "not_a_chat", None
    said = spoken(texts["answer"]).strip()
    if not said:
        return "no_text", None
    if mark["mark"] == "good":
        return "good", answered(messages, said)
    corrected = str(mark.get("answer", "")).strip()
    return ("corrected", preference(messages, corrected, said)) if corrected else ("bad", marked_bad(messages, said))


def _of_request(project: Project, request_id: str) -> Iterator[dict[str, Any]]:
    """Yield the log's records of a request."""
    return find(audit_folder(project), Wanted({"request_id": request_id}), audit_secret(project))


def _marks(project: Project) -> Iterator[dict[str, Any]]:
    """Yield all marks, oldest first: those in the log, then those that wait for a host to write them."""
    yield from find(audit_folder(project), Wanted({"kind": KIND}), audit_secret(project))
    for path in sorted(audit_outbox(project).glob("[0-9]*.json")):
        record = read_json(path)
        if record.get("kind") == KIND:
            yield record


def _texts(project: Project, wanted: set[str]) -> dict[str, dict[str, Any]]:
    """Return request id -> prompt and answer, masked, of wanted requests; long ones stand in a record apart."""
    found: dict[str, dict[str, Any]] = {}
    folder: Path = audit_folder(project)
    for record in find(folder, Wanted({}), audit_secret(project)) if wanted else ():
        if record.get("request_id") not in wanted or record.get("kind") not in ("request", "answer", "text"):
            continue
        kept: dict[str, Any] = {name: record[name] for name in ("prompt", "answer") if name in record}
        found.setdefault(record["request_id"], {}).update(kept)
    return found
