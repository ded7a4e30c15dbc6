"""A candidate gets its share beside the live version: it ends with all of the traffic, or with none and nobody hurt.

Host, slots, gateway and control socket are real; a stand-in takes the vLLM executable's place.
"""

import os
import signal

import pytest

from tasks.core.errors import ConfigError, TransientError
from tasks.serving import control
from tests.contract.hosts import BODY, CHAT, processes_of, server_pids, until
from tests.contract.rollouts import Crowd, decide_quickly, phase


@pytest.fixture
def quick(project):
    """A project that decides quickly, with version 1 live."""
    decide_quickly(project)
    control.ensure_host(project.project)
    project.deploy("1")
    return project


def begin(project, version: str = "2", strategy: str = "canary", **behaviour: object) -> None:
    wanted = project.deployment(version, by="王工", reason="第二版", **behaviour)
    control.begin_rollout(project.project, wanted, strategy)


class TestCanary:
    @pytest.mark.slow
    def test_an_equal_candidate_ends_with_all_of_the_traffic(self, quick):
        with Crowd(quick) as crowd:
            begin(quick)
            status = control.host_status(quick.project)
            assert (status["version"], status["rollout"]["version"]) == ("1", "2")
            until(lambda: phase(quick) != "running", timeout_s=50)
        state = control.last_rollout(quick.project)
        assert (state["phase"], state["why"], state["by"]) == ("promoted", "every test passed", "王工")
        assert state["arms"]["candidate"]["requests"] >= 20
        assert all(test["pass_e"] >= test["pass_at"] for test in state["tests"])
        status = control.host_status(quick.project)
        assert (status["version"], status["wanted"], status["rollout"]) == ("2", "2", None)
        assert set(crowd.statuses) == {200}
        assert set(crowd.versions) == {"1", "2"}
        assert crowd.torn == 0
        until(lambda: len(server_pids(quick)) == 1)

    @pytest.mark.slow
    def test_a_candidate_that_errs_is_taken_back_and_the_live_one_serves_on(self, quick):
        with Crowd(quick, word="故障") as crowd:
            begin(quick, fails_on="故障")
            until(lambda: phase(quick) != "running", timeout_s=50)
            until(lambda: len(server_pids(quick)) == 1)
            before = crowd.statuses[503]
            until(lambda: crowd.versions["1"] > 50)
            assert crowd.statuses[503] == before
        state = control.last_rollout(quick.project)
        assert state["phase"] == "aborted"
        assert state["why"].startswith("error went up")
        assert state["arms"]["live"]["error"] == 0
        status = control.host_status(quick.project)
        assert (status["version"], status["wanted"], status["healthy"]) == ("1", "1", True)

    @pytest.mark.slow
    def test_a_conversation_stays_with_one_version(self, project):
        # Never decided while it is asked, however long that takes here.
        decide_quickly(project, steps_percent=[50.0], step_requests=10_000, least_requests=10_000, longest_s=3600.0)
        control.ensure_host(project.project)
        project.deploy("1")
        begin(project)
        with project.client(project.key("a")) as client:
            seen = {}
            for number in range(40):
                first = [{"role": "system", "content": "短"}, {"role": "user", "content": f"问 {number}"}]
                more = [*first, {"role": "assistant", "content": "答"}, {"role": "user", "content": "再问"}]
                share = control.host_status(project.project)["rollout"]["percent"]
                versions = {client.post(CHAT, json=BODY | {"messages": messages}).headers["x-tunegate-version"]
                            for messages in (first, more)}  # fmt: skip
                if control.host_status(project.project)["rollout"]["percent"] == share:
                    seen[number] = versions
        assert all(len(versions) == 1 for versions in seen.values())
        assert len(set().union(*seen.values())) == 2

    @pytest.mark.slow
    def test_who_asks_for_a_version_by_its_lineage_id_gets_that_one(self, quick):
        begin(quick)
        with quick.client(quick.key("a")) as client:
            for number in range(30):
                body = {"model": "tg-1", "messages": [{"role": "user", "content": f"问 {number}"}]}
                assert client.post(CHAT, json=body).headers["x-tunegate-version"] == "1"
            assert client.post(CHAT, json=BODY | {"model": "tg-2"}).status_code == 404

    @pytest.mark.slow
    def test_a_person_takes_it_back(self, quick):
        begin(quick)
        assert control.end_rollout(quick.project, "abort", "王工: 不放心") is True
        assert (phase(quick), control.host_status(quick.project)["version"]) == ("aborted", "1")
        assert control.last_rollout(quick.project)["why"] == "王工: 不放心"
        assert control.end_rollout(quick.project, "abort", "again") is False
        with pytest.raises(ConfigError, match="no rollout"):
            control.end_rollout(quick.project, "promote", "again")
        until(lambda: len(server_pids(quick)) == 1)

    @pytest.mark.slow
    def test_a_person_lets_it_through(self, quick):
        begin(quick)
        assert control.end_rollout(quick.project, "promote", "王工: 看过") is True
        assert (phase(quick), control.host_status(quick.project)["version"]) == ("promoted", "2")

    @pytest.mark.slow
    def test_undecided_in_time_is_taken_back_and_said_so(self, project):
        decide_quickly(project, longest_s=1.0)
        control.ensure_host(project.project)
        project.deploy("1")
        begin(project)
        until(lambda: phase(project) == "undecided")
        assert "not decided in 1" in control.last_rollout(project.project)["why"]
        assert control.host_status(project.project)["version"] == "1"


