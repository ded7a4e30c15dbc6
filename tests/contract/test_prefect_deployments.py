"""infra/prefect.yaml asks for flows, parameters and pools that exist, and knows no machine."""

import ast
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from flows.environment import enter_checkout
from flows.workers import POOLS
from tasks.core.errors import ConfigError

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "infra" / "prefect.yaml").read_text("utf-8")
FILE = yaml.safe_load(TEXT)
DEPLOYMENTS = {item["entrypoint"].rpartition(":")[2] + "/" + item["name"]: item for item in FILE["deployments"]}


def test_the_deployments_the_readme_promises():
    assert set(DEPLOYMENTS) == {
        "pipeline/nightly",
        "stage/gpu",
        "promote/promote",
        "rollback/rollback",
        "reconcile/reconcile",
    }


def test_prefect_is_the_locked_one():
    lock = (ROOT / "infra" / "environments" / "pipeline.lock").read_text("utf-8")
    assert f"prefect=={FILE['prefect-version']}\n" in lock


@pytest.mark.parametrize("item", DEPLOYMENTS.values(), ids=DEPLOYMENTS)
def test_entrypoint_is_a_flow_that_takes_the_parameters(item):
    path, _, name = item["entrypoint"].partition(":")
    found = getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)
    assert found.name == name
    assert found.retries == 0, "a flow cannot tell a transient error from a refusal: tasks retry"
    inspect.signature(found.fn).bind_partial(**item.get("parameters", {}))
    assert item["work_pool"]["name"] in POOLS
    assert item["concurrency_limit"]["limit"] == 1


def test_the_pipeline_hands_gpu_stages_to_a_deployment_of_the_gpu_pool():
    gpu = DEPLOYMENTS["pipeline/nightly"]["parameters"]["gpu_deployment"]
    assert DEPLOYMENTS[gpu]["work_pool"]["name"] == "gpu"


def test_schedules_have_a_name_and_a_time_zone():
    schedules = {name: item["schedules"] for name, item in DEPLOYMENTS.items() if "schedules" in item}
    assert set(schedules) == {"pipeline/nightly", "reconcile/reconcile"}
    for found in schedules.values():
        assert all(item["slug"] and item["timezone"] == "Asia/Shanghai" for item in found)
    assert schedules["reconcile/reconcile"][0]["interval"] == 300


def test_no_machine_stands_in_the_file():
    assert not re.search(r"(?<![\w.*])/(home|root|work|opt|srv|mnt|data|tmp|Users)\b", TEXT)
    assert not re.search(r"\d+\.\d+\.\d+\.\d+|https?://", TEXT)


def test_a_run_goes_to_the_checkout_its_worker_was_installed_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("TUNEGATE_ROOT", raising=False)
    assert enter_checkout() == {"directory": str(ROOT)}
    assert Path.cwd() == ROOT


def test_a_root_that_is_no_checkout_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEGATE_ROOT", str(tmp_path))
    with pytest.raises(ConfigError, match="no Tunegate checkout"):
        enter_checkout()


def _decorated(tree: ast.AST) -> Iterator[tuple[str, set[str]]]:
    """Yield each flow and task that is made in a module, with the settings it is given."""
    for node in ast.walk(tree):
        name = getattr(getattr(node, "func", None), "id", None)
        if isinstance(node, ast.Call) and name in ("flow", "task"):
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            yield name, {f"{key}={value}" for key, value in keywords.items()}


@pytest.mark.parametrize("path", sorted((ROOT / "flows").glob("*.py")), ids=lambda path: path.stem)
def test_no_result_is_persisted(path):
    """Persisted, a task of a factory is served another task's result (findings/prefect_cache_another_task.sh)."""
    for name, given in _decorated(ast.parse(path.read_text("utf-8"))):
        assert "persist_result=False" in given, f"{path.name}: a {name} without persist_result=False"


def test_a_flow_without_the_setting_is_seen():
    assert list(_decorated(ast.parse("@task(name='train')\ndef train(): ..."))) == [("task", {"name='train'"})]
