"""Run one stage: bind its inputs, call its function in a fresh directory, write the manifest, rename into place."""

import errno
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.core.digest import sha256_file, sha256_json
from tasks.core.errors import ConfigError, DataContractError, MissingToolError
from tasks.core.files import replaced_directory, write_json
from tasks.core.gpus import SERVER_GPUS, TRAINING_GPUS, working_on
from tasks.core.layout import REVIEWS
from tasks.core.manifest import MANIFEST, read_manifest, write_manifest
from tasks.core.progress import duration
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.proof.rules import fix_rules
from tasks.stages.lineage import Parts, parts_of
from tasks.stages.ports import evaluation_port
from tasks.stages.table import SERVE_INSTALLED, Stage, before, built_on, producer_of

log = logging.getLogger(__name__)


def run_stage(stage: Stage, project: Project, settings: Settings) -> dict[str, Any]:
    """Run `stage` in this process and return its summary (what the CLI prints as its last line).

    Raises:
        ConfigError: production asks for a pinned base model, or the GPUs to work on are wrongly named.
        MissingToolError: the GPUs to work on are too few.
        DataContractError: an input is absent, incomplete or made from other data than the rest.
        TunegateError: whatever the stage function refuses.
    """
    # Before anything imports torch: the base model's conversion does too.
    setting = TRAINING_GPUS if stage.key == "train" else SERVER_GPUS
    cards = working_on(*work_gpus(stage, settings), setting, what=f"{stage.name} in {project.root.name}")
    with cards, evaluation_port(stage, project):
        return _run(stage, project, settings)


def work_gpus(stage: Stage, settings: Settings) -> tuple[int, int]:
    """Return how many GPUs a stage cannot do without and how many it can use.

    Each process that trains has a card of its own. Evaluation's server spreads each hop over as many as the slots' do,
    and quantization holds the same bf16 model, the rest in memory where it has fewer. Merging is done in memory.
    """
    each, processes = settings.serve.vllm.tensor_parallel, settings.train.parallel.processes
    return {"train": (processes, processes), "quantize": (1, each), "evaluate": (each, each)}.get(stage.key, (0, 0))


def _run(stage: Stage, project: Project, settings: Settings) -> dict[str, Any]:
    """Bind the inputs of `stage`, call its function, write the manifest."""
    from tasks.machine.energy import joules_between, read_counters

    started, energy = time.monotonic(), read_counters()
    log.info("%s: start", stage.name)
    manifests = {name: read_manifest(project.root / path) for name, path in _made_inputs(stage).items()}
    _require_raw(stage, project.root)
    _require_code(stage, project.root)
    _forget_scratch_of_earlier(stage, project)
    base = _materialize_base(stage, project, settings)
    parts = parts_of(stage, project.root, settings, manifests, base.digest if base else None)
    lineage_id = manifests[stage.judged]["lineage_id"] if stage.judged else parts.lineage_id
    scratch = project.own / "scratch" / f"{stage.name}-{_half_done(stage, parts, settings)[:12]}"
    resumed = scratch.is_dir() and any(scratch.iterdir())
    keywords = _keywords(stage, project, settings, lineage_id, scratch)
    # Before anybody can know how it goes. Content only: who fixed them, and when, stays outside.
    rules = fix_rules(project, settings.gate, lineage_id, resumed=resumed) if stage.key == "train" else None
    if base:
        keywords["base"] = base.path
    with _disk_full_is_clear(stage, project), replaced_directory(project.root / stage.output) as output:
        summary = stage.load()(settings.section(stage.key), output=output, **keywords)
        header = _header(stage, project.root, parts, lineage_id)
        write_manifest(output, header | ({"rules_sha256": rules} if rules else {}))
    if not stage.keeps_scratch:
        shutil.rmtree(scratch, ignore_errors=True)
    seconds = time.monotonic() - started
    # Volatile facts stay outside the outputs: they would change the content hash.
    run = {"stage": stage.name, "seconds": round(seconds, 2), "joules": joules_between(energy, read_counters())}
    write_json(project.own / "runs" / f"{stage.name}.json", run)
    log.info("%s: done in %s -> %s", stage.name, duration(seconds), stage.output)
    return {"stage": stage.name, "lineage_id": lineage_id, "output": stage.output, **summary}


