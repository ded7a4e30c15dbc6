"""Make serving match the champion alias: the one road by which a version goes live.

A change of champion is a journal (`journal.py`): intent, switch, record, alias. Whoever comes next under the lock first
finishes or takes back what an earlier command left, whatever ended it.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tasks.core.errors import GateFailedError, TransientError, TunegateError
from tasks.core.exclusive import exclusively
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.core.tracking import answering
from tasks.engine.abilities import abilities_of
from tasks.engine.deployment import Deployment
from tasks.release import rollout
from tasks.release.approvals import refusal
from tasks.release.champion import champion_refusal
from tasks.release.history import Event, Kind, append_event, read_history, readable_history
from tasks.release.journal import Intent, Journal, Strategy
from tasks.release.proofs import deployed_proof, require_whole
from tasks.release.registry import PREFIX, Registry, Version
from tasks.release.version_evidence import evaluated_fingerprint
from tasks.serving import control
from tasks.serving.stopped import lift_stop, stopped

log = logging.getLogger(__name__)

#: A scheduled look that finds nothing to do is over sooner; a deployment takes longer.
LOCK_WAIT_S = 15.0
#: Starts of one champion that may fail before nobody tries it again by himself.
MAX_ATTEMPTS = 3
ATTEMPTS = "deploy_attempts"
#: MLflow keeps no name with an alias.
NOT_KNOWN = "not known: MLflow keeps no name with an alias"


@answering()
def reconcile_once(project: Project, settings: Settings) -> dict[str, Any]:
    """Compare the champion alias with what is served and close the difference.

    A champion that may not go live changes nothing: the version is tagged with the reason (`tunegate.refused`) and what
    served before goes on serving; when nothing serves yet, the last rightful champion is brought up. One that does not
    start is tried `MAX_ATTEMPTS` times; `tunegate promote` tries it again. What a person stopped stays stopped.

    Returns:
        {"action": "none" | "deployed" | "refused" | "gave_up", "version", "reason"}.

    Raises:
        TransientError: the new version did not come up; the old one goes on serving.
    """
    with exclusively_reconciling(project):
        registry = Registry(project, settings.register_.model_name)
        if waits := settle(project, registry):
            return {"action": "none", "version": waits.version, "reason": "its promotion is under way"}
        champion = registry.champion()
        if champion is None:
            return {"action": "none", "version": None, "reason": "there is no champion"}
        if (wish := stopped(project)) and control.host_status(project) is None:
            return {"action": "none", "version": champion.number, "reason": wish.words}
        reason = _refused_by_hand(registry, settings, champion)
        if reason is None:
            return _served_by_alias(project, registry, champion)
        registry.tag(champion.number, "refused", reason)
        log.warning("reconcile: version %s stays out: %s", champion.number, reason)
        if not _serving(project):
            _serve_last_rightful(project, settings, registry)
        return {"action": "refused", "version": champion.number, "reason": reason}


@answering()
def promote(
    project: Project,
    settings: Settings,
    number: str,
    *,
    by: str,
    reason: str,
    kind: Kind = "promote",
    strategy: Strategy | None = None,
) -> dict[str, Any]:
    """Make a version champion and serve it; on any failure the alias and the serving stay as they were.

    Args:
        strategy: None is `promote.strategy`, where another version is live. With `canary` and `shadow` this returns
            when the rollout has begun ({"action": "rollout"}); the host ends it, the next `settle` records it.

    Raises:
        GateFailedError: the version may not go live (no PASS, approvals missing, a demo verdict in production, or
            it is worse than the champion).
        TransientError: it did not come up, or another change is under way.
    """
    with exclusively_reconciling(project):
        registry = Registry(project, settings.register_.model_name)
        if waits := settle(project, registry):
            raise TransientError(f"a promotion of version {waits.version} is under way", "tunegate status")
        version = registry.version(number)
        _require_rightful(registry, settings, version, kind)
        before = registry.champion()
        journal = Journal(project)
        strategy = rollout.chosen_strategy(project, strategy, settings.promote.strategy, number, kind)
        intent = journal.begin(
            kind, number, version.lineage_id, by=by, reason=reason, before=before.number if before else None,
            strategy=strategy,
        )  # fmt: skip
        try:
            outcome = _ensure_served(project, registry, version, by=by, reason=reason, strategy=strategy)
        except TunegateError as error:
            journal.end()
            _note_failure(registry, number, error)
            raise
        if outcome["action"] == "rollout":
            journal.reached(intent, "rollout")
            lift_stop(project)
            return outcome
        journal.reached(intent, "switched")
        _forget_failures(registry, version)
        _finish(registry, journal, intent)
        lift_stop(project)
    return outcome


def settle(project: Project, registry: Registry) -> Intent | None:
    """Finish or take back a change of champion whose command has ended; return one that the host is still at.

    What is served decides: a version that took traffic becomes champion under the name of who asked for it; one that
    did not is left out, and the alias, which is moved last, has not moved.
    """
    journal = Journal(project)
    intent = journal.read()
    if intent is None:
        return None
    status = control.host_status(project)
    if status and status["deploying"] == intent.version:
        return intent
    if rollout.is_trying(status, intent):
        journal.reached(intent, "rollout")
        return intent
    what = f"{intent.kind} of version {intent.version} by {intent.by} at {intent.time} {_how_it_ended(project, intent)}"
    wanted = status["wanted"] if status else control.recorded_version(project)
    if intent.step in ("switched", "recorded") or wanted == intent.version:
        log.warning("reconcile: %s; it is finished", what)
        _finish(registry, journal, intent)
    else:
        log.warning("reconcile: %s; it is taken back", what)
        if rollout.last_of(project, intent):
            rollout.keep_evidence(project, registry, intent)
        else:
            registry.tag(intent.version, "deploy_failed", what)
        journal.end()
    return None


def _how_it_ended(project: Project, intent: Intent) -> str:
    """Return the end of a change whose command is gone: of its rollout, or of the command itself."""
    state = rollout.last_of(project, intent)
    return f"({intent.strategy}) {rollout.outcome_words(state)}" if state else "ended half-way"


def exclusively_reconciling(project: Project) -> AbstractContextManager[None]:
    """Let one reconciler work at a time.

    A second one waits for what a scheduled look takes, and is told so where a deployment is under way.
    """
    busy = ("another reconcile is at work", "wait for it, then tunegate reconcile --once")
    return exclusively(project.state / "reconcile.lock", wait_s=LOCK_WAIT_S, busy=busy)


def next_command(version: Version) -> str:
    """Return what to do about a version that may not go live."""
    if version.verdict != "PASS":
        return "read data/reports/dossier/index.html, mend the cause, tunegate run"
    return f"tunegate approve {version.number} --reason TEXT, then tunegate promote {version.number}"


def deployment_of(registry: Registry, version: Version, *, by: str, reason: str) -> Deployment:
    """Return what a slot needs to serve a version, its weights checked.

    Raises:
        DataContractError: weights or evidence are not as registered, or there is no fingerprint.
        TransientError: the artifact store does not answer.
    """
    require_whole(registry, version)
    fingerprint = evaluated_fingerprint(registry, version)
    digest = version.tags.get(f"{PREFIX}awq_manifest_sha256")
    model = registry.weights(version).resolve()
    abilities = abilities_of(model)
    proof = deployed_proof(registry, version)
    return Deployment(version.number, version.lineage_id, model, fingerprint, digest, by, reason, abilities, proof)


def _require_rightful(registry: Registry, settings: Settings, version: Version, kind: Kind) -> None:
    """Refuse a version that may not go live."""
    if (why := refusal(registry, version, settings.promote)) is not None:
        raise GateFailedError(f"version {version.number} may not go live: {why}", next_command(version))
    # A rollback goes back to what was good before; it is not held to what it replaces.
    if kind == "promote" and (why := champion_refusal(registry, settings, version)) is not None:
        raise GateFailedError(
            f"version {version.number} may not go live: {why}", f"tunegate gate explain {version.number}"
        )


def _refused_by_hand(registry: Registry, settings: Settings, champion: Version) -> str | None:
    """Return why the version under the alias may not serve: by every rule that `promote` holds a version to."""
    if (why := refusal(registry, champion, settings.promote)) is not None:
        return why
    last = _last(registry)
    if last is None or last.version == champion.number:
        return None
    # The alias has moved already: the champion to be compared with is the last on record.
    return champion_refusal(registry, settings, champion, against=registry.version(last.version))


def _served_by_alias(project: Project, registry: Registry, champion: Version) -> dict[str, Any]:
    """Serve the version under the alias, as often as it may be tried, and record a change made by hand."""
    attempts = int(champion.tags.get(f"{PREFIX}{ATTEMPTS}", "0"))
    status = control.host_status(project)
    given_up = status["given_up"] if status else {}
    if not _serves(status, champion) and (attempts >= MAX_ATTEMPTS or champion.number in given_up):
        why = given_up.get(champion.number) or champion.tags.get(f"{PREFIX}deploy_failed", "")
        reason = f"it did not start {MAX_ATTEMPTS} times: {why}"
        hint = f"mend the cause, then tunegate promote {champion.number}, or tunegate rollback"
        return {"action": "gave_up", "version": champion.number, "reason": f"{reason}\n  next: {hint}"}
    try:
        outcome = _ensure_served(project, registry, champion, by=NOT_KNOWN, reason="the alias was moved in MLflow",
                                 strategy="switch")  # fmt: skip
    except TunegateError as error:
        registry.tag(champion.number, ATTEMPTS, str(attempts + 1))
        registry.tag(champion.number, "deploy_failed", str(error.message)[:1000])
        raise
    _forget_failures(registry, champion)
    last = _last(registry)
    if last is None or last.version != champion.number:
        append_event(registry, "alias", champion.number, NOT_KNOWN, "the alias was moved in MLflow",
                     lineage_id=champion.lineage_id)  # fmt: skip
    return outcome


def _finish(registry: Registry, journal: Journal, intent: Intent) -> None:
    """Record a switch that has happened, move the alias, and close the journal."""
    project = journal.project
    if not _recorded(registry, intent):
        append_event(registry, intent.kind, intent.version, intent.by, rollout.reason_of(project, intent),
                     lineage_id=intent.lineage_id)  # fmt: skip
    rollout.keep_evidence(project, registry, intent)
    journal.reached(intent, "recorded")
    registry.set_champion(intent.version)
    registry.untag(registry.version(intent.version), "refused")
    journal.end()


def _recorded(registry: Registry, intent: Intent) -> bool:
    """Return whether the history's last entry is this change: one is recorded once, under the name of who asked."""
    last = _last(registry)
    if last is None or last.version != intent.version:
        return False
    # A version that was champion already is promoted again without a change.
    return last.time >= intent.time or intent.before == intent.version


