"""How documents are cut."""

from itertools import pairwise

import pytest

from tasks.retrieval.documents import Document
from tasks.retrieval.passages import passages_of, sentences


def cut(text: str, longest: int = 60, name: str = "a"):
    return passages_of(Document(id=name, title="须知", source="s", version="1", text=text), longest)


def test_headings_stand_above_their_passages_and_never_inside_one():
    found = cut("开头。\n\n# 碘\n\n第一句。\n\n## 剂量\n\n成人。\n\n# 隐蔽\n\n关窗。")
    assert [(one.heading, one.text) for one in found] == [
        ("须知", "开头。"), ("须知 › 碘", "第一句。"), ("须知 › 碘 › 剂量", "成人。"), ("须知 › 隐蔽", "关窗。"),
    ]  # fmt: skip


def test_sentences_of_both_languages_and_no_point_inside_a_number():
    text = "剂量是 0.5 mSv。行吗？行！停；走。He took 1.5 mSv, e.g. in No. 3. Then “left.” 完了……"
    assert sentences(text) == [
        "剂量是 0.5 mSv。", "行吗？", "行！", "停；", "走。", "He took 1.5 mSv, e.g. in No. 3.", "Then “left.” 完了……",
    ]  # fmt: skip


def test_rows_of_a_table_stay_whole_under_their_head():
    rows = "\n".join(f"| {age} 岁 | {dose} mg |" for age, dose in ((12, 130), (3, 65), (1, 32)))
    found = cut(f"| 年龄 | 碘化钾 |\n|---|---|\n{rows}", 50)
    assert len(found) > 1
    assert all(one.text.startswith("| 年龄 | 碘化钾 |\n|---|---|\n| ") for one in found)
    assert sum(one.text.count("mg") for one in found) == 3


def test_a_long_sentence_is_cut_at_commas_and_never_inside_a_number_with_its_unit():
    text = "，".join(f"测点{number}读数为 1234.5 μSv/h 而邻点读数为 987.6 μSv/h" for number in "甲乙丙丁")
    found = [one.text for one in cut(text, 60)]
    assert "".join(found) == text
    assert all(one.endswith("，") for one in found[:-1])


@pytest.mark.parametrize("longest", range(60, 75))
def test_without_commas_numbers_and_words_are_whole_wherever_the_cut_falls(longest):
    text = "读数" + "".join(f"在1234.5 μSv/h附近徘徊而仪器{one}survey-meter显示着" for one in "甲乙丙丁戊己")
    parts = [one.text for one in cut(text, longest)]
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    assert all("1234.5 μSv/h" in one or "1234" not in one for one in parts)
    assert not any(left.endswith(("1234", "μSv", "sur")) or right.startswith((".5", "/h", "-m"))
                   for left, right in pairwise(parts))  # fmt: skip


def test_an_id_is_of_the_content_and_outlives_changes_elsewhere():
    before = cut("# 甲\n\n碘片在照射前服用。\n\n# 乙\n\n关好门窗。")
    after = cut("# 零\n\n新的一节。\n\n# 甲\n\n碘片在照射前服用。\n\n# 乙\n\n关好窗。")
    assert before[0].id == after[1].id
    assert before[1].id != after[2].id
    assert cut("碘片。", name="b")[0].id != cut("碘片。")[0].id
    assert len(cut("碘片。\n\n## 须知\n\n碘片。")) == 1


def test_soft_lines_of_chinese_join_without_a_space_and_of_english_with_one():
    (found,) = cut("关好门窗，\n待在室内。\n\nStay inside\nuntil told.")
    assert found.text == "关好门窗，待在室内。\nStay inside until told."
