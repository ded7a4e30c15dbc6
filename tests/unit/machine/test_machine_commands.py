"""`tunegate doctor` and `tunegate profile` as a person or a script calls them."""

import json
import time

import pytest

from tasks.cli.main import cli
from tasks.core.guard import guarded
from tasks.core.table import table, width
from tasks.machine.check import Check, closing, report


def call(*words):
    return guarded(lambda: cli(list(words), standalone_mode=False))


def test_columns_stand_straight_with_chinese_in_them():
    lines = table(["名称", "found"], [["内存", "8 GiB"], ["disk", "够"]]).splitlines()
    assert [width(line.rpartition("  ")[0]) for line in lines[:2]] == [4, 4]
    assert lines[2] == "disk  够"
    assert width("内存 ok") == 7


def test_a_report_says_what_to_do():
    checks = [
        Check("memory", "ok", "20 GiB", "8 GiB", detail=("1 GiB  weights",)),
        Check("g++", "failed", "absent", "any", "apt-get install g++"),
    ]
    text = report(checks, "laptop")
    assert "> apt-get install g++" in text
    assert "1 GiB  weights" in text
    assert closing(checks, "laptop") == "1 ok, 0 warning, 1 failed: this machine cannot run laptop"


def test_doctor_finds_what_is_missing_and_is_fast(project, capsys):
    started = time.monotonic()
    code = call("doctor", "--json")
    assert time.monotonic() - started < 3
    out, err = capsys.readouterr()
    value = json.loads(out)
    assert code == 5  # the clone has no environments yet
    assert value["profile"] == "laptop"
    assert value["ok"] is False
    failed = [check["name"] for check in value["checks"] if check["outcome"] == "failed"]
    assert failed == ["environment pipeline", "environment serve"]
    assert "next:" in err
    for check in value["checks"]:
        assert set(check) == {"name", "outcome", "found", "needed", "todo", "detail"}
        assert check["outcome"] == "ok" or check["todo"]


def test_doctor_exits_0_when_nothing_failed(project, capsys, monkeypatch):
    monkeypatch.setattr("tasks.machine.tools.check_environments", lambda project: [])
    assert call("doctor") == 0
    assert "0 failed: this machine can run laptop" in capsys.readouterr().out


def test_doctor_with_wrong_settings_is_a_config_error(project, capsys):
    params = project.root / "params.yaml"
    params.write_text(params.read_text("utf-8").replace("max_steps:", "max_stepz:"), "utf-8")
    assert call("doctor") == 2
    assert "max_stepz" in capsys.readouterr().err


def test_doctor_with_a_wrong_port_variable_is_a_config_error(project, capsys, monkeypatch):
    monkeypatch.setenv("TUNEGATE_GATEWAY_PORT", "八千")
    assert call("doctor") == 2
    assert "TUNEGATE_GATEWAY_PORT" in capsys.readouterr().err


def test_profile_list_marks_the_active_one(project, capsys):
    assert call("profile", "list", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in found] == ["laptop", "verify-7b", "optimize-32b", "production-72b"]
    assert [item["name"] for item in found if item["active"]] == ["laptop"]
    assert found[3]["model"] == "Qwen/Qwen2.5-72B-Instruct"
    assert "8 x 80 GB" in found[3]["hardware"]
    assert all(item["line"] for item in found)


def test_profile_list_sees_an_edit(project, capsys):
    params = project.root / "params.yaml"
    params.write_text(params.read_text("utf-8") + "# 我的注释\n", "utf-8")
    assert call("profile", "list") == 0
    assert "+  laptop" in capsys.readouterr().out


def test_profile_use_writes_the_whole_file_and_keeps_the_one_before(project, capsys):
    before = (project.root / "params.yaml").read_bytes()
    assert call("profile", "use", "verify-7b") == 0
    out = capsys.readouterr().out
    assert "next: tunegate doctor" in out
    assert ".tunegate/params.before.yaml" in out
    profile = project.root / "infra" / "profiles" / "verify-7b.yaml"
    assert (project.root / "params.yaml").read_bytes() == profile.read_bytes()
    assert (project.state / "params.before.yaml").read_bytes() == before


def test_profile_use_of_the_active_one_changes_nothing(project, capsys):
    assert call("profile", "use", "laptop", "--json") == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert not (project.state / "params.before.yaml").exists()


def test_profile_use_brings_a_lost_params_file_back(project, monkeypatch):
    monkeypatch.delenv("TUNEGATE_ROOT")
    monkeypatch.chdir(project.root)
    (project.root / "params.yaml").unlink()
    assert call("profile", "use", "laptop") == 0
    assert (project.root / "params.yaml").is_file()


@pytest.mark.parametrize("words", [("profile", "use", "超级"), ("profile", "use", "laptop.yaml")])
def test_an_unknown_profile_names_the_known_ones(project, capsys, words):
    assert call(*words) == 2
    assert "verify-7b" in capsys.readouterr().err


def test_a_broken_profile_is_refused_and_params_stay(project, capsys):
    before = (project.root / "params.yaml").read_bytes()
    profile = project.root / "infra" / "profiles" / "verify-7b.yaml"
    profile.write_text(profile.read_text("utf-8").replace("gpus: 2", "gpus: two"), "utf-8")
    assert call("profile", "use", "verify-7b") == 2
    assert "hardware.gpus" in capsys.readouterr().err
    assert (project.root / "params.yaml").read_bytes() == before


@pytest.mark.slow
def test_a_profile_under_another_name_is_refused(project, capsys):
    folder = project.root / "infra" / "profiles"
    (folder / "mine.yaml").write_bytes((folder / "laptop.yaml").read_bytes())
    assert call("profile", "list") == 2
    assert "profile: mine" in capsys.readouterr().err
