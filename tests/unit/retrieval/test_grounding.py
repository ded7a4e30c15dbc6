"""From a conversation to what the caller is told."""

import pytest

from tasks.core.params.retrieval import GroundedParams
from tasks.retrieval.grounding import find_grounds, grounded_messages, settle
from tasks.retrieval.index import Index
from tasks.retrieval.lexical import Lexical
from tasks.retrieval.passages import Passage
from tasks.retrieval.words import words

PASSAGES = [
    Passage("p-1", "iodine", "碘化钾的服用量", "| 年龄 | 碘化钾 |\n|---|---|\n| 成人 | 130 mg |\n| 3～12 岁 | 65 mg |"),
    Passage("p-2", "shelter", "隐蔽", "关闭门窗和通风。隐蔽一般不超过约 2 天。"),
    Passage("p-3", "en", "Sheltering", "Close doors and windows. Sheltering is limited to about two days."),
]
ABOUT = {one.document: {"title": "t", "source": "s", "version": "1"} for one in PASSAGES}
PARAMS = GroundedParams(mode="asked", passages=2, passage_characters=200, least_share=0.25, least_agreement=0.75,
                        otherwise="say_so")  # fmt: skip


@pytest.fixture(scope="module")
def index() -> Index:
    return Index(
        {"lineage_id": "ix-1"}, PASSAGES, ABOUT, Lexical.of([words(f"{p.heading}\n{p.text}") for p in PASSAGES])
    )


def ask(index, *questions: str):
    return find_grounds(index, [{"role": "user", "content": one} for one in questions], PARAMS)


def test_the_last_question_is_searched_and_asked_behind_its_passages(index):
    grounds = ask(index, "成人碘化钾服用多少？")
    assert grounds.passages[0].id == "p-1"
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "成人碘化钾服用多少？"}]
    made = grounded_messages(grounds, messages)
    assert made[0] == messages[0]
    assert "130 mg" in made[1]["content"]
    assert made[1]["content"].endswith("成人碘化钾服用多少？")


def test_a_short_question_is_read_with_the_one_before_it_and_parts_are_text(index):
    assert not ask(index, "那大人呢？").hits
    assert ask(index, "成人碘化钾服用多少？", "那大人呢？").passages[0].id == "p-1"
    parts = [{"role": "user", "content": [{"type": "text", "text": "隐蔽多久？"}]}]
    assert find_grounds(index, parts, PARAMS).passages[0].id == "p-2"


def test_what_fits_together_is_shown_and_the_best_one_always(index):
    small = PARAMS.model_copy(update={"passage_characters": 60})
    grounds = find_grounds(index, [{"role": "user", "content": "成人碘化钾 隐蔽多久"}], small)
    assert len(grounds.hits) == 1
    assert grounds.shown()[0].keys() >= {"number", "id", "document", "title", "source", "version", "text", "share"}


@pytest.mark.parametrize(("answer", "told", "why"), [
    ("成人碘化钾 130 mg [1]。", "成人碘化钾 130 mg [1]。", None),
    ("成人 130 mg。", "成人 130 mg [1]。", None),
    ("成人 16 mg [1]。", "文件中没有。", "not_supported"), ("文件中没有。", "文件中没有。", "said_by_model"),
    ("资料中没有提到。", "文件中没有。", "said_by_model"), ("", "文件中没有。", "no_answer"),
    ("[1]", "文件中没有。", "no_answer"),
    ("<think>x</think>成人 130 mg [1]。", "成人 130 mg [1]。", None),
    ("<think>成人 130 mg [1]。", "文件中没有。", "no_answer"),
])  # fmt: skip
def test_what_a_caller_is_told(index, answer, told, why):
    settled = settle(ask(index, "成人碘化钾服用多少？"), answer, PARAMS)
    assert (settled.text, settled.why) == (told, why)
    assert settled.cited == ((1,) if why is None else ())


def test_an_answer_cut_off_is_not_told(index):
    assert settle(ask(index, "成人碘化钾服用多少？"), "成人 130 mg [1]。", PARAMS, cut_off=True).why == "cut_off"


def test_in_the_language_of_the_question(index):
    grounds = ask(index, "How long is sheltering limited to?")
    assert settle(grounds, "Nobody knows.", PARAMS).text == "Not in the documents."
    assert settle(grounds, "About two days [1].", PARAMS).text == "About two days [1]."


def test_quotes_are_the_documents_own_words_and_said_to_be(index):
    quote = PARAMS.model_copy(update={"otherwise": "quote"})
    settled = settle(ask(index, "3～12 岁碘化钾服用多少？"), "不知道呀。", quote)
    assert settled.text.splitlines()[1] == "年龄：3～12 岁；碘化钾：65 mg [1]"
    assert (settled.quoted, settled.why, settled.cited) == (True, "not_supported", (1,))
    # Where the model itself says that it is not there, nothing is quoted.
    assert settle(ask(index, "3～12 岁碘化钾服用多少？"), "文件中没有。", quote).quoted is False
