"""A GitHub job's token as an approval: GitHub's word that a listed job, for this record alone, was started by a person.

A token lives for minutes. It has to be valid when it is given; from then on it is a signed document, checked by its
signature and its claims like any other approval, and it may be used for a promotion as long as those.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tasks.core.errors import DataContractError
from tasks.proof.issuers import Identity
from tasks.proof.terms import LIVES, SCHEMA, stamp
from tasks.proof.trust import APPROVERS, Person, Trust

TOKEN = "application/vnd.tunegate.github-token+jwt"
ALGORITHM = "RS256"
#: The audience says what is approved, and so a token is worth nothing anywhere else.
AUDIENCE = re.compile(r"urn:tunegate:approve:(demo|production):([0-9a-f]{64})")
MAX_TOKEN_CHARACTERS = 16 << 10
_FORM = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
#: The library reads the clock; here the time is the caller's.
_ANY_TIME_S = 10**11


def audience(environment: str, record_sha256: str) -> str:
    """Return the audience that a job asks its token for."""
    return f"urn:tunegate:approve:{environment}:{record_sha256}"


def looks_like_token(text: str) -> bool:
    """Return whether a text has the form of a token."""
    return len(text) <= MAX_TOKEN_CHARACTERS and _FORM.fullmatch(text) is not None


def envelope_of(token: str) -> dict[str, str]:
    """Return the form in which a token is kept with a version."""
    return {"payloadType": TOKEN, "token": token}


def is_token(envelope: Any) -> bool:
    """Return whether an approval is a token."""
    return isinstance(envelope, Mapping) and envelope.get("payloadType") == TOKEN


def token_issuer(envelope: Any) -> tuple[str, str]:
    """Return (issuer, key id) that a token claims: to look for its key, nothing more."""
    header, claims = _parts(envelope)
    return str(claims.get("iss")), str(header.get("kid"))


def claimed(envelope: Any) -> dict[str, Any]:
    """Return what a token says as an approval, without looking at its signature.

    Raises:
        DataContractError: it is no token, or not one that approves.
    """
    return _document(_parts(envelope)[1])


def why_stale(envelope: Any, now: datetime) -> str | None:
    """Return why a token comes too late to be given, None where it does not."""
    expires = datetime.fromtimestamp(_parts(envelope)[1]["exp"], UTC)
    return f"the token expired at {expires.isoformat()}" if expires <= now else None


def read_token(envelope: Any, trust: Trust) -> tuple[dict[str, Any], Person]:
    """Return what a token approves and the listed person who started its job.

    Raises:
        DataContractError: its signature does not hold, or it is not of a listed job or person.
    """
    header, claims = _parts(envelope)
    if header.get("alg") != ALGORITHM:
        raise DataContractError(f"its token is signed with {str(header.get('alg'))[:20]}, not {ALGORITHM}")
    document = _document(_verified(envelope["token"], header, claims, trust))
    identity = _identity(claims, trust)
    person = trust.person_called(document["by"])
    if person is None:
        raise DataContractError(f"{document['by']} is no login of anybody in {APPROVERS}")
    return document | {"role": identity.role}, person


def _parts(envelope: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return header and claims, unverified."""
    token = envelope.get("token") if isinstance(envelope, Mapping) else None
    if not isinstance(token, str) or not looks_like_token(token):
        raise DataContractError("it is no token")
    jwt, errors = _library()
    try:
        return jwt.decode_header(token), jwt.decode(token, verify=False)
    except errors as error:
        raise DataContractError(f"its token cannot be read: {type(error).__name__}") from error


def _verified(token: str, header: Mapping[str, Any], claims: Mapping[str, Any], trust: Trust) -> Mapping[str, Any]:
    """Return the claims of a token whose signature holds."""
    issuer, key_id = claims.get("iss"), header.get("kid")
    if issuer not in {one.issuer for one in trust.github}:
        raise DataContractError(f"its issuer {str(issuer)[:80]} is not listed under github in {APPROVERS}")
    key = trust.issuer_keys.get(str(issuer), {}).get(str(key_id))
    if key is None:
        raise DataContractError(f"key {str(key_id)[:80]} of {issuer} is not known here")
    jwt, errors = _library()
    try:
        found: Mapping[str, Any] = jwt.decode(token, certs={key_id: key}, clock_skew_in_seconds=_ANY_TIME_S)
    except errors as error:
        raise DataContractError(f"the signature of key {str(key_id)[:80]} does not hold, or it has no time") from error
    return found


def _identity(claims: Mapping[str, Any], trust: Trust) -> Identity:
    """Return the listed job that a token is of; else say what of the nearest one differs."""
    nearest: list[str] = []
    for one in trust.github:
        wanted = {"iss": one.issuer, **one.claims}
        differing = [f"{name} is {str(claims.get(name))[:120]}, not {value}" for name, value in wanted.items()
                     if claims.get(name) != value]  # fmt: skip
        if not differing:
            return one
        nearest = min(nearest or differing, differing, key=len)
    raise DataContractError(f"its job is not listed in {APPROVERS}: {'; '.join(nearest)}")


def _document(claims: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claims in the terms of an approval."""
    asked = AUDIENCE.fullmatch(str(claims.get("aud")))
    if asked is None:
        raise DataContractError(f"its audience is {str(claims.get('aud'))[:120]}, not {audience('ENV', 'DIGEST')}")
    times = [claims.get(name) for name in ("iat", "exp")]
    if not all(type(one) is int and 0 < one < 1 << 33 for one in times) or not claims.get("actor"):
        raise DataContractError("its token has no time or no actor")
    issued = datetime.fromtimestamp(claims["iat"], UTC)
    where = f"{claims.get('repository')}, environment {claims.get('environment')}, run {claims.get('run_id')}"
    return {
        "schema": SCHEMA, "record_sha256": asked[2], "environment": asked[1], "by": f"github:{claims['actor']}",
        "reason": f"GitHub: {where}", "time": stamp(issued), "expires": stamp(issued + LIVES),
        "token_id": str(claims.get("jti")),
    }  # fmt: skip


def _library() -> tuple[Any, tuple[type[Exception], ...]]:
    """Return google-auth's JWT module and what it raises; imported late, it is not needed for anything else."""
    try:
        from google.auth import exceptions, jwt
    except ImportError as error:
        raise DataContractError("a GitHub token cannot be told here: google-auth is not installed") from error
    return jwt, (exceptions.GoogleAuthError, ValueError, TypeError, KeyError, RecursionError)
