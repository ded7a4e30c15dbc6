"""How a record becomes a line: personal data masked, the unmasked text as a keyed digest, chained; or a tombstone.

A record that cannot be written (a number JSON has not, a value of a foreign type, text the masking chokes on) leaves a
tombstone in its place: which request of which key it was, and why. One caller's odd value must not end the log.
"""

import hmac
import json
import logging
from collections.abc import Callable
from typing import Any

from tasks.core.digest import sha256_json
from tasks.serving.audit.chain import Link

log = logging.getLogger(__name__)

#: Text in, text without personal data and the number of masks by type out.
Redact = Callable[[str], tuple[str, dict[str, int]]]
#: The text of a request (its prompt; tools, schemas and stop strings beside it) or of an answer: masked, and digested
#: before that.
TEXTS = ("prompt", "beside", "answer")
#: Short values that callers choose: masked too, and cut.
SHORT_TEXTS = ("user", "message", "param")
SHORT_CHARACTERS = 200
#: What the contents of a single record can bring about; anything else is a bug of ours and ends the log.
UNWRITABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
#: Fields a tombstone takes over from its record.
_KNOWN = ("kind", "request_id", "time", "key", "key_id", "client")
_WHY_CHARACTERS = 300


def resolved(record: dict[str, Any], key: bytes) -> dict[str, Any]:
    """Return a record with its texts as values, and the keyed digest of each text before it is masked.

    Args:
        record: a callable among its texts gives its value here, in the writer's thread: putting a streamed answer
            together takes milliseconds.
        key: of the digests; without one there are none.
    """
    found = dict(record)
    for name in TEXTS:
        if name not in found:
            continue
        if callable(found[name]):
            found[name] = found[name]()
        if key:
            found[f"{name}_digest"] = text_digest(found[name], key)
    if key and isinstance(found.get("user"), str):
        found["user_digest"] = text_digest(found["user"], key)
    return found


def text_digest(value: Any, key: bytes) -> str:
    """Return the keyed digest of a text or of messages: it finds a text again, and tells nobody without the key.

    Args:
        value: a string, or a JSON value whose strings are taken one after the other.
    """
    digest = hmac.new(key, digestmod="sha256")
    for text in texts_in(value):
        digest.update(text.encode("utf-8", "replace") + b"\0")
    return f"hmac-sha256:{digest.hexdigest()}"


def texts_in(value: Any) -> list[str]:
    """Return the strings that are content in a JSON value, in order; names of roles and types are none."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in texts_in(item)]
    if isinstance(value, dict):
        return [text for name, item in value.items() if name not in ("role", "type") for text in texts_in(item)]
    return []


def characters(record: dict[str, Any]) -> int:
    """Return how much text a resolved record has to be masked."""
    return sum(len(text) for name in TEXTS if name in record for text in texts_in(record[name]))


def masked(record: dict[str, Any], redact: Redact) -> dict[str, Any]:
    """Return a resolved record without personal data in its texts; "masks" counts what was taken out."""
    masks: dict[str, int] = {}
    kept = {}
    for name, value in record.items():
        if name in SHORT_TEXTS and isinstance(value, str):
            value = redacted(value[:SHORT_CHARACTERS], redact, masks)
        elif name in TEXTS:
            value = redacted(value, redact, masks)
        kept[name] = value
    return {**kept, "masks": masks} if masks else kept


def redacted(value: Any, redact: Redact, masks: dict[str, int]) -> Any:
    """Return a JSON value with every text in it redacted; `masks` counts what was taken out."""
    if isinstance(value, str):
        # A server's answer may hold half a surrogate pair; UTF-8 cannot.
        text, found = redact(value.encode("utf-8", "replace").decode())
        for kind, count in found.items():
            masks[kind] = masks.get(kind, 0) + count
        return text
    if isinstance(value, list):
        return [redacted(item, redact, masks) for item in value]
    if isinstance(value, dict):
        return {name: redacted(item, redact, masks) for name, item in value.items()}
    return value


def tombstone(record: dict[str, Any], error: Exception) -> dict[str, Any]:
    """Return what is recorded in place of a record that cannot be written. Never the value that was at fault."""
    kept = {name: record[name] for name in _KNOWN if isinstance(record.get(name), str)}
    known = {name: _plain(value)[:_WHY_CHARACTERS] for name, value in kept.items()}
    # The error's own words may quote the text: its kind and place in our code say enough.
    return {**known, "kind": "tombstone", "of": known.get("kind", "unknown"), "why": type(error).__name__,
            "at": _place(error)}  # fmt: skip


def chained(record: dict[str, Any], link: Link) -> tuple[str, Link]:
    """Return the line of a record and the new end of the chain.

    Raises:
        ValueError: a value that JSON has not, or half a surrogate pair.
        TypeError: a value of a foreign type.
    """
    body = {**record, "sequence": link.sequence + 1, "previous": link.hash}
    digest = sha256_json(body)
    line = json.dumps({**body, "hash": digest}, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return f"{line}\n", Link(link.sequence + 1, digest)


def _plain(text: str) -> str:
    """Return text that UTF-8 can hold."""
    return text.encode("utf-8", "replace").decode()


def _place(error: Exception) -> str:
    """Return where an error was raised: file and line."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return f"{step.tb_frame.f_code.co_filename.rpartition('/')[2]}:{step.tb_lineno}" if step else ""
