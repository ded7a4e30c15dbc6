"""The trials of a sweep: asked for, run, compared, written down; then the winner. A kill loses what is under way.

Who runs a trial is given, and how many at a time: a flow in this process, or a run of a deployment on a work pool.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from typing import Any

from tasks.core.errors import MissingToolError, StoppedError, TransientError, TunegateError
from tasks.core.files import read_json, write_json
from tasks.core.manifest import MANIFEST
from tasks.core.outbox import Spool
from tasks.core.progress import duration
from tasks.core.settings import wrong_settings
from tasks.gate.evidence import METRICS, Report
from tasks.sweep.checkout import remove_all, remove_checkout
from tasks.sweep.checks import changed, value_at, words
from tasks.sweep.comparison import PRESENT, conclude, require_comparable
from tasks.sweep.halves import heldout_digest
from tasks.sweep.records import record_result, record_start, record_trial
from tasks.sweep.report import write_report
from tasks.sweep.space import Point
from tasks.sweep.store import DONE, FAILED, RESULT, SAME, Sweep, count_look

log = logging.getLogger(__name__)

Line = dict[str, Any]
#: What says nothing about a trial's settings: the sweep stops there, and the next call goes on with the same trial.
NOT_THE_TRIALS = (TransientError, StoppedError, MissingToolError)


def run_trials(
    sweep: Sweep,
    run_trial: Callable[[int], None],
    *,
    keep: bool = False,
    places: int = 1,
    stop: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Run the trials that have not ended, compare all, and return the result.

    Args:
        sweep: with its snapshot, and not done.
        run_trial: runs the stages of a trial by its number; the evaluation is then in the trial's checkout.
        keep: leave the checkouts of the trials where they are, and what they started from.
        places: how many trials at a time; from two on `run_trial` is called in threads.
        stop: ends the trials under way in threads, where this one is interrupted.

    Raises:
        TransientError: another process runs this sweep, or something outside does not answer.
        TunegateError: the present settings fail, so that there is nothing to compare with.
    """
    record_start(sweep)
    journal = sweep.journal()
    try:
        Trials(sweep, journal, run_trial, keep).run_all(places, stop)
        result = _conclude(sweep)
        if not keep:
            remove_all(sweep)
        return result
    finally:
        journal.close()


