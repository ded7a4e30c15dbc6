"""Recall on the labelled questions, held to what was measured, and what is wrong with labels."""

import json

import pytest

from tasks.core.errors import DataContractError
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.retrieval.check import check_index, read_questions, share_of
from tasks.retrieval.documents import read_corpus
from tasks.retrieval.index import Index
from tasks.retrieval.lexical import Lexical
from tasks.retrieval.passages import passages_of
from tasks.retrieval.words import words
from tests.unit.retrieval.corpora import ROOT

QUESTIONS = ROOT / "data/raw/eval/retrieval/questions.jsonl"
#: As measured when the questions were written, less one or two questions: tests/benchmarks/README.md.
RECALL_AT_5 = {"all": 0.92, "half:held": 0.89, "kind:plain": 0.95, "kind:units": 0.93, "kind:english": 0.95}


@pytest.fixture(scope="module")
def shipped() -> Index:
    settings = load_settings(ROOT / "params.yaml")
    corpus = read_corpus(Project(ROOT).root / settings.index.corpus, settings.index, lambda text: (text, {}, ()))
    found = [one for document in corpus.documents for one in passages_of(document, settings.index.passage_characters)]
    return Index({}, found, {}, Lexical.of([words(f"{one.heading}\n{one.text}") for one in found]))


@pytest.fixture(scope="module")
def report(shipped):
    least_share = load_settings(ROOT / "params.yaml").serve.grounded.least_share
    return check_index(shipped, read_questions(QUESTIONS, shipped.passages), least_share)


@pytest.mark.parametrize("group", RECALL_AT_5)
def test_recall_stays_where_it_was_measured(report, group):
    assert report["groups"][group]["recall@5"]["value"] >= RECALL_AT_5[group], report["missed_at_5"]


def test_the_labelled_set_is_what_the_docs_say(report):
    groups = report["groups"]
    assert report["questions"] >= 150
    assert abs(groups["half:tune"]["questions"] - groups["half:held"]["questions"]) <= 5
    assert groups["kind:paraphrase"]["questions"] * 2 >= report["questions"] - 25
    assert groups["kind:unanswerable"]["questions"] >= 20
    assert groups["kind:unanswerable"]["told_unanswerable"]["value"] >= 0.84
    assert groups["all"]["found"]["value"] >= 0.74
    recall = groups["all"]["recall@5"]
    assert recall["interval"][0] < recall["value"] < recall["interval"][1]


def test_an_index_that_finds_nothing_fails_the_floor(shipped):
    deaf = Index({}, shipped.passages, {}, Lexical.of([["nothing"] for _ in shipped.passages]))
    found = check_index(deaf, read_questions(QUESTIONS, shipped.passages), 0.25)
    assert found["groups"]["all"]["recall@10"]["value"] == 0.0


@pytest.mark.parametrize(("row", "words_"), [
    ({"answers": [{"document": "iodine-dose", "holds": "131 mg"}]}, "no passage of iodine-dose holds '131 mg'"),
    ({"answers": []}, "plain with 0 answers"), ({"half": "both"}, "half"), ({"kind": "unanswerable"}, "with 1 answers"),
])  # fmt: skip
def test_labels_that_name_nothing_are_problems(tmp_path, shipped, row, words_):
    sound = {"id": "a", "lang": "zh", "kind": "plain", "half": "tune", "question": "量？",
             "answers": [{"document": "iodine-dose", "holds": "130 mg"}]}  # fmt: skip
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps(sound) + "\n", "utf-8")
    assert len(read_questions(path, shipped.passages)) == 1
    path.write_text("\n".join(map(json.dumps, [sound, sound | row])), "utf-8")
    with pytest.raises(DataContractError, match=words_):
        read_questions(path, shipped.passages)


def test_a_share_has_its_exact_interval():
    found = share_of([True] * 9 + [False])
    assert (found["value"], found["n"]) == (0.9, 10)
    assert found["interval"] == [0.555, 0.9975]
