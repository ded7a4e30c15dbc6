"""The flow `monitor`: one look at what is live; each alarm is an event that automations can act on."""

from typing import Any

from prefect import flow, get_run_logger
from prefect.events import emit_event

from tasks.core.project import Project
from tasks.core.settings import load_settings

#: Name of the event; its resource is the version.
ALARM = "tunegate.alarm"


@flow(name="monitor", persist_result=False)
def monitor() -> dict[str, Any]:
    """Look once, tell every alarm, go back where `monitor.rollback_on` says so; fails where there was an alarm.

    Raises:
        GateFailedError: of the alarms, after everything was done about them.
    """
    from tasks.monitor.look import act, look, require_quiet

    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    found = look(project, settings)
    logger = get_run_logger()
    resource = {
        "prefect.resource.id": f"tunegate.version.{found['lineage_id']}",
        "prefect.resource.name": f"{settings.register_.model_name} {found['version']}",
    }
    for alarm in found["alarms"]:
        emit_event(ALARM, resource=resource, payload=alarm | {"version": found["version"], "url": project.gateway_url})
    for note in found["notes"]:
        logger.info("not compared: %s", note)
    if outcome := act(project, settings, found):
        logger.warning("went back to version %s", outcome["version"])
    require_quiet(found)
    logger.info("version %s answers as released", found["version"])
    return found
