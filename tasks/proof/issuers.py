"""Jobs in a protected environment of GitHub that may speak for a person, and the keys their tokens are signed with.

Sources: https://docs.github.com/en/actions/reference/security/oidc (claims); RFC 7517, RFC 7518 6.3.1 (RSA keys).
"""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

from tasks.core.digest import sha256_json
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json
from tasks.core.project import Project

GITHUB = "https://token.actions.githubusercontent.com"
LOOPBACK = frozenset({"127.0.0.1", "localhost"})
MIN_RSA_BITS = 2048


@dataclass(frozen=True)
class Identity:
    """A job whose token counts as one approval of the person who started it.

    Args:
        repository: `OWNER/NAME`.
        environment: the GitHub environment whose reviewers let the job begin.
        workflow: `OWNER/NAME/.github/workflows/FILE@REF`, the claim job_workflow_ref.
        role: in which role it approves; the person must have it.
        issuer: who signs the tokens; GitHub Enterprise has its own.
        repository_id: GitHub's number of the repository, which a new one of the same name does not have.
        subject: the claim sub, where the organisation changed its form.
        jwks: file beside infra/approvers.yaml with the issuer's keys; without it they are fetched.
    """

    repository: str
    environment: str
    workflow: str
    role: str
    issuer: str = GITHUB
    repository_id: str | None = None
    subject: str | None = None
    jwks: str | None = None

    @property
    def claims(self) -> dict[str, str]:
        """What a token must say."""
        wanted = {
            "sub": self.subject or f"repo:{self.repository}:environment:{self.environment}",
            "repository": self.repository,
            "environment": self.environment,
            "job_workflow_ref": self.workflow,
        }
        return wanted | ({"repository_id": self.repository_id} if self.repository_id else {})


NEEDED = ("repository", "environment", "workflow", "role")
KNOWN = frozenset(field.name for field in fields(Identity))


def identity_problems(entries: Any) -> Iterator[str]:
    """Yield what is wrong with the list of identities."""
    for entry in entries or ():
        if not isinstance(entry, dict) or not set(entry) <= KNOWN or any(not entry.get(name) for name in NEEDED):
            yield f"github: an entry needs {', '.join(NEEDED)}, and has no other fields than {', '.join(sorted(KNOWN))}"
            continue
        if wrong := [name for name, value in entry.items() if not isinstance(value, str)]:
            yield f"github: {', '.join(wrong)} of {entry['repository']}: write text, in quotes"
            continue
        url = urlsplit(entry.get("issuer", GITHUB))
        if url.scheme != "https" and not (url.scheme == "http" and url.hostname in LOOPBACK):
            yield f"github: issuer {entry['issuer']} is no https address"


def listed_keys(folder: Path, identities: tuple[Identity, ...]) -> dict[str, dict[str, bytes]]:
    """Return the keys that stand in files, by issuer and key id.

    Raises:
        ConfigError: a file is missing or holds no keys.
    """
    found: dict[str, dict[str, bytes]] = {}
    for one in identities:
        if one.jwks is None:
            continue
        keys = _read_keys(folder / one.jwks, "mend infra/approvers.yaml")
        found.setdefault(one.issuer, {}).update(keys)
    return found


def kept_keys_path(project: Project, issuer: str) -> Path:
    """Return where the fetched keys of an issuer are kept: a token stays checkable after the issuer's next key."""
    return project.state / "signing" / "issuers" / f"{sha256_json(issuer)[:16]}.json"


def kept_keys(project: Project, issuer: str) -> dict[str, bytes]:
    """Return the keys of an issuer that were fetched before, by id."""
    path = kept_keys_path(project, issuer)
    return _read_keys(path, f"rm {path}: they are fetched again") if path.is_file() else {}


def rsa_keys(jwks: Any) -> dict[str, bytes]:
    """Return {key id: public key in PEM} of a key set: RSA keys for RS256 of 2048 bits at least; others are left out.

    Raises:
        ValueError: it is no key set.
    """
    if not isinstance(jwks, Mapping) or not isinstance(jwks.get("keys"), list):
        raise ValueError("it is no key set: it has no keys")
    found: dict[str, bytes] = {}
    for key in jwks["keys"]:
        fits = isinstance(key, Mapping) and key.get("kty") == "RSA" and isinstance(key.get("kid"), str)
        if not fits or key.get("use", "sig") != "sig" or key.get("alg", "RS256") != "RS256":
            continue
        n, e = (int.from_bytes(_decoded(key.get(name))) for name in ("n", "e"))
        if n.bit_length() < MIN_RSA_BITS or key["kid"] in found:
            continue
        public = RSAPublicNumbers(e, n).public_key()
        found[key["kid"]] = public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    return found


def _read_keys(path: Path, hint: str) -> dict[str, bytes]:
    """Return the keys in a file.

    Raises:
        ConfigError: it is missing or holds no keys.
    """
    try:
        return rsa_keys(read_json(path))
    except (DataContractError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as a key set: {error}", hint) from error


def _decoded(text: Any) -> bytes:
    """Return the bytes of base64url without padding."""
    if not isinstance(text, str):
        raise ValueError("a key has no n or e")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
