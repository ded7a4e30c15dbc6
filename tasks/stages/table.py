"""The stages: one entry each, read by the CLI, the Prefect flow and the tests that hold dvc.yaml to it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from itertools import takewhile
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from tasks.core.errors import ConfigError
from tasks.core.layout import ADAPTER, AWQ, DOSSIER, GATE, HOPS, MERGED, PREPARED, RAW, VALIDATION, report_of

PIPELINE_LOCK = "infra/environments/pipeline.lock"
#: What the serving environment holds, CPU or CUDA build: `make setup` writes it, and the same packages the same bytes.
SERVE_INSTALLED = "infra/environments/serve.installed"


@dataclass(frozen=True)
class Stage:
    """A plain function from typed parameters and input paths to files in one output directory.

    The function is called as `function(params, output=Path, **inputs, **extras)` and returns a small JSON object.

    Args:
        name: `stage`, or `stage@item` where one function serves several items (as DVC writes it).
        function: `module:function`; imported only when the stage runs.
        inputs: keyword -> path in the project.
        output: the directory the stage owns.
        code: folders and files whose bytes decide what comes out (DVC dependencies and code digest).
        sections: further params sections the function gets, as keywords (dots become underscores).
        base_model: whether the function gets `base`, the folder of the materialized base model.
        extras: other keywords it gets: `scratch` (a folder that outlives a kill), `lineage_id`, `project`, `hop`,
            `runs` (how long each stage before it took, a file each), `reviews` (what people said of answers, if any).
        judged: the input whose lineage this stage's output carries (evidence about a model, not a new model).
        gpu: whether it belongs on the gpu work pool.
        keeps_scratch: whether its scratch folder stays until a stage that builds on it starts. DVC hashes an output
            before it records it, minutes for a large model: ended there, the stage runs again, and from nothing it
            takes days.
    """

    name: str
    function: str
    output: str
    inputs: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    code: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    base_model: bool = False
    extras: tuple[str, ...] = ()
    judged: str | None = None
    gpu: bool = False
    keeps_scratch: bool = False

    @property
    def key(self) -> str:
        """The part before `@`: function, params section and MLflow tag are called this."""
        return self.name.partition("@")[0]

    @property
    def item(self) -> str | None:
        """The part after `@`, if any: the hop."""
        return self.name.partition("@")[2] or None

    @property
    def param_sections(self) -> tuple[str, ...]:
        """Every params section that can change the output."""
        base = ("base_model",) if self.base_model else ()
        return tuple(dict.fromkeys((self.key, *self.sections, *base)))

    def load(self) -> Callable[..., dict[str, Any]]:
        """Import and return the stage function."""
        module, _, name = self.function.partition(":")
        function: Callable[..., dict[str, Any]] = getattr(import_module(module), name)
        return function


def _inputs(**paths: str) -> MappingProxyType[str, str]:
    """Return a read-only mapping of input names to paths."""
    return MappingProxyType(paths)


def _in(folder: str, *names: str) -> tuple[str, ...]:
    """Return the paths of files in one folder."""
    return tuple(f"{folder}/{name}" for name in names)


#: What writes every output. The runner is not among them: what it binds stands in dvc.yaml, which DVC compares.
_WRITING = _in("tasks/core", "digest.py", "files.py", "manifest.py")
#: Not the catalogue beside them: a new entry must train nothing again.
_TOKENIZER = _in("tasks/models", "files.py", "tokenizer_files.py")
_MODELS = (*_in("tasks/models", "architecture.py", "base.py", "packaged.py", "safety.py", "weights.py"), *_TOKENIZER)
#: The leak search reads evaluation sets as the evaluation does.
_EXAMS = _in("tasks/exams", "hub.py", "schema.py", "subjects.json")
#: Not what exports rows: reading them in another format must train nothing again.
_ROWS = _in("tasks/data", "ledger", "matching", "privacy", "reading", "pool.py", "problems.py", "profile.py",
            "ray_pool.py")  # fmt: skip
_EVALUATION = _in("tasks/evaluation", "hops", "multiple_choice", "pack", "parity", "thinking.py")
_ENGINE = _in("tasks/engine", "client.py", "environment.py", "fingerprint.py", "fork_client.py", "fork_server.py",
              "forking.py", "plugins", "queries.py", "server.py", "spans.py")  # fmt: skip


def _params(*names: str) -> tuple[str, ...]:
    """Return the files that say what is in a section of params.yaml, and what follows from it."""
    return _in("tasks/core/params", *(f"{name}.py" for name in names))


def _evaluate(hop: str, **model: str) -> Stage:
    """Return the evaluation of one hop; the base model is no DVC output and comes as `base`."""
    return Stage(
        name=f"evaluate@{hop}",
        function="tasks.evaluation.hops.evaluate:evaluate",
        inputs=_inputs(raw=RAW, prepared=PREPARED, **model),
        output=report_of(hop),
        code=(
            *_EVALUATION,
            *_ENGINE,
            "tasks/exams",
            "tasks/chat",
            *_MODELS,
            *_in("tasks/core", "folding.py", "processor.py"),
            *_params("evaluate", "engine", "model"),
            *_WRITING,
            PIPELINE_LOCK,
            SERVE_INSTALLED,
        ),
        sections=("serve.vllm", "base_model"),
        base_model=True,
        extras=("scratch", "project", "hop"),
        judged=next(iter(model), None),
        gpu=True,
    )


_REPORTS = {f"eval_{hop}": report_of(hop) for hop in HOPS}

STAGES: tuple[Stage, ...] = (
    Stage(
        name="prepare",
        function="tasks.data.prepare:prepare",
        inputs=_inputs(raw=RAW),
        output=PREPARED,
        code=(
            *_ROWS,
            *_in("tasks/data", "passes", "prepare.py", "split.py", "tokens.py"),
            *_EXAMS,
            # The base model's own tokenizer and template tell which rows are too long, and which answers carry no loss.
            *_in("tasks/chat", "additions.py", "conversation.py", "rows.py", "sequences.py", "template.py"),
            "tasks/chat/tokenizer.py",
            *_MODELS,
            "tasks/core/folding.py",
            *_params("data", "evaluate"),
            *_WRITING,
            PIPELINE_LOCK,
        ),
        sections=("evaluate.exams", "evaluate.domain", "train.max_length_tokens"),
        base_model=True,
        extras=("scratch",),
    ),
    Stage(
        name="validate",
        function="tasks.data.validate:validate",
        # `raw` holds the profile of the last released dataset.
        inputs=_inputs(prepared=PREPARED, raw=RAW),
        output=VALIDATION,
        code=(
            *_ROWS,
            *_in("tasks/data", "expectations", "validate.py"),
            *_EXAMS,
            "tasks/chat/conversation.py",
            "tasks/core/folding.py",
            *_params("data"),
            *_WRITING,
            PIPELINE_LOCK,
        ),
    ),
    Stage(
        name="train",
        function="tasks.training.train:train",
        # `validation` is read for its manifest alone: rows with a broken critical expectation are never trained on.
        inputs=_inputs(prepared=PREPARED, validation=VALIDATION),
        output=ADAPTER,
        # Not all of the room: a change to the merge must not train for hours again.
        code=(
            *_in("tasks/training", "attention.py", "batches.py", "checkpoints.py", "experts.py", "interruption.py"),
            *_in("tasks/training", "lora_linear.py", "loss.py", "model.py", "parallel", "train.py", "trainer.py"),
            *_in("tasks/core", "processor.py", "stop.py"),
            "tasks/chat",
            *_MODELS,
            *_params("model"),
            *_WRITING,
            PIPELINE_LOCK,
        ),
        base_model=True,
        extras=("scratch", "lineage_id", "project"),
        gpu=True,
        keeps_scratch=True,
    ),
    Stage(
        name="merge",
        function="tasks.training.merge:merge",
        inputs=_inputs(adapter=ADAPTER),
        output=MERGED,
        code=(
            *_in("tasks/training", "experts.py", "merge.py"),
            "tasks/chat/tokenizer.py",
            *_MODELS,
            *_params("model"),
            *_WRITING,
            PIPELINE_LOCK,
        ),
        base_model=True,
    ),
    Stage(
        name="quantize",
        function="tasks.quantization.quantize:quantize",
        inputs=_inputs(merged=MERGED, prepared=PREPARED),
        output=AWQ,
        code=(
            "tasks/quantization",
            # Held-out answers are the tokens that training would take its loss on.
            *_in("tasks/chat", "conversation.py", "rows.py", "sequences.py", "template.py", "tokenizer.py"),
            *_in("tasks/models", "architecture.py", "safety.py", "weights.py"),
            *_TOKENIZER,
            "tasks/core/processor.py",
            *_params("model"),
            *_WRITING,
            PIPELINE_LOCK,
        ),
        gpu=True,
    ),
    _evaluate("base"),
    _evaluate("adapter", adapter=ADAPTER),
    _evaluate("merged", model=MERGED),
    _evaluate("awq", model=AWQ),
    Stage(
        name="gate",
        function="tasks.gate.gate:gate",
        inputs=_inputs(**_REPORTS, prepared=PREPARED, adapter=ADAPTER, merged=MERGED, awq=AWQ),
        output=GATE,
        code=(
            "tasks/gate",
            "tasks/evaluation/statistics",
            "tasks/data/matching/normalization.py",
            "tasks/models/files.py",
            *_in("tasks/core", "folding.py", "layout.py"),
            *_params("gate", "evaluate", "model"),
            *_WRITING,
            PIPELINE_LOCK,
        ),
        sections=("profile", "evaluate", "base_model"),
        judged="awq",
    ),
    Stage(
        name="dossier",
        function="tasks.dossier.dossier:dossier",
        inputs=_inputs(**_REPORTS, gate=GATE, prepared=PREPARED, validation=VALIDATION, adapter=ADAPTER, awq=AWQ),
        output=DOSSIER,
        code=(
            "tasks/dossier",
            "tasks/gate/words.py",
            "tasks/models/files.py",
            *_in("tasks/core", "layout.py", "progress.py"),
            *_params("gate", "model", "release"),
            *_WRITING,
            PIPELINE_LOCK,
        ),
        sections=("profile", "hardware", "base_model", "promote"),
        # How long the stages took: shown as cost, no part of the evidence.
        extras=("runs", "reviews"),
        judged="awq",
    ),
)

#: Order of the stages by name, each name once.
STAGE_KEYS: tuple[str, ...] = tuple(dict.fromkeys(stage.key for stage in STAGES))


def find_stages(name: str) -> list[Stage]:
    """Return the stage called `name`, or all items of it (`evaluate` -> `evaluate@base`, ...).

    Raises:
        ConfigError: no stage has that name.
    """
    found = [stage for stage in STAGES if name in (stage.name, stage.key)]
    if not found:
        raise ConfigError(f"no stage is called {name!r}", f"one of: {', '.join(stage.name for stage in STAGES)}")
    return found


def before(stage: Stage) -> tuple[Stage, ...]:
    """Return the stages that come before this one, in order."""
    return tuple(takewhile(lambda known: known.name != stage.name, STAGES))


def reads(stage: Stage) -> tuple[Stage, ...]:
    """Return the stages whose output this one reads, in order."""
    read = [producer_of(path) for path in stage.inputs.values()]
    return tuple(known for known in STAGES if known in read)


def built_on(stage: Stage) -> tuple[Stage, ...]:
    """Return the stages without whose output this one's could not be, in order."""
    names = {earlier.name for one in reads(stage) for earlier in (one, *built_on(one))}
    return tuple(known for known in STAGES if known.name in names)


def producer_of(path: str) -> Stage | None:
    """Return the stage that writes `path`, or None where the path is an input of the project."""
    return next((stage for stage in STAGES if PurePosixPath(path).is_relative_to(stage.output)), None)
