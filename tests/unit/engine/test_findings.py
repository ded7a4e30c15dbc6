"""What follows from the checks of an engine; the checks themselves: tests/contract/test_engines.py."""

import pytest

from tasks.core.errors import ConfigError
from tasks.engine.conformance.findings import NEEDED, NOT_FAILED, Conformance, Finding, missing
from tasks.engine.drivers.known import DRIVERS, driver_named, driver_of

CHECKS = tuple(dict.fromkeys((*NEEDED["serving"], *NEEDED["evaluation"], *NOT_FAILED["serving"])))


def findings(**changes):
    """All checks held, but for those named."""
    named = {name.replace("_", " "): held for name, held in changes.items()}
    return [Finding(check, named.get(check, True), f"about {check}") for check in CHECKS]


def test_an_engine_that_holds_everything_may_be_used_for_everything():
    assert missing(findings(), "serving") == missing(findings(), "evaluation") == []


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("held", [False, None])
def test_each_check_counts_for_what_it_is_needed_for(check, held):
    found = findings(**{check.replace(" ", "_"): held})
    for use in NEEDED:
        counts = check in NEEDED[use] or (held is False and check in NOT_FAILED[use])
        assert missing(found, use) == ([f"{check}: about {check}"] if counts else [])


def test_one_that_cannot_score_serves_and_is_not_evaluated_with():
    found = Conformance("llamacpp", "here", "http://a", "tg-1", tuple(findings(scores=None, scores_agree=None)))
    assert found.row()["may"] == {"serving": True, "evaluation": False}
    assert found.row()["because"] == {"evaluation": ["scores: about scores", "scores agree: about scores agree"]}
    assert found.text().splitlines()[-2:] == [
        "serving: yes", "evaluation: no, because of scores: about scores; scores agree: about scores agree",
    ]  # fmt: skip


def test_engines_are_told_by_who_owns_the_list():
    rows = [{"id": "a", "owned_by": "llamacpp"}, {"id": "b", "owned_by": "vllm"}, {"id": "c", "owned_by": "acme"}]
    assert [driver_of(rows, name).name for name in "abc"] == ["llamacpp", "vllm", "other"]
    assert driver_named("sglang") is DRIVERS["sglang"]
    with pytest.raises(ConfigError, match="no engine is called 'triton'"):
        driver_named("triton")
