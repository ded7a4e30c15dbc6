"""What the Prefect UI shows of a run: on a real server for what is written there, plain values for the rest."""

from types import SimpleNamespace

import pytest
from prefect import flow
from prefect.client.orchestration import get_client

from flows.environment import PREFECT
from flows.outcome import GATE_FAILED, error_of
from flows.pipeline import gate_failed
from flows.showing import StageProgress, metrics_rows, page_address, page_words, show_run
from tasks.core.errors import GateFailedError
from tasks.core.layout import HOPS
from tasks.core.project import Project
from tasks.release.registry import Version

REFUSED = {"verdict": "FAIL", "rules": [], "checks": [
    {"name": "模板", "hop": "awq", "words": "不同", "cause": "", "passed": False, "next": "训练模板一致"}]}  # fmt: skip


def test_metrics_stand_beside_the_champions_and_what_was_not_measured_is_a_dash():
    reports = {hop: {"ceval_accuracy": 0.5, "domain_recall": 0.25, "domain_bits_per_byte": 1.75} for hop in HOPS}
    reports["adapter"] = {"ceval_accuracy": 0.5}
    champion = {"awq.ceval_accuracy": 0.625, "awq.domain_bits_per_byte": 1.875}
    rows = {row["metric"]: row for row in metrics_rows(reports, champion)}
    assert rows["ceval_accuracy"] == {"metric": "ceval_accuracy", **dict.fromkeys(HOPS, "0.500"), "champion": "0.625",
                                      "change": "-0.125 worse"}  # fmt: skip
    assert (rows["domain_bits_per_byte ↓"]["adapter"], rows["domain_bits_per_byte ↓"]["change"]) == (
        "–", "-0.125 better",
    )  # fmt: skip
    assert (rows["domain_recall"]["champion"], rows["domain_recall"]["change"]) == ("–", "–")


def test_no_cell_of_the_metrics_is_a_list_in_markdown():
    reports = {hop: {"ceval_accuracy": 0.5} for hop in HOPS} | {"adapter": {}}
    cells = [
        cell for champion in ({}, {"awq.x": 1.0}) for row in metrics_rows(reports, champion) for cell in row.values()
    ]
    assert not {"-", "+", "*"} & {cell.split()[0] for cell in cells}


def test_without_a_champion_nothing_is_compared():
    assert list(metrics_rows({hop: {"ceval_accuracy": 0.5} for hop in HOPS}, {})[0]) == ["metric", *HOPS]


def test_a_change_too_small_to_see_is_neither_better_nor_worse():
    reports = {hop: {"ceval_accuracy": 0.50001} for hop in HOPS}
    assert metrics_rows(reports, {"awq.ceval_accuracy": 0.5})[0]["change"] == "0.000"


@pytest.mark.parametrize(
    ("uri", "address"),
    [("https://user:secret@mlflow.example.org/ml/",
      "https://mlflow.example.org/ml/#/experiments/7/runs/abc/artifacts/reports/dossier/index.html"),
     ("http://127.0.0.1:5000", "http://127.0.0.1:5000/#/experiments/7/runs/abc/artifacts/reports/dossier/index.html"),
     ("sqlite:////data/mlflow.db",
      "http://127.0.0.1:5000/#/experiments/7/runs/abc/artifacts/reports/dossier/index.html")],
)  # fmt: skip
def test_a_page_opens_where_mlflow_shows_it_and_its_words_say_what_that_needs(tmp_path, monkeypatch, uri, address):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    run = SimpleNamespace(info=SimpleNamespace(experiment_id="7", run_id="abc"))
    registry = SimpleNamespace(client=SimpleNamespace(get_run=lambda run_id: run))
    version = Version("3", {}, "", "abc")
    project = Project(tmp_path / "项目")
    assert page_address(project, registry, version, "reports/dossier/index.html") == address
    words = page_words(project, "reports/dossier/index.html")
    assert ("make mlflow-ui" in words) == uri.startswith("sqlite")
    assert f"`{tmp_path}/项目/data/reports/dossier/index.html`" in words


@flow(persist_result=False)
def judged(verdict: dict) -> object:
    """The end of the pipeline, without the hours before it."""
    show_run("laptop", ["profile:laptop"])
    progress = StageProgress("evaluate@base")
    for line in ("这一行说的不是进度", "题目: 3/10 requests, 3.85/s, 2 s left", "题目: 10/10 requests, done in 3 s"):
        progress.see(line)
    show_run("laptop version 3", ["profile:laptop", "version:3"])
    show_run(f"laptop version 3 {verdict['verdict']}", ["version:3", f"verdict:{verdict['verdict']}"])
    return gate_failed(verdict)


@pytest.mark.slow
def test_a_gates_no_is_told_from_a_run_that_broke():
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=int(PREFECT["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"])):
        with pytest.raises(GateFailedError, match="check 模板, hop awq") as caught:
            judged(REFUSED)
        assert caught.value.exit_code == 4
        state = judged(REFUSED, return_state=True)
        assert (state.name, state.is_failed()) == (GATE_FAILED, True)
        assert isinstance(error_of(state), GateFailedError)
        assert judged({"verdict": "PASS"}) is None
        with get_client(sync_client=True) as client:
            run = client.read_flow_run(state.state_details.flow_run_id)
            artifacts = client.request("POST", "/artifacts/filter", json={}).json()
    assert run.name.startswith("laptop version 3 FAIL, ")
    assert run.name.count(",") == 1, "the name that Prefect drew stays, once"
    assert sorted(run.tags) == ["profile:laptop", "verdict:FAIL", "version:3"]
    shown = [one for one in artifacts if one["flow_run_id"] == str(run.id)]
    assert [(one["key"], one["data"], one["description"]) for one in shown] == [
        ("progress-evaluate-base", 100.0, "题目: 10/10 requests, done in 3 s")
    ]
