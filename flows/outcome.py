"""How a flow run ended, in our own terms: the state Prefect keeps as the error (and exit code) it was."""

import re
from typing import Any

from tasks.core.errors import KINDS, GateFailedError, TransientError, TunegateError

_NAMED = re.compile(rf"\b({'|'.join(KINDS)}): (.*)", re.DOTALL)
HINT = "\n  next: "
#: State of a run whose model did not pass; in the UI, and for automations, another than Failed.
GATE_FAILED = "GateFailed"
#: What Prefect's server says of a suspended run whose time is over, where no worker of ours was there to say it.
_UNRESUMED = re.compile(r"The flow was \w+ and never resumed")


def error_of(state: Any) -> TunegateError | None:
    """Return why a run did not complete, or None where it did.

    The result of a failed run stays with its process; its message names the exception. A crashed run (its worker or
    its machine was lost) may work next time.

    Args:
        state: a final Prefect state, or None where there is none yet.
    """
    if state is not None and state.is_completed():
        return None
    said = (state.message or "") if state is not None else "it has no state"
    if state is not None and state.is_crashed():
        return TransientError(f"the run crashed: {said}", "is its worker alive? make workers")
    if found := _NAMED.search(said):
        message, _, hint = found[2].partition(HINT)
        return KINDS[found[1]](message, hint)
    if _UNRESUMED.search(said):
        return GateFailedError("the approvals that the run waited for did not come in time; nothing was changed",
                               "tunegate approve VERSION --serve, then start the promotion again")  # fmt: skip
    name = state.name if state is not None else "no state"
    return TunegateError(f"the run ended as {name}: {said}", "read its log: make prefect-ui")
