"""What should be served, what is served, and where it came from."""

import json
from dataclasses import asdict
from typing import Any

from tasks.core.errors import ConfigError
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.release.history import read_history
from tasks.release.journal import Journal
from tasks.release.registry import PREFIX, Registry, Version
from tasks.release.rollout import ROLLOUT, described
from tasks.serving import control
from tasks.serving.stopped import stopped


def serving_status(project: Project, settings: Settings) -> dict[str, Any]:
    """Return champion, serving, stopped, recovering, given_up, under_way, rollout, in_sync, versions; None: none."""
    registry = Registry(project, settings.register_.model_name)
    champion = registry.champion()
    host = control.host_status(project)
    serving = None
    if host and host["version"] is not None:
        serving = {name: host[name] for name in ("url", "slot", "version", "lineage_id", "healthy", "upstream")}
    return {
        "champion": _summary(champion) if champion else None,
        "serving": serving,
        "stopped": wish.words if (wish := stopped(project)) and not host else None,
        "recovering": host["wanted"] if host and host["recovering"] else None,
        "given_up": host["given_up"] if host else {},
        "under_way": under_way(project),
        "rollout": host["rollout"] if host else None,
        "in_sync": (champion.number if champion else None) == (serving["version"] if serving else None),
        "versions": [_summary(version) for version in registry.versions()],
    }


def under_way(project: Project) -> dict[str, Any] | None:
    """Return the change of champion that is under way, or was left half-way, None for none."""
    intent = Journal(project).read()
    return asdict(intent) if intent else None


def describe(state: dict[str, Any]) -> str:
    """Return the status as text for a person."""
    lines = [_line(state["champion"], "champion: none (tunegate run makes a candidate)", "champion")]
    if serving := state["serving"]:
        health = "healthy" if serving["healthy"] else "NOT healthy: tunegate reconcile --once"
        source = f" from {serving['upstream']}" if serving["upstream"] else ""
        lines.append(
            f"serving:  version {serving['version']} in slot {serving['slot']}{source} at {serving['url']}, {health}"
        )
    else:
        lines.append(f"serving:  nothing ({state['stopped'] or 'tunegate serve'})")
    if state["recovering"]:
        lines.append(f"recovery: the host is bringing version {state['recovering']} up itself")
    lines += [
        f"given up: version {number} would not start: {why}; tunegate promote {number} tries it again"
        for number, why in state["given_up"].items()
    ]
    if intent := state["under_way"]:
        lines.append(f"under way: {intent['kind']} of version {intent['version']} by {intent['by']}, {intent['step']}")
    if state["rollout"]:
        lines += [f"trying:   {described(state['rollout'])}", "          tunegate canary abort | promote"]
    lines.append(f"in sync:  {'yes' if state['in_sync'] else 'no: tunegate reconcile --once'}")
    return "\n".join([*lines, *version_lines(state)])


def version_lines(state: dict[str, Any]) -> list[str]:
    """Return a line for each registered version."""
    return [_line(version, "", "version ") for version in state["versions"]]


def trace(registry: Registry, wanted: str) -> dict[str, Any]:
    """Return where a version, or a lineage id read from an answer's header or the audit log, came from.

    Raises:
        ConfigError: neither a version nor a known lineage id.
    """
    version = registry.version(wanted) if wanted.isdigit() else registry.by_lineage(wanted)
    if version is None:
        raise ConfigError(f"no version of {registry.name} has lineage id {wanted}", "tunegate status")
    events = [asdict(event) for event in read_history(registry) if event.version == version.number]
    return {
        **_summary(version),
        "model": registry.name,
        "git_commit": version.tags.get(f"{PREFIX}git_commit", ""),
        "requested_by": version.tags.get(f"{PREFIX}requested_by", ""),
        "mlflow_run_id": version.run_id,
        "made_from": json.loads(version.tags.get(f"{PREFIX}parts", "{}")),
        "metrics": version.metrics,
        "approvals": version.approvals,
        "champion_history": events,
    }


def describe_lineage(found: dict[str, Any]) -> str:
    """Return a lineage as text for a person: each part with the digest that proves it."""
    lines = [
        f"{found['model']} version {found['version']}, lineage {found['lineage_id']}, verdict {found['verdict']}",
        f"  git commit    {found['git_commit']}   (--restore DIR: code and data as they were)",
        f"  requested by  {found['requested_by']}; approved by {', '.join(found['approved_by']) or 'nobody'}",
        f"  MLflow run    {found['mlflow_run_id']}",
    ]
    for kind, digests in sorted(found["made_from"].items()):
        lines += [f"  {kind:<13} {name}  {digest}" for name, digest in sorted(digests.items())]
    lines += [
        f"  champion from {event['time']} by {event['by']}: {event['reason']}" for event in found["champion_history"]
    ]
    return "\n".join(lines)


def _summary(version: Version) -> dict[str, Any]:
    """Return what a person wants to know first about a version."""
    return {
        "version": version.number,
        "lineage_id": version.lineage_id,
        "verdict": version.verdict,
        "demo": version.demo,
        "approved_by": [item["by"] for item in version.approvals],
        "refused": version.tags.get(f"{PREFIX}refused"),
        "pruned": version.pruned,
        "rollout": json.loads(rollout) if (rollout := version.tags.get(f"{PREFIX}{ROLLOUT}")) else None,
    }


def _line(version: dict[str, Any] | None, absent: str, label: str) -> str:
    """Return one version as one line."""
    if version is None:
        return absent
    approved = ", ".join(version["approved_by"]) or "nobody"
    refused = f", refused: {version['refused']}" if version["refused"] else ""
    pruned = f", weights deleted {version['pruned']}" if version["pruned"] else ""
    if (rollout := version["rollout"]) and rollout["phase"] != "promoted":
        refused += f", {rollout['strategy']} {rollout['phase']}: {rollout['why']}"
    mark = " (demo)" if version["demo"] else ""
    return (f"{label}: {version['version']}, verdict {version['verdict']}{mark}, lineage {version['lineage_id']}, "
            f"approved by {approved}{refused}{pruned}")  # fmt: skip
