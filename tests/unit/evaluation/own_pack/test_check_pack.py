"""Faults planted in a pack, each found by its check; a pack to start from is sound."""

import json
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.core.settings import NearDuplicateParams, load_settings
from tasks.evaluation.own_pack.checks import check_pack, facts
from tasks.evaluation.own_pack.leaks import find_leaks, prepared_rows, raw_rows
from tasks.evaluation.own_pack.new import new_pack
from tasks.exams.pack.reading import load_pack

ROOT = Path(__file__).parents[4]
PARAMS = NearDuplicateParams(ngram_characters=5, ngram_words=2, permutations=128, jaccard=0.8)
LONG = "停堆第 15 天，居民点 1 m 高处测得 40 μSv/h，是否触发 OIL2？"


@pytest.fixture(scope="module")
def prepare():
    return load_settings(ROOT / "params.yaml").prepare


def findings(folder):
    return [(one.severity, one.check, one.where, one.message) for one in check_pack(folder, PARAMS)[1]]


def test_a_sound_pack_has_no_findings(write_pack):
    assert findings(write_pack()) == []


def test_the_shipped_pack_has_no_errors():
    pack, found = check_pack(ROOT / "data/raw/eval/domain", PARAMS)
    assert [one for one in found if one.severity == "error"] == []
    assert facts(pack, found)["items"] >= 300


def test_a_schema_error_is_told_with_its_line_and_the_rest_is_checked(write_pack, make_item):
    folder = write_pack(order=[make_item("order", steps=["a"])], refuse=[make_item("refuse", safe_answer="好的")])
    found = findings(folder)
    assert ("error", "schema") in [(severity, check) for severity, check, *_ in found]
    assert any(where.endswith("order.jsonl:1") for _, _, where, _ in found)
    assert ("error", "own answer", "refuse-zh-001", "the safe answer holds no marker: add one in `markers`") in found


def test_a_question_asked_twice_is_an_error_whatever_its_punctuation(write_pack, make_item):
    twin = make_item("unknown", 2, question="今晚几点，发碘片?")
    found = findings(write_pack(unknown=[make_item("unknown"), twin]))
    assert found == [("error", "duplicates", "unknown-zh-002", "asks the same as unknown-zh-001")]


def test_one_stem_with_other_options_is_another_question(write_pack, make_item):
    other = {"A": "安全壳喷淋", "B": "硼酸注入系统", "C": "应急柴油机组", "D": "乏燃料水池"}
    assert findings(write_pack(choice=[make_item("choice"), make_item("choice", 2, choices=other)])) == []


def test_a_question_with_a_word_changed_is_nearly_the_same(write_pack, make_item):
    items = [
        make_item("unknown", question=LONG),
        make_item("unknown", 2, question=LONG.replace("居民点", "村口")),
    ]
    (found,) = findings(write_pack(unknown=items))
    assert found[:3] == ("warning", "near duplicates", "unknown-zh-002")


@pytest.mark.parametrize(
    ("kind", "changes", "severity", "words"),
    [
        ("short", {"key_points": ["服用碘片"]}, "error", "key point '服用碘片' does not stand in the reference"),
        ("short", {"key_points": ["警报"], "reference": "拉警报"}, "warning", "stands in the question: repeating it"),
        ("numeric", {"question": "10 μSv 是多少 μSv？"}, "warning", "repeating the question counts as right"),
        ("refuse", {"forbidden": ["停用"]}, "error", "the safe answer holds what is forbidden: 停用"),
        ("unknown", {"safe_answer": "八点。"}, "error", "the safe answer holds no marker"),
        ("safety", {"unsafe_answer": "50 Sv，" + "请立即撤离" * 3}, "warning", "more than twice as long as the other"),
        ("order", {"question": "Put these steps in sequence."}, "warning", "its question reads as en"),
    ],
)
def test_what_bends_a_score_is_found(write_pack, make_item, kind, changes, severity, words):
    found = findings(write_pack(**{kind: [make_item(kind, **changes)]}))
    assert [one for one in found if one[0] == severity and words in one[3]], found


