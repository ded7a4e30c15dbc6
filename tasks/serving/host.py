"""The process behind the URL: gateway and slots, and an admin API on a unix socket (control_access.py: who may ask).

`tunegate serve` and `control.ensure_host` start it (`python -m tasks.serving.host`). Its vLLM servers die with it.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from functools import partial
from typing import Any, Protocol

import aiohttp
from aiohttp import web

from tasks.core.errors import MissingToolError, TransientError
from tasks.core.progress import duration
from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings
from tasks.data.privacy.desensitize import mask_text
from tasks.engine.access import OWN
from tasks.engine.deployment import Deployment
from tasks.engine.smoke import smoke_test
from tasks.proof.signers import machine_signer
from tasks.serving.audit import AuditLog
from tasks.serving.audit.log import Ways
from tasks.serving.audit.masker import Masker
from tasks.serving.audit.room import Room
from tasks.serving.audit.secret import audit_secret
from tasks.serving.control_access import open_for_group
from tasks.serving.control_api import ControlApi, HostParts
from tasks.serving.door.connections import GuardedRunner
from tasks.serving.door.meter import LocalMeter
from tasks.serving.embedding import embedding_of
from tasks.serving.gateway import Gateway, GatewayParts
from tasks.serving.grounded import grounding_of
from tasks.serving.host_lock import HostLock
from tasks.serving.housekeeping import Housekeeping
from tasks.serving.keys import KeyStore
from tasks.serving.metrics import Metrics
from tasks.serving.paths import (
    audit_folder,
    audit_outbox,
    audit_seen,
    budgets_path,
    control_socket,
    keys_path,
    rollout_path,
)
from tasks.serving.probe import EngineProbe
from tasks.serving.proven import require_proven
from tasks.serving.record import ServedRecord
from tasks.serving.recovery import Pace, Recovery
from tasks.serving.rollout.rollout import Rollouts
from tasks.serving.shared.lead import Follower, Leader
from tasks.serving.shared.meter import SharedMeter
from tasks.serving.shared.store import Store, follows, given_store
from tasks.serving.slot import StartServer
from tasks.serving.slots import Slots
from tasks.serving.tracing import Tracing
from tasks.serving.upstream.server import PACE, given_upstreams, not_verified
from tasks.serving.vllm_slot import forked_slots, start_vllm

log = logging.getLogger(__name__)

HEALTH_TIMEOUT_S = 5.0
#: Every word list of the audit log is read for it; the first request would wait for that else.
SAMPLE = "联系人张伟，电话13912345678，住北京市海淀区中关村大街1号，在某某有限公司。 Mary Brown, mary@example.org"
SWITCH_INTERVAL_S = 0.0002


class Host:
    """Gateway, slots and control API of one project in one event loop.

    Args:
        start_server: how a slot gets its model server; where none is given, from the upstreams of the environment, or
            by starting vLLM.
        pace: how patient recovery is.
        follows: whether it serves what another gateway, the leader, tells through the store they share.
    """

    def __init__(
        self,
        project: Project,
        settings: Settings,
        start_server: StartServer | None = None,
        pace: Pace | None = None,
        *,
        follows: bool = False,
    ) -> None:
        self.project, self.settings = project, settings
        gateway = settings.serve.gateway
        self.upstreams = given_upstreams(settings)
        access = self.upstreams.access if self.upstreams else OWN
        bytes_of = not_verified if self.upstreams else Deployment.verify

        def verify(deployment: Deployment) -> None:
            """Hold a version to what was signed about it, then its bytes to that."""
            require_proven(project, settings.promote, deployment)
            bytes_of(deployment)

        own = partial(start_vllm, project, settings, beside=lambda: self.slots.serving)
        self.slots: Slots = Slots(
            list(project.slot_ports),
            start_server or (self.upstreams.start if self.upstreams else own),
            partial(smoke_test, params=settings.promote, access=access),
            gateway.drain_timeout_s,
            soak_s=settings.promote.soak_s,
            hold_s=settings.serve.hold_s if settings.serve.one_at_a_time else None,
            sleeps=settings.serve.swap == "sleep",
            lost_s=0.0 if self.upstreams else settings.serve.hold_s,
            on_switch=self._switched,
        )
        self.probe = EngineProbe(self.slots, gateway.probe_every_s, gateway.probe_deadline_s, access)
        self.rollouts = Rollouts(
            settings.promote.rollout,
            self.slots,
            rollout_path(project),
            timeout_s=gateway.upstream_timeout_s,
            most_live=settings.serve.vllm.max_concurrent_sequences // 2,
        )
        self.record = ServedRecord(project)
        self.verify = verify
        pace = pace or (PACE if self.upstreams else None)
        self.recovery = Recovery(self.record, self.slots, self._healthy, pace, verify)
        self.slots.returning = lambda: self.recovery.returning
        self.masker = Masker(settings.prepare.privacy.policies.sought)
        signer = machine_signer(project, "host")
        self.audit = AuditLog(
            audit_folder(project),
            Ways(
                redact=partial(mask_text, types=settings.prepare.privacy.policies.sought),
                retention_days=gateway.audit_retention_days,
                mask_far=self.masker.mask,
                digest_key=audit_secret(project),
                room=Room(gateway.audit.reserve_mib << 20, gateway.audit.min_free_mib << 20),
                on_death=self._audit_died,
                signer=signer,
            ),
        )
        self.tracing = Tracing()
        self.embedding = embedding_of(project, settings)
        store = given_store(settings.register_.model_name)
        follower = Follower(store, self.slots) if store and follows else None
        self.beside: list[Beside] = [*_sharing(store, follower, self.slots, self.rollouts), self.recovery, self.probe]
        if self.embedding:
            self.beside.append(self.embedding)
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
                meter=SharedMeter(gateway, budgets_path(project), store)
                if store
                else LocalMeter(gateway, budgets_path(project)),
                unit_of=self.rollouts.unit_of,
                watched=follower.watched if follower else self.rollouts.watched,
                embedding=self.embedding,
                embedding_tokens=settings.serve.embedding.max_length_tokens,
                access=access,
                loaded=lambda: self._loaded,
                grounding=grounding_of(project, settings),
            )
        )
        self.housekeeping = Housekeeping(
            self.audit, self.gateway, audit_outbox(project), project.root / "params.yaml", audit_seen(project), signer
        )
        self._loaded = False
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None

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
                beside = [asyncio.create_task(one.run()) for one in (self.housekeeping, *self.beside)]
                beside.append(asyncio.create_task(self._load()))
                for task in beside:
                    task.add_done_callback(self._beside_ended)
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

    async def _load(self) -> None:
        """Read the word lists that records are masked by, before this host says that it is ready."""
        started = time.perf_counter()
        await asyncio.to_thread(self.audit.ways.redact, SAMPLE)
        self._loaded = True
        log.info("host: word lists of the audit log read in %s", duration(time.perf_counter() - started))

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
        """End where what runs beside met a bug: changes would go unrecorded, or what is live unwatched."""
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("host: what runs beside the gateway ended", exc_info=error)
            self._audit_died(error)

    async def status(self) -> dict[str, Any]:
        """Return what is served."""
        slot = self.slots.live
        deployment = slot.deployment if slot else None
        return {
            "url": self.project.gateway_url,
            "slot": slot.name if slot and deployment else None,
            "upstream": slot.server.url if slot and slot.server and self.upstreams else None,
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
        if self.upstreams:
            # Its watch has looked within the last seconds; /health is vLLM's own, not of every server behind a URL.
            return True
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
        """Open the control socket for who may ask; a socket left by a killed host is removed."""
        path = control_socket(self.project)
        path.unlink(missing_ok=True)
        folder, before = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY), os.umask(0o177)
        try:
            # By the folder's handle: see control._Connection.connect.
            await web.UnixSite(runner, f"/proc/self/fd/{folder}/{path.name}").start()
        finally:
            os.umask(before)
            os.close(folder)
        open_for_group(path.parent, path)

    def _until_signalled(self) -> None:
        """Stop in order on SIGTERM and Ctrl-C."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)

    def _control_app(self) -> web.Application:
        """Return the control API."""
        parts = HostParts(self.slots, self.rollouts, self.recovery, self.audit, self.status, self.stop,
                          self.verify)  # fmt: skip
        return ControlApi(parts).app()

    def _switched(self, deployment: Deployment) -> None:
        """Write down what has taken over traffic."""
        self.record.switched(deployment)
        self.recovery.switched()


class Beside(Protocol):
    """What runs beside the gateway until the host ends."""

    async def run(self) -> None:
        """Run until cancelled."""


def _sharing(store: Store | None, follower: Follower | None, slots: Slots, rollouts: Rollouts) -> list[Beside]:
    """Return what keeps several gateways together; nothing where this one is alone."""
    if follower:
        return [follower]
    return [Leader(store, slots, rollouts)] if store else []


def run_host() -> None:
    """Run the host of the project around here until it is asked to stop."""
    project = Project.here()
    settings = load_settings(project.root / "params.yaml")

    # The audit log's thread must hand the interpreter back before a caller can notice (5 ms by default).
    sys.setswitchinterval(SWITCH_INTERVAL_S)

    async def main() -> None:
        """Make the host inside its loop."""
        await Host(project, settings, follows=follows()).run()

    with forked_slots(project, settings):
        asyncio.run(main())


if __name__ == "__main__":
    from tasks.core.guard import guarded
    from tasks.core.logs import setup_logging

    setup_logging()
    sys.exit(guarded(run_host))
