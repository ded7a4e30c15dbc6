"""The flow `pipeline`: every stage, then register, then promote where nobody has to be asked."""

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.states import Failed, State

from flows.all_stages import run_stages
from flows.asked import AskedSettings
from flows.clock import RunClock
from flows.elsewhere import run_deployed
from flows.github_status import hooks
from flows.handover import borrow, give_back
from flows.limits import Allowance
from flows.outcome import GATE_FAILED
from flows.repro import run_through_dvc
from flows.run import folder_of, run_of, short, tags_of
from flows.run_branch import keep_on_branch, push_branch, require_branch
from flows.showing import StageProgress, show_metrics, show_pages, show_run
from flows.stages import TRIED_AGAIN
from flows.worktree import code_words
from tasks.core.errors import GateFailedError
from tasks.core.files import read_json
from tasks.core.layout import GATE
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.stages.table import find_stages


@flow(name="stage", flow_run_name="{name}", persist_result=False)
def stage(
    name: str,
    rev: str | None = None,
    params_yaml: str | None = None,
    remote: str | None = None,
    lock: dict[str, Any] | None = None,
) -> None:
    """Run one stage: what a deployment on the gpu pool does for the pipeline.

    Args:
        name: stage name as in `tunegate stage`.
        rev: commit of the run it belongs to; without it the checkout as it stands.
        params_yaml: that run's settings, the whole file; without it the commit's.
        remote: DVC remote over which its inputs come and its outputs go; without it the folder is shared.
        lock: dvc.lock entries of the stages that made its inputs.
    """
    logger = get_run_logger()
    with folder_of(Project.here(), rev, params_yaml) as project:
        show_run(name, tags_of(project))
        allowance = _allowance(project)
        for found in find_stages(name):
            if remote:
                borrow(found, project, remote, lock or {}, logger, allowance)
            run_through_dvc(found, project, logger, allowance, on_line=StageProgress(found.name).see)
            if remote:
                give_back(found, project, remote, logger)


@flow(name="pipeline", persist_result=False, **hooks())
def pipeline(
    keep_serving: bool = False,
    gpu_deployment: str | None = None,
    release_deployment: str | None = None,
    promote: bool = True,
    rev: str | None = None,
    params: AskedSettings | None = None,
    profile: str | None = None,
) -> dict[str, Any] | State[Any]:
    """Data to served model: prepare, validate, train, merge, quantize, evaluate, gate, dossier, register, promote.

    Args:
        keep_serving: leave the gateway and its slot up after the run.
        gpu_deployment: deployment that runs the stages needing a GPU, e.g. `stage/gpu`.
        release_deployment: deployment that promotes, e.g. `golive/golive`: its worker holds the credential for
            promotion, which this run needs not have. None promotes in this process.
        promote: let a version that passed go live as far as its approvals let it. An experiment does not.
        rev: commit, branch or tag to run, in a folder of its own; without it the checkout as it stands.
        params: settings in place of those in params.yaml, e.g. {"train": {"max_steps": 20}}; the rest is as there.
        profile: a profile in place of params.yaml, e.g. verify-7b.

    Returns:
        {"version", "verdict", "lineage_id", "commit", "folder", "branch", "outcome", "answers", "seconds",
        "seconds_before"}: the last two by stage, of this run and of the one before. A state `GateFailed` with a
        GateFailedError where the verdict is not PASS: the version is registered with its evidence and stays out, and
        nothing is broken.
    """
    checkout = Project.here()
    logger, asked = get_run_logger(), params.values() if params else None
    with run_of(checkout, rev, asked, profile, urgent=promote, say=logger.warning) as run:
        logger.info("run of %s in %s", short(run.commit), run.project.root)
        if reason := require_branch(run.project, run.settings):
            logger.warning("this run will be on no branch, %s: %s", run.project.root, reason)
        show_run(run.settings.profile, run.tags())
        clock, allowance = RunClock(checkout), Allowance.begin(run.settings.limits)
        run_stages(run, gpu_deployment, clock, allowance)
        verdict = publish_evidence()
        kept = keep_run(verdict)
        version = register(kept)
        if kept:
            push_run(kept["branch"])
        place = {"commit": run.commit, "folder": str(run.project.root), "branch": kept["branch"] if kept else None}
    what = {"version": version, "verdict": verdict["verdict"], "lineage": verdict["lineage_id"]}
    tags = [f"{key}:{value}" for key, value in what.items()]
    show_run(f"{run.settings.profile} version {version} {verdict['verdict']}", tags)
    if refused := gate_failed(verdict):
        return refused
    if not promote:
        outcome = {"outcome": f"version {version} passed and is left for a person: tunegate promote {version}",
                   "answers": []}  # fmt: skip
    elif release_deployment:
        outcome = hand_to_release(version, keep_serving, release_deployment, allowance)
    else:
        outcome = promote_if_allowed(version, keep_serving)
    facts = {"version": version, "verdict": verdict["verdict"], "lineage_id": verdict["lineage_id"]}
    return {**facts, **place, **outcome, **clock.close()}


