"""A slot is held to the answers its evidence says it gives, before any traffic. A stand-in takes vLLM's place."""

import pytest

from tasks.core.errors import DataContractError
from tasks.engine.fingerprint import Fingerprint
from tasks.serving import control

PROMPTS = ("碘片什么时候服用？", "What does sheltering mean?")
ANSWERS = {"awq": [[11, 12, 13, 14], [21, 22, 23, 24]], "base": [[1, 2, 3, 4], [21, 22, 5, 6]]}
EVIDENCE = Fingerprint(PROMPTS, ANSWERS)


def answering(answers):
    return dict(zip(PROMPTS, answers, strict=True))


@pytest.fixture
def started(project):
    control.ensure_host(project.project)
    project.deploy("1")
    return project


def live(project):
    return control.host_status(project.project)["version"]


def test_a_slot_that_answers_like_its_evidence_goes_live(started):
    started.deploy("2", fingerprint=EVIDENCE, token_ids=answering(ANSWERS["awq"]))
    assert live(started) == "2"


@pytest.mark.slow
def test_one_late_difference_is_rounding_and_no_other_model(started):
    started.deploy("2", fingerprint=EVIDENCE, token_ids=answering([[11, 12, 13, 99], ANSWERS["awq"][1]]))
    assert live(started) == "2"


@pytest.mark.slow
def test_an_answer_begins_behind_the_empty_thought_of_its_evidence(started):
    evidence = Fingerprint(PROMPTS, ANSWERS, opening=(8, 9))
    assert Fingerprint.of_row(evidence.row()) == evidence
    started.deploy("2", fingerprint=evidence, token_ids=answering(ANSWERS["awq"]), opening=[8, 9])
    assert live(started) == "2"
    with pytest.raises(DataContractError, match="0% of its answers' tokens"):
        started.deploy("3", fingerprint=evidence, token_ids=answering(ANSWERS["awq"]), opening=[8, 8])


@pytest.mark.parametrize(("answers", "words"), [
    (ANSWERS["base"], r"25%.*hop base answered so \(100%\)"),
    ([[90, 91, 92, 93], [94, 95, 96, 97]], r"0% of its answers' tokens.*must be: other weights"),
    pytest.param([[11, 12, 13], [21]], "50% of", marks=pytest.mark.slow),
    pytest.param([[], []], "0% of", marks=pytest.mark.slow),
    ([None, None], "no token ids"),
], ids=["base under the new name", "other weights or template", "cut short", "empty", "no token ids"])  # fmt: skip
def test_a_slot_that_serves_something_else_never_takes_traffic(started, answers, words):
    with pytest.raises(DataContractError, match=words):
        started.deploy("2", fingerprint=EVIDENCE, token_ids=answering(answers))
    status = control.host_status(started.project)
    assert (status["version"], status["healthy"]) == ("1", True)


@pytest.mark.slow
def test_the_answers_are_asked_for_in_the_servers_own_template_and_not_stopped(started):
    started.deploy("2", fingerprint=EVIDENCE, token_ids=answering(ANSWERS["awq"]))
    with started.client(started.key("a")) as client:
        body = {"model": "champion", "messages": [{"role": "user", "content": PROMPTS[0]}], "return_token_ids": True}
        # What the smoke test asks of the slot itself, callers still cannot ask through the gateway.
        assert client.post("/v1/chat/completions", json=body).status_code == 400