@contextmanager
def _disk_full_is_clear(stage: Stage, project: Project) -> Iterator[None]:
    """Turn "no space left on device" into one message; what was written before stays, the half output is removed."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise MissingToolError(
            f"stage {stage.name}: the disk is full ({project.root})",
            "free space, then run the same command again: tunegate versions prune deletes old versions' weights; "
            "dvc gc -w deletes every cached output outside the present dvc.lock (registered versions keep theirs)",
        ) from error


def _forget_scratch_of_earlier(stage: Stage, project: Project) -> None:
    """Delete what stages kept for the case that their output was never recorded, where this stage builds on it.

    Not of all earlier ones: the base model is evaluated while training is under way.
    """
    for earlier in built_on(stage):
        if earlier.keeps_scratch:
            for folder in (project.own / "scratch").glob(f"{earlier.name}-*"):
                shutil.rmtree(folder, ignore_errors=True)


def _half_done(stage: Stage, parts: Parts, settings: Settings) -> str:
    """Return the digest under which a stage finds what a killed run left: all that its output is made from.

    Training goes on with another number of processes: a step is the same rows, a checkpoint the same files.
    """
    if stage.key != "train":
        return sha256_json(parts.digests)
    section = sha256_json(settings.train.model_dump(mode="json", exclude={"parallel"}))
    return sha256_json(parts.digests | {"params": parts.digests["params"] | {"train": section}})


def _made_inputs(stage: Stage) -> dict[str, str]:
    """Return the inputs that another stage makes (they carry manifests)."""
    return {name: path for name, path in stage.inputs.items() if producer_of(path)}


def _require_raw(stage: Stage, root: Path) -> None:
    """Refuse to start without the project's own inputs."""
    for path in stage.inputs.values():
        if not (root / path).exists():
            raise DataContractError(f"{path} does not exist", f"put your data there, or git checkout {path}")


def _require_code(stage: Stage, root: Path) -> None:
    """Refuse to start where a file that decides the output is not there: its digest would be that of nothing."""
    for path in stage.code:
        if not (root / path).exists():
            hint = "make setup" if path == SERVE_INSTALLED else f"git checkout {path}"
            raise MissingToolError(f"stage {stage.name}: {path} does not exist", hint)


def _materialize_base(stage: Stage, project: Project, settings: Settings) -> Any:
    """Return the base model in bf16 safetensors where the stage reads it."""
    if not stage.base_model:
        return None
    from tasks.models.base import materialize

    base = materialize(settings.base_model, project)
    if settings.promote.environment == "production" and settings.base_model.digest is None:
        # Pinned later it would change base_model, and with it train for days again.
        raise ConfigError(
            f"base_model.digest is null, and promote.environment is production: {settings.base_model.id} is not pinned",
            f'check where the model came from, then in params.yaml under base_model: digest: "{base.digest}"',
        )
    return base


def _keywords(stage: Stage, project: Project, settings: Settings, lineage_id: str, scratch: Path) -> dict[str, Any]:
    """Return the keyword arguments of the stage function."""
    keywords: dict[str, Any] = {name: project.root / path for name, path in stage.inputs.items()}
    keywords |= {name.replace(".", "_"): settings.section(name) for name in stage.sections}
    available = {"scratch": scratch, "lineage_id": lineage_id, "project": project, "hop": stage.item}
    available |= {"runs": [project.own / "runs" / f"{earlier.name}.json" for earlier in before(stage)]}
    available |= {"reviews": project.root / REVIEWS}
    keywords |= {name: available[name] for name in stage.extras}
    if "scratch" in stage.extras:
        scratch.mkdir(parents=True, exist_ok=True)
    return keywords


def _header(stage: Stage, root: Path, parts: Parts, lineage_id: str) -> dict[str, Any]:
    """Return the manifest's facts about the run: stage, lineage, parts, and the manifest of every input."""
    inputs = {
        name: {"path": path, "manifest_sha256": sha256_file(root / path / MANIFEST)}
        for name, path in _made_inputs(stage).items()
    }
    return {"stage": stage.name, "lineage_id": lineage_id, "parts": parts.digests, "inputs": inputs}
