"""A slot's model server behind a URL: found by the name it serves, watched, and neither started nor stopped from here.

The platform starts, restarts and stops the engine and answers for its weights' bytes and its flags. What is held to
before and after traffic is what can be asked: the name, the context length, the smoke prompts, the fingerprint.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from tasks.core.errors import DataContractError, TransientError
from tasks.core.progress import duration
from tasks.core.settings import Settings
from tasks.engine.access import Access
from tasks.engine.deployment import Deployment
from tasks.serving.recovery import Pace
from tasks.serving.upstream.addresses import access, upstreams

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
LOOK_TIMEOUT_S = 3.0
#: Looks in a row without an answer after which nobody is sent there any more.
MISSES = 3
#: That nobody answers is no fault of the version, and starting it again is the platform's: it is looked for on and on,
#: and going back is a person's to decide (`tunegate rollback`).
PACE = Pace(longest_wait_s=5.0, tries=1 << 62)


@dataclass(frozen=True)
class Upstreams:
    """The model servers that versions are looked for at.

    Args:
        addresses: their base URLs, without /v1.
        access: how they are asked.
        patience_s: how long a version is looked for.
        context_tokens: the context length that callers are promised.
    """

    addresses: tuple[str, ...]
    access: Access
    patience_s: float
    context_tokens: int

    def start(self, slot: str, deployment: Deployment, on_progress: Callable[[str], None]) -> "UrlServer":
        """Begin to look for a version; nothing is started.

        Raises:
            DataContractError: the version has no fingerprint.
        """
        if deployment.fingerprint is None:
            raise DataContractError(
                f"version {deployment.version} has no fingerprint: weights behind a URL are known by nothing else",
                "evaluate it again: tunegate run",
            )
        return UrlServer(self, deployment, on_progress)

    async def looked(self, session: aiohttp.ClientSession, address: str) -> "Seen":
        """Ask an upstream what it serves."""
        try:
            timeout = aiohttp.ClientTimeout(total=LOOK_TIMEOUT_S)
            async with session.get(f"{address}/v1/models", timeout=timeout) as answer:
                if answer.status != 200:
                    return Seen(address, why=f"HTTP {answer.status}")
                rows = (await answer.json(content_type=None))["data"]
                return Seen(address, {str(row["id"]): row.get("max_model_len") for row in rows})
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Seen(address, why=str(error) or f"no answer in {duration(LOOK_TIMEOUT_S)}")
        except (ValueError, KeyError, TypeError, AttributeError):
            return Seen(address, why="what /v1/models says is no list of models")


@dataclass(frozen=True)
class Seen:
    """What an upstream says it serves.

    Args:
        names: model name -> context length in tokens, None where it does not say; None where there was no answer.
        why: there was none.
    """

    address: str
    names: dict[str, int | None] | None = None
    why: str = ""

    @property
    def words(self) -> str:
        """What was seen, for a message."""
        if self.names is None:
            return f"{self.address}: {self.why}"
        return f"{self.address} serves {', '.join(self.names) or 'nothing'}"


class UrlServer:
    """A version at one of the upstreams.

    Args:
        upstreams: where it is looked for.
        deployment: the version; the upstream must serve it under its lineage id.
    """

    def __init__(self, upstreams: Upstreams, deployment: Deployment, on_progress: Callable[[str], None]) -> None:
        self.upstreams, self.deployment, self.on_progress = upstreams, deployment, on_progress
        self.url = ""
        self.alive = True
        self._over = threading.Event()

    def wait_ready(self) -> float:
        """Find the upstream that serves the version and begin to watch it; return the seconds that took.

        Raises:
            DataContractError: all upstreams answer and none serves it, or with a shorter context than is promised.
            TransientError: none serves it in the time there is, and some do not answer.
        """
        started = time.monotonic()
        self.url = asyncio.run(self._found(started + self.upstreams.patience_s))
        self.on_progress(f"version {self.deployment.version} is at {self.url}")
        threading.Thread(target=lambda: asyncio.run(self._watch()), name="upstream", daemon=True).start()
        return time.monotonic() - started

    def stop(self) -> None:
        """Look no more; the engine goes on, for whoever runs it."""
        self._over.set()

    async def _found(self, deadline: float) -> str:
        """Return the address that serves the version."""
        name, version = self.deployment.lineage_id, self.deployment.version
        async with self.upstreams.access.session() as session:
            while True:
                seen = await asyncio.gather(*(self.upstreams.looked(session, one) for one in self.upstreams.addresses))
                for one in seen:
                    if one.names is not None and name in one.names:
                        self._require_context(one, one.names[name])
                        return one.address
                what = f"version {version}: no upstream serves {name}; {'; '.join(one.words for one in seen)}"
                hint = f"have the platform serve it under the name {name}, then tunegate promote {version}"
                if all(one.names is not None for one in seen):
                    raise DataContractError(what, hint)
                if self._over.is_set() or time.monotonic() > deadline:
                    raise TransientError(what, hint)
                await asyncio.sleep(LOOK_EVERY_S)

    def _require_context(self, seen: Seen, tokens: int | None) -> None:
        """Refuse an upstream that would refuse what callers are promised."""
        if tokens is not None and tokens < self.upstreams.context_tokens:
            raise DataContractError(
                f"{seen.address} serves {tokens} tokens of context, serve.vllm.max_model_length_tokens promises "
                f"{self.upstreams.context_tokens}",
                "start it with --max-model-len as in params.yaml, or lower the setting",
            )

    async def _watch(self) -> None:
        """Look until it is over, or nobody may be sent there any more; what comes back is found and tested anew."""
        misses = 0
        async with self.upstreams.access.session() as session:
            while not self._over.is_set():
                await asyncio.sleep(LOOK_EVERY_S)
                seen = await self.upstreams.looked(session, self.url)
                misses = misses + 1 if seen.names is None else 0
                changed = seen.names is not None and self.deployment.lineage_id not in seen.names
                if (changed or misses >= MISSES) and not self._over.is_set():
                    log.error("upstream: version %s is not there any more: %s", self.deployment.version, seen.words)
                    self.alive = False
                    return


def given_upstreams(settings: Settings) -> Upstreams | None:
    """Return the upstreams that the environment names, None where slots start servers of their own."""
    if not (addresses := upstreams()):
        return None
    vllm = settings.serve.vllm
    return Upstreams(addresses, access(), vllm.startup_timeout_s, vllm.max_model_length_tokens)


def not_verified(deployment: Deployment) -> None:
    """Say that the weights' bytes are not checked: they are not on this machine."""
    log.info("version %s: its bytes are the platform's to verify; it is held to its name and fingerprint",
             deployment.version)  # fmt: skip
