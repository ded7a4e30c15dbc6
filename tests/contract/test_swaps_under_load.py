"""Callers at the gateway through a switch, a rollback and a canary, with kill -9 of the live server: nothing is lost.

As `tests/benchmarks/swaps_under_load.py`, with a stand-in in the place of the vLLM executable.
"""

import asyncio

import pytest
import yaml

from tasks.engine.deployment import Deployment
from tasks.serving import control
from tests.benchmarks.load import Callers, judged
from tests.benchmarks.swaps_under_load import Course, driven, held, result
from tests.contract.rollouts import decide_quickly

PLAN = [("switch", None), ("rollback", None), ("switch", "live"), ("canary", None)]


@pytest.fixture
def project(served_project, tmp_path):
    limits = {"requests_per_minute": 10**8, "tokens_per_minute": 10**9, "drain_timeout_s": 10.0}
    with served_project(tmp_path / "project", **limits) as found:
        yield found


@pytest.mark.slow
def test_two_hundred_requests_through_changes_and_a_kill(project):
    decide_quickly(project)
    path = project.root / "params.yaml"
    params = yaml.safe_load(path.read_text("utf-8"))
    # A busy machine starts slowly; what is tested here is not its patience.
    params["serve"]["vllm"]["startup_timeout_s"], params["promote"]["soak_s"] = 60.0, 60.0
    path.write_text(yaml.safe_dump(params, allow_unicode=True), "utf-8")
    control.ensure_host(project.project)
    project.deploy("1", token_s=0.02)

    def deployment(version: int) -> Deployment:
        return project.deployment(str(version), token_s=0.02)

    said: list[str] = []
    course = Course(project.project, deployment, PLAN, 0.2, 60.0, said.append)
    key = project.key("crowd")
    callers = Callers(project.project.gateway_url, key, 8, (4, 16))
    asyncio.run(driven(course, callers, 200))
    control.stop_host(project.project)
    found = result(course, callers.answers)
    found["times"]["p99_ratio"] = None
    assert held(found, len(PLAN), 1, 8) == [], (found, said)
    assert found["fates"].keys() <= {"whole", "error"}
    assert found["fates"]["whole"] >= 190
    assert found["versions"] == 3


@pytest.mark.parametrize(("status", "text", "stream", "fate"), [
    (200, 'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n', True, "whole"),
    (200, 'data: {"choices":[{"finish_reason":null}]}\n\ndata: [DONE]\n\n', True, "cut"),
    (200, 'data: {"choices":[{"finish_reason":"stop"}]}\n\n', True, "cut"),
    (200, 'data: {"choices":[]}\n\ndata: {"error":{"message":"m","code":"upstream_lost"}}\n\n', True, "error"),
    (200, '{"choices":[{"finish_reason":"length"}]}', False, "whole"),
    (200, '{"choices":[{"finish_rea', False, "cut"),
    (503, '{"error":{"message":"m","code":"not_served"}}', False, "refused"),
    (502, "Bad Gateway", False, "cut"),
])  # fmt: skip
def test_the_judge_knows_a_whole_answer_from_a_cut_one(status, text, stream, fate):
    assert judged(status, text, stream=stream)[0] == fate
