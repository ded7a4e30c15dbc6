"""What the server does about runs that have gone silent: their host was lost, so nobody else can say it.

Prefect 3.8.8 notices a worker's silence (the worker is shown as offline), and does nothing about its runs. A run's own
heartbeats are events, and an automation on the server may act on their absence.
"""

from datetime import timedelta
from typing import Any

from flows.automations import have_automation, named, runs_of
from flows.outcome import GATE_FAILED

RULE = "a run without a heartbeat has crashed"
HEARTBEAT = "prefect.flow-run.heartbeat"
ENDS = ("Completed", "Failed", "Cancelled", "Crashed", "Scheduled", "Paused", "Suspended", "AwaitingRetry",
        GATE_FAILED)  # fmt: skip
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

    trigger = EventTrigger(
        match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
        match_related=runs_of(deployments),
        for_each={"prefect.resource.id"},
        after={HEARTBEAT},
        expect={HEARTBEAT, *(f"prefect.flow-run.{end}" for end in ENDS)},
        posture=Posture.Proactive,
        threshold=1,
        within=silence,
    )
    said = f"no heartbeat for {silence.total_seconds():.0f} s: its host or its network was lost"
    crash = ChangeFlowRunState(state=StateType.CRASHED, name="Crashed", message=said, force=False)
    told = f"A run of this project that sends no heartbeat for {silence.total_seconds():.0f} s is set to Crashed"
    wanted = AutomationCore(name=named(RULE), description=told, trigger=trigger, actions=[crash])
    have_automation(client, wanted)
