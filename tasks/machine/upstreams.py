"""The model servers behind URLs: there, what they serve, and whether a token would cross the network in the clear."""

import asyncio
from urllib.parse import urlsplit

from tasks.core.settings import Settings
from tasks.engine.access import Access
from tasks.machine.check import Check
from tasks.serving.upstream.addresses import TOKEN_VARIABLE, UPSTREAMS_VARIABLE
from tasks.serving.upstream.server import Seen, Upstreams, given_upstreams

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
#: A version is switched to at one while another goes on serving at the next.
LEAST = 2


def check_upstreams(settings: Settings) -> list[Check]:
    """Check every upstream that the environment names; nothing where slots start servers of their own."""
    upstreams = given_upstreams(settings)
    if upstreams is None:
        return []
    checks = [_check(one, upstreams) for one in asyncio.run(_look(upstreams))]
    if len(upstreams.addresses) < LEAST:
        needed = f"{LEAST} ({UPSTREAMS_VARIABLE}), or one that serves several models"
        checks.append(Check("upstreams", "warning", "1 address", needed, "name a second: a new version starts beside"))
    return checks


async def _look(upstreams: Upstreams) -> list[Seen]:
    """Ask all of them at once."""
    async with upstreams.access.session() as session:
        return await asyncio.gather(*(upstreams.looked(session, one) for one in upstreams.addresses))


def _check(seen: Seen, upstreams: Upstreams) -> Check:
    """Check one."""
    needed = f"a list of models ({UPSTREAMS_VARIABLE})"
    if seen.names is None:
        todo = f"look at its log, correct {UPSTREAMS_VARIABLE}, or give its token as {TOKEN_VARIABLE}"
        return Check("upstream", "failed", seen.words, needed, todo)
    if _in_the_clear(seen.address, upstreams.access):
        todo = "https://, or a network that encrypts by itself"
        return Check("upstream", "warning", f"{seen.words}; the token crosses the network as it is", needed, todo)
    return Check("upstream", "ok", seen.words, needed)


def _in_the_clear(address: str, access: Access) -> bool:
    """Return whether others on the way can read the token."""
    parts = urlsplit(address)
    return access.token is not None and parts.scheme == "http" and parts.hostname not in LOOPBACK
