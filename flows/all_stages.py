"""Every stage of a run: begun in order, followed together, and none left when the run ends."""

import time
from contextlib import ExitStack
from typing import Any

from prefect import get_run_logger
from prefect.futures import PrefectFuture, as_completed

from flows.clock import RunClock
from flows.limits import Allowance
from flows.order import gpu_places, next_to_begin
from flows.run import Run
from flows.stages import stage_task
from flows.unchanged import changed_stages
from tasks.engine.preloaded import forked_servers
from tasks.stages.table import STAGES, Stage


def run_stages(run: Run, gpu_deployment: str | None, clock: RunClock, allowance: Allowance) -> None:
    """Run every stage that is not as DVC recorded it; from the first that runs on each asks DVC itself.

    Where one fails, no further one begins; what is under way goes on to its end, and is kept.

    Raises:
        TunegateError: what the first stage that failed refused, or that the run took too long.
    """
    with ExitStack() as stack:
        stages = RunOfStages(run, gpu_deployment, clock, allowance, stack)
        try:
            stages.run_all()
        except BaseException:
            # Cancelled, or Ctrl-C: the threads of the others end their stages.
            allowance.ended.set()
            stages.wait_for_all()
            raise


class RunOfStages:
    """The stages of one run.

    Args:
        run: whose.
        gpu_deployment: deployment that runs stages needing a GPU; None for this machine.
        clock: is told what each took.
        allowance: the time that is left to the run.
        stack: holds what the stages need in common, and is left after them.
    """

    def __init__(
        self, run: Run, gpu_deployment: str | None, clock: RunClock, allowance: Allowance, stack: ExitStack
    ) -> None:
        self.run, self.gpu_deployment, self.clock, self.allowance = run, gpu_deployment, clock, allowance
        self.stack = stack
        self.changed = changed_stages(run.project)
        self.waiting = list(STAGES)
        self.under_way: dict[PrefectFuture[None], tuple[Stage, float]] = {}
        #: By output: what the UI draws lines from.
        self.made: dict[str, Any] = {}
        self.places: int | None = None
        self.failed: Exception | None = None

    def run_all(self) -> None:
        """Run them.

        Raises:
            TunegateError: what the first that failed refused.
        """
        while self.waiting or self.under_way:
            busy = [stage for stage, _ in self.under_way.values()]
            if stage := next_to_begin(self.waiting, busy, self.places or 1):
                self._begin(stage)
            else:
                self._wait_for_one()
        if self.failed:
            raise self.failed

    def wait_for_all(self) -> None:
        """Wait for those that are under way, whatever comes of them."""
        for future in list(self.under_way):
            future.wait()

    def _begin(self, stage: Stage) -> None:
        """Begin a stage; where there is a place for one at a time, run it."""
        number = STAGES.index(stage) + 1
        get_run_logger().info("[%d/%d] %s", number, len(STAGES), stage.name)
        self.run.require_same_settings()
        self.waiting.remove(stage)
        # The UI draws a line from each stage to those that read what it made.
        before = [self.made[path] for path in stage.inputs.values() if path in self.made]
        if self.changed is not None and stage.name not in self.changed:
            unchanged = stage_task(stage, self.run, self.gpu_deployment, self.allowance, unchanged=True)
            self.made[stage.output] = unchanged(wait_for=before, return_state=True)
            return
        self._prepare_for(stage)
        self.changed = None
        work, began = stage_task(stage, self.run, self.gpu_deployment, self.allowance), time.monotonic()
        if self.places == 1:
            self.made[stage.output] = work(wait_for=before, return_state=True)
            self.made[stage.output].result()
            self.clock.add(stage.name, time.monotonic() - began)
            return
        future = work.submit(wait_for=before, return_state=False)
        self.made[stage.output] = future
        self.under_way[future] = (stage, began)

    def _prepare_for(self, stage: Stage) -> None:
        """Before the first stage that runs: ask how many at a time, and load what evaluations have in common."""
        if self.places is not None:
            return
        self.places = gpu_places(self.run.settings, self.gpu_deployment)
        if self.places > 1:
            get_run_logger().info("%d stages that need a GPU may work at the same time", self.places)
        if self.gpu_deployment is None and any(one.key == "evaluate" for one in (stage, *self.waiting)):
            project = self.run.project
            log = project.own / "logs" / "fork-server.log"
            self.stack.enter_context(forked_servers(project.serve_python, self.run.settings.serve.vllm, log, 0))

    def _wait_for_one(self) -> None:
        """Wait until one of those under way has ended, and note it."""
        future = next(as_completed(list(self.under_way)))
        stage, began = self.under_way.pop(future)
        self.clock.add(stage.name, time.monotonic() - began)
        try:
            future.result()
        except Exception as error:  # noqa: BLE001 (raised when the others have ended)
            self.failed = self.failed or error
            self.waiting.clear()
            if self.under_way:
                names = ", ".join(one.name for one, _ in self.under_way.values())
                get_run_logger().error("%s failed; the run ends when %s has ended", stage.name, names)
