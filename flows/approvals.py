"""A promotion that waits for approvals: a suspended run that takes signed approvals as its input.

The run decides nothing: what is typed into it goes to the check behind every door (tasks/release/approvals.py), and the
promotion asks for all approvals again. A suspended run has no process and no place in its queue.
"""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from prefect import get_run_logger, runtime
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from flows.showing import show_run
from tasks.core.errors import ConfigError, GateFailedError, TransientError, TunegateError
from tasks.core.settings import PromoteParams
from tasks.proof.approval import read_approval
from tasks.release.approvals import count_approvals, is_kept, missing_approvals, require_approvable, take
from tasks.release.registry import Registry

log = logging.getLogger(__name__)

#: Prefect ends a run this much later, in words of its own: `end_overdue` comes first where workers run.
MARGIN = timedelta(minutes=10)
#: The least time that somebody has who gave something wrong.
LEAST = timedelta(seconds=30)


class SignedApproval(RunInput):
    """What a suspended promotion asks for."""

    approval: str = Field(
        "",
        title="Signed approval",
        description="All of the file that `tunegate approve --out FILE` wrote. Leave it empty where the approvals were "
        "given elsewhere: the run looks again. Never a private key.",
    )


def await_approvals(registry: Registry, number: str, params: PromoteParams, wait_s: float) -> None:
    """Return once a version has its approvals; until then the run is suspended and this never returns.

    Args:
        wait_s: how long from the run's first start; 0 does not wait.

    Raises:
        ConfigError: the run is of no deployment: nobody would start it again.
        GateFailedError: nobody can approve this version, or the approvals did not come in time.
    """
    require_approvable(registry, registry.version(number), params)
    said = ""
    for turn in count(1):
        if (missing := _missing(registry, number, params)) == 0 or wait_s <= 0:
            return
        if runtime.deployment.id is None:
            raise ConfigError("only a run of a deployment can wait for approvals",
                              "tunegate approve VERSION, or start promote/when-approved")  # fmt: skip
        show_run(f"version {number} lacks {missing} approvals", [f"version:{number}"])
        get_run_logger().info(
            "version %s lacks %d of %d approvals: tunegate approve %s --serve, then resume this run",
            number, missing, params.approvals_required, number,
        )  # fmt: skip
        # The run starts anew each time it is resumed: earlier turns return what was given then.
        given: SignedApproval = suspend_flow_run(
            wait_for_input=SignedApproval.with_initial_data(description=_asked(number, params, missing, said)),
            timeout=int((_left(number, wait_s) + MARGIN).total_seconds()),
            key=f"approvals-{turn}",
        )
        said = _taken(registry, number, params, given.approval)


def take_given(registry: Registry, number: str, params: PromoteParams, text: str) -> None:
    """Keep an approval that came with the request; a run that starts again after a wait has kept it already.

    Raises:
        ConfigError: it does not count.
    """
    envelope = read_approval(text)
    if not is_kept(registry.version(number), envelope):
        take(registry, number, params, envelope)


def end_overdue(client: Any, deployments: Iterable[Any]) -> None:
    """End suspended promotions whose time is over, with the next command in their last state.

    Args:
        client: Prefect's sync client.
        deployments: ids of this project's.
    """
    from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterDeploymentId, FlowRunFilterState
    from prefect.client.schemas.filters import FlowRunFilterStateName as StateName
    from prefect.states import Failed

    wanted = FlowRunFilter(
        state=FlowRunFilterState(name=StateName(any_=["Suspended"])),
        deployment_id=FlowRunFilterDeploymentId(any_=list(deployments)),
    )
    for run in client.read_flow_runs(flow_run_filter=wanted):
        ends = run.state.state_details.pause_timeout
        if ends is None or ends - MARGIN > datetime.now(UTC):
            continue
        error = overdue(str(run.parameters.get("version", "VERSION")))
        client.set_flow_run_state(run.id, Failed(message=f"{type(error).__name__}: {error}"), force=True)
        log.warning("run %s: %s", run.name, error.message)


def overdue(number: str) -> GateFailedError:
    """Return the error of a promotion whose approvals did not come in time."""
    return GateFailedError(f"the approvals of version {number} did not come in time; nothing was changed",
                           f"tunegate approve {number} --serve, then tunegate promote {number}")  # fmt: skip


def _left(number: str, wait_s: float) -> timedelta:
    """Return how long there is still to wait: what is given wrong does not win time."""
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context.flow_run if context else None
    started = (run.start_time if run else None) or datetime.now(UTC)
    left = started + timedelta(seconds=wait_s) - datetime.now(UTC)
    if left <= timedelta(0):
        raise overdue(number)
    return max(left, LEAST)


def _missing(registry: Registry, number: str, params: PromoteParams) -> int:
    """Return how many approvals a version lacks."""
    return missing_approvals(count_approvals(registry, registry.version(number), params), params)


def _taken(registry: Registry, number: str, params: PromoteParams, text: str) -> str:
    """Keep what was given, or return why it does not count."""
    if not text.strip():
        return "Nothing was given, and the approvals are still missing."
    try:
        take(registry, number, params, read_approval(text))
    except TransientError:
        raise
    except TunegateError as error:
        get_run_logger().warning("refused: %s", error.message)
        return f"**Refused:** {error.message}"
    return ""


def _asked(number: str, params: PromoteParams, missing: int, said: str) -> str:
    """Return what a person reads who resumes the run."""
    lines = [
        f"Version {number} lacks **{missing} of {params.approvals_required} approvals** for environment "
        f"{params.environment}.",
        f"`tunegate approve {number} --serve` shows its record, verdict and dossier. Sign with a key of your own and "
        f"paste the file: `tunegate approve {number} --key FILE --reason TEXT --out FILE`",
    ]
    return "\n\n".join([said, *lines] if said else lines)
