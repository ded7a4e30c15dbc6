"""A stage on a machine that shares no folder with the pipeline's: its inputs and outputs go over a DVC remote.

    pipeline                                     worker of the other pool
    lend: inputs -> remote, their dvc.lock   ->  borrow: inputs <- remote, what no cache holds is made
                                                 DVC runs the stage
    take_back: outputs <- remote, dvc.lock   <-  give_back: outputs -> remote, then run-cache, then an artifact

The artifact is the last thing and lies on Prefect's server: a worker that is lost before it has it has handed nothing
back, and the next try finds what was done (its own dvc.lock, or the run-cache on the remote) and goes on from there.
"""

import json
from pathlib import Path
from typing import Any, cast

from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey

from flows.limits import Allowance
from flows.objects import Moved, fetch, fetch_recorded, inputs_of, outputs_of, push, push_recorded, remote_of
from flows.repo import opened, read_lock, write_lock
from flows.repro import AnyLogger, run_through_dvc
from flows.transient import answered
from tasks.core.errors import DataContractError, TransientError, TunegateError
from tasks.core.files import read_json, write_json
from tasks.core.manifest import MANIFEST, read_manifest
from tasks.core.project import Project
from tasks.proof.rules import keep_fixed_rules, read_fixed_rules
from tasks.stages.table import Stage, find_stages

#: What Prefect calls an artifact of this kind.
KIND = "hand-over"


def lend(stage: Stage, project: Project, remote: str, logger: AnyLogger) -> dict[str, Any]:
    """Send what a stage needs to the remote, and return the dvc.lock entries of the stages that made it.

    Raises:
        ConfigError, MissingToolError: the remote's name or kind.
        DataContractError: an input is not there.
        TransientError: the remote does not answer.
    """
    with opened(project) as repo:
        place = remote_of(repo, remote)
        cached, made = inputs_of(repo, stage.name)
        moved = push(repo, place, cached.values())
        names = {getattr(out.stage, "name", None) for out in cached.values()} | set(made)
    logger.info("%s: inputs sent to %s: %s", stage.name, remote, moved)
    return {name: entry for name, entry in read_lock(project).items() if name in names}


def borrow(
    stage: Stage, project: Project, remote: str, lock: dict[str, Any], logger: AnyLogger, allowance: Allowance
) -> None:
    """Bring exactly what a stage reads: cached inputs from the remote, the others made here and held to their hash.

    Args:
        stage: which is to run here.
        project: where.
        remote: name of the DVC remote.
        lock: dvc.lock entries of the stages that made its inputs.
        logger: of the flow run.
        allowance: the time that is left.

    Raises:
        ConfigError, MissingToolError: the remote's name or kind.
        DataContractError: what was made here is not what the pipeline has.
        TransientError: the remote does not answer, or has something in part.
    """
    with opened(project) as repo:
        write_lock(project, lock)
    # Opened again: DVC has read dvc.lock by then.
    with opened(project) as repo:
        place = remote_of(repo, remote)
        cached, made = inputs_of(repo, stage.name)
        moved = fetch(repo, place, cached.values())
    logger.info("%s: inputs brought from %s: %s", stage.name, remote, moved)
    for name in made:
        _make(name, project, lock.get(name), logger, allowance)
    with opened(project) as repo:
        if fetch_recorded(repo, remote_of(repo, remote), stage.name):
            logger.info("%s: %s has what it made of these inputs before", stage.name, remote)


def give_back(stage: Stage, project: Project, remote: str, logger: AnyLogger) -> None:
    """Send the outputs of a stage to the remote and then say that they are there.

    Raises:
        TransientError: the remote does not answer.
    """
    with opened(project) as repo:
        place = remote_of(repo, remote)
        moved = push(repo, place, outputs_of(repo, stage.name))
        push_recorded(repo, place, stage.name)
    logger.info("%s: outputs sent to %s: %s", stage.name, remote, moved)
    note = {"lock": read_lock(project)[stage.name], "moved": vars(moved), **_beside(stage, project)}
    word = Artifact(type=KIND, key=_key(stage), description=f"{stage.name} -> {remote}: {moved}", data=note)
    answered(word.create, stage.name, logger)


