"""The end of a run: promote where nobody has to be asked, ask one question, stop what was started."""

from collections.abc import Callable
from typing import Any

from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.release.approvals import refusal
from tasks.release.reconcile import promote
from tasks.release.registry import Registry, requester
from tasks.serving import control
from tasks.serving.ask import ask


def go_live(
    project: Project, settings: Settings, number: str, *, keep_serving: bool, report: Callable[..., Any]
) -> dict[str, Any]:
    """Promote a version and ask it a question through the gateway.

    Args:
        number: the registered version.
        keep_serving: leave gateway and slot up; else they are stopped when this call started them.
        report: called with progress lines.

    Returns:
        {"outcome": what a person should know, "question", "answer"}; without question and answer where nothing was
        asked: approvals are missing, or this version is champion already and nothing is to be left serving.
    """
    registry = Registry(project, settings.register_.model_name)
    if (why := refusal(registry.version(number), settings.promote)) is not None:
        next_command = f"tunegate approve {number} --by NAME --reason TEXT, then tunegate promote {number}"
        return {"outcome": f"version {number} waits: {why}\n  next: {next_command}"}
    champion = registry.champion()
    running = control.host_status(project) is not None
    if champion and champion.number == number and not running and not keep_serving:
        return {"outcome": f"nothing changed: version {number} is champion already; tunegate serve brings it up"}
    try:
        promote(project, settings, number, by=requester(), reason="tunegate run: PASS, no approval outstanding")
        question = settings.promote.smoke_prompts[0]
        answer = ask(project, question, timeout_s=settings.promote.smoke_timeout_s)
        report("promote: asked the gateway one question, it answered")
    finally:
        if not running and not keep_serving:
            control.stop_host(project)
    kept = running or keep_serving
    serving = f"serving at {project.gateway_url} (tunegate stop ends it)" if kept else "served, asked, stopped again"
    return {"outcome": f"version {number} is champion; {serving}", "question": question, "answer": answer}
