"""One rollout in the host: it gives the candidate its share, judges, and ends in all of the traffic or in none.

    running -> promoted      all tests passed, or a person said so: the candidate is live, the old version is retired
            -> aborted       a loss was shown, the candidate's server ended, or a person said so
            -> undecided     the longest time is over
            -> ended         something else needed the slot, or the host stopped or was killed

Whatever the end, its state stays in `rollout.json` with its evidence; the control plane reads it there and writes
history and alias (`tasks/release/reconcile.py`).
"""

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tasks.core.errors import ConfigError, TransientError
from tasks.core.files import read_json, write_json
from tasks.core.params.release import RolloutParams
from tasks.core.progress import duration
from tasks.engine.deployment import Deployment
from tasks.serving.admission import Admitted
from tasks.serving.exchange import Exchange
from tasks.serving.keys import ApiKey
from tasks.serving.rollout.judge import ABORTED, PROMOTED, Course
from tasks.serving.rollout.mirror import Mirror
from tasks.serving.rollout.watch import Blocks, Observation, read_all
from tasks.serving.slots import Share, Slots

log = logging.getLogger(__name__)

Strategy = Literal["canary", "shadow"]
#: Between two looks at what has come in.
LOOK_S = 0.25
NO_ROLLOUT = ("no rollout is under way", "tunegate status")