class Trials:
    """The trials of one sweep.

    Args:
        sweep: whose.
        journal: gets a line for each that has ended.
        run_trial: runs one by its number.
        keep: leave their checkouts.
    """

    def __init__(self, sweep: Sweep, journal: Spool, run_trial: Callable[[int], None], keep: bool) -> None:
        self.sweep, self.journal, self.run_trial, self.keep = sweep, journal, run_trial, keep
        self.sampler = sweep.sampler()
        self.lower = METRICS[sweep.plan.metric].sign < 0
        self.lines: dict[int, Line] = {line["trial"]: line for line in journal.events}
        self.under_way: dict[Future[Line], tuple[int, Point]] = {}
        self.began, self.before = time.monotonic(), len(self.lines)
        self.failed: BaseException | None = None

    def run_all(self, places: int, stop: Callable[[], None]) -> None:
        """Run those that have not ended.

        Raises:
            TunegateError: what is not the fault of a trial's settings, when the others under way have ended.
        """
        waiting = [number for number in range(self.sampler.total + 1) if number not in self.lines]
        # Alone: the others are compared with it, and take from DVC's cache what they have in common with it.
        alone = [number for number in waiting if number == PRESENT or places < 2]
        for number in alone:
            point = self._point(number)
            self._note(self._settled(number, point) or self._ended(number, point))
        if together := waiting[len(alone) :]:
            self._run_together(together, places, stop)

    def _run_together(self, waiting: list[int], places: int, stop: Callable[[], None]) -> None:
        """Run so many at a time; where one says that it is not its settings' fault, no further one begins."""
        log.info("sweep %s: %d trials at a time", self.sweep.name, places)
        with ThreadPoolExecutor(places) as threads:
            try:
                while waiting or self.under_way:
                    if waiting and len(self.under_way) < places and self._begin(waiting[0], threads):
                        waiting.pop(0)
                        continue
                    self._wait_for_one()
                    if self.failed:
                        waiting.clear()
            except BaseException:
                stop()
                raise
        if self.failed:
            raise self.failed

    def _begin(self, number: int, threads: ThreadPoolExecutor) -> bool:
        """Begin a trial; False where one of the same settings is under way, whose value it will have."""
        point = self._point(number)
        if any(point == other for _, other in self.under_way.values()):
            return False
        if line := self._settled(number, point):
            self._note(line)
            return True
        self.sweep.ask(number, point)
        # A trial's run is below the sweep's: Prefect finds that in the context.
        future = threads.submit(copy_context().run, self._ended, number, point)
        self.under_way[future] = (number, point)
        return True

    def _wait_for_one(self) -> None:
        """Wait until one under way has ended, and note it."""
        for future in wait(self.under_way, return_when=FIRST_COMPLETED).done:
            del self.under_way[future]
            if error := future.exception():
                self.failed = self.failed or error
            else:
                self._note(future.result())

    def _point(self, number: int) -> Point:
        """Return the settings of a trial: those that it was asked for before a kill, else the sampler's."""
        if number == PRESENT:
            return {}
        if (asked := self.sweep.asked_before(number)) is not None:
            return asked
        told = self.sweep.told([self.lines[one] for one in sorted(self.lines)])
        pending = [point for _, point in self.under_way.values()]
        return self.sampler.ask(told, pending=pending, lower_is_better=self.lower)

    def _note(self, line: Line) -> None:
        """Write down a trial that has ended, and say what became of it."""
        self.journal.append(line)
        number = line["trial"]
        self.lines[number] = line
        if not self.keep:
            remove_checkout(self.sweep, number)
        record_trial(self.sweep, line)
        each = (time.monotonic() - self.began) / (len(self.lines) - self.before)
        log.info("sweep %s: trial %d: %s; %s left", self.sweep.name, number, _said(self.sweep, line),
                 duration(each * (self.sampler.total + 1 - len(self.lines))))  # fmt: skip

    def _settled(self, number: int, point: Point) -> Line | None:
        """Return the journal's line of a trial that need not run: known already, or refused by the schema."""
        line = {"trial": number, "settings": point}
        if number == PRESENT:
            return None
        if (known := self._known(point)) is not None:
            return line | {"status": SAME, "of": known["trial"], "value": known.get("value")}
        if wrong := wrong_settings(changed(self.sweep.base, point)):
            return line | {"status": FAILED, "why": "; ".join(wrong)}
        return None

    def _ended(self, number: int, point: Point) -> Line:
        """Run a trial and return its line.

        Raises:
            TunegateError: what is not the fault of its settings, or what the present settings end with.
        """
        log.info("sweep %s: trial %d/%d: %s", self.sweep.name, number, self.sampler.total, words(point))
        line, began = {"trial": number, "settings": point}, time.monotonic()
        try:
            report = _evaluated(self.sweep, number, point, self.run_trial)
        except NOT_THE_TRIALS:
            raise
        except TunegateError as error:
            if number == PRESENT:
                raise
            return line | {"status": FAILED, "why": error.message, "seconds": round(time.monotonic() - began, 1)}
        return line | {"status": DONE, "value": self.sweep.value(report), "lineage_id": _lineage(self.sweep, number),
                       "seconds": round(time.monotonic() - began, 1)}  # fmt: skip

    def _known(self, point: Point) -> Line | None:
        """Return a trial of the same settings that has ended, the present ones included; None where there is none."""
        present = {key: value_at(self.sweep.base, key) for key in point}
        known = self.lines | {PRESENT: self.lines[PRESENT] | {"settings": present}}
        return next((line for line in known.values() if line["settings"] == point and line["status"] != SAME), None)


def _evaluated(sweep: Sweep, number: int, point: Point, run_trial: Callable[[int], None]) -> Report:
    """Run a trial and return its evaluation, kept with the sweep and comparable with that of the present settings."""
    sweep.ask(number, point)
    run_trial(number)
    report = sweep.keep_report(number)
    present = report if number == PRESENT else sweep.report(PRESENT)
    require_comparable(present, report, sweep.plan.metric)
    return report


def _lineage(sweep: Sweep, number: int) -> str | None:
    """Return the lineage of what a trial evaluated: the name of its training in MLflow."""
    path = sweep.checkout(number) / "data" / "reports" / "eval" / sweep.plan.hop / MANIFEST
    return read_json(path).get("lineage_id") if path.is_file() else None


def _conclude(sweep: Sweep) -> dict[str, Any]:
    """Compare, look at the held-out half, write down and return the result."""
    lines, reports = sweep.trials(), sweep.reports()
    gate, seed = sweep.settings.gate, sweep.halves_seed
    result = conclude(reports, sweep.plan.metric, gate, seed)
    # Nobody has looked where the present settings won.
    looks = count_look(sweep, heldout_digest(reports[PRESENT], sweep.plan.metric, seed)) if result["winner"] else 0
    result |= {
        "sweep": sweep.name, "hop": sweep.plan.hop, "sampler": sweep.plan.sampler, "earlier_looks": looks,
        "failed": sum(line["status"] == FAILED for line in lines),
        "repeated": sum(line["status"] == SAME for line in lines),
        "settings": {} if result["winner"] == PRESENT else sweep.asked(result["winner"]),
    }  # fmt: skip
    write_json(sweep.folder / RESULT, result)
    write_report(sweep, result)
    record_result(sweep, result)
    return result


def _said(sweep: Sweep, line: Line) -> str:
    """Return what became of a trial."""
    if line["status"] == FAILED:
        return f"failed: {line['why']}"
    value = f"{sweep.plan.metric} {line['value']:.4f}" if line["value"] is not None else "failed"
    return f"the same as trial {line['of']}: {value}" if line["status"] == SAME else value
