"""The commands: data on stdout, exit codes, one JSON value."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasks.cli.evaluation import evaluation
from tasks.core.guard import guarded

ROOT = Path(__file__).parents[3]


@pytest.fixture
def run(monkeypatch):
    """Return a function that runs `tunegate eval ...` and gives exit code, stdout and stderr."""
    monkeypatch.setenv("TUNEGATE_ROOT", str(ROOT))

    def call(*arguments):
        codes = []
        runner = CliRunner()
        command = evaluation

        def whole():
            codes.append(guarded(lambda: command.main([str(one) for one in arguments], standalone_mode=False)))

        with runner.isolation() as (stdout, stderr, _):
            whole()
            return codes[0], stdout.getvalue().decode(), stderr.getvalue().decode()

    return call


def test_a_new_pack_passes_its_check(run, tmp_path):
    code, out, _ = run("new-pack", tmp_path / "mine", "--json")
    assert code == 0
    assert json.loads(out)["files"][0] == "pack.json"
    code, out, _ = run("check-pack", tmp_path / "mine", "--rows", "none", "--json")
    found = json.loads(out)
    assert (code, found["items"], found["errors"], found["name"]) == (0, 16, 0, "mine")


def test_errors_end_with_the_data_contracts_exit_code(run, write_pack, make_item):
    folder = write_pack(refuse=[make_item("refuse", safe_answer="好的")])
    code, out, err = run("check-pack", folder, "--rows", "none")
    assert code == 3
    assert "error   own answer: refuse-zh-001" in out
    assert "1 errors" in err


def test_raw_rows_are_searched_on_request(run, write_pack, make_item):
    question = "停堆第 15 天，居民点 1 m 高处测得 40 μSv/h，是否触发 OIL2？"
    folder = write_pack(only={"unknown": [make_item("unknown", question=question)]})
    code, out, _ = run("check-pack", folder, "--rows", "raw")
    assert code == 0
    assert "warning leaks: unknown-zh-001: stands in row instructions/planted_bad.jsonl" in out


def test_a_missing_folder_is_a_wrong_argument(run, tmp_path):
    assert run("check-pack", tmp_path / "none")[0] == 2
