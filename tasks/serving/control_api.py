"""The host's control API on a unix socket; tasks/serving/control.py asks it, control_access.py says who may."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from aiohttp import web

from tasks.core.errors import TunegateError, error_record
from tasks.engine.deployment import Deployment
from tasks.serving.audit import AuditLog
from tasks.serving.control_access import may_ask, peer_of
from tasks.serving.recovery import Recovery
from tasks.serving.rollout.rollout import Rollouts, Strategy
from tasks.serving.slots import Slots

log = logging.getLogger(__name__)

#: What a request may ask of the slots: a switch, or a rehearsal.
Change = Callable[[Deployment, Callable[[str], None]], Awaitable[Any]]


@dataclass(frozen=True)
class HostParts:
    """What of a host is asked.

    Args:
        status: what it serves.
        stop: asks it to end.
        verify: checks a version's bytes.
    """

    slots: Slots
    rollouts: Rollouts
    recovery: Recovery
    audit: AuditLog
    status: Callable[[], Awaitable[dict[str, Any]]]
    stop: Callable[[], None]
    verify: Callable[[Deployment], None] = Deployment.verify


class ControlApi:
    """What commands ask of a host; each call that changes something is recorded.

    Args:
        host: its parts.
    """

    def __init__(self, host: HostParts) -> None:
        self.host = host
        self._deployments: set[asyncio.Task[Any]] = set()

    def app(self) -> web.Application:
        """Return the control API."""
        app = web.Application(middlewares=[_known_alone])
        app.router.add_get("/status", self._get_status)
        app.router.add_post("/deploy", self._post_deploy)
        app.router.add_post("/rehearse", self._post_rehearse)
        app.router.add_post("/rollout/{strategy:canary|shadow}", self._post_rollout)
        app.router.add_post("/rollout/{end:abort|promote}", self._post_rollout_end)
        app.router.add_post("/abort", self._post_abort)
        app.router.add_post("/stop", self._post_stop)
        return app

    async def _get_status(self, request: web.Request) -> web.Response:
        """Answer GET /status."""
        return web.json_response(await self.host.status())

    def _record(self, request: web.Request, action: str, **facts: Any) -> None:
        """Record what was asked of the host, and by which user of this machine."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.host.audit.submit({"kind": "admin", "time": now, "action": action, **_peer(request), **facts})

    async def _post_stop(self, request: web.Request) -> web.Response:
        """Answer POST /stop; the stopping itself follows."""
        self._record(request, "stop")
        self.host.stop()
        return web.json_response({"stopping": True})

    async def _post_abort(self, request: web.Request) -> web.Response:
        """Answer POST /abort: end what is being started or tried, whoever asked for it; what serves goes on."""
        self._record(request, "abort")
        aborted = self.host.recovery.abort() | await self.host.rollouts.abort("its slot was asked for (rollback)")
        for task in self._deployments:
            aborted = task.cancel() or aborted
        await asyncio.gather(*self._deployments, return_exceptions=True)
        return web.json_response({"aborted": aborted})

    async def _post_deploy(self, request: web.Request) -> web.StreamResponse:
        """Answer POST /deploy with a line per step."""
        return await self._told(request, self.host.slots.deploy)

    async def _post_rehearse(self, request: web.Request) -> web.StreamResponse:
        """Answer POST /rehearse with a line per step."""
        return await self._told(request, self.host.slots.rehearse)

    async def _post_rollout(self, request: web.Request) -> web.StreamResponse:
        """Answer POST /rollout/canary and /rollout/shadow with a line per step, until the rollout has begun."""
        strategy: Strategy = "shadow" if request.match_info["strategy"] == "shadow" else "canary"
        return await self._told(request, partial(self.host.rollouts.begin, strategy))

    async def _post_rollout_end(self, request: web.Request) -> web.Response:
        """Answer POST /rollout/abort and /rollout/promote: a person decides before the tests do."""
        why = (await request.json())["why"]
        self._record(request, request.path.strip("/"), why=why)
        if request.match_info["end"] == "abort":
            return web.json_response({"done": await self.host.rollouts.abort(why)})
        try:
            # A command that leaves in the middle of the drain changes nothing.
            await asyncio.shield(asyncio.ensure_future(self.host.rollouts.promote(why)))
        except TunegateError as error:
            return web.json_response({"error": error_record(error)})
        return web.json_response({"done": True})

    async def _told(self, request: web.Request, change: Change) -> web.StreamResponse:
        """Do what a request asks of the slots and tell it step by step; an asker who leaves ends it."""
        deployment = Deployment.of_row(await request.json())
        self._record(request, request.path.strip("/"), version=deployment.version, lineage_id=deployment.lineage_id)
        response = web.StreamResponse(headers={"Content-Type": "application/jsonl"})
        await response.prepare(request)
        events: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        task = asyncio.create_task(self._changed(deployment, change, events.put_nowait))
        self._deployments.add(task)
        task.add_done_callback(self._deployments.discard)
        task.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                await response.write(json.dumps(event, ensure_ascii=False).encode() + b"\n")
            await response.write_eof()
        except (ConnectionError, asyncio.CancelledError):
            log.warning("deploy of version %s: the asker has left", deployment.version)
            task.cancel()
            raise
        return response

    async def _changed(self, wanted: Deployment, change: Change, tell: Callable[[dict[str, Any]], None]) -> None:
        """Verify the bytes, change the slots, and tell how it went."""

        def on_progress(line: str) -> None:
            """Log a step and pass it to the asker."""
            log.info("deploy: %s", line)
            tell({"progress": line})

        try:
            await asyncio.to_thread(self.host.verify, wanted)
            await change(wanted, on_progress)
        except TunegateError as error:
            log.error("deploy of version %s failed: %s", wanted.version, error)
            tell({"error": error_record(error)})
        except asyncio.CancelledError:
            log.warning("deploy of version %s was ended", wanted.version)
            ended = {"kind": "TransientError", "message": f"the start of version {wanted.version} was ended",
                     "hint": "tunegate status"}  # fmt: skip
            tell({"error": ended})
            raise
        else:
            tell({"live": await self.host.status()})


@web.middleware
async def _known_alone(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
    """Refuse whoever is neither this account, nor root, nor of the named group."""
    sock = request.transport.get_extra_info("socket") if request.transport else None
    if sock is not None:
        _, uid, groups = peer_of(sock)
        if not may_ask(uid, groups):
            log.warning("control socket: user %d was refused", uid)
            return web.json_response({"error": "this account may not ask the host"}, status=403)
    return await handler(request)


def _peer(request: web.Request) -> dict[str, int]:
    """Return the process and user at the other end of the control socket, by the kernel's word."""
    sock = request.transport.get_extra_info("socket") if request.transport else None
    if sock is None:
        return {}
    pid, uid, _ = peer_of(sock)
    return {"pid": pid, "uid": uid}
