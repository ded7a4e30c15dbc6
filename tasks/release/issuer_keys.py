"""The keys of a token's issuer, fetched when a token with an unknown key is given; checks of a chain never fetch."""

import json
import logging
import time
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from tasks.core.errors import DataContractError, TransientError
from tasks.core.files import read_json, write_json
from tasks.core.project import Project
from tasks.proof.github import is_token, token_issuer
from tasks.proof.issuers import kept_keys, kept_keys_path, rsa_keys
from tasks.proof.trust import APPROVERS, read_trust

log = logging.getLogger(__name__)

WELL_KNOWN = "/.well-known/openid-configuration"
TIMEOUT_S = 10.0
MAX_BYTES = 256 << 10
#: Tokens with made-up key ids do not make this machine ask again and again.
AGAIN_AFTER_S = 30.0


def fetch_key(project: Project, envelope: Any) -> None:
    """Fetch the issuer's keys where a token names one that is not known here; anything else is left alone.

    Only a listed issuer is asked. Keys that it has taken back since are kept, so that older approvals can be checked.

    Raises:
        TransientError: the issuer does not answer.
        DataContractError: it is no token.
    """
    if not is_token(envelope):
        return
    issuer, key_id = token_issuer(envelope)
    listed = any(one.issuer == issuer and one.jwks is None for one in read_trust(project.root / APPROVERS).github)
    path = kept_keys_path(project, issuer)
    if not listed or key_id in kept_keys(project, issuer):
        return
    if path.is_file() and time.time() - path.stat().st_mtime < AGAIN_AFTER_S:
        return
    keys = _key_set(issuer)
    known = read_json(path)["keys"] if path.is_file() else []
    ids = {key.get("kid") for key in keys}
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_json(path, {"issuer": issuer, "keys": [*keys, *(key for key in known if key.get("kid") not in ids)]})
    log.info("%d keys of %s", len(keys), issuer)


def _key_set(issuer: str) -> list[Any]:
    """Return the keys that an issuer publishes."""
    try:
        configuration = _asked(issuer.rstrip("/") + WELL_KNOWN)
        place = str(configuration["jwks_uri"])
        if configuration["issuer"] != issuer or urlsplit(place)[:2] != urlsplit(issuer)[:2]:
            raise DataContractError(f"{issuer} sends to {place[:120]} for its keys, which is not its own")
        found = _asked(place)
        rsa_keys(found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        words = f"the keys of {issuer} cannot be fetched: {error}"
        raise TransientError(words, f"try again, or give them as a file: github: jwks in {APPROVERS}") from error
    keys: list[Any] = found["keys"]
    return keys


def _asked(url: str) -> Any:
    """Return a JSON answer; one that sends elsewhere is none."""
    with urllib.request.build_opener(_Stay).open(url, timeout=TIMEOUT_S) as answer:
        body = answer.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise ValueError(f"{url} answers more than {MAX_BYTES >> 10} KiB")
    return json.loads(body)


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows nowhere."""

    def redirect_request(self, *given: Any) -> None:
        """Refuse: the answer stays the error that it is."""
