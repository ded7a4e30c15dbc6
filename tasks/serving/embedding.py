"""The embedding model beside the chat model: one more vLLM process, started, watched and stopped by the host.

It has nothing to do with versions, slots or readiness: while it is down its route answers 503 and chats go on.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import aiohttp

from tasks.core.digest import sha256_tree
from tasks.core.errors import TunegateError
from tasks.core.params.release import EmbeddingParams
from tasks.core.progress import duration
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.engine.deployment import Deployment
from tasks.engine.server import VllmServer
from tasks.serving.paths import serving_folder
from tasks.serving.slot import Lease, Server

log = logging.getLogger(__name__)

PORT_VARIABLE = "TUNEGATE_EMBEDDING_PORT"
#: What records and headers say instead of a registered version.
VERSION = "embedding"
#: Between two looks at its process, looks between two questions, and how long one word may take.
LOOK_EVERY_S, ASK_EVERY, ASK_TIMEOUT_S = 0.5, 20, 30.0
#: Looks in a row that must fail before it is started again.
ILL_LOOKS = 3
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 60.0


class Embedding:
    """One embedding model, kept up.

    Args:
        name: what callers ask for.
        model: its folder.
        start: starts its server under a name; does not wait until it is ready.
    """

    def __init__(self, name: str, model: Path, start: Callable[[Deployment], Server]) -> None:
        self.name, self.model, self._start = name, model, start
        self.in_flight = 0
        self._server: Server | None = None
        self._deployment: Deployment | None = None
        self._up = False

    @property
    def works(self) -> bool:
        """Whether it answered when it was asked last."""
        return self._up and self._server is not None and self._server.alive

    @property
    def names(self) -> tuple[str, ...]:
        """What callers may ask for: its name, and the id of its weights once these are known."""
        return (self.name, self._deployment.lineage_id) if self._deployment else (self.name,)

    @contextmanager
    def lease(self) -> Iterator[Lease | None]:
        """Hold the server for one request; None where it is down."""
        if not self.works or self._server is None or self._deployment is None:
            yield None
            return
        self.in_flight += 1
        try:
            yield Lease(VERSION, self._server.url, self._deployment)
        finally:
            self.in_flight -= 1

    async def run(self) -> None:
        """Keep it up until cancelled, then stop it."""
        failures = 0
        try:
            while True:
                try:
                    await self._bring_up()
                    failures = 0
                    await self._watch()
                except TunegateError as error:
                    log.error("embedding: %s did not stay up: %s", self.name, error)
                failures += 1
                await self._stop()
                wait_s = min(FIRST_WAIT_S * 2 ** (failures - 1), LONGEST_WAIT_S)
                log.warning("embedding: next start in %s", duration(wait_s))
                await asyncio.sleep(wait_s)
        finally:
            await self._stop()

    async def _bring_up(self) -> None:
        """Start it and wait until it answers one question.

        Raises:
            TunegateError: the folder is no safe model, or its server did not come up.
        """
        if self._deployment is None:
            digest = await asyncio.to_thread(sha256_tree, self.model)
            self._deployment = Deployment(VERSION, f"emb-{digest[:16]}", self.model)
        started = time.monotonic()
        self._server = await asyncio.to_thread(self._start, self._deployment)
        await asyncio.to_thread(self._server.wait_ready)
        self._up = await self._answers()
        log.info("embedding: %s answers after %s", self.name, duration(time.monotonic() - started))

    async def _watch(self) -> None:
        """Return when it has ended or hangs."""
        ill, looks = 0, 0
        while self._server is not None and self._server.alive and ill < ILL_LOOKS:
            await asyncio.sleep(LOOK_EVERY_S)
            looks += 1
            if looks % ASK_EVERY == 0 or ill:
                ill = 0 if await self._answers() else ill + 1
                self._up = not ill
        log.warning("embedding: %s %s", self.name, "hangs" if ill else "ended")

    async def _answers(self) -> bool:
        """Return whether it makes a vector of one word."""
        if self._server is None or self._deployment is None:
            return False
        timeout = aiohttp.ClientTimeout(total=ASK_TIMEOUT_S)
        question = {"model": self._deployment.lineage_id, "input": "1"}
        with suppress(aiohttp.ClientError, TimeoutError):
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(f"{self._server.url}/v1/embeddings", json=question) as answer,
            ):
                return answer.status == 200
        return False

    async def _stop(self) -> None:
        """End what runs."""
        server, self._server, self._up = self._server, None, False
        if server:
            await asyncio.to_thread(server.stop)


def embedding_of(project: Project, settings: Settings) -> Embedding | None:
    """Return the embedding model of the settings; None where none is configured."""
    params = settings.serve.embedding
    if params.model is None:
        return None
    return Embedding(params.name, project.root / params.model, partial(_start_vllm, project, settings, params))


def _start_vllm(project: Project, settings: Settings, params: EmbeddingParams, deployment: Deployment) -> Server:
    """Start vLLM as a pooling server; its log is `.tunegate/serving/embedding.log`."""
    server = VllmServer(project.serve_python, on_progress=log.info)
    flags = {"max_model_length_tokens": params.max_length_tokens,
             "gpu_memory_utilization": params.gpu_memory_utilization, "tensor_parallel": 1}  # fmt: skip
    server.start(
        deployment.model, project.embedding_port, settings.serve.vllm.model_copy(update=flags), deployment.lineage_id,
        serving_folder(project) / "embedding.log", flags=["--runner=pooling"], port_variable=PORT_VARIABLE,
    )  # fmt: skip
    return server
