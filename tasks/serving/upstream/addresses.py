"""Where model servers are that somebody else runs, and the token they ask for: from the environment.

Addresses differ from machine to machine and a token is a secret, so neither is a setting in params.yaml.
"""

import os
import re
from urllib.parse import urlsplit

from tasks.core.errors import ConfigError
from tasks.engine.access import OWN, Access

UPSTREAMS_VARIABLE = "TUNEGATE_UPSTREAMS"
TOKEN_VARIABLE = "TUNEGATE_UPSTREAM_TOKEN"
HINT = f"export {UPSTREAMS_VARIABLE}='https://blue.example.org|https://green.example.org'"
#: What may stand in a header.
_TOKEN = re.compile(r"[\x21-\x7e]+")


def upstreams() -> tuple[str, ...]:
    """Return the base URLs of the model servers that slots serve from, without /v1; none where slots start their own.

    Raises:
        ConfigError: one is no http or https URL, holds a user, a query or /v1, or stands there twice.
    """
    given = os.environ.get(UPSTREAMS_VARIABLE, "")
    found = tuple(_address(part) for part in given.split("|")) if given.strip() else ()
    if len(set(found)) < len(found):
        raise ConfigError(f"{UPSTREAMS_VARIABLE} names an address twice", HINT)
    return found


def access() -> Access:
    """Return how slots are asked: with the token where they are URLs, as our own servers else.

    Raises:
        ConfigError: the token could not stand in a header.
    """
    if not upstreams():
        return OWN
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is not None and not _TOKEN.fullmatch(token):
        # The message must not hold it.
        raise ConfigError(f"{TOKEN_VARIABLE} has characters that a header cannot hold", f"export {TOKEN_VARIABLE}=...")
    return Access(token, remote=True)


def _address(given: str) -> str:
    """Return one address without its last slash."""
    address = given.strip().rstrip("/")
    parts = urlsplit(address)
    try:
        named = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    # A user and password in it would stand in logs.
    if "@" in parts.netloc:
        raise ConfigError(f"{UPSTREAMS_VARIABLE}: an address holds a user name", f"export {TOKEN_VARIABLE}=... instead")
    if not named or parts.query or parts.fragment or parts.path.endswith("/v1"):
        raise ConfigError(f"{UPSTREAMS_VARIABLE}: {address!r} is no base URL (http or https, without /v1)", HINT)
    return address
