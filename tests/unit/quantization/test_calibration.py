"""Calibration rows follow a stated policy: train rows, both languages by share, the serving template."""

import pytest

from tasks.core.errors import DataContractError
from tasks.core.files import write_jsonl
from tasks.quantization.calibration import choose_rows, read_calibration
from tests.unit.quantization.conftest import chat


def rows(chinese: int, english: int) -> list[dict]:
    """Return rows of both languages, the Chinese ones first."""
    return [chat(n, "zh" if n < chinese else "en") for n in range(chinese + english)]


def languages(chosen) -> dict[str, int]:
    return {language: sum(row["language"] == language for row in chosen) for language in ("zh", "en")}


@pytest.mark.parametrize(
    ("chinese", "english", "count", "fraction", "expected"),
    [
        (10, 10, 8, 0.5, {"zh": 4, "en": 4}),
        (10, 10, 8, 0.75, {"zh": 6, "en": 2}),
        (10, 10, 4, 1.0, {"zh": 4, "en": 0}),
        (2, 10, 8, 0.5, {"zh": 2, "en": 6}),  # one language fills up where the other is short
        (10, 1, 8, 0.5, {"zh": 7, "en": 1}),
        (2, 1, 8, 0.5, {"zh": 2, "en": 1}),
        (0, 3, 2, 0.5, {"zh": 0, "en": 2}),
    ],
)
def test_languages_by_share(chinese, english, count, fraction, expected):
    assert languages(choose_rows(rows(chinese, english), count, fraction)) == expected


def test_the_choice_keeps_the_file_s_order_and_no_row_twice():
    chosen = choose_rows(rows(5, 5), 6, 0.5)
    assert [row["row_id"] for row in chosen] == ["r-0", "r-1", "r-2", "r-5", "r-6", "r-7"]


def test_rows_are_rendered_in_the_serving_template_and_cut_at_the_longest_length(tmp_path, tokenizer, quantize_params):
    long = chat(9)
    long["messages"][0]["content"] *= 40
    write_jsonl(tmp_path / "calibration.jsonl", [chat(1), chat(2, "en"), long])
    found = read_calibration(tmp_path / "calibration.jsonl", tokenizer, quantize_params)
    lengths = [len(ids) for ids in found.token_ids]
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[0] == quantize_params.max_length_tokens
    rendered = [tokenizer.apply_chat_template(chat(n, language)["messages"], tokenize=False)
                for n, language in ((1, "zh"), (2, "en"))]  # fmt: skip
    assert {tokenizer.decode(ids) for ids in found.token_ids[1:]} == set(rendered)
    assert found.facts["cut"] == 1
    assert found.facts["languages"] == {"en": 1, "zh": 2}
    assert found.facts["tokens"] == sum(lengths)
    assert found.facts["row_ids"] == ["r-1", "r-2", "r-9"]


def test_a_row_that_training_refuses_is_counted(tmp_path, tokenizer, quantize_params):
    bad = chat(5)
    bad["messages"][0]["content"] += tokenizer.eos_token
    write_jsonl(tmp_path / "calibration.jsonl", [chat(1), bad])
    facts = read_calibration(tmp_path / "calibration.jsonl", tokenizer, quantize_params).facts
    assert (facts["rows"], facts["refused"], facts["row_ids"]) == (1, 1, ["r-1"])


def test_no_calibration_rows_is_clear(tmp_path, quantize_params):
    write_jsonl(tmp_path / "calibration.jsonl", [])
    with pytest.raises(DataContractError, match="has no rows"):
        read_calibration(tmp_path / "calibration.jsonl", None, quantize_params)
