"""The process behind the URL: gateway and slots, and an admin API on a unix socket only its owner can open.

`tunegate serve` and `control.ensure_host` start it (`python -m tasks.serving.host`). Its vLLM servers die with it.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import struct
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
from aiohttp import web

from tasks.core.errors import ConfigError, MissingToolError, TransientError, TunegateError, error_record
from tasks.core.gpus import SLOT_GPUS_VARIABLE, slot_groups
from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings
from tasks.data.privacy.desensitize import mask_text
from tasks.engine.deployment import Deployment
from tasks.engine.server import VllmServer
from tasks.engine.smoke import smoke_test
from tasks.serving.audit import AuditLog
from tasks.serving.audit.log import Ways
from tasks.serving.audit.masker import Masker
from tasks.serving.audit.room import Room
from tasks.serving.audit.secret import audit_secret
from tasks.serving.door.connections import GuardedRunner
from tasks.serving.gateway import Gateway, GatewayParts
from tasks.serving.host_lock import HostLock
from tasks.serving.housekeeping import Housekeeping
from tasks.serving.keys import KeyStore
from tasks.serving.metrics import Metrics
from tasks.serving.paths import (
    audit_folder,
    audit_outbox,
    budgets_path,
    control_socket,
    keys_path,
    rollout_path,
    serving_folder,
)
from tasks.serving.probe import EngineProbe
from tasks.serving.record import ServedRecord
from tasks.serving.recovery import Pace, Recovery
from tasks.serving.rollout.rollout import Rollouts, Strategy
from tasks.serving.slot import Server, StartServer
from tasks.serving.slots import Slots
from tasks.serving.tracing import Tracing

log = logging.getLogger(__name__)

#: What a request may ask of the slots: a switch, or a rehearsal.
Change = Callable[[Deployment, Callable[[str], None]], Awaitable[Any]]

HEALTH_TIMEOUT_S = 5.0
SWITCH_INTERVAL_S = 0.0002
SLOT_PORT_VARIABLE = "TUNEGATE_SLOT_PORT"


class Host:
    """Gateway, slots and control API of one project in one event loop.

    Args:
        start_server: how a slot gets its model server; vLLM where none is given.
        pace: how patient recovery is.
    """

    def __init__(
        self,
        project: Project,
        settings: Settings,
        start_server: StartServer | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.project, self.settings = project, settings
        gateway = settings.serve.gateway
        self.slots = Slots(
            list(project.slot_ports),
            start_server or partial(start_vllm, project, settings),
            partial(smoke_test, params=settings.promote),
            gateway.drain_timeout_s,
            soak_s=settings.promote.soak_s,
            hold_s=settings.serve.hold_s if settings.serve.swap == "hold" else None,
            on_switch=self._switched,
        )
        self.probe = EngineProbe(self.slots, gateway.probe_every_s, gateway.probe_deadline_s)
        self.rollouts = Rollouts(
            settings.promote.rollout,
            self.slots,
            rollout_path(project),
            timeout_s=gateway.upstream_timeout_s,
            most_live=settings.serve.vllm.max_concurrent_sequences // 2,
        )
        self.record = ServedRecord(project)
        self.recovery = Recovery(self.record, self.slots, self._healthy, pace)
        self.masker = Masker(settings.prepare.privacy.policies.sought)
        self.audit = AuditLog(
            audit_folder(project),
            Ways(
                redact=partial(mask_text, types=settings.prepare.privacy.policies.sought),
                retention_days=gateway.audit_retention_days,
                mask_far=self.masker.mask,
                digest_key=audit_secret(project),
                room=Room(gateway.audit.reserve_mib << 20, gateway.audit.min_free_mib << 20),
                on_death=self._audit_died,
            ),
        )
        self.tracing = Tracing()
        self.gateway = Gateway(
            GatewayParts(
                params=gateway,
                context_tokens=settings.serve.vllm.max_model_length_tokens,
                model_name=settings.register_.model_name,
                keys=KeyStore(keys_path(project)),
                slots=self.slots,
                audit=self.audit,
                probe=self.probe,
                metrics=Metrics(),
                tracing=self.tracing,
                budgets_path=budgets_path(project),
                unit_of=self.rollouts.unit_of,
                watched=self.rollouts.watched,
            )
        )
        self.housekeeping = Housekeeping(self.audit, self.gateway, audit_outbox(project), project.root / "params.yaml")
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._deployments: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Serve until asked to stop; then let the requests under way finish.

        Raises:
            ConfigError: a host of this project runs already.
            MissingToolError: the gateway's port is taken.
            TransientError: the audit log's writer ended; whatever started this process is to start it again.
        """
        with HostLock(self.project):
            self.rollouts.forget_the_dead()
            await self.audit.open()
            # A caller who leaves cancels the handler, which ends the generation in vLLM.
            door = self.settings.serve.gateway.door
            gateway = GuardedRunner(self.gateway.app(), door, access_log=None, handler_cancellation=True)
            # A command that is ended (Ctrl-C, cancelled in Prefect, killed) ends the start that it asked for.
            control = web.AppRunner(self._control_app(), access_log=None, handler_cancellation=True)
            beside: list[asyncio.Task[None]] = []
            try:
                await gateway.setup()
                await self._bind(gateway)
                await control.setup()
                await self._bind_control(control)
                self._until_signalled()
                log.info("gateway at %s", self.project.gateway_url)
                beside = [asyncio.create_task(one.run()) for one in (self.housekeeping, self.recovery, self.probe)]
                beside[0].add_done_callback(self._beside_ended)
                await self._stop.wait()
                log.info("stopping: requests under way may finish")
                self.slots.closing = True
                await self.rollouts.close()
                await self.slots.close()
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
                await gateway.cleanup()
                if self._failure is None:
                    await self.audit.close()
                await self.masker.close()
                await control.cleanup()
                await asyncio.to_thread(self.tracing.close)
                control_socket(self.project).unlink(missing_ok=True)
        if self._failure is not None:
            message = f"the audit log's writer ended: {type(self._failure).__name__}"
            raise TransientError(message, "its traceback is above; tunegate serve starts the host again by itself")

    def stop(self) -> None:
        """Ask `run` to end."""
        self._stop.set()

    def _audit_died(self, error: BaseException) -> None:
        """End, so that what started this process starts it again: without a log nothing may be answered."""
        self._failure = error
        # An answer that cannot be recorded is not let finish.
        self.slots.drain_timeout_s = 0.0
        self.stop()

    def _beside_ended(self, task: "asyncio.Task[None]") -> None:
        """End where keeping house met a bug: changes of keys would go unrecorded."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("host: keeping house ended", exc_info=error)
            self._audit_died(error)

    async def status(self) -> dict[str, Any]:
        """Return what is served."""
        slot = self.slots.live
        deployment = slot.deployment if slot else None
        return {
            "url": self.project.gateway_url,
            "slot": slot.name if slot and deployment else None,
            "version": deployment.version if deployment else None,
            "lineage_id": deployment.lineage_id if deployment else None,
            "healthy": await self._healthy(),
            "host_pid": os.getpid(),
            "in_flight": sum(slot.in_flight for slot in self.slots.slots),
            "deploying": self.slots.starting.version if self.slots.starting else None,
            "holding": self.slots.holding,
            "rollout": self.rollouts.status(),
            "wanted": self.record.wanted.version if self.record.wanted else None,
            "recovering": self.recovery.recovering,
            "given_up": self.record.given_up,
            "previous": [one.row() for one in self.record.previous],
            "audit_healthy": self.audit.healthy,
            "drain_timeout_s": self.slots.drain_timeout_s,
        }

    async def _healthy(self) -> bool:
        """Return whether the live server's engine works: it says so, and made a token when it was asked for one."""
        slot = self.slots.live
        if slot is None or slot.server is None or not slot.healthy or not self.probe.works:
            return False
        try:
            timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S)
            url = f"{slot.server.url}/health"
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _bind(self, runner: web.AppRunner) -> None:
        """Open the gateway's port."""
        host, port = self.project.gateway_host, self.project.gateway_port
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise MissingToolError(
                f"port {port} on {host} is not free for the gateway ({error.strerror})",
                "export TUNEGATE_GATEWAY_PORT=<a free port>",
            ) from error

    async def _bind_control(self, runner: web.AppRunner) -> None:
        """Open the control socket for its owner alone; a socket left by a killed host is removed."""
        path = control_socket(self.project)
        path.unlink(missing_ok=True)
        folder, before = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY), os.umask(0o177)
        try:
            # By the folder's handle: see control._Connection.connect.
            await web.UnixSite(runner, f"/proc/self/fd/{folder}/{path.name}").start()
        finally:
            os.umask(before)
            os.close(folder)

    def _until_signalled(self) -> None:
        """Stop in order on SIGTERM and Ctrl-C."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    def _control_app(self) -> web.Application:
        """Return the control API."""
        app = web.Application()
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
        return web.json_response(await self.status())

    def _record(self, request: web.Request, action: str, **facts: Any) -> None:
        """Record what was asked of the host, and by which user of this machine."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self.audit.submit({"kind": "admin", "time": now, "action": action, **_peer(request), **facts})

    async def _post_stop(self, request: web.Request) -> web.Response:
        """Answer POST /stop; the stopping itself follows."""
        self._record(request, "stop")
        self.stop()
        return web.json_response({"stopping": True})

    async def _post_abort(self, request: web.Request) -> web.Response:
        """Answer POST /abort: end what is being started or tried, whoever asked for it; what serves goes on."""
        self._record(request, "abort")
        aborted = self.recovery.abort() | await self.rollouts.abort("its slot was asked for (rollback)")
        for task in self._deployments:
            aborted = task.cancel() or aborted
        await asyncio.gather(*self._deployments, return_exceptions=True)
        return web.json_response({"aborted": aborted})

    async def _post_deploy(self, request: web.Request) -> web.StreamResponse:
        """Answer POST /deploy with a line per step."""
        return await self._told(request, self.slots.deploy)

    async def _post_rehearse(self, request: web.Request) -> web.StreamResponse:
        """Answer POST /rehearse with a line per step."""
        return await self._told(request, self.slots.rehearse)

    async def _post_rollout(self, request: web.Request) -> web.StreamResponse:
        """Answer POST /rollout/canary and /rollout/shadow with a line per step, until the rollout has begun."""
        strategy: Strategy = "shadow" if request.match_info["strategy"] == "shadow" else "canary"
        return await self._told(request, partial(self.rollouts.begin, strategy))

    async def _post_rollout_end(self, request: web.Request) -> web.Response:
        """Answer POST /rollout/abort and /rollout/promote: a person decides before the tests do."""
        why = (await request.json())["why"]
        if request.match_info["end"] == "abort":
            return web.json_response({"done": await self.rollouts.abort(why)})
        try:
            # A command that leaves in the middle of the drain changes nothing.
            await asyncio.shield(asyncio.ensure_future(self.rollouts.promote(why)))
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
            await asyncio.to_thread(wanted.verify)
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
            tell({"live": await self.status()})

    def _switched(self, deployment: Deployment) -> None:
        """Write down what has taken over traffic."""
        self.record.switched(deployment)
        self.recovery.switched()