class Rollout:
    """A candidate on its way.

    Args:
        params: section `promote.rollout`.
        slots: with the candidate up and tested.
        deployment: the candidate.
        path: where the state is kept.
        timeout_s, most_live: of a mirrored request; see `Mirror`.
    """

    def __init__(
        self,
        params: RolloutParams,
        slots: Slots,
        deployment: Deployment,
        strategy: Strategy,
        path: Path,
        *,
        timeout_s: float,
        most_live: int,
    ) -> None:
        self.params, self.slots, self.deployment, self.path = params, slots, deployment, path
        self.course = Course(params, shadow=strategy == "shadow")
        self.began = time.monotonic()
        self.blocks = Blocks(params.block_s, self.began)
        self.fresh: list[Observation] = []
        self._going_live = False
        self.mirror = Mirror(params, slots, timeout_s, most_live, self.fresh_pair) if strategy == "shadow" else None
        live = slots.live.deployment if slots.live else None
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self.state: dict[str, Any] = {
            "id": hashlib.sha256(f"{deployment.lineage_id} {now} {id(self)}".encode()).hexdigest()[:16],
            "version": deployment.version, "lineage_id": deployment.lineage_id,
            "live": live.version if live else None, "strategy": strategy, "by": deployment.by,
            "reason": deployment.reason, "started": now, "phase": "running", "why": "", "ended": None,
        }  # fmt: skip
        self._give()
        self._write()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return bool(self.state["phase"] == "running")

    def status(self) -> dict[str, Any]:
        """Return where it stands, for people and the record."""
        return {
            **self.state,
            "percent": float(self.course.percent[0]), "step": int(self.course.step[0]) + 1,
            "steps": len(self.course.steps), **self.course.judge.evidence(),
            "shadow": self.mirror.summary() if self.mirror else None,
        }  # fmt: skip

    def watched(self, exchange: Exchange) -> None:
        """Take in an exchange at its end; no await, and no work that a caller would wait for."""
        if self.mirror:
            self.mirror.offer(exchange)
            return
        seconds = exchange.first_s if exchange.first_s is not None else time.perf_counter() - exchange.started
        lease = exchange.lease
        self.fresh.append(Observation(lease.candidate, lease.began, exchange.status, seconds, exchange.admitted.stream,
                                      exchange.answer_text))  # fmt: skip

    def fresh_pair(self, pair: list[Observation]) -> None:
        """Take in a mirrored pair."""
        self.fresh += pair

    async def run(self) -> None:
        """Look, judge and go on until it ends."""
        while self.running:
            await asyncio.sleep(LOOK_S)
            await self._look()

    async def end(self, phase: str, why: str) -> None:
        """Take the candidate back."""
        if not self.running:
            return
        self._ended(phase, why)
        if self.mirror:
            await self.mirror.close()
        await self.slots.drop_candidate()

    async def promote(self, why: str) -> None:
        """Give the candidate all of the traffic."""
        if not self.running:
            return
        self._going_live = True
        try:
            # Before the switch: where the host is killed in between, the evidence is there, and its record decides.
            self.state["why"] = why
            self._write()
            if self.mirror:
                await self.mirror.close()
            if not await self.slots.promote_candidate(lambda: self._ended("promoted", why)):
                await self.end("ended", "its server had gone when it was to go live")
        finally:
            self._going_live = False

    async def _look(self) -> None:
        """Take in what has come since the last look and act on it."""
        if self._going_live:
            return
        if self.slots.candidate is None or self.slots.closing:
            await self.end("ended", "the host stops" if self.slots.closing else "its slot was needed for another start")
        elif not self.slots.trying:
            await self.end("aborted", "the candidate's server ended")
        else:
            await self._judge()

    async def _judge(self) -> None:
        """Close the blocks that are over and follow the course."""
        fresh, self.fresh = self.fresh, []
        await asyncio.to_thread(read_all, fresh)
        self.blocks.add(fresh)
        now = time.monotonic()
        oldest = min((lease.began for lease in self.slots.leases), default=now)
        # What ended while the answers were read is in the next look.
        oldest = min([oldest, *(answer.began for answer in self.fresh)])
        for block in self.blocks.closed(now, oldest):
            self.course.add(block)
            self._give()
            self._write()
        if not self.running or self._going_live or self.slots.candidate is None:
            return
        if self.course.outcome[0] == ABORTED:
            await self.end("aborted", self._loss())
        elif self.course.outcome[0] == PROMOTED:
            await self.promote("every test passed")
        elif now - self.began > self.params.longest_s:
            await self.end("undecided", f"not decided in {duration(self.params.longest_s)}")

    def _loss(self) -> str:
        """Return which share ended it."""
        tests = self.course.judge.evidence()["tests"]
        worst = max(tests, key=lambda test: test["abort_e"])
        return f"{worst['share']} went {worst['direction']}: E {worst['abort_e']:g}, aborts at {worst['abort_at']:g}"

    def _give(self) -> None:
        """Give the candidate the share of its step; a shadow gets none."""
        percent = 0.0 if self.mirror else float(self.course.percent[0])
        if percent != self.slots.share.percent:
            log.info("rollout: version %s gets %g %% of the requests", self.deployment.version, percent)
        self.slots.share = Share(self.state["id"], percent)

    def _ended(self, phase: str, why: str) -> None:
        """Write down the end."""
        self.state |= {"phase": phase, "why": why, "ended": datetime.now(UTC).isoformat(timespec="seconds")}
        log.log(logging.INFO if phase == "promoted" else logging.WARNING, "rollout: version %s %s: %s",
                self.deployment.version, phase, why)  # fmt: skip
        self._write()

    def _write(self) -> None:
        """Replace the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self.path, self.status())


class Rollouts:
    """The rollouts of a host, one at a time.

    Args:
        params: section `promote.rollout`.
        path: of the state; one that was running when its host ended is marked as ended.
        timeout_s, most_live: of a mirrored request; see `Mirror`.
    """

    def __init__(self, params: RolloutParams, slots: Slots, path: Path, *, timeout_s: float, most_live: int) -> None:
        self.params, self.slots, self.path = params, slots, path
        self.timeout_s, self.most_live = timeout_s, most_live
        self.current: Rollout | None = None
        self._task: asyncio.Task[None] | None = None

    def forget_the_dead(self) -> None:
        """Mark a rollout as ended that was running in a host which was killed; called when no other host runs."""
        if self.path.is_file():
            state = read_json(self.path)
            if ended := ended_with_its_host(state):
                now = datetime.now(UTC).isoformat(timespec="seconds")
                write_json(self.path, state | ended | {"ended": now})

    def status(self) -> dict[str, Any] | None:
        """Return where the rollout under way stands, None for none."""
        return self.current.status() if self.current and self.current.running else None

    def unit_of(self, key: ApiKey, admitted: Admitted) -> str | None:
        """Return what stays with one version: the caller, or the caller's conversation; None without a candidate."""
        if not self.slots.trying:
            return None
        if self.params.sticky == "key":
            return key.sha256
        return f"{key.sha256} {json.dumps(_beginning(admitted.prompt), ensure_ascii=False)}"

    def watched(self, exchange: Exchange) -> None:
        """Take in an exchange at its end."""
        if self.current and self.current.running:
            self.current.watched(exchange)

    async def begin(self, strategy: Strategy, deployment: Deployment, on_progress: Callable[[str], None]) -> None:
        """Start a version beside the live one and begin its rollout; returns when it gets its first share.

        Raises:
            TransientError: nothing is live, another change is under way, or it did not come up.
            DataContractError: the model is unsafe or failed its smoke test.
        """
        if self.current and self.current.running:
            raise TransientError(f"a rollout of version {self.current.deployment.version} is under way",
                                 "tunegate canary status")  # fmt: skip
        await self.slots.start_candidate(deployment, on_progress)
        # No await from here to the task: nobody sees a candidate without its rollout.
        self.current = Rollout(self.params, self.slots, deployment, strategy, self.path, timeout_s=self.timeout_s,
                               most_live=self.most_live)  # fmt: skip
        self._task = asyncio.create_task(self.current.run())
        on_progress(f"version {deployment.version}: {strategy} has begun")

    async def abort(self, why: str) -> bool:
        """Take the candidate back; return whether there was one."""
        if not (self.current and self.current.running):
            return False
        await self.current.end("aborted", why)
        return True

    async def promote(self, why: str) -> None:
        """Give the candidate all of the traffic, whatever the tests say so far.

        Raises:
            ConfigError: no rollout is under way.
            TransientError: it could not go live.
        """
        if not (self.current and self.current.running):
            raise ConfigError(*NO_ROLLOUT)
        await self.current.promote(why)
        if self.current.state["phase"] != "promoted":
            raise TransientError(f"it was not promoted: {self.current.state['why']}", "tunegate canary status")

    async def close(self) -> None:
        """End a rollout with its host."""
        if self.current:
            await self.current.end("ended", "the host stops")
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task


def ended_with_its_host(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is to be changed in a state that says running although its host has ended; nothing otherwise."""
    if state["phase"] != "running":
        return {}
    # It was about to go live where a reason stands already.
    return {"phase": "ended", "why": state["why"] or "the host ended in the middle"}


def _beginning(prompt: Any) -> Any:
    """Return what the turns of a conversation have in common: all up to its first question."""
    if not isinstance(prompt, list):
        return prompt
    first = next((place for place, message in enumerate(prompt)
                  if isinstance(message, dict) and message.get("role") == "user"), len(prompt))  # fmt: skip
    return prompt[: first + 1]
