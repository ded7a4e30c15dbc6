"""Approvals and withdrawals: what a person signs with a key of their own, and which of them count."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.errors import ConfigError, DataContractError
from tasks.proof.envelope import APPROVAL, WITHDRAWAL, content, document_sha256, opened, parsed, sign
from tasks.proof.github import claimed, envelope_of, is_token, looks_like_token, read_token
from tasks.proof.keys import Signer
from tasks.proof.terms import SCHEMA, stamp
from tasks.proof.trust import APPROVERS, Person, Trust, folded

ID_CHARACTERS = 12
AGAIN = "this person approved already"
#: Many times what a signed approval takes.
MAX_TEXT_BYTES = 64 << 10


@dataclass(frozen=True)
class Counted:
    """What became of one approval.

    Args:
        approval_id: beginning of its document's digest.
        by: the listed person, or what the document claims.
        why_not: why it does not count; None where it does.
    """

    approval_id: str
    by: str
    why_not: str | None
    document: Mapping[str, Any]

    @property
    def words(self) -> str:
        """One line for a person."""
        return f"{self.by} ({self.approval_id}): {self.why_not or 'counts'}"


def approval_id(document: Any) -> str:
    """Return the id of an approval."""
    return document_sha256(document)[:ID_CHARACTERS]


def approval_document(envelope: Any) -> dict[str, Any]:
    """Return what an approval says, without looking at its signatures.

    Raises:
        DataContractError: it is no envelope of an approval, and no token of a job that approves.
    """
    if is_token(envelope):
        return claimed(envelope)
    document = content(envelope, APPROVAL)
    if not isinstance(document, dict):
        raise DataContractError("it is no approval: it has no fields")
    return document


def read_approval(text: str) -> dict[str, Any]:
    """Return the envelope in a text that somebody pasted, uploaded or piped; nothing is believed of it yet.

    Raises:
        ConfigError: it is a private key, or no signed approval.
    """
    hint = "tunegate approve VERSION --key FILE --reason TEXT --out FILE writes one"
    if "PRIVATE KEY" in text:
        raise ConfigError("this is a private key, and was thrown away unread: keys stay with their owner. It has been "
                          "where it should not be: replace it", "tunegate sign-key new FILE")  # fmt: skip
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise ConfigError(f"this is more than {MAX_TEXT_BYTES >> 10} KiB: no signed approval", hint)
    text = text.strip().removeprefix("\ufeff")
    try:
        value = envelope_of(text) if looks_like_token(text) else parsed(text)
        approval_document(value)
        if is_token(value):
            return envelope_of(value["token"])
        return {name: value[name] for name in ("payloadType", "payload", "signatures")}
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"this is no signed approval: it is not JSON ({type(error).__name__})", hint) from error
    except KeyError as error:
        raise ConfigError(f"this is no signed approval: it has no {error.args[0]}", hint) from error
    except DataContractError as error:
        raise ConfigError(f"this is no signed approval: {error.message}", hint) from error


def make_approval(
    signer: Signer, trust: Trust, *, record_sha256: str, lineage_id: str, environment: str, role: str | None,
    reason: str, lives: timedelta,
) -> dict[str, Any]:  # fmt: skip
    """Return a signed approval of a record.

    Args:
        role: in which of the person's roles; None where there is only one.
        lives: how long it may be used for a promotion.

    Raises:
        ConfigError: the key is nobody's, the role is not the person's, or there is no reason.
    """
    person = trust.person_of(signer.public.key_id)
    if person is None:
        raise ConfigError(f"key {signer.public.key_id} is of nobody listed in {APPROVERS}: its approval counts nothing",
                          f"have this line reviewed and committed under people: {signer.public.line}")  # fmt: skip
    if role is None and len(person.roles) == 1:
        role = person.roles[0]
    if role not in person.roles:
        raise ConfigError(f"{person.name} may approve as {', '.join(person.roles) or 'nothing'}, not as {role}",
                          "tunegate approve VERSION --role ROLE --reason TEXT")  # fmt: skip
    if not reason.strip():
        raise ConfigError("an approval needs a reason", "tunegate approve VERSION --reason TEXT")
    now = datetime.now(UTC)
    return sign(APPROVAL, {
        "schema": SCHEMA, "record_sha256": record_sha256, "lineage_id": lineage_id, "environment": environment,
        "role": role, "reason": reason.strip(), "by": person.name, "time": stamp(now), "expires": stamp(now + lives),
    }, signer)  # fmt: skip


def make_withdrawal(signer: Signer, trust: Trust, *, withdraws: str, reason: str) -> dict[str, Any]:
    """Return a signed withdrawal of one approval (its id) or of all of a version (its record's digest).

    Any listed person may withdraw: it only ever takes rights away.

    Raises:
        ConfigError: the key is nobody's, or there is no reason.
    """
    person = trust.person_of(signer.public.key_id)
    if person is None:
        raise ConfigError(f"key {signer.public.key_id} is of nobody listed in {APPROVERS}", f"mend {APPROVERS}")
    if not reason.strip():
        raise ConfigError("a withdrawal needs a reason", "tunegate withdraw VERSION --reason TEXT")
    return sign(WITHDRAWAL, {
        "schema": SCHEMA, "withdraws": withdraws, "by": person.name, "reason": reason.strip(),
        "time": stamp(datetime.now(UTC)),
    }, signer)  # fmt: skip


def counted(
    approvals: Iterable[Any], withdrawals: Iterable[Any], trust: Trust, *, record: Mapping[str, Any],
    record_sha256: str, signed_by: Iterable[str], environment: str, at: datetime,
) -> list[Counted]:  # fmt: skip
    """Return what becomes of each approval of a record.

    Args:
        record: the predicate of the release record.
        signed_by: ids of the keys that signed it.
        environment: where the version shall go live.
        at: the time whose rights count.
    """
    gone = _withdrawn(withdrawals, trust)
    found: list[Counted] = []
    for envelope in approvals:
        try:
            document, person, keys = _opened(envelope, trust)
        except DataContractError as error:
            found.append(_unread(envelope, error.message))
            continue
        # A token's document has a role beside what it says itself; its id is that of what it says.
        own_id = approval_id(approval_document(envelope))
        why = (
            _unfit(document, record_sha256, environment, at)
            or ("the requester cannot approve" if _asked(document, person, record["requested_by"]) else None)
            or ("it is made with the key that signed the record" if set(keys) & set(signed_by) else None)
            or _mismatch(document, person)
            or _gone(own_id, document, record_sha256, gone)
        )
        if not why and any(not one.why_not and one.by == person.name for one in found):
            why = AGAIN
        found.append(Counted(own_id, person.name, why, document))
    return found


def _opened(envelope: Any, trust: Trust) -> tuple[Mapping[str, Any], Person, list[str]]:
    """Return an approval whose signature holds, whose it is, and the ids of that person's keys that signed it."""
    if is_token(envelope):
        return *read_token(envelope, trust), []
    document, keys = opened(envelope, APPROVAL, trust.people_keys)
    person = trust.person_of(keys[0])
    assert person is not None
    return document, person, keys


def _asked(document: Mapping[str, Any], person: Person, requester: str) -> bool:
    """Return whether an approval is of who asked for the version; GitHub's own runs name the actor alone."""
    actor = str(document.get("by")).removeprefix("github:")
    plain = folded(requester).removesuffix(" (github actions)")
    return person.is_called(requester) or plain == folded(actor)


def _unread(envelope: Any, why: str) -> Counted:
    """Return an approval that cannot be relied on, with what it claims."""
    try:
        document = approval_document(envelope)
        return Counted(approval_id(document), str(document["by"])[:80], why, document)
    except (DataContractError, KeyError, TypeError):
        return Counted("?", "somebody", why, {})


def _unfit(document: Mapping[str, Any], record_sha256: str, environment: str, at: datetime) -> str | None:
    """Return why an approval is not one of this record, here and now."""
    try:
        time, expires = (datetime.fromisoformat(document[name]) for name in ("time", "expires"))
        if document["record_sha256"] != record_sha256:
            return "it approves another record"
        if document["environment"] != environment:
            return f"it is for environment {document['environment']}, not {environment}"
        if expires <= at:
            return f"it expired at {document['expires']}"
        return f"it is of the future ({document['time']})" if time > at + timedelta(minutes=5) else None
    except (KeyError, TypeError, ValueError):
        return "it is not complete"


def _mismatch(document: Mapping[str, Any], person: Person) -> str | None:
    """Return why a document is not what this person may sign."""
    if not person.is_called(str(document.get("by"))):
        return f"it names {document.get('by')}, and is signed by {person.name}"
    if document.get("role") not in person.roles:
        return f"{person.name} has no role {document.get('role')}"
    return None


def _withdrawn(withdrawals: Iterable[Any], trust: Trust) -> list[Mapping[str, Any]]:
    """Return the withdrawals by listed people; others have no force."""
    found = []
    for envelope in withdrawals:
        try:
            found.append(opened(envelope, WITHDRAWAL, trust.people_keys)[0])
        except DataContractError:
            continue
    return found


def _gone(
    own_id: str, document: Mapping[str, Any], record_sha256: str, gone: Iterable[Mapping[str, Any]]
) -> str | None:
    """Return who withdrew an approval; a new one after a withdrawal of the whole version is a new decision."""
    for one in gone:
        whole = one.get("withdraws") == record_sha256 and document["time"] <= str(one.get("time"))
        if whole or one.get("withdraws") == own_id:
            return f"it was withdrawn by {one.get('by')} at {one.get('time')}"
    return None
