"""The flow `pipeline`: every stage, then register, then promote where nobody has to be asked."""

import time
from contextlib import ExitStack
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.states import Failed, State

from flows.clock import RunClock
from flows.dvc import run_through_dvc
from flows.elsewhere import run_deployed
from flows.limits import Allowance
from flows.outcome import GATE_FAILED
from flows.showing import StageProgress, show_metrics, show_pages, show_run
from flows.stages import TRIED_AGAIN, stage_task
from flows.unchanged import changed_stages
from tasks.core.errors import GateFailedError
from tasks.core.files import read_json
from tasks.core.layout import GATE
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.preloaded import forked_servers
from tasks.stages.table import STAGES, find_stages


@flow(name="stage", flow_run_name="{name}", persist_result=False)
def stage(name: str) -> None:
    """Run one stage: what a deployment on the gpu pool does for the pipeline.

    Args:
        name: stage name as in `tunegate stage`.
    """
    project = Project.here()
    allowance = _allowance(project)
    for found in find_stages(name):
        run_through_dvc(found, project, get_run_logger(), allowance, on_line=StageProgress(found.name).see)


@flow(name="pipeline", persist_result=False)
def pipeline(
    keep_serving: bool = False, gpu_deployment: str | None = None, release_deployment: str | None = None
) -> dict[str, Any] | State[Any]:
    """Data to served model: prepare, validate, train, merge, quantize, evaluate, gate, dossier, register, promote.

    Args:
        keep_serving: leave the gateway and its slot up after the run.
        gpu_deployment: deployment that runs the stages needing a GPU, e.g. `stage/gpu`.
        release_deployment: deployment that promotes, e.g. `golive/golive`: its worker holds the credential for
            promotion, which this run needs not have. None promotes in this process.

    Returns:
        {"version", "verdict", "lineage_id", "outcome", "answers", "seconds", "seconds_before"}: the last two by stage,
        of this run and of the one before. A state `GateFailed` with a GateFailedError where the verdict is not PASS:
        the version is registered with its evidence and stays out, and nothing is broken.
    """
    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    show_run(settings.profile, profile=settings.profile)
    clock, allowance = RunClock(project), _allowance(project)
    _run_stages(project, gpu_deployment, clock, allowance)
    verdict = publish_evidence()
    version = register()
    what = {"version": version, "verdict": verdict["verdict"], "lineage": verdict["lineage_id"]}
    show_run(f"{settings.profile} version {version} {verdict['verdict']}", **what)
    if refused := gate_failed(verdict):
        return refused
    if release_deployment:
        outcome = hand_to_release(version, keep_serving, release_deployment, allowance)
    else:
        outcome = promote_if_allowed(version, keep_serving)
    facts = {"version": version, "verdict": verdict["verdict"], "lineage_id": verdict["lineage_id"]}
    return {**facts, **outcome, **clock.close()}


def gate_failed(verdict: dict[str, Any]) -> State[Any] | None:
    """Return the state of a run whose model did not pass: a verdict, told from one that broke; None where it passed."""
    from tasks.gate.gate import require_pass

    try:
        require_pass(verdict)
    except GateFailedError as error:
        return Failed(name=GATE_FAILED, message=f"{type(error).__name__}: {error}", data=error)
    return None


def _run_stages(project: Project, gpu_deployment: str | None, clock: RunClock, allowance: Allowance) -> None:
    """Run every stage that is not as DVC recorded it, in order; from the first that runs on each asks DVC itself."""
    logger = get_run_logger()
    changed = changed_stages(project)
    vllm, log = load_settings(project.root / "params.yaml").serve.vllm, project.state / "logs" / "fork-server.log"
    made: dict[str, State[None]] = {}
    with ExitStack() as stack:
        for number, item in enumerate(STAGES, start=1):
            logger.info("[%d/%d] %s", number, len(STAGES), item.name)
            began = time.monotonic()
            # The UI draws a line from each stage to those that read what it made.
            before = [made[path] for path in item.inputs.values() if path in made]
            if changed is not None and item.name not in changed:
                task_of_it = stage_task(item, gpu_deployment, allowance, unchanged=True)
                made[item.output] = task_of_it(wait_for=before, return_state=True)
                continue
            first, to_evaluate = not clock.seconds, any(later.key == "evaluate" for later in STAGES[number - 1 :])
            if first and to_evaluate and gpu_deployment is None:
                stack.enter_context(forked_servers(project.serve_python, vllm, log, 0))
            changed = None
            made[item.output] = stage_task(item, gpu_deployment, allowance)(wait_for=before, return_state=True)
            made[item.output].result()
            clock.add(item.name, time.monotonic() - began)


@task(name="register", persist_result=False, **TRIED_AGAIN)
def register() -> str:
    """Register the quantized model with its evidence and return the version's number."""
    from tasks.release.register import register as register_version
    from tasks.release.registry import Registry

    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    version = register_version(project, settings)
    show_pages(project, Registry(project, settings.register_.model_name), version)
    get_run_logger().info("register: version %s, verdict %s", version.number, version.verdict)
    return version.number


@task(name="promote", persist_result=False)
def promote_if_allowed(version: str, keep_serving: bool) -> dict[str, Any]:
    """Promote a version that needs no (further) approval and ask it the smoke prompts, or say why not."""
    from tasks.release.golive import go_live

    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    return go_live(project, settings, version, keep_serving=keep_serving, report=get_run_logger().info)


@task(name="hand-to-release", persist_result=False)
def hand_to_release(version: str, keep_serving: bool, deployment: str, allowance: Allowance) -> dict[str, Any]:
    """Have another worker promote a version that needs no (further) approval, or say why not.

    Raises:
        TunegateError: what that run ended with.
    """
    parameters = {"version": version, "keep_serving": keep_serving}
    if reason := run_deployed("promote", deployment, parameters, get_run_logger(), allowance):
        raise reason
    return {"outcome": f"version {version}: handed to {deployment}, whose run says what became of it", "answers": []}


@task(name="publish-evidence", persist_result=False, **TRIED_AGAIN)
def publish_evidence() -> dict[str, Any]:
    """Show the verdict, and the figures beside the champion's, in the Prefect UI and return the verdict."""
    from tasks.release.registry import Registry

    project = Project.here()
    verdict: dict[str, Any] = read_json(project.root / GATE / "verdict.json")
    words = (project.root / GATE / "verdict.md").read_text(encoding="utf-8")
    create_markdown_artifact(words, key="verdict", description=f"{verdict['verdict']} {verdict['lineage_id']}")
    settings = load_settings(project.root / "params.yaml")
    show_metrics(project, Registry(project, settings.register_.model_name).champion())
    return verdict


def _allowance(project: Project) -> Allowance:
    """Return the time that a run which begins now has, by `limits` in params.yaml."""
    return Allowance.begin(load_settings(project.root / "params.yaml").limits)
