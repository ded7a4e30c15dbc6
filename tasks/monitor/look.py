"""One look at what is live: is it what was released, do callers ask what it was trained on, do they get answers."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tasks.core.errors import GateFailedError
from tasks.core.files import read_json, read_jsonl, write_json
from tasks.core.layout import PREPARED
from tasks.core.manifest import read_manifest
from tasks.core.params.monitor import Kind, MonitorParams
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.data.expectations.drift import Drift
from tasks.engine.fingerprint import SERVED_HOP
from tasks.exams.pack.schema import SUITES
from tasks.monitor.questions import drifts, profile, training_questions
from tasks.monitor.released import Asking, ask_released, problems
from tasks.monitor.traffic import Traffic, read_traffic
from tasks.release.registry import Registry
from tasks.release.rollback import rollback
from tasks.release.version_evidence import report_folder
from tasks.serving.alarms import record_alarms
from tasks.serving.paths import audit_folder
from tasks.serving.rollout.watch import said_in

log = logging.getLogger(__name__)

BY = "tunegate monitor"
CONCURRENCY = 4
#: Suites of the pack whose items have an answer in words: who refuses these, or does not know, does so too often.
ANSWERABLE = frozenset(suite.name for suite in SUITES if suite.kind in ("short", "numeric", "order"))
#: How often chance alone may raise an alarm about answers.
CHANCE = 0.001


@dataclass(frozen=True)
class Alarm:
    """Something that a person should look at.

    Args:
        kind: which part of the look found it.
        what: in words, without text of callers.
        next: the next command.
    """

    kind: Kind
    what: str
    next: str


def look(project: Project, settings: Settings) -> dict[str, Any]:
    """Look once; alarms are written down and logged, nothing else is changed.

    Returns:
        {"time", "version", "lineage_id", "alarms": [{"kind", "what", "next"}], "questions": {"rows", "drifts"},
        "answers": {"rows", "refusals", "unknowns", "released_refusals", "released_unknowns"}, "notes": what could not
        be compared, and why}.

    Raises:
        TransientError: the gateway does not answer, or serves nothing.
        ConfigError: what is live was never registered here.
    """
    params, folder = settings.monitor, project.state / "monitor"
    now = datetime.now(UTC)
    asking = Asking(project.gateway_url, params.eval_limit, CONCURRENCY, folder / "released")
    results = ask_released(project, settings, asking)
    number, lineage_id = results["version"], results["model_lineage_id"]
    traffic = read_traffic(audit_folder(project), now - timedelta(hours=params.window_h), lineage_id)
    notes: list[str] = []
    alarms = [Alarm("released", words, f"read {asking.output / 'results.json'}") for words in problems(results)]
    found_drifts = _questions(project, params, lineage_id, traffic, notes)
    alarms += _drift_alarms(found_drifts)
    answers = _answers(project, settings, number, traffic)
    alarms += _answer_alarms(params, answers, notes)
    _tell(project, number, now, alarms)
    return {
        "time": now.isoformat(timespec="seconds"), "version": number, "lineage_id": lineage_id,
        "alarms": [asdict(alarm) for alarm in alarms], "answers": answers, "notes": notes,
        "questions": {"rows": len(traffic.questions), "drifts": [asdict(drift) for drift in found_drifts]},
    }  # fmt: skip


def act(project: Project, settings: Settings, found: dict[str, Any]) -> dict[str, Any] | None:
    """Go back to the version before where an alarm of a kind in `monitor.rollback_on` was raised; return the outcome.

    Raises:
        TunegateError: no version before it came up; what serves goes on serving.
    """
    reasons = [alarm["what"] for alarm in found["alarms"] if alarm["kind"] in settings.monitor.rollback_on]
    if not reasons:
        return None
    return rollback(project, settings, by=BY, reason=f"version {found['version']}: {'; '.join(reasons)}")


def require_quiet(found: dict[str, Any]) -> None:
    """Refuse a look that raised an alarm.

    Raises:
        GateFailedError: of every alarm, with the first one's next command.
    """
    if alarms := found["alarms"]:
        words = "; ".join(alarm["what"] for alarm in alarms)
        raise GateFailedError(f"version {found['version']}: {words}", alarms[0]["next"])


def _questions(
    project: Project, params: MonitorParams, lineage_id: str, traffic: Traffic, notes: list[str]
) -> list[Drift]:
    """Return how far the questions have moved from the training rows', where both are at hand."""
    if len(traffic.questions) < params.least_questions:
        notes.append(f"questions: {len(traffic.questions)} in {params.window_h:g} h, at least {params.least_questions}")
        return []
    reference = _reference(project, lineage_id)
    if reference is None:
        notes.append("questions: data/prepared is not this version's; tunegate lineage VERSION --restore DIR has it")
        return []
    current = profile(traffic.questions, set(reference["pairs"]))
    return drifts(reference["profile"], current, params.drift_max_index)


