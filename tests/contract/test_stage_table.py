"""One name everywhere: stage = function = params section = dvc.yaml stage = Prefect task."""

import ast
from pathlib import Path, PurePosixPath

import pytest
from dvc.repo import Repo

from tasks.core.settings import Settings
from tasks.core.stage import STAGE_KEYS, STAGES

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


def _imported(module: str, seen: set[str]) -> set[str]:
    """Return the project modules that decide what a stage writes: its own and all it imports, core left out."""
    path = ROOT / (module.replace(".", "/") + ".py")
    if module in seen or not path.is_file() or module.startswith("tasks.core"):
        return seen
    seen.add(module)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tasks."):
            _imported(node.module, seen)
            for name in node.names:
                _imported(f"{node.module}.{name.name}", seen)
    return seen


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_module_a_stage_imports_is_a_dependency(stage):
    """DVC does not follow imports: a forgotten module would leave stale outputs in place."""
    modules = _imported(stage.function.partition(":")[0], set())
    paths = {module.replace(".", "/") + ".py" for module in modules}
    assert {path for path in paths if not any(PurePosixPath(path).is_relative_to(code) for code in stage.code)} == set()
