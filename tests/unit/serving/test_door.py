"""What a prompt may cost, how long a body may be, and what a key may use in a day."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.core.errors import DataContractError
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.models.base import materialize
from tasks.serving.admission import Refusal
from tasks.serving.door.budgets import Budgets
from tasks.serving.door.estimate import body_cap, prompt_tokens, text_tokens, tools_tokens
from tasks.serving.door.evaluator import prompt_cost
from tasks.serving.keys import ApiKey
from tasks.serving.limits import Limits

ROOT = Path(__file__).parents[3]
PARAMS = load_settings(ROOT / "params.yaml").serve.gateway.door
KEY = ApiKey("a", "caller", "x" * 64, "")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """The tokenizer of the shipped base model: not made for Chinese, so of the most tokens there are."""
    from tokenizers import Tokenizer

    settings = load_settings(ROOT / "params.yaml")
    folder = materialize(settings.base_model, Project(tmp_path_factory.mktemp("base"))).path
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


class TestEstimate:
    @pytest.mark.slow
    def test_it_covers_every_row_of_the_demo_pack_and_is_no_wild_guess(self, tokenizer):
        asked, counted = 0, 0
        for path in sorted((ROOT / "data/raw/eval").rglob("*.csv")):
            for line in path.read_text().splitlines():
                tokens = len(tokenizer.encode(line, add_special_tokens=False).ids)
                assert text_tokens(line) >= tokens, line
                asked, counted = asked + text_tokens(line), counted + tokens
        assert counted > 10_000
        assert asked < 2 * counted

    @pytest.mark.parametrize("text", ["核电厂场外应急" * 50, "1234567890" * 50, "🙂" * 50, "Where to shelter? " * 50,
                                      "Привет, как дела? " * 50, "def f(x):\n    return x + 1\n" * 20])  # fmt: skip
    def test_ordinary_text_of_every_kind_is_covered(self, tokenizer, text):
        assert text_tokens(text) >= len(tokenizer.encode(text, add_special_tokens=False).ids)

    def test_every_text_of_every_message_counts_up_to_the_context(self):
        one = [{"role": "user", "content": "碘片"}]
        parts = [{"role": "user", "content": [{"type": "text", "text": "碘片"}]}]
        assert prompt_tokens(one, 1024) == prompt_tokens(parts, 1024) == text_tokens("碘片")
        assert prompt_tokens(one * 3, 1024) == 3 * text_tokens("碘片")
        assert prompt_tokens(["碘片", "牛奶"], 1024) == 2 * text_tokens("碘片")
        assert prompt_tokens("碘" * 10_000, 1024) == 1024

    def test_tools_are_part_of_the_prompt_names_of_fields_and_all(self):
        fields = {f"a_long_name_of_field_{number}": {"type": "string"} for number in range(50)}
        tool = {"type": "function", "function": {"name": "dose", "parameters": {"properties": fields}}}
        assert tools_tokens({"tools": [tool]}) >= text_tokens(json.dumps(fields))
        assert tools_tokens({"temperature": 1.0, "tools": None, "messages": "x" * 900}) == 0

    def test_prompts_at_once_are_held_to_the_minute_before_any_is_counted(self):
        """Seen: 9.6 million prompt tokens admitted at once against 800,000 a minute."""
        params = load_settings(ROOT / "params.yaml").serve.gateway.model_copy(update={"tokens_per_minute": 800_000})
        limits, prompt = Limits(params), "核" * 8000
        tokens = prompt_tokens(prompt, 1 << 20)
        admitted = sum(limits.reserve(KEY, tokens) == 0 for _ in range(600))
        assert 1 < admitted * tokens <= 800_000 + tokens

    def test_a_body_may_hold_what_the_context_can_in_escaped_chinese(self):
        text = json.dumps({"messages": [{"role": "user", "content": "碘" * 4 * 1024}]})
        assert len(text) <= body_cap(1024, None)
        assert body_cap(1024, 4096) == 4096
        assert body_cap(1024, 1 << 30) == body_cap(1024, None)


class TestEvaluator:
    @pytest.mark.parametrize("payload", [{"echo": True, "logprobs": 1}, {"prompt_logprobs": 0}, {"prompt_logprobs": 5},
                                         {"echo": True, "logprobs": 0}, {"echo": True, "logprobs": True}])  # fmt: skip
    def test_log_probabilities_of_the_prompt_are_for_evaluators_and_cost_more(self, payload):
        with pytest.raises(Refusal, match="for evaluators") as refused:
            prompt_cost(KEY, payload, 10, PARAMS)
        assert refused.value.status == 403
        evaluator = ApiKey("e", "evaluator", "x", "")
        assert prompt_cost(evaluator, payload, 10, PARAMS) == 10 * PARAMS.evaluator_cost
        with pytest.raises(Refusal, match="the prompt may have"):
            prompt_cost(evaluator, payload, PARAMS.evaluator_prompt_tokens + 1, PARAMS)

    @pytest.mark.parametrize("payload", [{}, {"echo": True}, {"logprobs": 1}, {"echo": False, "logprobs": 1},
                                         {"echo": True, "logprobs": None}])  # fmt: skip
    def test_others_cost_what_they_are(self, payload):
        assert prompt_cost(KEY, payload, 10**6, PARAMS) == 10**6


class Clock:
    def __init__(self):
        self.now = datetime(2026, 3, 31, 23, 59, tzinfo=UTC)

    def __call__(self):
        return self.now


class TestBudgets:
    params = PARAMS.model_copy(update={"tokens_per_day": 100, "tokens_per_month": 150})

    def test_a_used_up_day_waits_for_midnight_and_a_month_for_the_next(self, tmp_path):
        clock = Clock()
        budgets = Budgets(tmp_path / "b.json", self.params, clock)
        budgets.require(KEY)
        budgets.reserve(KEY, 500)
        budgets.settle(KEY, 500, 100)
        with pytest.raises(Refusal, match="100 of its 100 tokens of this day") as refused:
            budgets.require(KEY)
        assert (refused.value.status, refused.value.code, refused.value.retry_after_s) == (429, "budget_used_up", 60)
        budgets.require(ApiKey("b", "caller", "y", ""))
        clock.now = datetime(2026, 4, 1, 0, 0, tzinfo=UTC)
        budgets.require(KEY)
        budgets.reserve(KEY, 99)
        clock.now = datetime(2026, 4, 2, 0, 0, tzinfo=UTC)
        budgets.reserve(KEY, 60)
        with pytest.raises(Refusal, match="159 of its 150 tokens of this month") as refused:
            budgets.require(KEY)
        assert refused.value.retry_after_s == 29 * 86400

    def test_a_restart_gives_no_new_budget(self, tmp_path):
        async def use():
            budgets = Budgets(tmp_path / "b.json", self.params, Clock())
            keeping = asyncio.create_task(budgets.keep())
            await asyncio.sleep(0)
            budgets.reserve(KEY, 100)
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

        asyncio.run(use())
        with pytest.raises(Refusal):
            Budgets(tmp_path / "b.json", self.params, Clock()).require(KEY)

    def test_a_keys_own_budget_can_only_be_lower(self, tmp_path):
        budgets = Budgets(tmp_path / "b.json", self.params, Clock())
        budgets.reserve(KEY, 50)
        with pytest.raises(Refusal):
            budgets.require(ApiKey("a", "caller", "x", "", tokens_per_day=50))
        budgets.reserve(KEY, 50)
        with pytest.raises(Refusal):
            budgets.require(ApiKey("a", "caller", "x", "", tokens_per_day=10**9))

    def test_a_damaged_file_gives_nobody_a_new_budget(self, tmp_path):
        (tmp_path / "b.json").write_text('{"used": {"a": 1}}')
        with pytest.raises(DataContractError, match="no file of budgets"):
            Budgets(tmp_path / "b.json", self.params)