@pytest.mark.slow
class TestTrouble:
    def test_nothing_live_means_nothing_to_compare_with(self, project):
        control.ensure_host(project.project)
        with pytest.raises(TransientError, match="nothing is live"):
            begin(project)

    def test_one_rollout_at_a_time_and_no_rehearsal_in_its_slot(self, quick):
        begin(quick)
        with pytest.raises(TransientError, match="under way"):
            begin(quick, "3")
        with pytest.raises(TransientError, match="rollout is under way"):
            control.rehearse(quick.project, quick.deployment("3"))
        assert control.host_status(quick.project)["rollout"]["version"] == "2"

    def test_a_candidate_that_dies_is_taken_back_at_once(self, quick):
        first = server_pids(quick)
        begin(quick)
        (victim,) = set(server_pids(quick)) - set(first)
        os.kill(victim, signal.SIGKILL)
        until(lambda: phase(quick) == "aborted")
        assert control.last_rollout(quick.project)["why"] == "the candidate's server ended"
        assert control.host_status(quick.project)["version"] == "1"

    def test_a_live_server_that_dies_comes_back_and_the_rollout_ends(self, quick):
        (live,) = server_pids(quick)
        begin(quick)
        os.kill(live, signal.SIGKILL)
        until(lambda: phase(quick) == "ended", timeout_s=20)
        until(lambda: control.host_status(quick.project)["healthy"], timeout_s=20)
        status = control.host_status(quick.project)
        assert (status["version"], status["wanted"]) == ("1", "1")
        until(lambda: len(server_pids(quick)) == 1)

    def test_a_host_that_is_killed_comes_back_with_the_live_version_alone(self, quick):
        begin(quick)
        quick.kill_host()
        until(lambda: not processes_of(quick), timeout_s=20)
        control.ensure_host(quick.project)
        until(lambda: control.host_status(quick.project)["healthy"], timeout_s=20)
        status = control.host_status(quick.project)
        assert (status["version"], status["rollout"]) == ("1", None)
        state = control.last_rollout(quick.project)
        assert (state["phase"], state["why"]) == ("ended", "the host ended in the middle")
        assert len(server_pids(quick)) == 1

    def test_stop_ends_both(self, quick):
        begin(quick)
        control.stop_host(quick.project)
        until(lambda: not processes_of(quick))
        assert phase(quick) == "ended"

    def test_an_abort_of_what_is_started_frees_the_slot(self, quick):
        begin(quick)
        assert control.abort_deployment(quick.project) is True
        quick.deploy("3")
        assert control.host_status(quick.project)["version"] == "3"


@pytest.mark.slow
class TestShadow:
    def test_callers_get_the_live_version_alone_and_both_are_scored(self, quick):
        with Crowd(quick) as crowd:
            begin(quick, strategy="shadow", answer="服用 时机 尚不清楚")
            until(lambda: phase(quick) != "running", timeout_s=50)
        assert set(crowd.versions) == {"1"}
        state = control.last_rollout(quick.project)
        assert (state["phase"], state["strategy"]) == ("aborted", "shadow")
        assert state["why"].startswith("unknown went up")
        assert state["arms"]["live"]["requests"] == state["arms"]["candidate"]["requests"]
        assert state["shadow"]["same_words"] == 0.0
        assert set(crowd.statuses) == {200}

    def test_the_same_answers_pass(self, quick):
        with Crowd(quick) as crowd:
            begin(quick, strategy="shadow")
            until(lambda: phase(quick) != "running", timeout_s=50)
        state = control.last_rollout(quick.project)
        assert (state["phase"], state["shadow"]["same_words"]) == ("promoted", 1.0)
        assert set(crowd.statuses) == {200}
        assert control.host_status(quick.project)["version"] == "2"
