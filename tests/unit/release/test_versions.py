"""A version is immutable: its own write-once place, read back and checked at every read, whatever ends half-way."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tasks.core import tracking
from tasks.core.errors import ConfigError, DataContractError, GateFailedError, TransientError
from tasks.core.files import read_json
from tasks.core.layout import ADAPTER, AWQ, DOSSIER, GATE, report_of
from tasks.core.outbox import Pace, Spool
from tasks.core.training_record import training_run
from tasks.release import register as register_module
from tasks.release import version_files
from tasks.release.approvals import approve
from tasks.release.champion import compare_with_champion
from tasks.release.history import ENTRY, read_history
from tasks.release.prune import prune, pruned_words
from tasks.release.reconcile import promote, reconcile_once
from tasks.release.register import register
from tasks.release.registry import Registry
from tasks.release.rollback import rollback
from tasks.release.verdicts import verdict_of
from tests.unit.release.conftest import write_stage

ROOT = Path(__file__).parents[3]


@pytest.fixture
def registry(project, settings):
    return Registry(project, settings.register_.model_name)


@pytest.fixture
def quantized_again(project, run_stages):
    """Return a function that leaves another quantization of the same training behind."""
    run_stages(project, "tg-train")

    def make(number, verdict="PASS"):
        lineage_id = f"tg-{number}"
        write_stage(project.root, AWQ, lineage_id, config={"group_size": 2**number, "注": "另一种量化"})
        write_stage(
            project.root, GATE, lineage_id, verdict={"verdict": verdict, "demo": True, "lineage_id": lineage_id}
        )
        write_stage(project.root, DOSSIER, lineage_id, card={"title": "核应急"})
        results = read_json(project.root / report_of("awq") / "results.json")
        results["metrics"]["domain_bits_per_byte"] = 1.5 + number / 10
        write_stage(project.root, report_of("awq"), lineage_id, results=results)

    return make


@pytest.fixture
def three(project, settings, registry, quantized_again):
    """One training, three quantizations, three versions."""
    lineage_id = read_json(project.root / ADAPTER / "manifest.json")["lineage_id"]
    with training_run(project, lineage_id) as run:
        run.log_step(1, {"loss": 2.0})
    for number in (1, 2, 3):
        quantized_again(number)
        register(project, settings)
    return run.run_id


@pytest.mark.slow
def test_versions_of_one_training_share_nothing(registry, three):
    versions = registry.versions()
    assert [version.number for version in versions] == ["1", "2", "3"]
    assert len({version.run_id for version in versions} | {three}) == 4
    assert {version.tags["tunegate.training_run_id"] for version in versions} == {three}
    for number, version in enumerate(versions, start=1):
        assert read_json(registry.weights(version) / "config.json")["group_size"] == 2**number
    assert [item.path for item in registry.client.list_artifacts(three)] == []


def test_what_training_logged_while_mlflow_was_away_is_sent_before_its_version_is_made(
    project, settings, registry, quantized_again, monkeypatch
):
    quantized_again(1)
    lineage_id = read_json(project.root / ADAPTER / "manifest.json")["lineage_id"]
    with monkeypatch.context() as away:
        away.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        with training_run(project, lineage_id, Pace(last_tries_s=0.0)) as run:
            run.log_step(1, {"loss": 2.0})
    [waiting] = (project.state / "tracking").glob("*.jsonl")
    held = Spool(waiting, 0.0)
    with pytest.raises(TransientError, match=f"has not all of what training {lineage_id} logged: .*running"):
        register(project, settings)
    assert registry.versions() == []
    held.close()
    trained = register(project, settings).tags["tunegate.training_run_id"]
    assert [metric.step for metric in registry.client.get_metric_history(trained, "loss")] == [1]
    assert not waiting.exists()


def test_an_mlflow_lost_while_registering_is_transient_and_leaves_no_half_version(
    project, settings, registry, quantized_again, monkeypatch
):
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    def lost(*given, **named):
        raise MlflowException("API request failed with exception: connection refused")

    quantized_again(1)
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "create_model_version", lost)
        with pytest.raises(TransientError, match="connection refused"):
            register(project, settings)
    assert registry.versions() == []
    assert register(project, settings).number == "1"


def test_a_training_that_mlflow_does_not_know_is_named(project, settings, quantized_again, caplog):
    quantized_again(1)
    assert register(project, settings).tags["tunegate.training_run_id"] == ""
    assert "MLflow has no run of training tg-train-adapter" in caplog.text


@pytest.mark.slow
def test_every_one_keeps_its_own_verdict_and_compares_with_the_others(project, settings, registry, three):
    for number in ("1", "2", "3"):
        assert verdict_of(project, settings, number)["lineage_id"] == f"tg-{number}"
    registry.set_champion("1")
    found = compare_with_champion(registry, settings.gate, registry.version("3"))
    assert (found["champion"], found["version"]) == ("1", "3")


def test_all_serve_and_roll_back_to_each_other(project, settings, registry, three, host):
    for number in ("1", "2", "3"):
        promote(project, settings, number, by="王工", reason="换一种量化")
    assert rollback(project, settings, by="李审", reason="回到上一版")["version"] == "2"
    assert rollback(project, settings, by="李审", reason="再回一版")["version"] == "1"
    assert promote(project, settings, "3", by="王工", reason="再次上线")["version"] == "3"
    assert host.deployed == ["1", "2", "3", "2", "1", "3"]


@pytest.mark.slow
def test_a_failed_second_version_leaves_the_first_as_it_is(project, settings, registry, quantized_again, host):
    quantized_again(1)
    promote(project, settings, register(project, settings).number, by="王工", reason="上线")
    quantized_again(2, verdict="FAIL")
    assert register(project, settings).verdict == "FAIL"
    host.live = None  # the night after: host and slots are gone
    assert reconcile_once(project, settings)["action"] == "deployed"
    assert host.live["version"] == "1"
    assert registry.version("1").verdict == "PASS"


class Killed(BaseException):
    """Stands in for the end of the process: nothing of ours catches it."""


MUTATIONS = ("create_run", "log_artifact", "log_artifacts", "set_tag", "set_terminated", "log_metric",
             "create_registered_model", "create_model_version", "set_model_version_tag")  # fmt: skip


def dying(client, steps):
    """Make a client end the process before its n-th change of the store."""
    left = iter(range(steps, -1, -1))
    for name in MUTATIONS:
        method = getattr(client, name)

        def wrapped(*given, _method=method, **named):
            if next(left, 0) == 0:
                raise Killed
            return _method(*given, **named)

        setattr(client, name, wrapped)
    return client


def test_an_end_at_any_step_leaves_no_half_version(project, settings, registry, quantized_again, monkeypatch):
    quantized_again(1)
    ends = 0
    real = tracking.client
    while True:
        monkeypatch.setattr(tracking, "client", lambda project, steps=ends: dying(real(project), steps))
        try:
            made = register(project, settings)
        except Killed:
            ends += 1
            monkeypatch.setattr(tracking, "client", real)
            for version in registry.versions():
                assert registry.weights(version)
                assert version.verdict == "PASS"
            continue
        break
    assert ends > 10
    monkeypatch.setattr(tracking, "client", real)
    assert [version.number for version in registry.versions()] == [made.number] == ["1"]
    root = registry.client.get_run(made.run_id).info.artifact_uri
    version_files.read_back(root, project.state / "back", made.contents_sha256)


def test_a_half_upload_of_another_commit_does_not_stay(project, settings, registry, quantized_again, monkeypatch):
    quantized_again(1)
    real = tracking.upload

    def cut_off(client, run_id, source, path):
        if path == "reports/gate":
            (project.root / "stray.txt").write_text("of the first try")
            real(client, run_id, project.root / "stray.txt", "checkout")
            raise Killed
        real(client, run_id, source, path)

    monkeypatch.setattr(tracking, "upload", cut_off)
    with pytest.raises(Killed):
        register(project, settings)
    monkeypatch.setattr(tracking, "upload", real)
    version = register(project, settings)
    names = {item.path for item in registry.client.list_artifacts(version.run_id, "checkout")}
    assert names == {"checkout/checkout.json", "checkout/params.yaml"}


def test_a_store_that_changes_a_byte_gets_no_version(project, settings, registry, quantized_again, monkeypatch):
    quantized_again(1)
    real = tracking.upload

    def damaged(client, run_id, source, path):
        real(client, run_id, source, path)
        if path == "model":
            root = registry.client.get_run(run_id).info.artifact_uri
            (tracking.download(f"{root}/model", project.state) / "config.json").write_text("{}")

    monkeypatch.setattr(tracking, "upload", damaged)
    with pytest.raises(DataContractError, match=r"not as it was registered: model/config\.json"):
        register(project, settings)
    assert registry.versions() == []
    monkeypatch.setattr(tracking, "upload", real)
    assert registry.weights(register(project, settings))


@pytest.mark.slow
@pytest.mark.parametrize("path", ["model/config.json", "reports/gate/verdict.json", "contents.json", "model/added.bin"])
def test_a_file_changed_or_added_later_is_found_by_name(project, settings, registry, three, host, path):
    version = registry.version("2")
    root = Path(registry.weights(version)).parent
    (root / path).write_text('{"verdict": "PASS"}')
    reader = verdict_of if path.startswith("reports") else promote
    given = {} if reader is verdict_of else {"by": "王工", "reason": ""}
    with pytest.raises(DataContractError, match=rf"version 2: .*{Path(path).name}"):
        reader(project, settings, "2", **given)
    assert registry.weights(registry.version("1"))
    assert host.deployed == []


def test_approvals_at_once_are_all_kept(project, settings, registry, quantized_again, approvers):
    quantized_again(1)
    register(project, settings)
    people = ["李审", "赵主任", "孙工", "周工"]
    barrier = threading.Barrier(len(people))

    def sign(name):
        barrier.wait()
        approve(Registry(project, settings.register_.model_name), "1", settings.promote, approvers[name], "读过报告")

    threads = [threading.Thread(target=sign, args=(name,)) for name in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(item["by"] for item in registry.version("1").approvals) == sorted(people)


@pytest.mark.slow
def test_prune_never_touches_what_may_serve(project, settings, registry, quantized_again, host):
    for number in range(1, 7):
        quantized_again(number)
        register(project, settings)
    for number in ("2", "4"):
        promote(project, settings, number, by="王工", reason="上线")
    host.live = host.live | {"version": "3"}
    before = prune(project, registry, keep=1, dry_run=True)
    found = prune(project, registry, keep=1)
    assert before["pruned"] == found["pruned"] == ["1", "5"]
    assert set(found["kept"]) == {"2", "3", "4", "6"}
    assert found["freed_bytes"] > 0
    assert "version 2 stays: a rollback can go back to it" in pruned_words(found)
    for number in ("2", "3", "4", "6"):
        assert registry.weights(registry.version(number))
    assert verdict_of(project, settings, "1")["verdict"] == "PASS"
    assert prune(project, registry, keep=1)["pruned"] == []
    assert rollback(project, settings, by="李审", reason="")["version"] == "2"


@pytest.mark.slow
def test_weights_that_a_kept_version_shares_stay(project, settings, registry, three, host):
    first = registry.version("1")
    copied = registry.client.create_model_version(registry.name, first.source, run_id=first.run_id, tags=first.tags)
    found = prune(project, registry, keep=1)
    assert found["pruned"] == ["1", "2", "3"]
    assert registry.weights(registry.version(str(copied.version)))


@pytest.mark.slow
def test_a_pruned_version_says_so_and_goes_nowhere(project, settings, registry, three, host):
    prune(project, registry, keep=1)
    with pytest.raises(GateFailedError, match="weights were deleted on 20"):
        promote(project, settings, "1", by="王工", reason="")
    with pytest.raises(ConfigError, match="--restore DIR") as refused:
        registry.weights(registry.version("1"))
    assert "lineage 1" in refused.value.hint
    registry.set_champion("1")
    assert reconcile_once(project, settings)["action"] == "refused"


def test_a_damaged_history_deletes_nothing(project, settings, registry, three, host):
    promote(project, settings, "1", by="王工", reason="")
    promote(project, settings, "2", by="王工", reason="")
    forged = json.dumps(
        {"sequence": 9, "time": "", "kind": "promote", "version": "1"} | dict.fromkeys(("by", "reason", "previous"), "")
    )
    registry.client.set_registered_model_tag(registry.name, f"{ENTRY}000001", forged)
    with pytest.raises(DataContractError, match="hash chain"):
        prune(project, registry, keep=1)
    assert registry.weights(registry.version("1"))


@pytest.mark.slow
def test_versions_of_an_older_release_still_verify(project, settings, registry, three):
    for name in ("tunegate.contents_sha256",):
        registry.client.delete_model_version_tag(registry.name, "1", name)
    old = registry.version("1")
    folder = registry.weights(old)
    (folder / "config.json").write_text("{}")
    with pytest.raises(DataContractError, match=r"config\.json"):
        registry.weights(old)


DIES = """
import os, signal, sys
from tasks.core import tracking
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.release.register import register
project, left = Project.here(), [int(sys.argv[1])]
real = tracking.upload
def dying(*given):
    real(*given)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
