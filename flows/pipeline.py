"""The flow `pipeline`: every stage, then register, then promote where nobody has to be asked."""

import time
from contextlib import ExitStack
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact

from flows.clock import RunClock
from flows.dvc import run_through_dvc
from flows.elsewhere import run_deployed
from flows.limits import Allowance
from flows.stages import TRIED_AGAIN, stage_task
from flows.unchanged import changed_stages
from tasks.core.errors import GateFailedError
from tasks.core.files import read_json
from tasks.core.layout import DOSSIER, GATE, VALIDATION
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.preloaded import forked_servers
from tasks.stages.table import STAGES, find_stages


@flow(name="stage", persist_result=False)
def stage(name: str) -> None:
    """Run one stage: what a deployment on the gpu pool does for the pipeline.

    Args:
        name: stage name as in `tunegate stage`.
    """
    project = Project.here()
    allowance = _allowance(project)
    for found in find_stages(name):
        run_through_dvc(found, project, get_run_logger(), allowance)


@flow(name="pipeline", persist_result=False)
def pipeline(
    keep_serving: bool = False, gpu_deployment: str | None = None, release_deployment: str | None = None
) -> dict[str, Any]:
    """Data to served model: prepare, validate, train, merge, quantize, evaluate, gate, dossier, register, promote.

    Args:
        keep_serving: leave the gateway and its slot up after the run.
        gpu_deployment: deployment that runs the stages needing a GPU, e.g. `stage/gpu`.
        release_deployment: deployment that promotes, e.g. `golive/golive`: its worker holds the credential for
            promotion, which this run needs not have. None promotes in this process.

    Returns:
        {"version", "verdict", "lineage_id", "outcome", "answers", "seconds", "seconds_before"}: the last two by stage,
        of this run and of the one before.

    Raises:
        GateFailedError: the verdict is not PASS; the version is registered with its evidence and stays out.
    """
    project = Project.here()
    clock, allowance = RunClock(project), _allowance(project)
    _run_stages(project, gpu_deployment, clock, allowance)
    verdict = publish_evidence()
    version = register()
    if verdict["verdict"] != "PASS":
        from tasks.gate.gate import require_pass

        require_pass(verdict)
        raise GateFailedError(f"version {version} has verdict {verdict['verdict']}", "tunegate status")
    if release_deployment:
        outcome = hand_to_release(version, keep_serving, release_deployment, allowance)
    else:
        outcome = promote_if_allowed(version, keep_serving)
    facts = {"version": version, "verdict": verdict["verdict"], "lineage_id": verdict["lineage_id"]}
    return {**facts, **outcome, **clock.close()}


def _run_stages(project: Project, gpu_deployment: str | None, clock: RunClock, allowance: Allowance) -> None:
    """Run every stage that is not as DVC recorded it, in order; from the first that runs on each asks DVC itself."""
    logger = get_run_logger()
    changed = changed_stages(project)
    vllm, log = load_settings(project.root / "params.yaml").serve.vllm, project.state / "logs" / "fork-server.log"
    with ExitStack() as stack:
        for number, item in enumerate(STAGES, start=1):
            logger.info("[%d/%d] %s", number, len(STAGES), item.name)
            began = time.monotonic()
            if changed is not None and item.name not in changed:
                stage_task(item, gpu_deployment, allowance, unchanged=True)()
                continue
            first, to_evaluate = not clock.seconds, any(later.key == "evaluate" for later in STAGES[number - 1 :])
            if first and to_evaluate and gpu_deployment is None:
                stack.enter_context(forked_servers(project.serve_python, vllm, log, 0))
            changed = None
            stage_task(item, gpu_deployment, allowance)()
            clock.add(item.name, time.monotonic() - began)


@task(name="register", persist_result=False, **TRIED_AGAIN)
def register() -> str:
    """Register the quantized model with its evidence and return the version's number."""
    from tasks.release.register import register as register_version

    project = Project.here()
    version = register_version(project, load_settings(project.root / "params.yaml"))
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
    """Show the verdict and the pages in the Prefect UI and return the verdict."""
    project = Project.here()
    verdict: dict[str, Any] = read_json(project.root / GATE / "verdict.json")
    words = (project.root / GATE / "verdict.md").read_text(encoding="utf-8")
    create_markdown_artifact(words, key="verdict", description=f"{verdict['verdict']} {verdict['lineage_id']}")
    for key, page in (("dossier", f"{DOSSIER}/index.html"), ("data-docs", f"{VALIDATION}/data_docs/index.html")):
        create_link_artifact((project.root / page).as_uri(), key=key, link_text=page)
    return verdict


def _allowance(project: Project) -> Allowance:
    """Return the time that a run which begins now has, by `limits` in params.yaml."""
    return Allowance.begin(load_settings(project.root / "params.yaml").limits)
