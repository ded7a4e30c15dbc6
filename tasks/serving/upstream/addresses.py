"""Where model servers are that somebody else runs, and the token they ask for: from the environment.

Addresses differ from machine to machine and a token is a secret, so neither is a setting in params.yaml.
"""

import os
import re
from urllib.parse import urlsplit

from tasks.core.errors import ConfigError
from tasks.engine.access import OWN, Access
from tasks.engine.drivers.known import driver_named

UPSTREAMS_VARIABLE = "TUNEGATE_UPSTREAMS"
TOKEN_VARIABLE = "TUNEGATE_UPSTREAM_TOKEN"
HINT = f"export {UPSTREAMS_VARIABLE}='https://blue.example.org|https://green.example.org'"
#: What may stand in a header.
_ENGINE = re.compile(r"([a-z0-9-]+)\+(?=https?://)")
_TOKEN = re.compile(r"[\x21-\x7e]+")


def upstreams() -> tuple[str, ...]:
    """Return the base URLs of the model servers that slots serve from, without /v1; none where slots start their own.

    Raises:
        ConfigError: one is no http or https URL, holds a user, a query or /v1, or stands there twice.
    """
    given = os.environ.get(UPSTREAMS_VARIABLE, "")
    found = tuple(_address(_split(part)[1]) for part in given.split("|")) if given.strip() else ()
    if len(set(found)) < len(found):
        raise ConfigError(f"{UPSTREAMS_VARIABLE} names an address twice", HINT)
    return found


def engines() -> tuple[tuple[str, str], ...]:
    """Return (base URL, engine) of the upstreams that are no vLLM: `llamacpp+http://host:8080`.

    The name stands in the address, not in what a server says of itself: another engine is held to another standard, so
    which one it is is for whoever runs this gateway to say.

    Raises:
        ConfigError: an engine is not known.
    """
    parts = [_split(part) for part in os.environ.get(UPSTREAMS_VARIABLE, "").split("|")]
    return tuple((_address(address), driver_named(engine).name) for engine, address in parts if engine)


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
    return Access(token, remote=True, engines=engines())


def _split(given: str) -> tuple[str, str]:
    """Return the engine that an address names before a plus sign ("" for none), and the address."""
    named = _ENGINE.match(given.strip())
    return (named.group(1), given.strip()[named.end() :]) if named else ("", given)


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
