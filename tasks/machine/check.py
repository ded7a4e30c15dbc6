"""One check of the machine: what was found, what is needed, what to do."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from tasks.core.table import table

Outcome = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Args:
        name: what was looked at.
        outcome: `failed` stops a run sooner or later; `warning` may slow it or asks for a decision.
        found: what is there.
        needed: what the active profile asks for.
        todo: the next command or edit; empty where nothing is to be done.
        detail: lines a person may want to verify, e.g. the formula of an estimate.
    """

    name: str
    outcome: Outcome
    found: str
    needed: str
    todo: str = ""
    detail: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the check as a JSON object."""
        return asdict(self)


def report(checks: Sequence[Check], profile: str) -> str:
    """Return the checks as a table for people, details and next steps under their rows, and a closing line."""
    rows = [[check.outcome, check.name, check.found, check.needed] for check in checks]
    head, *lines = table(["", "check", "found", f"needed by {profile}"], rows).splitlines()
    text = [head]
    for check, line in zip(checks, lines, strict=True):
        text.append(line)
        text += [f"           {item}" for item in check.detail]
        text += [f"         > {check.todo}"] if check.todo else []
    return "\n".join([*text, "", closing(checks, profile)])


def closing(checks: Sequence[Check], profile: str) -> str:
    """Return the counts in one sentence."""
    counts = {outcome: sum(check.outcome == outcome for check in checks) for outcome in ("ok", "warning", "failed")}
    verdict = "cannot run" if counts["failed"] else "can run"
    return (
        f"{counts['ok']} ok, {counts['warning']} warning, {counts['failed']} failed: this machine {verdict} {profile}"
    )
