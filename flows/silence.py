"""What the server does about runs that have gone silent: their host was lost, so nobody else can say it.

Prefect 3.8.8 notices a worker's silence (the worker is shown as offline), and does nothing about its runs. A run's own
heartbeats are events, and an automation on the server may act on their absence.
"""

import logging
from datetime import timedelta
from typing import Any

log = logging.getLogger(__name__)

NAME = "tunegate: a run without a heartbeat has crashed"
HEARTBEAT = "prefect.flow-run.heartbeat"
ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Scheduled", "Paused", "Suspended", "AwaitingRetry")
#: Longer than a server may be away: its clock goes on while no heartbeat reaches it.
SILENCE = timedelta(minutes=15)


def watch_for_silence(client: Any, deployments: list[Any], silence: timedelta = SILENCE) -> None:
    """Have the server crash runs of these deployments that send no heartbeat any more, their place with them.

    Args:
        client: Prefect's sync client.
        deployments: ids of the deployments.
        silence: how long; at least 10 s, and more than two heartbeats.
    """
    from prefect.events.actions import ChangeFlowRunState
    from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
    from prefect.events.schemas.events import ResourceSpecification
    from prefect.states import StateType

    ours: dict[str, str | list[str]] = {"prefect.resource.role": "deployment",
            "prefect.resource.id": [f"prefect.deployment.{one}" for one in sorted(map(str, deployments))]}  # fmt: skip
    trigger = EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=ResourceSpecification(ours),
        for_each={"prefect.resource.id"},
        after={HEARTBEAT},
        expect={HEARTBEAT, *(f"prefect.flow-run.{end}" for end in ENDS)},
        posture=Posture.Proactive,
        threshold=1,
        within=silence,
    )
    said = f"no heartbeat for {silence.total_seconds():.0f} s: its host or its network was lost"
    crash = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=said, force=False)
    wanted = AutomationCore(name=NAME, trigger=trigger, actions=[crash])
    known = client.read_automations_by_name(NAME)
    if not known:
        client.create_automation(wanted)
        log.info("automation: %s", NAME)
    elif _plain(known[0]) != _plain(wanted):
        client.update_automation(known[0].id, wanted.model_copy(update={"enabled": known[0].enabled}))
        log.info("automation: %s, changed", NAME)


def _plain(automation: Any) -> tuple[Any, Any]:
    """Return what an automation does, without what the server adds."""
    trigger = automation.trigger.model_dump(mode="json", exclude={"id"})
    return trigger, [action.model_dump(mode="json") for action in automation.actions]
