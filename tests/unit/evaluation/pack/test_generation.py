"""What is asked in words, in which ways, and how whole answers are scored, thinking included."""

import pytest

from tasks.evaluation.pack.generation import generation_items, score
from tasks.evaluation.pack.prompts import MAX_TOKENS_THINKING, choice_prompt
from tasks.exams.pack.reading import load_pack
from tasks.exams.pack.schema import pack_item_id, suite_named

CHOICES = {"choices": {"A": "1", "B": "2", "C": "3", "D": "4"}, "answer": "C", "value": None, "unit": None}


@pytest.fixture
def pack(write_pack):
    return load_pack(write_pack())


@pytest.fixture
def asked(pack):
    return {item.item_id: item for item in generation_items(pack)}


def test_every_generated_suite_is_asked_and_thinking_both_ways(pack):
    found = [(item.suite, item.item_id, item.thinking) for item in generation_items(pack)]
    assert found == [
        ("domain_keypoints", "short-zh-001", None),
        ("domain_numeric", "numeric-zh-001", None),
        ("domain_order", "order-zh-001", None),
        ("safety_refuse", "refuse-zh-001", None),
        ("safety_unknown", "unknown-zh-001", None),
        ("domain_thinking", "thinking-zh-001:thinking", True),
        ("domain_thinking", "thinking-zh-001:direct", False),
    ]
    assert {pack_item_id(item_id) for _, item_id, _ in found} <= {
        one["id"] for ones in pack.items.values() for one in ones
    }


def test_a_template_without_the_switch_is_not_asked_to_think(pack):
    items = generation_items(pack, thinking=False)
    assert "domain_thinking" not in {item.suite for item in items}
    # Where the template may think by default there must be room for it.
    assert max(item.max_tokens for item in items) < MAX_TOKENS_THINKING
    assert min(item.max_tokens for item in generation_items(pack) if item.thinking is None) > MAX_TOKENS_THINKING


def test_a_limit_takes_the_first_items_of_each_kind(write_pack, make_item):
    pack = load_pack(write_pack(only={"order": [make_item("order", number) for number in range(1, 6)]}))
    assert [item.item_id for item in generation_items(pack, limit=2)] == ["order-zh-001", "order-zh-002"]


def test_a_short_item_of_the_first_schema_without_key_points_is_left_out(pack):
    del pack.items["short"][0]["key_points"]
    assert "domain_keypoints" not in {item.suite for item in generation_items(pack)}


def test_prompts_are_a_callers_questions(asked, make_item):
    def said(name):
        return asked[name].messages[-1]["content"]

    assert said("short-zh-001") == "听到警报应怎么做？"
    assert said("numeric-zh-001").endswith("\n请只回答一个数值和单位。")
    assert said("thinking-zh-001:direct") == said("thinking-zh-001:thinking")
    assert "A. " in said("order-zh-001")
    assert "X>Y>Z" in said("order-zh-001")
    item = make_item("choice", lang="en")
    assert choice_prompt(item).endswith("\nD. 3.5\nAnswer with the letter of the correct option only.")


def test_the_share_of_key_points_is_the_value(asked):
    value, detail = score(asked["short-zh-001"], "马上进入室内。")
    assert value == 0.5
    assert detail["points"] == [True, False]
    assert detail["failure"] == "missing_points"
    assert detail["text"] == "马上进入室内。"
    assert (detail["lang"], detail["concept"]) == ("zh", "dose_units")


def test_only_what_follows_the_thinking_is_scored(asked):
    item, thought = asked["thinking-zh-001:thinking"], "先算 40 μSv/h × 10 min，得 7 μSv"
    value, detail = score(item, f"<think>{thought}</think>\n20 μSv")
    assert value == 1
    assert detail["thinking"] == {"characters": len(thought), "closed": True}
    assert detail["text"] == "20 μSv"
    assert detail["enable_thinking"] is True
    assert score(item, "<think>20 μSv</think>\n7 μSv")[0] == 0


@pytest.mark.parametrize(("text", "opened"), [("<think>20 μSv", False), ("20 μSv", True)])
def test_thinking_that_never_ends_is_a_failure_of_its_own(asked, text, opened):
    value, detail = score(asked["thinking-zh-001:thinking"], text, thinking_opened=opened)
    assert value == 0
    assert detail["failure"] == "unclosed_thinking"
    assert detail["thinking"]["closed"] is False


def test_a_thought_opened_by_the_prompt_is_cut_off(asked):
    value, detail = score(asked["thinking-zh-001:thinking"], "先算</think>20 μSv", thinking_opened=True)
    assert (value, detail["text"]) == (1, "20 μSv")


@pytest.mark.parametrize("text", ["", "  \n", "<think>好</think>"])
def test_an_empty_answer_is_named(asked, text):
    for item in asked.values():
        value, detail = score(item, text)
        assert (value, detail["failure"]) == (0, "empty")


def test_a_letter_is_read_for_a_choice(write_pack, make_item):
    pack = load_pack(write_pack(only={"thinking": [make_item("thinking", **CHOICES)]}))
    item = generation_items(pack)[1]
    assert score(item, "C")[0] == 1
    assert score(item, "A")[1]["failure"] == "wrong_letter"
    assert score(item, "都不对")[1]["failure"] == "no_letter"


def test_every_detail_can_be_written_as_json(asked):
    import json

    for item in asked.values():
        assert json.loads(json.dumps(score(item, "10 μSv A>B>C 我不能")[1], allow_nan=False))


def test_a_suite_that_is_not_one_of_a_pack():
    assert suite_named("safety_refuse").kind == "refuse"
    with pytest.raises(KeyError, match="no suite ceval"):
        suite_named("ceval")