def _last(registry: Registry) -> Event | None:
    """Return the last change of champion on record; a damaged entry before it blocks nothing here."""
    events, _ = readable_history(registry)
    return events[-1] if events else None


def _ensure_served(
    project: Project, registry: Registry, version: Version, *, by: str, reason: str, strategy: Strategy
) -> dict[str, Any]:
    """Serve a version that may go live, unless it is served and healthy already; or begin its rollout."""
    registry.untag(version, "refused")
    if _serves(control.host_status(project), version):
        return {"action": "none", "version": version.number, "reason": "served already"}
    deployment = deployment_of(registry, version, by=by, reason=reason)
    if strategy != "switch":
        return rollout.begin(project, deployment, strategy)
    _deploy(project, deployment)
    return {"action": "deployed", "version": version.number, "reason": "it is the champion"}


def _note_failure(registry: Registry, number: str, error: TunegateError) -> None:
    """Tag a version with why it did not come up; that an MLflow is away must not hide it."""
    try:
        registry.tag(number, "deploy_failed", str(error.message)[:1000])
    except TransientError as away:
        log.warning("reconcile: version %s is not tagged with why it failed: %s", number, away.message)


def _forget_failures(registry: Registry, version: Version) -> None:
    """Untag a version that serves; not before the journal knows it: an MLflow that is away makes no start fail."""
    for name in ("deploy_failed", ATTEMPTS):
        registry.untag(version, name)