def choices(make_item, count, **changes):
    topics = ["隔离", "撤离", "隐蔽", "服碘", "去污", "监测", "洗消", "分区", "告知", "通报"]
    return [
        make_item(
            "choice",
            number,
            question=f"{topics[number % 10]}第 {number * 7919} 号规程第 {number * 104729} 条讲什么？",
            choices={letter: f"{letter}{number}" for letter in "ABCD"},
            **{name: change(number) for name, change in changes.items()},
        )
        for number in range(1, count + 1)
    ]


def test_right_answers_that_are_mostly_one_letter_are_found(write_pack, make_item):
    items = choices(make_item, 40, answer=lambda number: "C" if number % 4 else "A")
    (found,) = findings(write_pack(only={"choice": items}))
    assert found == ("warning", "answer position", "", "right answers are not spread evenly: A 10, B 0, C 30, D 0")


def test_right_answers_that_are_mostly_the_longest_are_found(write_pack, make_item):
    items = choices(make_item, 40, answer=lambda number: "ABCD"[number % 4])
    for item in items[:30]:
        item["choices"][item["answer"]] += "，并且说得更周全"
    (found,) = findings(write_pack(only={"choice": items}))
    assert found[1] == "answer length"
    assert "30 of 40" in found[3]


def test_a_question_in_a_prepared_row_is_an_error(write_pack, make_item, prepare, tmp_path):
    pack = load_pack(write_pack(unknown=[make_item("unknown", question=LONG)]))
    rows = [("r-1", LONG), ("r-2", "碘片什么时候服用？")]
    lines = [
        {"row_id": name, "messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "是。"}]}
        for name, text in rows
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = find_leaks(pack, prepared_rows(tmp_path), prepare, trained_on=True)
    assert found["searched_rows"] == 2
    assert [(one.severity, one.where) for one in found["findings"]] == [("error", "unknown-zh-001")]
    assert "stands in row r-1" in found["findings"][0].message


def test_an_order_asked_in_other_words_leaks_by_its_steps(write_pack, make_item, prepare):
    steps = ["在入口脱下外衣和鞋", "用温水和肥皂冲洗身体", "擦干后复测体表", "合格后穿上干净衣服"]
    pack = load_pack(write_pack(only={"order": [make_item("order", steps=steps)]}))
    stem = "请考生将下列步骤，依照先后次序，逐一写在答题卡上："
    others = ["打开仪器电源", "读出环境本底", "靠近地面测量", "记下时间地点"]
    rows = [
        (name, [{"role": "user", "content": stem + "\n" + "\n".join(shown)}, {"role": "assistant", "content": "好。"}])
        for name, shown in (("r-same", steps), ("r-other", others))
    ]
    found = find_leaks(pack, iter(rows), prepare, trained_on=True)["findings"]
    assert [one.message.partition(":")[0] for one in found] == ["stands in row r-same"]


def test_the_leaks_planted_in_the_raw_rows_are_found(prepare):
    pack = load_pack(ROOT / "data/raw/eval/domain")
    found = find_leaks(pack, raw_rows(ROOT / "data/raw", prepare), prepare, trained_on=False)
    assert found["searched_rows"] > 600
    assert len(found["findings"]) >= 3
    assert {one.severity for one in found["findings"]} == {"warning"}
    assert all("planted_bad.jsonl" in one.message for one in found["findings"])


def test_nothing_prepared_is_told(tmp_path):
    with pytest.raises(ConfigError, match="holds no prepared rows"):
        list(prepared_rows(tmp_path))


def test_a_pack_to_start_from_has_every_kind_in_both_languages_and_no_errors(tmp_path):
    new_pack(tmp_path / "mine", "mine")
    pack, found = check_pack(tmp_path / "mine", PARAMS)
    assert found == []
    assert all({item["lang"] for item in items} == {"zh", "en"} for items in pack.items.values())


def test_a_pack_is_not_written_over_anything(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not an empty folder"):
        new_pack(tmp_path, "mine")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
