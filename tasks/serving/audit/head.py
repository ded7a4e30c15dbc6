"""Where the chain stands, signed with the host's key: who verifies has the public half, and cannot forge it.

Beside the log lies its signed head; outside the log's folder the last head that was seen is kept, so that a log cut off
with an old head put back is seen. Statements of older releases have an HMAC and need the log's secret.
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.proof.envelope import HEAD as KIND
from tasks.proof.envelope import genuine, signed
from tasks.proof.keys import PublicKey, Signer
from tasks.serving.audit.chain import HEAD, Link, read_link

OLDER = "hmac-sha256:"


def signed_statement(value: Mapping[str, Any], signer: Signer) -> dict[str, Any]:
    """Return a JSON value with the id of a key and its signature."""
    return signed(KIND, value, signer)


def genuine_statement(value: Mapping[str, Any], trusted: Mapping[str, PublicKey], secret: bytes = b"") -> bool:
    """Return whether a value was signed with one of these keys, or with an older release's secret, and is unchanged."""
    signature = str(value.get("signature", ""))
    if not signature.startswith(OLDER):
        return genuine(KIND, value, trusted)
    rest = {name: item for name, item in value.items() if name != "signature"}
    return bool(secret) and hmac.compare_digest(signature, f"{OLDER}{_older_signature(rest, secret)}")


def write_head(folder: Path, link: Link, signer: Signer | None) -> None:
    """Note where the chain of a log stands; unsigned where there is no key."""
    head = asdict(link)
    write_json(folder / HEAD, signed_statement(head, signer) if signer else head)


def head_problems(folder: Path, trusted: Mapping[str, PublicKey], seen: Link) -> list[str]:
    """Return what is wrong with the head of a log.

    Args:
        trusted: keys of hosts, by id.
        seen: the last head that was known outside the folder; the beginning of the chain where none was.
    """
    path = folder / HEAD
    if not path.exists():
        return [f"{HEAD} is gone: the log stood at record {seen.sequence}"] if seen.sequence else []
    value = read_json(path)
    if "signature" not in value:
        # A log of an older release is signed with the next record.
        return [f"{HEAD} is not signed"] if seen.sequence else []
    if not genuine_statement(value, trusted):
        return [f"{HEAD} is not signed with a key of a known host, or was changed"]
    if int(value["sequence"]) < seen.sequence:
        return [f"{HEAD} is an old one: it says record {value['sequence']}, the log stood at {seen.sequence}"]
    return []


def read_seen(path: Path) -> Link:
    """Return the last head that was noted outside the log's folder."""
    try:
        return read_link(path)
    except (KeyError, TypeError, ValueError) as error:
        raise DataContractError(f"{path} cannot be read", "restore it, or remove it and verify again") from error


def note_seen(path: Path, link: Link) -> None:
    """Note the head of a log outside its folder."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(path, asdict(link))


def _older_signature(value: Mapping[str, Any], secret: bytes) -> str:
    """Return the signature that older releases made of a value."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hmac.new(secret, b"tunegate audit statement\0" + text.encode(), "sha256").hexdigest()
