"""One name everywhere: stage = function = params section = dvc.yaml stage = Prefect task."""

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

import grimp
import pytest
from dvc.repo import Repo
from pydantic import BaseModel

from tasks.core.layout import HOPS
from tasks.core.settings import Settings, load_settings
from tasks.stages.table import SERVE_INSTALLED, STAGE_KEYS, STAGES, Stage, find_stages

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def dvc_stages():
    with Repo(str(ROOT)) as repo:
        yield {stage.addressing: stage for stage in repo.index.stages}


def test_dvc_knows_the_same_stages(dvc_stages):
    assert set(dvc_stages) == {stage.name for stage in STAGES}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_dvc_stage_agrees_with_the_table(dvc_stages, stage):
    found = dvc_stages[stage.name]
    params = {name for dep in found.deps for name in getattr(dep, "params", [])}
    paths = {dep.def_path for dep in found.deps if not getattr(dep, "params", None)}
    assert params == set(stage.param_sections)
    assert {*stage.inputs.values(), *stage.code} <= paths
    assert paths - {*stage.inputs.values(), *stage.code} <= {"data/raw/eval"}  # stands in for the base model
    assert [out.def_path for out in found.outs] == [stage.output]
    assert found.cmd.endswith(f"tunegate stage {stage.name}")


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_function_is_named_like_the_stage_and_is_importable(stage):
    assert stage.function.endswith(f":{stage.key}")
    assert callable(stage.load())


@pytest.mark.parametrize("key", STAGE_KEYS)
def test_every_stage_has_a_params_section(key):
    names = {field.alias or name for name, field in Settings.model_fields.items()}
    assert key in names


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_code_that_decides_the_output_exists(stage):
    for path in stage.code:
        assert (ROOT / path).exists(), path


#: Files of ours that a stage reaches and that cannot change its output, and why.
HARMLESS = {
    "tasks/core/errors.py": "words of a refusal: what is refused writes nothing",
    "tasks/core/gpus.py": "which cards of this machine do the work, not what they write",
    "tasks/core/gpu_leases.py": "who works on which card now",
    "tasks/core/guard.py": "exit codes",
    "tasks/core/keeper.py": "ends processes whose owner is gone",
    "tasks/core/logs.py": "lines for people",
    "tasks/core/progress.py": "lines for people; the dossier, which prints durations, names it",
    "tasks/core/project.py": "ports, interpreters and folders of this machine",
    "tasks/core/settings.py": "reads params.yaml, whose values DVC compares itself",
    "tasks/core/schemes.py": "refuses what no card serves",
    "tasks/core/params/section.py": "refuses unknown keys",
    "tasks/core/exclusive.py": "locks",
    "tasks/core/outbox.py": "the record in MLflow, no output",
    "tasks/core/tracking.py": "the record in MLflow, no output",
    "tasks/core/training_record.py": "the record in MLflow, no output",
    "tasks/engine/yielding.py": "which process waits for which; an evaluation's server yields to nobody",
}
PARAMS = "tasks/core/params"


@pytest.fixture(scope="module")
def imports():
    return grimp.build_graph("tasks", cache_dir=None)


def _file(module: str) -> PurePosixPath:
    path = PurePosixPath(module.replace(".", "/"))
    return path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")


def reached(imports: grimp.ImportGraph, module: str) -> set[str]:
    """Return the files whose bytes reach a stage: its module, all it imports at any depth, the data files they name."""
    modules = {module} | imports.find_upstream_modules(module)
    files = {str(_file(name)) for name in modules if _is_code(ROOT / _file(name))}
    return files | {str(data) for name in files for data in _data_files(PurePosixPath(name))}


def _is_code(path: Path) -> bool:
    """Tell a package's docstring from code."""
    return len(ast.parse(path.read_text(encoding="utf-8")).body) > 1 or path.name != "__init__.py"


def _data_files(path: PurePosixPath) -> Iterator[PurePosixPath]:
    """Yield what lies beside a module and is named in it: tables, templates, programs started by path."""
    source = (ROOT / path).read_text(encoding="utf-8")
    for found in (ROOT / path.parent).iterdir():
        # Code that names the cache of bytecode means every package's: it is there or not, and changes nothing.
        if f'"{found.name}"' in source and found.name not in (path.name, "__pycache__"):
            yield path.parent / found.name


def undeclared(stage: Stage, files: set[str]) -> set[str]:
    """Return the files that can change a stage's output and stand in neither its code nor the list above."""
    # The values of other sections are no parameters of this stage.
    others = {f"{PARAMS}/{path.name}" for path in (ROOT / PARAMS).glob("*.py")} - params_files(stage)
    open_files = files - set(HARMLESS) - others
    return {path for path in open_files if not any(PurePosixPath(path).is_relative_to(code) for code in stage.code)}


def params_files(stage: Stage) -> set[str]:
    """Return the files that say what is in the sections a stage's function gets."""
    settings = load_settings(ROOT / "params.yaml")
    values = [settings.section(name) for name in (stage.key, *stage.sections)]
    models = {type(item) for value in values for item in (value if isinstance(value, list) else [value])}
    return {str(_file(kind.__module__)) for kind in models if issubclass(kind, BaseModel)}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_file_that_can_change_an_output_is_a_dependency(stage, imports):
    """DVC does not follow imports: a forgotten file would leave stale outputs in place."""
    files = reached(imports, stage.function.partition(":")[0]) | params_files(stage)
    assert undeclared(stage, files) == set()


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_no_file_is_a_dependency_for_nothing(stage, imports):
    """A file named without need trains for hours again when it changes."""
    files = reached(imports, stage.function.partition(":")[0]) | params_files(stage)
    # The runner makes the base model and writes the manifest.
    runner = reached(imports, "tasks.models.base") | reached(imports, "tasks.core.manifest")
    named = {code for code in stage.code if code.startswith("tasks/")}
    assert {
        code for code in named if not any(PurePosixPath(path).is_relative_to(code) for path in files | runner)
    } == set()


@pytest.mark.parametrize(
    ("name", "forgotten"),
    [
        ("train", "tasks/chat/sequences.py"), ("train", "tasks/chat/shapes.json"), ("prepare", "tasks/core/folding.py"),
        ("quantize", "tasks/chat/sequences.py"), ("evaluate@awq", "tasks/engine/queries.py"),
        ("evaluate@awq", "tasks/core/params/engine.py"), ("gate", "tasks/core/layout.py"),
    ],
)  # fmt: skip
def test_a_forgotten_file_is_found(name, forgotten, imports):
    [stage] = find_stages(name)
    files = reached(imports, stage.function.partition(":")[0]) | params_files(stage)
    without = tuple(code for code in stage.code if not PurePosixPath(forgotten).is_relative_to(code))
    assert forgotten in undeclared(replace(stage, code=without), files)


def test_the_list_of_harmless_files_names_no_file_that_is_gone():
    assert {path for path in HARMLESS if not (ROOT / path).is_file()} == set()


def test_which_packages_serve_is_part_of_every_evaluation():
    asked = [stage for stage in STAGES if stage.key == "evaluate"]
    assert [SERVE_INSTALLED in stage.code for stage in asked] == [True] * len(HOPS)
    assert not any(SERVE_INSTALLED in stage.code for stage in STAGES if stage.key != "evaluate")