def _serve_last_rightful(project: Project, settings: Settings, registry: Registry) -> None:
    """Bring up the newest recorded champion that may still go live, if there is one."""
    for event in reversed(read_history(registry)):
        version = registry.version(event.version)
        if refusal(registry, version, settings.promote) is None:
            log.info("reconcile: version %s, the last rightful champion, serves instead", version.number)
            _deploy(project, deployment_of(registry, version, by=event.by, reason=event.reason))
            return


def _serving(project: Project) -> bool:
    """Return whether a host serves anything, or is bringing something up by itself."""
    status = control.host_status(project)
    return bool(status and (status["version"] is not None or status["wanted"] is not None))


def _serves(status: dict[str, Any] | None, version: Version) -> bool:
    """Return whether the host serves this version, or is bringing it up by itself and has not given up."""
    if not status:
        return False
    up = status["version"] == version.number and status["healthy"]
    return bool(up or (status["wanted"] == version.number and status["recovering"]))


def _deploy(project: Project, deployment: Deployment) -> None:
    """Start a version in the idle slot, hold it to its smoke prompts and its evidence, and switch to it."""
    control.ensure_host(project)
    report: Callable[[str], None] = lambda line: log.info("deploy: %s", line)  # noqa: E731
    control.deploy(project, deployment, on_progress=report)
