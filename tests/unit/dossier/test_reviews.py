"""Experts' verdicts in the dossier: those of this model, bound to their marks; no section where there are none."""

from pathlib import Path
from typing import Any

from tasks.core.files import read_json, write_json
from tasks.dossier.reviews import review_facts
from tasks.review.report import report
from tests.unit.dossier.test_dossier import judged, write
from tests.unit.review.conftest import cards as cards
from tests.unit.review.conftest import mark_all as mark_all
from tests.unit.review.conftest import pack as pack
from tests.unit.review.conftest import reports as reports
from tests.unit.review.conftest import review as review


def test_the_section_says_what_they_said(run: Any, review: Path, mark_all: Any, tmp_path: Path) -> None:
    mark_all("expert-1")
    mark_all("expert-2", lambda place, card: {} if card.points else {"severity": ("minor", "dangerous")[place % 2]})
    report(review)
    page, _ = write(judged(run), tmp_path / "out", reviews=review.parent)
    text = " ".join(page.text.split())
    for words in ("What experts said 专家评审", "expert-1 marked", "要点达到", "dangerous 危险",
                  "kappa, with the scorer", "expert-2 1.00"):  # fmt: skip
        assert words in text, words
    assert ("href", "#reviews") in page.attributes


def test_without_a_review_there_is_no_section_and_the_page_is_the_same(run: Any, tmp_path: Path) -> None:
    page, _ = write(judged(run), tmp_path / "out")
    assert "What experts said" not in page.text
    assert ("href", "#reviews") not in page.attributes
    write(run, tmp_path / "again", reviews=tmp_path / "absent")
    assert (tmp_path / "out/index.html").read_bytes() == (tmp_path / "again/index.html").read_bytes()


def test_a_review_of_another_model_is_not_shown(review: Path, mark_all: Any) -> None:
    mark_all("expert-1")
    report(review)
    assert review_facts(review.parent, "tg-0000000000000000") == []
    assert len(review_facts(review.parent, "tg-cccccccccccccccc")) == 1


def test_numbers_that_are_not_those_of_the_marks_are_not_shown(review: Path, mark_all: Any) -> None:
    mark_all("expert-1")
    found = report(review)
    mark_all("expert-2")  # marked after the report
    assert review_facts(review.parent, "tg-cccccccccccccccc") == [{"name": "first", "stale": True}]
    report(review)
    assert not review_facts(review.parent, "tg-cccccccccccccccc")[0]["stale"]
    marks = review / "marks" / "expert-1.jsonl"
    marks.write_text(marks.read_text("utf-8").replace('"none"', '"minor"', 1), "utf-8")
    assert review_facts(review.parent, "tg-cccccccccccccccc")[0]["stale"]
    write_json(review / "report.json", read_json(review / "report.json") | {"made_from": found["made_from"]})
    assert review_facts(review.parent, "tg-cccccccccccccccc")[0]["stale"]