def _reference(project: Project, lineage_id: str) -> dict[str, Any] | None:
    """Return the questions of a version's data: as they were counted once, else from the data while they are there."""
    path = project.state / "monitor" / f"questions-{lineage_id}.json"
    if path.is_file():
        return dict(read_json(path))
    prepared: Path = project.root / PREPARED
    if not prepared.is_dir() or read_manifest(prepared).get("lineage_id") != lineage_id:
        return None
    counted, pairs = training_questions(prepared)
    reference = {"profile": counted, "pairs": sorted(pairs)}
    write_json(path, reference)
    return reference


def _drift_alarms(found: list[Drift]) -> Iterator[Alarm]:
    """Yield an alarm for each distribution that has moved too far."""
    for drift in found:
        if drift.index > drift.limit:
            moved = ", ".join(f"{name} {before:.0%} -> {now:.0%}" for name, before, now in drift.movers)
            what = f"what is asked has moved from the training rows: {drift.name} {drift.index} (limit {drift.limit}): "
            yield Alarm("questions", what + moved, "add rows of what is asked: tunegate audit find, data/raw")


def _answers(project: Project, settings: Settings, number: str, traffic: Traffic) -> dict[str, Any]:
    """Return the shares of refusals and of `unknown` now and in the version's own evidence."""
    registry = Registry(project, settings.register_.model_name)
    evidence = report_folder(registry, registry.version(number), SERVED_HOP)
    texts = [
        row["detail"]["text"]
        for row in read_jsonl(evidence / "samples.jsonl")
        if row["suite"] in ANSWERABLE and "text" in row["detail"]
    ]
    said = [said_in(text) for text in texts]
    count = max(len(said), 1)
    return {
        "rows": traffic.answers, "refusals": traffic.refusals, "unknowns": traffic.unknowns,
        "released_refusals": round(sum(refusal for refusal, _ in said) / count, 4),
        "released_unknowns": round(sum(unknown for _, unknown in said) / count, 4),
    }  # fmt: skip


def _answer_alarms(params: MonitorParams, answers: dict[str, Any], notes: list[str]) -> Iterator[Alarm]:
    """Yield an alarm for a share that is shown to exceed the evidence's by more than the margin."""
    from scipy.stats import binomtest

    if answers["rows"] < params.least_questions:
        notes.append(f"answers: {answers['rows']} in {params.window_h:g} h, at least {params.least_questions}")
        return
    for name, words in (("refusals", "answers that refuse"), ("unknowns", "answers that say it is not known")):
        allowed = min(answers[f"released_{name}"] + params.answers_margin, 1.0)
        if binomtest(answers[name], answers["rows"], allowed, alternative="greater").pvalue < CHANCE:
            share = answers[name] / answers["rows"]
            what = f"{words}: {share:.0%} of {answers['rows']}, its evidence {answers[f'released_{name}']:.0%}"
            yield Alarm("answers", what, "tunegate audit find shows them; tunegate rollback")


def _tell(project: Project, number: str, now: datetime, alarms: list[Alarm]) -> None:
    """Write alarms down and log them."""
    time = now.isoformat(timespec="seconds")
    record_alarms(project, [{"time": time, "version": number, **asdict(alarm)} for alarm in alarms])
    for alarm in alarms:
        log.error("alarm: version %s: %s; next: %s", number, alarm.what, alarm.next)
