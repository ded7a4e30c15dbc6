"""What counts as standing in a passage: each way an answer can differ from it is planted and seen."""

import pytest

from tasks.retrieval.passages import Passage
from tasks.retrieval.support import held_to, pieces_of

DOSES = Passage("p-1", "iodine", "碘化钾的服用量", (
    "| 年龄 | 碘化钾 |\n|---|---|\n| 12 岁以上和成人 | 130 mg |\n| 3～12 岁 | 65 mg |\n| 不满 1 个月的新生儿 | 16 mg |"
))  # fmt: skip
ADVICE = Passage("p-2", "use", "稳定碘", (
    "听到官方指令再服，一般只服一次。没有指令不要自行服用。碘酒口服有害，不能代替碘化钾片。"
    "照射开始 24 h 以后再服弊可能大于利。"
    "隐蔽一般不超过约 2 天。一周撤离可防止的剂量超过 50 mSv，应考虑撤离。"
))  # fmt: skip
ENGLISH = Passage("p-3", "en", "Sheltering", (
    "Close doors and windows and switch off ventilation. Sheltering is normally limited to about two days. "
    "Do not take tablets without official instruction. OIL1 is 1000 µSv/h at 1 m above ground."
))  # fmt: skip


def why(answer: str, *passages: Passage) -> list[str | None]:
    return [one.why for one in held_to(answer, passages or (DOSES, ADVICE, ENGLISH), 0.75)]


@pytest.mark.parametrize("answer", [
    "3～12 岁服碘化钾 65 mg [1]。", "3-12岁的碘化钾服用量为65毫克。[1]", "成人碘化钾 130 mg [1]。",
    "- 碘酒口服有害 [2]。", "照射开始 24 h 后再服弊可能大于利 [2]。", "12 岁以上碘化钾 130 mg [1]。",
    "听到官方指令再服，一般只服一次 [2]。", "碘酒不能代替碘化钾片 [2]。", "隐蔽一般不超过 2 天 [2]。",
    "Close doors and windows [3]. Sheltering is limited to about two days. [3]", "OIL1 is 1000 μSv/h [3].",
    "Do not take tablets without instruction [3].", "1. 碘酒口服有害 【2】。", "隱蔽一般不超過約 2 天［2］。",
])  # fmt: skip
def test_what_stands_there_is_supported_in_any_spelling(answer):
    assert set(why(answer)) == {None}


@pytest.mark.parametrize(("answer", "expected"), [
    ("3～12 岁服碘化钾 130 mg [1]。", "number"),  # the number of another row
    ("碘酒一般不超过约 2 天 [2]。", "mixed"),
    ("3～12 岁服碘化钾 65 g [1]。", "number"), ("3～12 岁服碘化钾 65 [1]。", "number"),
    ("成人碘化钾 0.13 g [1]。", "number"),
    ("3～13 岁服碘化钾 65 mg [1]。", "number"), ("OIL1 is 1000 mSv/h [3].", "number"),
    ("隐蔽一般超过约 2 天 [2]。", "side"), ("隐蔽一般不低于约 2 天 [2]。", "side"),
    ("照射开始 24 h 以内再服弊可能大于利 [2]。", "side"), ("照射开始前 24 h 再服弊可能大于利 [2]。", "side"),
    ("年龄 12 岁以下，碘化钾 130 mg [1]。", "side"),
    ("一周撤离可防止的剂量低于 50 mSv，应考虑撤离 [2]。", "side"),
    ("没有指令要自行服用 [2]。", "denial"), ("碘酒口服有害，能代替碘化钾片 [2]。", "denial"),
    ("不应考虑撤离，一周撤离可防止的剂量超过 50 mSv [2]。", "denial"),
    ("Do take tablets without official instruction [3].", "denial"),
    ("孕妇可以每天服用三次碘片直到解除 [2]。", "words"), ("今天下午大门外一切正常 [2]。", "words"),
    ("碘酒口服有害 [1]。", "words"), ("碘酒口服有害 [4]。", "no_such_passage"),
    ("碘酒口服有害 [0]。", "no_such_passage"),
])  # fmt: skip
def test_what_differs_is_not(answer, expected):
    assert expected in why(answer)


def test_a_sentence_without_a_citation_is_given_the_passage_it_stands_in():
    (one,) = held_to("碘酒口服有害。", (DOSES, ADVICE), 0.75)
    assert (one.cited, one.why) == ((2,), None)
    (other,) = held_to("可以喝碘酒。", (DOSES, ADVICE), 0.75)
    assert other.why is not None


def test_each_sentence_is_held_by_itself():
    assert why("碘酒口服有害 [2]。明天就会解除 [2]。") == [None, "words"]
    assert why("") == why("。！") == []


def test_a_row_is_held_with_its_head_and_prose_by_the_sentence():
    assert pieces_of(DOSES)[1] == "| 年龄 | 碘化钾 |\n| 3～12 岁 | 65 mg |"
    assert len(pieces_of(ADVICE)) == 6
    assert pieces_of(Passage("p", "a", "h", "| a | b |\n| c | d |")) == ["| a | b |", "| c | d |"]


def test_the_number_of_one_sentence_is_not_told_of_whom_the_next_speaks_of():
    passage = Passage("p-4", "d", "碘化钾的服用量", "成人一次服碘化钾 130 mg。3～12 岁的儿童服 65 mg。")
    assert why("儿童服碘化钾 130 mg [1]。", passage) == ["mixed"]
    assert why("成人服碘化钾 130 mg [1]。儿童服 65 mg [1]。", passage) == [None, None]
