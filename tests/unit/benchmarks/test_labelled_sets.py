"""The labelled sets say what they claim, and the scoring sees the faults it is there for."""

import importlib
import json
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
LABELLED = BENCHMARKS / "labelled"
STRUCTURED = (
    "resident_id", "mobile", "landline", "email", "bank_card", "passport", "licence_plate", "credit_code", "ip",
    "coordinates", "organisation",
)  # fmt: skip


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """Import a benchmark's module as its script does."""
    monkeypatch.syspath_prepend(LABELLED)
    monkeypatch.syspath_prepend(BENCHMARKS)

    def load(name: str) -> ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    return load


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    return [json.loads(line) for line in (LABELLED / "privacy.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("maker", ["make_sets.py", "unseen.py"])
def test_sets_are_what_their_templates_give(maker):
    done = subprocess.run([sys.executable, LABELLED / maker, "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_set_changed_by_hand_is_seen(module, monkeypatch, tmp_path, capsys):
    written = module("written")
    monkeypatch.setattr(written, "HERE", tmp_path)
    (tmp_path / "set.jsonl").write_text('{"text": "changed"}\n', encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["make", "--check"])
    assert written.write_or_check({"set.jsonl": '{"text": "made"}\n'}, None) == 1
    assert json.loads(capsys.readouterr().out)["stale"] == ["set.jsonl"]


def test_the_halves_of_the_unseen_set_share_no_template(module):
    halves = [{row["template"] for row in module("privacy").read(LABELLED / f"{half}.jsonl")}
              for half in ("tuning", "held_out")]  # fmt: skip
    assert all(halves)
    assert not halves[0] & halves[1]


def test_the_report_on_a_set_holds_its_bars_and_names_a_broken_one(module, tmp_path):
    text = "联系人：王小明，电话13912345678。"
    spans = [{"start": 4, "end": 7, "type": "person_name", "variant": "p"},
             {"start": 10, "end": 21, "type": "mobile", "variant": "plain"}]  # fmt: skip
    rows = [{"group": "names_zh", "template": "t:1", "text": text, "spans": spans},
            {"group": "plain", "template": "t:2", "text": "采样品种有小麦、李子、白菜。", "spans": []}]  # fmt: skip
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report, _ = module("privacy").measure([], [path])
    assert (report["broken_bars"], report["nobody"]["alarms"]) == ([], 0)
    spans.append({"start": 0, "end": 3, "type": "person_name", "variant": "p"})
    path.write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    report, _ = module("privacy").measure([], [path])
    assert report["broken_bars"] == ["person_name recall 0.5 < 0.85"]


def test_enough_examples_of_every_type(rows):
    counts = Counter(span["type"] for row in rows for span in row["spans"])
    assert all(counts[type_] >= 120 for type_ in STRUCTURED), counts
    assert counts["person_name"] >= 200
    assert counts["address"] >= 200
    engineering = (LABELLED / "engineering.jsonl").read_text(encoding="utf-8").splitlines()
    assert len({json.loads(line)["text"] for line in engineering}) >= 3000


def test_spans_hold_values_and_nothing_is_left_unfilled(rows):
    for row in rows:
        ends = [0]
        for span in row["spans"]:
            assert ends[-1] <= span["start"] < span["end"] <= len(row["text"]), row["template"]
            ends.append(span["end"])
        assert not re.search(r"\{[a-z_]+\d*\}|\[\[", row["text"]), row["template"]


def test_checksums_of_labels_are_right_and_those_of_look_alikes_wrong(rows, module):
    people, slots = module("people"), module("slots")
    checks = {
        "resident_id": people.resident_check,
        "bank_card": people.luhn_digit,
        "credit_code": people.credit_check,
    }
    for row in rows:
        for span in row["spans"]:
            if check := checks.get(span["type"]):
                value = row["text"][span["start"] : span["end"]].translate(
                    {code + 0xFEE0: code for code in range(33, 127)}
                )
                value = re.sub(r"[ -]", "", value)
                assert check(value[:-1]) == value[-1], row["template"]
    rng = random.Random(0)
    for _ in range(200):
        assert (card := slots.bad_card(rng))[-1] != people.luhn_digit(card[:-1])
        assert (identity := slots.bad_resident_id(rng))[-1] != people.resident_check(identity[:-1])
        assert (code := slots.bad_credit_code(rng))[-1] != people.credit_check(code[:-1])


def test_published_examples_of_the_checksums(module):
    people = module("people")
    assert people.resident_check("11010519491231002") == "X"  # GB 11643
    assert people.credit_check("91350100M000100Y4") == "3"  # GB 32100
    assert people.luhn_digit("7992739871") == "3"  # ISO/IEC 7812-1


@pytest.mark.parametrize(
    ("spans", "recall", "precision"),
    [
        ([(3, 14, "mobile")], 1.0, 1.0),
        ([(3, 13, "mobile")], 0.0, 1.0),  # a digit left over is a leak
        ([(3, 14, "landline")], 0.0, 1.0),  # another type
        ([(3, 14, "mobile"), (0, 2, "mobile")], 1.0, 0.5),  # a false alarm
        ([(0, 40, "mobile")], 1.0, 0.0),  # the sentence taken along
        ([], 0.0, 1.0),
    ],
)
def test_scoring(module, spans, recall, precision):
    score = module("privacy").Score()
    label = {"start": 3, "end": 14, "type": "mobile", "variant": "plain"}
    score.add({"template": "t", "text": "电话：13800000000" + "。" * 40, "spans": [label]}, spans)
    figures = score.table()["mobile"]
    assert (figures["recall"], figures["precision"]) == (recall, precision)


def test_title_may_be_taken_along_and_ignored_places_do_not_count(module):
    score = module("privacy").Score()
    labels = [
        {"start": 0, "end": 1, "type": "person_name", "variant": "plain"},
        {"start": 6, "end": 8, "type": "ignore", "variant": "hand_written"},
    ]
    text = "李主任来了。小顾也来了。"
    score.add({"template": "t", "text": text, "spans": labels}, [(0, 3, "person_name"), (6, 8, "person_name")])
    assert score.table()["person_name"] == {"labelled": 1, "recall": 1.0, "precision": 1.0, "masked": 1.0, "exact": 0.0}


def test_every_edit_changes_a_question_and_keeps_its_answer_out(module):
    edits, item = module("leak_edits"), importlib.import_module("tasks.data.matching.eval_sets").EvalItem
    question = item(
        "set",
        "1",
        "下列关于屏蔽材料的说法，正确的是____。",
        ("铅对γ射线屏蔽好", "水不能屏蔽中子", "纸挡住γ", "空气最好"),
    )
    rows = {name: edit(question, random.Random(3)) for name, edit in edits.EDITS.items()}
    assert all(rows.values())
    texts = {name: row[-1 if name == "in_answer" else -2]["content"] for name, row in rows.items()}
    unchanged = {name for name, text in texts.items() if text == texts["verbatim"] and name != "verbatim"}
    assert unchanged == {"in_dialogue"}  # the same question in another place


def test_million_rows_are_the_same_each_time_and_hold_what_they_say(module):
    make = module("million_rows")
    first, again = make.Rows(600), make.Rows(600)
    lines = list(first)
    assert lines == list(again)
    assert sum(first.planted.values()) == len(lines) == 600
    assert {format_ for format_, _ in lines} == set(make.FORMATS)
    assert first.planted["exact_duplicate"] > 0 < first.planted["near_duplicate"]