tracking.upload = dying
print(register(project, load_settings(project.root / "params.yaml")).number)
"""


@pytest.mark.slow
@pytest.mark.parametrize("upload", [1, 3, 9])
def test_kill_9_in_the_middle_of_an_upload(project, settings, registry, quantized_again, upload):
    quantized_again(1)
    (project.root / "dvc.yaml").touch()
    command = [sys.executable, "-c", DIES, str(upload)]
    environment = {**os.environ, "TUNEGATE_ROOT": str(project.root)}
    killed = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert registry.versions() == []
    assert registry.weights(register(project, settings))
    assert [version.number for version in registry.versions()] == ["1"]
    assert len(read_history(registry)) == 0


def test_what_register_changes_in_the_store_is_what_the_matrix_ends(project, settings, quantized_again):
    """The steps above are all there are: a client that refuses everything else registers as well."""
    quantized_again(1)
    client = tracking.client(project)
    changing = {name for name in dir(client) if name.startswith(("log_", "set_", "create_", "delete_", "update_"))}
    used = set()
    for name in changing:
        method = getattr(client, name)
        setattr(client, name, lambda *a, _n=name, _m=method, **k: (used.add(_n), _m(*a, **k))[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "client", lambda project: client)
        register_module.register(project, settings)
    assert used - {"create_experiment"} <= set(MUTATIONS)
