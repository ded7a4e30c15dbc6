"""The end of a run: promote where nobody has to be asked, ask the smoke prompts, stop what was started."""

from collections.abc import Callable
from typing import Any

from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.release.approvals import refusal
from tasks.release.champion import champion_refusal
from tasks.release.history import read_history, requester
from tasks.release.journal import Strategy
from tasks.release.reconcile import next_command, promote
from tasks.release.registry import Registry
from tasks.serving import control
from tasks.serving.ask import ask
from tasks.serving.stopped import keep_stopped, stopped


def go_live(
    project: Project, settings: Settings, number: str, *, keep_serving: bool, report: Callable[..., Any]
) -> dict[str, Any]:
    """Promote a version and ask it the smoke prompts through the gateway.

    Args:
        number: the registered version.
        keep_serving: leave gateway and slot up; else they are stopped when this call started them.
        report: called with progress lines.

    Returns:
        {"outcome": what a person should know, "answers": [{"question", "answer"}]}; no answers where nothing was asked:
        approvals are missing, this version was replaced on purpose, serving was stopped by a person, or nothing changed
        and nothing is left serving.
    """
    registry = Registry(project, settings.register_.model_name)
    champion = registry.champion()
    running = control.host_status(project) is not None
    version = registry.version(number)
    if (why := refusal(registry, version, settings.promote)) is not None:
        return _not_asked(f"version {number} waits: {why}\n  next: {next_command(version)}")
    if (not champion or champion.number != number) and number in {event.version for event in read_history(registry)}:
        # A scheduled run with nothing changed must not undo a rollback.
        return _not_asked(f"version {number} was champion before and was replaced\n  next: tunegate promote {number}")
    if (why := champion_refusal(registry, settings, version)) is not None:
        return _not_asked(f"version {number} waits: {why}\n  next: tunegate gate explain {number}")
    wish = stopped(project)
    if wish and keep_serving and not running:
        return _not_asked(f"version {number} waits: serving was {wish.words}\n  next: tunegate promote {number}")
    if champion and champion.number == number and not running and not keep_serving:
        return _not_asked(f"nothing changed: version {number} is champion already; tunegate serve brings it up")
    try:
        # What ends with this call is no place for a rollout.
        strategy: Strategy | None = None if running else "switch"
        done = promote(project, settings, number, by=requester(), reason="tunegate run: PASS, no approval outstanding",
                       strategy=strategy)  # fmt: skip
        answers = ask(project, settings.promote.smoke_prompts, timeout_s=settings.promote.smoke_timeout_s)
        report("promote: asked the gateway %d questions, it answered", len(answers))
    finally:
        if not running and not keep_serving:
            control.stop_host(project)
            if wish:
                keep_stopped(project, wish)
    kept = running or keep_serving
    serving = f"serving at {project.gateway_url} (tunegate stop ends it)" if kept else "served, asked, stopped again"
    if done["action"] == "rollout":
        return {"outcome": f"version {number}: {done['reason']}; {serving}", "answers": answers}
    return {"outcome": f"version {number} is champion; {serving}", "answers": answers}


def _not_asked(outcome: str) -> dict[str, Any]:
    """Return the result of a run after which nothing was served."""
    return {"outcome": outcome, "answers": []}
