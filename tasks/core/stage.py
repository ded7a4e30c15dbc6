"""The stages: one entry each, read by the CLI, the Prefect flow and the tests that hold dvc.yaml to it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from tasks.core.errors import ConfigError

PIPELINE_LOCK = "infra/environments/pipeline.lock"
SERVE_LOCK = "infra/environments/serve.lock"
#: The model on its way: base + adapter are two files served as one, then one file, then a small one.
HOPS = ("base", "adapter", "merged", "awq")


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
            `runs` (the folder of how long each stage took).
        judged: the input whose lineage this stage's output carries (evidence about a model, not a new model).
        gpu: whether it belongs on the gpu work pool.
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


RAW = "data/raw"
PREPARED = "data/prepared"
VALIDATION = "data/reports/validation"
ADAPTER = "data/models/adapter"
MERGED = "data/models/merged"
AWQ = "data/models/awq"
GATE = "data/reports/gate"
DOSSIER = "data/reports/dossier"


def report_of(hop: str) -> str:
    """Return the path of a hop's evaluation report."""
    return f"data/reports/eval/{hop}"


#: Not the catalogue beside them: a new entry must train nothing again.
_MODELS = ("tasks/models/base.py", "tasks/models/packaged.py", "tasks/models/safety.py")
_CONVERSATION = "tasks/data/conversation.py"
_CHAT = ("tasks/training/chat.py", "tasks/training/rows.py", _CONVERSATION)
#: What training leaves as evidence of its tokens.
_PARITY = tuple(f"tasks/evaluation/parity/{name}" for name in ("conversations.json", "conversations.py", "labels.py"))


def _evaluate(hop: str, **model: str) -> Stage:
    """Return the evaluation of one hop; the base model is no DVC output and comes as `base`."""
    return Stage(
        name=f"evaluate@{hop}",
        function="tasks.evaluation.evaluate:evaluate",
        inputs=_inputs(raw=RAW, prepared=PREPARED, **model),
        output=report_of(hop),
        code=(
            "tasks/evaluation",
            "tasks/serving/vllm_server.py",
            *_MODELS,
            *_CHAT,
            "tasks/data/matching/folding.py",
            PIPELINE_LOCK,
            SERVE_LOCK,
        ),
        sections=("serve.vllm", "base_model"),
        base_model=True,
        extras=("scratch", "project", "hop"),
        judged=next(iter(model), None),
        gpu=True,
    )


_GATE_CODE = ("tasks/release/gate", "tasks/release/model_files.py", "tasks/data/matching")
_DOSSIER_CODE = ("tasks/release/dossier", "tasks/release/gate/words.py", "tasks/release/model_files.py")
#: The leak search reads evaluation sets as the evaluation does.
_DATA_CODE = ("tasks/data", "tasks/evaluation/exams/hub.py", "tasks/evaluation/exams/schema.py", PIPELINE_LOCK)
_REPORTS = {f"eval_{hop}": report_of(hop) for hop in HOPS}

STAGES: tuple[Stage, ...] = (
    Stage(
        name="prepare",
        function="tasks.data.prepare:prepare",
        inputs=_inputs(raw=RAW),
        output=PREPARED,
        # The base model's own tokenizer tells which rows are too long to be trained on.
        code=(*_DATA_CODE, *_MODELS, "tasks/training/chat.py", "tasks/training/tokenizer.py"),
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
        code=_DATA_CODE,
    ),
    Stage(
        name="train",
        function="tasks.training.train:train",
        # `validation` is read for its manifest alone: rows with a broken critical expectation are never trained on.
        inputs=_inputs(prepared=PREPARED, validation=VALIDATION),
        output=ADAPTER,
        code=("tasks/training", *_MODELS, *_PARITY, _CONVERSATION, PIPELINE_LOCK),
        base_model=True,
        extras=("scratch", "lineage_id", "project"),
        gpu=True,
    ),
    Stage(
        name="merge",
        function="tasks.training.merge:merge",
        inputs=_inputs(adapter=ADAPTER),
        output=MERGED,
        code=("tasks/training", *_MODELS, PIPELINE_LOCK),
        base_model=True,
    ),
    Stage(
        name="quantize",
        function="tasks.quantization.quantize:quantize",
        inputs=_inputs(merged=MERGED, prepared=PREPARED),
        output=AWQ,
        # Held-out answers are the tokens that training would take its loss on.
        code=("tasks/quantization", *_MODELS, *_CHAT, PIPELINE_LOCK),
        gpu=True,
    ),
    _evaluate("base"),
    _evaluate("adapter", adapter=ADAPTER),
    _evaluate("merged", model=MERGED),
    _evaluate("awq", model=AWQ),
    Stage(
        name="gate",
        function="tasks.release.gate.gate:gate",
        inputs=_inputs(**_REPORTS, prepared=PREPARED, adapter=ADAPTER, merged=MERGED, awq=AWQ),
        output=GATE,
        code=(*_GATE_CODE, "tasks/evaluation/statistics.py", PIPELINE_LOCK),
        sections=("profile", "evaluate"),
        judged="awq",
    ),
    Stage(
        name="dossier",
        function="tasks.release.dossier.dossier:dossier",
        inputs=_inputs(**_REPORTS, gate=GATE, prepared=PREPARED, validation=VALIDATION, adapter=ADAPTER, awq=AWQ),
        output=DOSSIER,
        code=(*_DOSSIER_CODE, PIPELINE_LOCK),
        sections=("profile", "hardware", "base_model", "promote"),
        # How long the stages took: shown as cost, no part of the evidence.
        extras=("runs",),
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


def producer_of(path: str) -> Stage | None:
    """Return the stage that writes `path`, or None where the path is an input of the project."""
    return next((stage for stage in STAGES if PurePosixPath(path).is_relative_to(stage.output)), None)
