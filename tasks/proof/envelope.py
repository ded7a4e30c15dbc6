"""Signed JSON: a canonical document in a DSSE envelope.

Only the canonical form of a document is ever signed, so a copy with its keys in another order is the same document; one
with a key twice is none. The digest of a document is that of its canonical form: signing it again does not change it.

Source: DSSE 1.0.2, https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from tasks.core.errors import DataContractError
from tasks.proof.keys import PublicKey, Signer

IN_TOTO = "application/vnd.in-toto+json"
APPROVAL = "application/vnd.tunegate.approval+json"
WITHDRAWAL = "application/vnd.tunegate.withdrawal+json"
RULES = "application/vnd.tunegate.rules+json"
HEAD = "application/vnd.tunegate.head+json"
HISTORY = "application/vnd.tunegate.history+json"


def canonical(value: Any) -> bytes:
    """Return a JSON value in its one form: keys sorted, UTF-8, no spaces, no number that is none."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def document_sha256(value: Any) -> str:
    """Return the digest by which others refer to a document."""
    return hashlib.sha256(canonical(value)).hexdigest()


def parsed(raw: bytes | str) -> Any:
    """Return the JSON value in a text; one that could be read in two ways is refused.

    Raises:
        ValueError: it is no JSON, has a key twice, or a number that is none.
    """
    return json.loads(raw, object_pairs_hook=_once, parse_constant=_no_number)


def sign(kind: str, value: Any, *signers: Signer) -> dict[str, Any]:
    """Return a document in an envelope with the signatures of these signers."""
    payload = canonical(value)
    return {
        "payloadType": kind,
        "payload": base64.b64encode(payload).decode(),
        "signatures": [
            {"keyid": signer.public.key_id, "sig": base64.b64encode(signer.sign(_encoded(kind, payload))).decode()}
            for signer in signers
        ],
    }


def signed(kind: str, value: Mapping[str, Any], signer: Signer) -> dict[str, Any]:
    """Return a document that carries its own signature: with the id of the key, which is signed, too."""
    whole = {**value, "key_id": signer.public.key_id}
    signature = signer.sign(_encoded(kind, canonical(whole)))
    return {**whole, "signature": base64.b64encode(signature).decode()}


def genuine(kind: str, value: Mapping[str, Any], trusted: Mapping[str, PublicKey]) -> bool:
    """Return whether a document carries the signature of one of these keys, and is unchanged."""
    rest = {name: item for name, item in value.items() if name != "signature"}
    key = trusted.get(str(value.get("key_id")))
    try:
        return key is not None and key.verifies(_encoded(kind, canonical(rest)), _decoded(str(value.get("signature"))))
    except ValueError:
        return False


def content(envelope: Any, kind: str) -> Any:
    """Return the document in an envelope without looking at its signatures.

    Raises:
        DataContractError: it is no envelope of this kind.
    """
    try:
        if envelope["payloadType"] != kind:
            raise DataContractError(f"it is an envelope of {str(envelope['payloadType'])[:80]}, not of {kind}")
        return parsed(_decoded(envelope["payload"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise DataContractError(f"it is no signed envelope: {type(error).__name__}") from error


def opened(envelope: Any, kind: str, trusted: Mapping[str, PublicKey]) -> tuple[Any, list[str]]:
    """Return a document and the ids of the trusted keys whose signatures hold.

    Raises:
        DataContractError: it is no envelope of this kind, it has no signature, or none of a trusted key that holds.
    """
    value = content(envelope, kind)
    message = _encoded(kind, canonical(value))
    signatures = _signatures(envelope)
    if not signatures:
        raise DataContractError("it is not signed")
    known = [(name, signature) for name, signature in signatures if name in trusted]
    if not known:
        names = ", ".join(name for name, _ in signatures)
        raise DataContractError(f"it is signed by a key that is not listed ({names})")
    holds = [name for name, signature in known if trusted[name].verifies(message, signature)]
    if not holds:
        raise DataContractError(f"the signature of key {known[0][0]} does not hold: it, or what it signs, was changed")
    return value, list(dict.fromkeys(holds))


def _signatures(envelope: Mapping[str, Any]) -> Sequence[tuple[str, bytes]]:
    """Return (key id, signature) of an envelope; what is none of ours makes it no envelope."""
    try:
        return [(str(item["keyid"]), _decoded(item["sig"])) for item in envelope["signatures"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataContractError(f"its signatures cannot be read: {type(error).__name__}") from error


def _encoded(kind: str, payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def _decoded(text: Any) -> bytes:
    """Return bytes of base64, which must be whole."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object whose keys all stand once."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _no_number(name: str) -> Any:
    """Refuse NaN and infinities."""
    raise ValueError(f"{name} is no number")
