"""Automations on the Prefect server, written from code: made once, changed where the code changed, a pause kept."""

import logging
from collections.abc import Iterable
from typing import Any

from flows.scope import project_name

log = logging.getLogger(__name__)


def named(rule: str) -> str:
    """Return the name of this project's automation for a rule."""
    return f"tunegate {project_name()}".strip() + f": {rule}"


def runs_of(deployments: Iterable[Any]) -> Any:
    """Return the specification of events whose run is one of these deployments'.

    Args:
        deployments: their ids.
    """
    from prefect.events.schemas.events import ResourceSpecification

    ids = [f"prefect.deployment.{one}" for one in sorted(map(str, deployments))]
    return ResourceSpecification({"prefect.resource.role": "deployment", "prefect.resource.id": ids})


def have_automation(client: Any, wanted: Any) -> None:
    """Have an automation of this name that does this; whether it is paused is a person's to say.

    Args:
        client: Prefect's sync client.
        wanted: an AutomationCore.
    """
    known = client.read_automations_by_name(wanted.name)
    if not known:
        client.create_automation(wanted)
        log.info("automation: %s", wanted.name)
    elif _plain(known[0]) != _plain(wanted):
        client.update_automation(known[0].id, wanted.model_copy(update={"enabled": known[0].enabled}))
        log.info("automation: %s, changed", wanted.name)


def _plain(automation: Any) -> tuple[Any, Any, str]:
    """Return what an automation does and says of itself, without what the server adds."""
    trigger = automation.trigger.model_dump(mode="json", exclude={"id"})
    return trigger, [action.model_dump(mode="json") for action in automation.actions], automation.description