def take_back(stage: Stage, project: Project, remote: str, run_id: Any, logger: AnyLogger) -> None:
    """Bring what a stage made on another machine, and enter it into this folder's dvc.lock.

    Args:
        stage: which ran there.
        project: the pipeline's folder.
        remote: name of the DVC remote.
        run_id: Prefect's, of the run that ran it.
        logger: of the task run.

    Raises:
        TransientError: the run left no word, the remote does not answer, or has something in part.
    """
    note = _note_of(run_id, stage, logger)
    before = read_lock(project).get(stage.name)
    with opened(project):
        write_lock(project, {stage.name: note["lock"]})
    try:
        moved = _fetch_outputs(stage, project, remote)
    except TunegateError:
        # An entry says that the output is here.
        with opened(project):
            write_lock(project, {stage.name: before})
        raise
    _keep_beside(stage, project, note)
    logger.info("%s: outputs brought from %s: %s", stage.name, remote, moved)


def _fetch_outputs(stage: Stage, project: Project, remote: str) -> Moved:
    """Bring the outputs of a stage by its entry in dvc.lock."""
    with opened(project) as repo:
        return fetch(repo, remote_of(repo, remote), outputs_of(repo, stage.name))


def _make(name: str, project: Project, expected: Any, logger: AnyLogger, allowance: Allowance) -> None:
    """Make an input that no cache holds, and hold it to what the pipeline has.

    Raises:
        DataContractError: it is another one.
    """
    for stage in find_stages(name):
        logger.info("%s: made here, its output is in no cache", stage.name)
        run_through_dvc(stage, project, logger, allowance)
        made = read_lock(project)[stage.name]
        if expected is not None and _hashes(made) != _hashes(expected):
            raise DataContractError(
                f"{stage.output} made here is not the pipeline's: {_hashes(made)}, there {_hashes(expected)}",
                "the two machines differ in more than their folders (packages, processor): tunegate doctor on both",
            )


def _hashes(entry: dict[str, Any]) -> dict[str, str]:
    """Return the hash of each output of a dvc.lock entry."""
    return {out["path"]: out["md5"] for out in entry.get("outs", ())}


def _beside(stage: Stage, project: Project) -> dict[str, Any]:
    """Return what a stage leaves outside its output: how long it took, and the rules that training fixed and signed."""
    found: dict[str, Any] = {}
    if (path := _measured(stage, project)).is_file():
        found["run"] = read_json(path)
    if (project.root / stage.output / MANIFEST).is_file():
        manifest = read_manifest(project.root / stage.output)
        if digest := manifest.get("rules_sha256"):
            found["rules"] = read_fixed_rules(project, manifest["lineage_id"], digest)
    return found


def _keep_beside(stage: Stage, project: Project, note: dict[str, Any]) -> None:
    """Keep what a stage on another machine left outside its output."""
    if "run" in note:
        write_json(_measured(stage, project), note["run"])
    if note.get("rules"):
        manifest = read_manifest(project.root / stage.output)
        keep_fixed_rules(project, manifest["lineage_id"], manifest["rules_sha256"], note["rules"])


def _measured(stage: Stage, project: Project) -> Path:
    """Return where the runner writes how long a stage took."""
    return project.own / "runs" / f"{stage.name}.json"


def _key(stage: Stage) -> str:
    """Return the key of a stage's artifact: Prefect takes small letters, numbers and dashes."""
    return f"{KIND}-{stage.name.replace('@', '-')}"


def _note_of(run_id: Any, stage: Stage, logger: AnyLogger) -> dict[str, Any]:
    """Return what a run of a stage handed back.

    Raises:
        TransientError: it completed without.
    """
    wanted = ArtifactFilter(
        flow_run_id=ArtifactFilterFlowRunId(any_=[run_id]), key=ArtifactFilterKey(any_=[_key(stage)])
    )

    def ask() -> list[Any]:
        with get_client(sync_client=True) as client:
            return client.read_artifacts(artifact_filter=wanted)

    found = answered(ask, stage.name, logger)
    if not found:
        raise TransientError(f"{stage.name}: its run handed nothing back", "are both workers of the same release?")
    # Prefect keeps what an artifact says as text.
    return cast("dict[str, Any]", json.loads(str(found[0].data)))
