"""One name everywhere: stage = function = params section = dvc.yaml stage = Prefect task."""

from pathlib import Path

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
