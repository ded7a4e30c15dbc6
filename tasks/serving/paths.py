"""Where the serving plane keeps its state, all under `.tunegate/`."""

import os
from pathlib import Path

from tasks.core.project import Project
from tasks.serving.audit.outbox import OUTBOX


def serving_folder(project: Project) -> Path:
    """Return the folder of the host's socket, lock and logs."""
    return project.state / "serving"


def control_socket(project: Project) -> Path:
    """Return the unix socket of the host's control API: no port; who may open it: control_access.py."""
    return serving_folder(project) / "control.sock"


def host_log(project: Project) -> Path:
    """Return the log of a detached host."""
    return serving_folder(project) / "host.log"


def alarms_path(project: Project) -> Path:
    """Return the file of the alarms that looks at the live endpoint have raised, a line each."""
    return serving_folder(project) / "alarms.jsonl"


def rollout_path(project: Project) -> Path:
    """Return the file of the rollout that is under way, or was the last."""
    return serving_folder(project) / "rollout.json"


def keys_path(project: Project) -> Path:
    """Return the file of the gateway's API keys: $TUNEGATE_KEYS_FILE where several gateways share one."""
    return Path(os.environ.get("TUNEGATE_KEYS_FILE") or project.state / "keys.json")


def audit_folder(project: Project) -> Path:
    """Return the folder of the audit log."""
    return project.state / "audit"


def audit_outbox(project: Project) -> Path:
    """Return the folder where other processes leave records for the audit log."""
    return project.state / OUTBOX


def audit_seen(project: Project) -> Path:
    """Return the file with the last head of the audit log that was seen: outside the log's folder."""
    return serving_folder(project) / "audit_seen.json"


def budgets_path(project: Project) -> Path:
    """Return the file of what each key has used."""
    return serving_folder(project) / "budgets.json"
