"""A change of champion by share of the traffic: the host tries and judges, this side asks for it and records the end.

intended -> rollout (the candidate has its first share) -> switched ... as any other promotion, or taken back
"""

import json
import logging
from typing import Any

from tasks.core.project import Project
from tasks.engine.deployment import Deployment
from tasks.release.history import Kind
from tasks.release.journal import Intent, Strategy
from tasks.release.registry import Registry
from tasks.serving import control
from tasks.serving.rollout.judge import evidence_words
from tasks.serving.rollout.rollout import ended_with_its_host

log = logging.getLogger(__name__)

#: Tag of a version: its last rollout, with counts and E-values.
ROLLOUT = "rollout"
TAGGED = ("id", "strategy", "phase", "why", "started", "ended", "live", "percent", "arms", "tests", "shadow")


def chosen_strategy(
    project: Project, asked: Strategy | None, usual: Strategy, version: str, kind: Kind = "promote"
) -> Strategy:
    """Return how traffic shall move: as asked; as usual where there is something live to compare with; else at once."""
    if kind == "rollback":
        return "switch"
    if asked or usual == "switch":
        return asked or usual
    status = control.host_status(project)
    if status and status["healthy"] and status["version"] != version:
        return usual
    log.warning("promote: no other version is live to compare version %s with: traffic moves at once", version)
    return "switch"


def begin(project: Project, deployment: Deployment, strategy: Strategy) -> dict[str, Any]:
    """Have the host start a version beside the live one and give it its first share.

    Raises:
        TunegateError: it did not come up, or nothing is live; what is live is not touched.
    """
    control.ensure_host(project)
    control.begin_rollout(project, deployment, strategy, on_progress=lambda line: log.info("rollout: %s", line))
    return {"action": "rollout", "version": deployment.version, "strategy": strategy,
            "reason": f"{strategy} has begun: tunegate canary status"}  # fmt: skip


def is_trying(status: dict[str, Any] | None, intent: Intent) -> bool:
    """Return whether the host has the version of an intent on trial."""
    rollout = status["rollout"] if status else None
    return bool(rollout and rollout["version"] == intent.version)


def last_of(project: Project, intent: Intent) -> dict[str, Any] | None:
    """Return how the rollout of an intent ended, None where it is no rollout, or it never began."""
    if intent.strategy == "switch":
        return None
    state = control.last_rollout(project)
    if not state or state["version"] != intent.version or state["started"] < intent.time:
        return None
    return state | ended_with_its_host(state)


def reason_of(project: Project, intent: Intent) -> str:
    """Return the reason for the history: the person's, and what was seen in the rollout."""
    state = last_of(project, intent)
    return f"{intent.reason} ({intent.strategy}: {outcome_words(state)})" if state else intent.reason


def outcome_words(state: dict[str, Any]) -> str:
    """Return how a rollout stands or ended as one line."""
    how = f"{state['phase']}, {state['why']}" if state["why"] else state["phase"]
    return f"{how}; {evidence_words(state)}"


def keep_evidence(project: Project, registry: Registry, intent: Intent) -> None:
    """Tag a version with how its rollout ended."""
    if state := last_of(project, intent):
        value = {name: state[name] for name in TAGGED}
        registry.tag(intent.version, ROLLOUT, json.dumps(value, ensure_ascii=False, sort_keys=True))


def described(state: dict[str, Any]) -> str:
    """Return a rollout as text for a person."""
    share = "mirrored, answers unseen" if state["strategy"] == "shadow" else f"{state['percent']:g} % of the requests"
    ended = f", ended {state['ended']}" if state["ended"] else f", {share}, step {state['step']} of {state['steps']}"
    lines = [
        f"{state['strategy']} of version {state['version']} beside version {state['live']}: {state['phase']}{ended}",
        f"  by {state['by']} from {state['started']}: {state['reason']}",
    ]
    if state["why"]:
        lines.append(f"  why: {state['why']}")
    live, candidate = state["arms"]["live"], state["arms"]["candidate"]
    lines += [f"  {name:<9} live {live[name]:>7}  candidate {candidate[name]:>7}" for name in live]
    lines += [
        f"  {test['share']:<8} {test['direction']:<5} E of a loss {test['abort_e']:g} of {test['abort_at']:g}, "
        f"against two margins {test['pass_e']:g} of {test['pass_at']:g}"
        for test in state["tests"]
    ]
    if shadow := state["shadow"]:
        lines.append(f"  mirrored {shadow['mirrored']}, dropped {shadow['dropped']}, same words "
                     f"{shadow['same_words']}, mean characters {shadow['mean_characters']}")  # fmt: skip
    return "\n".join(lines)