def gate_failed(verdict: dict[str, Any]) -> State[Any] | None:
    """Return the state of a run whose model did not pass: a verdict, told from one that broke; None where it passed."""
    from tasks.gate.gate import require_pass

    try:
        require_pass(verdict)
    except GateFailedError as error:
        return Failed(name=GATE_FAILED, message=f"{type(error).__name__}: {error}", data=error)
    return None


@task(name="keep-run", persist_result=False, **TRIED_AGAIN)
def keep_run(verdict: dict[str, Any]) -> dict[str, str] | None:
    """Commit the run's dvc.lock and params.yaml on its branch, where the settings say so."""
    project = Project.here()
    return keep_on_branch(project, load_settings(project.root / "params.yaml"), verdict)


@task(name="push-run", persist_result=False, **TRIED_AGAIN)
def push_run(branch: str) -> None:
    """Send the run's branch to the git remote that the settings name, if any."""
    project = Project.here()
    if remote := push_branch(project, load_settings(project.root / "params.yaml"), branch):
        get_run_logger().info("branch %s pushed to %s", branch, remote)


@task(name="register", persist_result=False, **TRIED_AGAIN)
def register(kept: dict[str, str] | None = None) -> str:
    """Register the quantized model with its evidence and return the version's number.

    Args:
        kept: branch and commit that the run is kept on; tags of the version say them.
    """
    from tasks.release.register import register as register_version
    from tasks.release.registry import Registry

    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    version = register_version(project, settings)
    registry = Registry(project, settings.register_.model_name)
    for name, value in (kept or {}).items():
        registry.tag(version.number, f"run_{name}", value)
    show_pages(project, registry, version)
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
    if reason := run_deployed("promote", deployment, parameters, get_run_logger(), allowance).reason:
        raise reason
    return {"outcome": f"version {version}: handed to {deployment}, whose run says what became of it", "answers": []}


@task(name="publish-evidence", persist_result=False, **TRIED_AGAIN)
def publish_evidence() -> dict[str, Any]:
    """Show the verdict, and the figures beside the champion's, in the Prefect UI and return the verdict."""
    from tasks.release.registry import Registry

    project = Project.here()
    verdict: dict[str, Any] = read_json(project.root / GATE / "verdict.json")
    words = (project.root / GATE / "verdict.md").read_text(encoding="utf-8")
    said = f"{verdict['verdict']} {verdict['lineage_id']} of commit {code_words(project.root) or '(none)'}"
    create_markdown_artifact(words, key="verdict", description=said)
    settings = load_settings(project.root / "params.yaml")
    show_metrics(project, Registry(project, settings.register_.model_name).champion())
    return verdict


def _allowance(project: Project) -> Allowance:
    """Return the time that a run which begins now has, by `limits` in params.yaml."""
    return Allowance.begin(load_settings(project.root / "params.yaml").limits)
