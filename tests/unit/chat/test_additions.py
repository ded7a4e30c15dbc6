"""What a chat template adds is found by asking it: a system turn, words in one, an empty thought, nothing."""

import pytest

from tasks.chat.additions import template_additions
from tests.unit.chat.test_rows import family

EFFORT = "Reasoning effort is set to xhigh."
EMPTY = "<think>\n\n</think>"
PLAIN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.parametrize(
    ("name", "kinds", "words"),
    [
        ("qwen2_5", {"system_turn"}, {"system_turn": "You are Qwen, created by Alibaba Cloud."}),
        ("qwen3_8", {"system_turn", "in_system_turn", "empty_thought"},
         {"system_turn": EFFORT, "in_system_turn": EFFORT, "empty_thought": EMPTY}),
        ("qwen3", {"empty_thought"}, {"empty_thought": EMPTY}),
        # Opened by the prompt, closed by the answer: together the same.
        ("qwen3_5_think", {"empty_thought"}, {"empty_thought": EMPTY}),
        ("deepseek_r1_distill", {"empty_thought"}, {"empty_thought": EMPTY}),
        # A turn without words is one all the same.
        ("nemotron_3_nano", {"system_turn", "empty_thought"}, {"system_turn": ""}),
        ("llama3_1", {"system_turn", "in_system_turn"}, {"in_system_turn": "Cutting Knowledge Date"}),
        # Today's date is no fact of the template: the evidence would be another one tomorrow.
        ("llama3_2", {"system_turn", "in_system_turn"},
         {"system_turn": "Cutting Knowledge Date: December 2023\nToday Date: (today)"}),
        # Tokens that begin every text, and a system prompt that stands in the user's turn, are no additions.
        ("gemma3", set(), {}),
        ("deepseekv3", {"empty_thought"}, {}),
        ("llama3", set(), {}),
    ],
)  # fmt: skip
def test_additions_of_families(tokenizer, name, kinds, words):
    changed = family(tokenizer, name)
    changed.add_special_tokens({"additional_special_tokens": ["<end_of_turn>", "<|eot_id|>", "<｜end▁of▁sentence｜>"]})
    found = template_additions(changed)
    assert set(found) == kinds
    assert {kind: found[kind][: len(text)] for kind, text in words.items()} == words


def test_a_template_that_writes_what_it_gets_adds_nothing(tokenizer):
    changed = family(tokenizer, "qwen3")
    changed.chat_template = PLAIN
    assert template_additions(changed) == {}
    # What no question can be asked of is found elsewhere; here it adds nothing.
    changed.chat_template = "{{ raise_exception('no') }}"
    assert template_additions(changed) == {}


def test_the_laptop_s_own_base_adds_a_system_turn(tokenizer):
    assert template_additions(tokenizer) == {
        "system_turn": "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    }
