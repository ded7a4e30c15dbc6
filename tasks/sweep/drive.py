"""The trials of a sweep, one after another: asked for, run, compared, written down; then the winner. A kill loses one.

Who runs a trial is given: a flow in this process, or a run of a deployment on a work pool.
"""

import logging
import time
from collections.abc import Callable
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


def run_trials(sweep: Sweep, run_trial: Callable[[int], None], *, keep: bool = False) -> dict[str, Any]:
    """Run the trials that have not ended, compare all, and return the result.

    Args:
        sweep: with its snapshot, and not done.
        run_trial: runs the stages of a trial by its number; the evaluation is then in the trial's checkout.
        keep: leave the checkouts of the trials where they are, and what they started from.

    Raises:
        TransientError: another process runs this sweep, or something outside does not answer.
        TunegateError: the present settings fail, so that there is nothing to compare with.
    """
    record_start(sweep)
    journal = sweep.journal()
    try:
        _run_all(sweep, journal, run_trial, keep)
        result = _conclude(sweep)
        if not keep:
            remove_all(sweep)
        return result
    finally:
        journal.close()


def _run_all(sweep: Sweep, journal: Spool, run_trial: Callable[[int], None], keep: bool) -> None:
    """Run trial after trial, from the first that is not in the journal."""
    sampler, lines = sweep.sampler(), list(journal.events)
    lower = METRICS[sweep.plan.metric].sign < 0
    began, before = time.monotonic(), len(lines)
    while len(lines) <= sampler.total:
        number = len(lines)
        point = sampler.ask(sweep.told(lines), lower_is_better=lower) if number != PRESENT else {}
        log.info("sweep %s: trial %d/%d: %s", sweep.name, number, sampler.total, words(point))
        line = _ended(sweep, number, point, lines, run_trial)
        journal.append(line)
        lines.append(line)
        if not keep:
            remove_checkout(sweep, number)
        record_trial(sweep, line)
        each = (time.monotonic() - began) / (len(lines) - before)
        log.info("sweep %s: trial %d: %s; %s left", sweep.name, number, _said(sweep, line),
                 duration(each * (sampler.total + 1 - len(lines))))  # fmt: skip


def _ended(sweep: Sweep, number: int, point: Point, lines: list[Line], run_trial: Callable[[int], None]) -> Line:
    """Return the journal's line of one trial, which it runs unless it is known.

    Raises:
        TunegateError: what is not the fault of its settings, or what the present settings end with.
    """
    line = {"trial": number, "settings": point}
    if number != PRESENT and (known := _known(sweep, point, lines)) is not None:
        return line | {"status": SAME, "of": known["trial"], "value": known.get("value")}
    if number != PRESENT and (wrong := wrong_settings(changed(sweep.base, point))):
        return line | {"status": FAILED, "why": "; ".join(wrong)}
    began = time.monotonic()
    try:
        report = _evaluated(sweep, number, point, run_trial)
    except NOT_THE_TRIALS:
        raise
    except TunegateError as error:
        if number == PRESENT:
            raise
        return line | {"status": FAILED, "why": error.message, "seconds": round(time.monotonic() - began, 1)}
    return line | {"status": DONE, "value": sweep.value(report), "lineage_id": _lineage(sweep, number),
                   "seconds": round(time.monotonic() - began, 1)}  # fmt: skip


def _known(sweep: Sweep, point: Point, lines: list[Line]) -> Line | None:
    """Return an earlier trial of the same settings, the present ones included; None where there is none."""
    present = {key: value_at(sweep.base, key) for key in point}
    known = [lines[PRESENT] | {"settings": present}, *lines[PRESENT + 1 :]]
    return next((line for line in known if line["settings"] == point and line["status"] != SAME), None)


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
