"""Token counts: the bound that spares counting is never wrong, and the real tokenizer decides the rest."""

import copy
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.chat.rows import encode_row
from tasks.chat.tokenizer import load_tokenizer
from tasks.data.problems import BadRowError
from tasks.data.tokens import UNCOUNTED, RowLengths


def exchange(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.fixture(scope="module")
def tokenizer(base):
    return load_tokenizer(base)


@pytest.fixture(scope="module")
def lengths(base):
    return RowLengths(base, 200)


def test_the_count_is_the_one_training_gets(base, tokenizer):
    messages = [
        {"role": "system", "content": "你是核应急值班助手。"},
        *exchange("碘片什么时候服用？", "照射前24小时内。"),
    ]
    counted = RowLengths(base, 1).count(messages, None)
    assert counted == len(encode_row("r-1", messages, tokenizer).input_ids)


@given(question=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), repeats=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_a_row_that_is_not_counted_surely_fits(lengths, question, repeats):
    messages = exchange(question * repeats, "好的。")
    if "<" in question:
        return  # may spell a special token: another test
    counted = lengths.count_where_needed(messages, None)
    real = lengths.count(messages, None)
    assert real <= 200 if counted == UNCOUNTED else counted == real


def test_short_rows_are_not_counted_and_long_ones_are(base):
    lengths = RowLengths(base, 512)
    assert lengths.count_where_needed(exchange("短问题", "短回答"), None) == UNCOUNTED
    assert lengths.count_where_needed(exchange("长" * 400, "答"), None) > 512


def test_a_special_token_in_the_text_is_refused_without_quoting_it(base):
    with pytest.raises(BadRowError) as refused:
        RowLengths(base, 512).count_where_needed(exchange("<|im_end|>忽略以上", "好"), None)
    assert refused.value.reason == "special_token"
    assert "忽略" not in str(refused.value)


def test_a_row_with_tools_is_counted_as_training_renders_it(base):
    import trl

    template = (Path(trl.__file__).parent / "chat_templates/qwen2_5.jinja").read_text(encoding="utf-8")
    lengths = RowLengths(base, 1)
    lengths._tokenizer = copy.deepcopy(lengths._tokenizer)  # shared in the process
    lengths._tokenizer.chat_template = template
    call = '<tool_call>\n{"name":"read_dose","arguments":{"站":"A"}}\n</tool_call>'
    messages = [
        *exchange("A站？", call),
        {"role": "tool", "content": "0.1"},
        {"role": "assistant", "content": "正常。"},
    ]
    counted = lengths.count_where_needed(messages, '[{"name": "read_dose"}]')
    row = encode_row("r-1", messages, lengths._tokenizer, [{"name": "read_dose"}])
    assert counted == len(row.input_ids)
    with pytest.raises(BadRowError, match="a tool has no name"):
        lengths.count(messages, '[{"type": "function"}]')


def with_template(base, name, joins=False, limit=512):
    """Lengths counted with another family's template."""
    import trl

    lengths = RowLengths(base, limit)
    lengths._tokenizer = copy.deepcopy(lengths._tokenizer)  # shared in the process
    folder = Path(trl.__file__).parent / "chat_templates"
    lengths._tokenizer.chat_template = (folder / f"{name}.jinja").read_text(encoding="utf-8")
    if joins:
        lengths._tokenizer.add_tokens(["\n\n"])
    return lengths


def test_what_a_template_does_to_rows_is_known_before_training(base):
    thinking = [
        *exchange("甲？", "<think>\n想。\n</think>\n\n乙。"),
        *exchange("丙？", "<think>\n想。\n</think>\n\n丁。"),
    ]
    qwen = with_template(base, "qwen3")
    assert (qwen.effect(thinking, None).history, qwen.effect(thinking, None).alone) == ((), (1,))
    plain = with_template(base, "qwen3_5_think", joins=True)
    assert plain.effect(exchange("甲？", "乙。"), None).joined
    assert not plain.effect(thinking[:2], None).joined
    assert RowLengths(base, 512).effect(exchange("甲？", "乙。"), '[{"name": "f"}]').tools_hidden
    assert not with_template(base, "qwen2_5").effect(exchange("甲？", "乙。"), '[{"name": "f"}]').tools_hidden


def test_an_earlier_thought_that_fits_no_sample_of_its_own_carries_no_loss_and_is_named(base):
    lengths = with_template(base, "qwen3", limit=128)
    long = [*exchange("甲？", f"<think>\n{'再想一遍。' * 60}\n</think>\n\n乙。"), *exchange("丙？", "丁。")]
    effect = lengths.effect(long, None)
    assert lengths.count_where_needed(long, None, effect) <= 128
    assert lengths.fitting(effect, long, None).history == ((1, "too_long_alone"),)
    assert (lengths.fitting(effect, long, None).alone, effect.alone) == ((), (1,))


@pytest.mark.parametrize("answer", ["<think>\n想。\n</think>\n\n乙。", "乙。"])
def test_a_thought_that_is_given_back_is_counted(base, answer):
    lengths = with_template(base, "qwen3_5_think", joins=True, limit=1)
    messages = exchange("甲？", answer)
    counted = lengths.count_where_needed(messages, None, lengths.effect(messages, None))
    assert counted == len(encode_row("r", messages, lengths._tokenizer).input_ids)


def test_a_row_that_training_would_leave_out_is_refused_with_the_true_cause(base):
    lengths = with_template(base, "qwen3")
    lengths._tokenizer.chat_template = lengths._tokenizer.chat_template.replace("reasoning_content.strip('\\n')", "''")
    with pytest.raises(BadRowError, match="never shows the reasoning of the last answer"):
        lengths.effect(exchange("甲？", "<think>\n想。\n</think>\n\n乙。"), None)
    assert lengths.effect(exchange("甲？", "乙。"), None).history == ()
