"""What is asked, in counts: the same kind of questions is no drift, another topic, language or length is."""

import json
import random

import pytest

from tasks.core.files import write_jsonl
from tasks.monitor.questions import drifts, pairs_of, profile, question_of, training_questions

PLACES = ("一号厂房", "二号取样口", "三号门", "应急指挥部", "监测车", "烟羽应急计划区", "碘化钾药库", "去污站")
DUTIES = ("什么时候服用碘片", "怎样测量剂量率", "由谁通知居民", "怎样撤离", "多久取样一次", "怎样记录读数", "是否隐蔽")
DISHES = ("红烧排骨", "番茄炒蛋", "清蒸鲈鱼", "麻婆豆腐", "糖醋里脊", "葱油拌面", "酸辣土豆丝", "宫保鸡丁")
STEPS = ("要放多少盐", "先焯水吗", "火候怎么掌握", "腌多久才入味", "用什么锅好", "隔夜还能吃吗", "怎么去腥")


def questions(subjects, ends, count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [f"请问{rng.choice(subjects)}在第{rng.randint(1, 90)}班{rng.choice(ends)}？" for _ in range(count)]


def rows(texts):
    return [{"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "见规程。"}]}
            for text in texts]  # fmt: skip


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    write_jsonl(folder / "train.jsonl", rows(questions(PLACES, DUTIES, 600, 1)))
    write_jsonl(folder / "validation.jsonl", rows(questions(PLACES, DUTIES, 200, 2)))
    return training_questions(folder)


def moved(training, texts) -> set[str]:
    reference, known = training
    return {drift.name for drift in drifts(reference, profile(texts, known), 0.25) if drift.index > drift.limit}


def test_questions_of_the_same_kind_have_not_moved(training):
    for seed in range(3, 13):
        assert moved(training, questions(PLACES, DUTIES, 200, seed)) == set()


def test_another_topic_is_less_familiar(training):
    assert moved(training, questions(DISHES, STEPS, 200, 3)) == {"familiar"}


def test_another_language_and_much_longer_questions_have_moved(training):
    assert "languages" in moved(training, ["When do people near the plant take iodine tablets?"] * 200)
    longer = [text * 12 for text in questions(PLACES, DUTIES, 200, 3)]
    assert "length_zh" in moved(training, longer)


def test_a_profile_holds_no_text(training):
    reference, known = training
    assert all(isinstance(pair, int) for pair in known)
    assert not any(name in json.dumps(reference, ensure_ascii=False) for name in PLACES)


@pytest.mark.parametrize(
    ("prompt", "question"),
    [
        ("一段文字", "一段文字"),
        ([{"role": "user", "content": "早"}, {"role": "assistant"}, {"role": "user", "content": "问"}], "问"),
        ([{"role": "user", "content": [{"type": "text", "text": "甲"}, {"type": "text", "text": "乙"}]}], "甲\n乙"),
        ([{"role": "system", "content": "规则"}], None),
        (["两段", "文字"], None),
        ("", None),
        (None, None),
    ],
)  # fmt: skip
def test_the_question_is_what_the_user_said_last(prompt, question):
    assert question_of(prompt) == question


def test_pairs_know_neither_blanks_nor_case():
    assert pairs_of("Io dine") == pairs_of("iodine")
    assert pairs_of("碘") == set()