def start_vllm(
    project: Project, settings: Settings, slot: str, deployment: Deployment, on_progress: Callable[[str], None]
) -> Server:
    """Start vLLM in a slot; its log is `.tunegate/serving/<slot>.log`.

    Raises:
        DataContractError: the model folder could execute something.
        MissingToolError: no serving environment, no compiler, or the slot's port is taken.
    """
    server = VllmServer(project.serve_python, on_progress=on_progress)
    server.start(
        deployment.model,
        project.slot_ports[slot],
        settings.serve.vllm,
        deployment.lineage_id,
        serving_folder(project) / f"{slot}.log",
        flags=deployment.abilities.flags(),
        port_variable=SLOT_PORT_VARIABLE,
        gpus=slot_gpus(slot, list(project.slot_ports), shared=settings.serve.swap == "hold"),
    )
    return server


def _peer(request: web.Request) -> dict[str, int]:
    """Return the process and user at the other end of the control socket, by the kernel's word."""
    sock = request.transport.get_extra_info("socket") if request.transport else None
    if sock is None:
        return {}
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return {"pid": pid, "uid": uid}


def slot_gpus(slot: str, slots: list[str], *, shared: bool = False) -> str | None:
    """Return the GPUs of a slot from $TUNEGATE_SLOT_GPUS, or None where it is not set.

    Args:
        shared: whether one group is every slot's, one after the other (`serve.swap: hold`).

    Raises:
        ConfigError: it does not name as many groups as there are slots.
    """
    groups = slot_groups()
    if not groups:
        return None
    if shared and len(groups) == 1:
        return ",".join(groups[0])
    if len(groups) != len(slots):
        raise ConfigError(f"{SLOT_GPUS_VARIABLE}={os.environ[SLOT_GPUS_VARIABLE]!r} must name {len(slots)} groups",
                          f"export {SLOT_GPUS_VARIABLE}='0|1'")  # fmt: skip
    return ",".join(groups[slots.index(slot)])


def run_host() -> None:
    """Run the host of the project around here until it is asked to stop."""
    project = Project.here()
    settings = load_settings(project.root / "params.yaml")

    # The audit log's thread must hand the interpreter back before a caller can notice (5 ms by default).
    sys.setswitchinterval(SWITCH_INTERVAL_S)

    async def main() -> None:
        """Make the host inside its loop."""
        await Host(project, settings).run()

    asyncio.run(main())


if __name__ == "__main__":
    from tasks.core.guard import guarded
    from tasks.core.logs import setup_logging

    setup_logging()
    sys.exit(guarded(run_host))
