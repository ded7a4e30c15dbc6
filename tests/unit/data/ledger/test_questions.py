"""What people ask the ledger, on a small project with one row of each fate."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from tasks.cli.data import data
from tasks.core.errors import ConfigError, DataContractError
from tasks.data.ledger.questions import diff_ledgers, explain
from tasks.data.privacy.pseudonyms import pseudonym

MOBILE = "13800138000"


@pytest.fixture
def made(project, alpaca_row):
    """A prepared project: good rows, a copy, a leak, a damaged line, personal data."""
    rows = [alpaca_row(f"第{n}号站点怎么巡测？{'步' * n}", f"先测本底，再测{n}个点。" + "核" * n) for n in range(1, 5)]
    leak = alpaca_row("铯-137的半衰期是多少年？", "约30年。")
    personal = alpaca_row("找谁报告？", f"拨打值班手机{MOBILE}，说明地点。")
    project.write("rows.jsonl", [*rows, rows[0], leak, '{"instruction": "没有结尾', personal])
    project.prepare()
    return project


def by_reason(project, reason):
    return next(entry for entry in project.lines("ledger.jsonl") if entry["reason"] == reason)


def test_a_copy_names_the_row_kept_in_its_place(made):
    found = explain(made.prepared, by_reason(made, "exact_duplicate")["row_id"])
    kept = found["entry"]["evidence"]["duplicate_of"]
    assert found["related"][kept]["fate"] == "kept"
    assert found["row"] is None


def test_a_kept_row_is_shown_without_its_personal_data(made):
    found = explain(made.prepared, by_reason(made, "personal_data_replaced")["row_id"])
    assert found["entry"]["evidence"]["masks"] == {"mobile": 1}
    assert "[MOBILE]" in found["row"]["messages"][-1]["content"]
    assert MOBILE not in json.dumps(found, ensure_ascii=False)


def test_a_row_is_found_by_its_place(made):
    found = explain(made.prepared, "instructions/rows.jsonl:6")
    assert found["entry"]["reason"] == "malformed_json"
    assert found["entry"]["line"] == 7


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["r-0000000000000000", "instructions/rows.jsonl:99", "没有这一行", "r-"])
def test_an_unknown_row_is_said(made, wanted):
    with pytest.raises(ConfigError, match="has no row"):
        explain(made.prepared, wanted)


def test_without_a_ledger_the_next_command_is_named(project):
    with pytest.raises(DataContractError) as refused:
        explain(project.prepared, "r-1")
    assert "prepare" in refused.value.hint


def test_a_diff_tells_added_removed_changed_and_moved(made, new_project, tmp_path, alpaca_row):
    other = new_project(tmp_path / "later")
    lines = (made.raw / "instructions/rows.jsonl").read_text(encoding="utf-8").splitlines()
    edited = alpaca_row("第2号站点怎么巡测？步步", "先测本底，再测两个点，做好记录。核核")
    # Row 1 edited in place, row 3 removed; one row added at the end.
    other.write("rows.jsonl", [lines[0], edited, lines[2], *lines[4:], alpaca_row("新问题？", "新回答。")])
    other.prepare()
    found = diff_ledgers(made.prepared, other.prepared)
    assert len(found.changed) == 1
    assert len(found.removed) == 1
    assert len(found.added) == 1
    same = diff_ledgers(made.prepared, made.prepared)
    assert (same.added, same.removed, same.changed, same.moved, same.unchanged) == ([], [], [], {}, 8)


def run(project, monkeypatch, *arguments):
    monkeypatch.setenv("TUNEGATE_ROOT", str(project.root))
    return CliRunner().invoke(data, arguments, catch_exceptions=False)


def test_commands_speak_to_people_and_to_machines(made, monkeypatch):
    row = by_reason(made, "eval_leak")["row_id"]
    told = run(made, monkeypatch, "explain", row).output
    assert "dropped: eval_leak" in told
    assert "domain_short" in told
    assert json.loads(run(made, monkeypatch, "explain", row, "--json").output)["entry"]["row_id"] == row
    told = run(made, monkeypatch, "summary").output
    assert "8 rows in = 5 kept + 2 dropped + 1 quarantined" in told
    assert "1 of 1 items in 1 rows" in told
    assert json.loads(run(made, monkeypatch, "summary", "--json").output)["rows"]["in"] == 8


@pytest.mark.slow
def test_diff_between_a_dvc_revision_and_the_workspace(made, monkeypatch, alpaca_row):
    """Real Git and DVC: the ledger of an older commit comes out of DVC's cache."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")

    def command(*words):
        words = (sys.executable, "-m", *words) if words[0] == "dvc" else words
        subprocess.run(words, cwd=made.root, check=True, capture_output=True)

    (made.root / "params.yaml").write_text("profile: laptop\n")
    command("git", "init", "--quiet")
    command("git", "config", "user.email", "tests@localhost")
    command("git", "config", "user.name", "tests")
    command("dvc", "init", "--quiet")
    command("dvc", "add", "--quiet", "data/prepared")
    command("git", "add", ".")
    command("git", "commit", "--quiet", "-m", "first")
    made.write("more.jsonl", [alpaca_row("新问题是什么？", "新的回答。")])
    made.prepare()
    told = run(made, monkeypatch, "diff", "HEAD").output
    assert "1 rows added, 0 removed, 0 changed, 0 with another fate, 8 as before" in told
    with pytest.raises(ConfigError, match="revision v9"):
        run(made, monkeypatch, "diff", "v9")


def test_export_and_reveal(made, monkeypatch, tmp_path):
    told = run(made, monkeypatch, "export", "--format", "sharegpt", "--to", str(tmp_path / "out")).output
    assert "train.jsonl: 5 rows" in told
    assert json.loads((tmp_path / "out/dataset_info.json").read_text(encoding="utf-8"))
    monkeypatch.setenv("TUNEGATE_PSEUDONYM_KEY", "ab" * 32)
    label = pseudonym("mobile", MOBILE, bytes.fromhex("ab" * 32))
    assert run(made, monkeypatch, "reveal", label).output.strip() == MOBILE
    monkeypatch.delenv("TUNEGATE_PSEUDONYM_KEY")
    with pytest.raises(ConfigError, match="TUNEGATE_PSEUDONYM_KEY"):
        run(made, monkeypatch, "reveal", label)
