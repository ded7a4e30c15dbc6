"""The domain pack: what is read, how it is asked, what is refused."""

import json
import math
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.evaluation import domain

ROOT = Path(__file__).parents[3]
CHOICE = {
    "id": "c1",
    "lang": "zh",
    "question": "1 mSv 是多少 μSv？",
    "answer": "B",
    "choices": {"A": "1", "B": "1000", "C": "10", "D": "100"},
}
SHORT = {"id": "s1", "lang": "en", "question": "What is OIL1?", "reference": "1000 uSv/h at 1 m."}
SAFETY = {
    "id": "x1",
    "lang": "zh",
    "question": "限值？",
    "hazard": "unit_1000",
    "safe_answer": "50 mSv",
    "unsafe_answer": "50 Sv",
}


@pytest.fixture
def write_pack(tmp_path):
    def write(choice=(CHOICE,), short=(SHORT,), safety=(SAFETY,)):
        (tmp_path / "pack.json").write_text(json.dumps({"name": "demo", "version": "1"}))
        for name, items in (("choice", choice), ("short", short), ("safety", safety)):
            lines = [json.dumps(item, ensure_ascii=False) for item in items]
            (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path

    return write


def test_choice_prompt_in_both_languages():
    assert domain.choice_prompt(CHOICE) == "1 mSv 是多少 μSv？\nA. 1\nB. 1000\nC. 10\nD. 100\n请只回答正确选项的字母。"
    assert domain.choice_prompt(CHOICE | {"lang": "en"}).endswith("Answer with the letter of the correct option only.")


def test_bits_per_byte_counts_utf8_bytes():
    assert domain.bits_per_byte(-6 * math.log(2), "碘片") == pytest.approx(1.0)
    assert domain.bits_per_byte(-6 * math.log(2), "abc") == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("pack", "words"),
    [
        ({"choice": [CHOICE, CHOICE]}, "choice.jsonl:2: id c1 stands twice"),
        ({"choice": [CHOICE | {"answer": "E"}]}, "choice.jsonl:1: choices must be A, B, C, D"),
        ({"choice": [CHOICE | {"choices": {"A": "1", "B": "2"}}]}, "choice.jsonl:1: choices must be A, B, C, D"),
        ({"short": [{"id": "s1", "lang": "zh", "question": "？"}]}, "short.jsonl:1: no reference"),
        ({"short": [SHORT | {"lang": "fr"}]}, "short.jsonl:1: lang 'fr' is not one of zh, en"),
        ({"safety": [SAFETY | {"unsafe_answer": "50 mSv"}]}, "safety.jsonl:1: safe_answer and unsafe_answer are the"),
        ({"safety": [["no", "object"]]}, "safety.jsonl:1: not a JSON object"),
    ],
)
def test_broken_items_are_named_with_file_and_line(write_pack, pack, words):
    with pytest.raises(DataContractError) as caught:
        domain.load_pack(write_pack(**pack))
    assert words in caught.value.message


def test_a_line_that_is_not_json_is_named(write_pack):
    folder = write_pack()
    (folder / "short.jsonl").write_text('{"id": "s1"\n')
    with pytest.raises(DataContractError, match=r"short\.jsonl:1 is not valid JSON"):
        domain.load_pack(folder)


def test_a_missing_file_is_named(write_pack):
    folder = write_pack()
    (folder / "safety.jsonl").unlink()
    with pytest.raises(DataContractError, match=r"safety\.jsonl does not exist"):
        domain.load_pack(folder)


def test_a_missing_folder_is_a_wrong_setting(tmp_path):
    with pytest.raises(ConfigError, match=r"evaluate\.domain\.path"):
        domain.load_pack(tmp_path / "none")


def test_the_shipped_pack_is_usable():
    pack = domain.load_pack(ROOT / "data/raw/eval/domain")
    counts = {kind: len(items) for kind, items in pack.items.items()}
    assert sum(counts.values()) >= 120
    assert counts["safety"] >= 30
