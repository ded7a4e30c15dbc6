"""infra/prefect.yaml asks for flows, parameters and pools that exist, and knows no machine."""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml
from prefect.client.schemas.schedules import CronSchedule

from flows.environment import enter_checkout
from flows.workers import POOLS, RESTARTS_AFTER_S, SETTLED_S, Tries
from tasks.core.errors import ConfigError
from tasks.core.params.orchestration import ScheduledParams, ScheduleParams
from tasks.core.settings import load_settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "infra" / "prefect.yaml").read_text("utf-8")
FILE = yaml.safe_load(TEXT)
DEPLOYMENTS = {item["entrypoint"].rpartition(":")[2] + "/" + item["name"]: item for item in FILE["deployments"]}

#: What changes the champion, or looks after it.
RELEASED = {
    "golive/golive",
    "promote/promote",
    "promote/when-approved",
    "rollback/rollback",
    "reconcile/reconcile",
    "monitor/monitor",
}


def test_the_deployments_the_readme_promises():
    assert set(DEPLOYMENTS) == {"pipeline/nightly", "stage/gpu", "trial/gpu", *RELEASED}


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
    assert "concurrency_limit" not in item, (
        "its leases end with the server: a queue's limit holds (flows/deployments.py)"
    )
    assert "schedules" not in item, "params.yaml says when"


def test_the_pipeline_hands_gpu_stages_to_a_deployment_of_the_gpu_pool():
    gpu = DEPLOYMENTS["pipeline/nightly"]["parameters"]["gpu_deployment"]
    assert DEPLOYMENTS[gpu]["work_pool"]["name"] == "gpu"


def test_what_changes_the_champion_runs_on_the_pool_with_the_credential_alone():
    released = {name for name, item in DEPLOYMENTS.items() if item["work_pool"]["name"] == "release"}
    assert released == RELEASED
    nightly = DEPLOYMENTS["pipeline/nightly"]
    assert nightly["work_pool"]["name"] == "cpu"
    assert nightly["parameters"]["release_deployment"] in released


def test_what_params_yaml_schedules_is_deployed():
    scheduled = set(ScheduleParams.model_fields) - {"timezone"}
    assert scheduled == {"nightly", "reconcile", "monitor"}
    assert scheduled <= {item["name"] for item in FILE["deployments"]}


@pytest.mark.parametrize("path", [ROOT / "params.yaml", *(ROOT / "infra" / "profiles").glob("*.yaml")])
def test_a_laptop_starts_nothing_by_itself_and_a_server_does(path):
    settings = load_settings(path)
    active = settings.profile != "laptop"
    schedules = (settings.schedule.nightly, settings.schedule.reconcile, settings.schedule.monitor)
    assert {schedule.active for schedule in schedules} == {active}
    assert settings.schedule.timezone == "Asia/Shanghai"
    assert settings.limits.stage_timeout_s < settings.limits.run_timeout_s


@pytest.mark.parametrize("cron", ["30 2 * * *", "*/5 * * * *", "0 2 * * MON-FRI", "0 3 L * *", "0 2 * * 1#2"])
def test_what_is_taken_for_cron_prefect_takes_too(cron):
    assert ScheduledParams(cron=cron, active=True).cron == CronSchedule(cron=cron, timezone="Asia/Shanghai").cron


@pytest.mark.parametrize(
    ("key", "value"),
    [("cron", "61 * * * *"), ("cron", "* * * *"), ("cron", "30 2 * * * *"), ("cron", "@daily"), ("cron", "0 0 31 2 *"),
     ("cron", "0 2 LW * *"), ("cron", "每天两点半"), ("cron", ""), ("timezone", "Beijing"), ("timezone", "北京"),
     ("timezone", "../etc/passwd"), ("timezone", "Europe"), ("timezone", "")],
)  # fmt: skip
def test_a_wrong_cron_or_time_zone_is_refused_when_settings_are_read(tmp_path, key, value):
    text = re.sub(
        rf'{key}: ("[^"]*"|[^\s,}}]+)', f'{key}: "{value}"', (ROOT / "params.yaml").read_text("utf-8"), count=1
    )
    (tmp_path / "params.yaml").write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=rf"schedule\.(nightly\.)?{key}: "):
        load_settings(tmp_path / "params.yaml")


def test_a_worker_that_ends_again_and_again_is_given_up_and_one_that_ran_for_long_is_not(monkeypatch):
    now = 0.0
    monkeypatch.setattr("flows.workers.time.monotonic", lambda: now)
    tries = Tries()
    assert [tries.next_wait_s() for _ in range(5)] == [*RESTARTS_AFTER_S, None]
    now += SETTLED_S + 1
    assert tries.next_wait_s() == RESTARTS_AFTER_S[0]


def test_no_flow_file_hides_a_package():
    """Prefect puts the folder of an entrypoint first on the path: flows/dvc.py was imported in place of DVC."""
    packages = {*packages_distributions(), *sys.stdlib_module_names}
    assert {"dvc", "prefect", "json"} <= packages
    assert not packages & {path.stem for path in (ROOT / "flows").glob("*.py")}


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
