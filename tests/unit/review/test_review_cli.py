"""The commands over one small project: draw, report, rows; what is refused names the next command."""

import json
import shutil
from pathlib import Path

import pytest

from tasks.cli.main import cli
from tasks.core.errors import ConfigError
from tasks.review.cards import read_cards
from tasks.review.marks import add_mark
from tests.unit.review.conftest import ROOT, lines, mark_of


@pytest.fixture
def place(reports, tmp_path, monkeypatch):
    """A project with the evaluation of three hops."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "data/raw/eval/domain", tmp_path / "data/raw/eval/domain")
    for hop, folder in reports.items():
        shutil.copytree(folder, tmp_path / "data/reports/eval" / hop)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNEGATE_ROOT", str(tmp_path))
    return tmp_path


def run(*arguments):
    cli(list(arguments), standalone_mode=False)


def test_from_answers_to_rows(place, capsys):
    run("review", "draw", "--name", "march", "--items", "4")
    assert "of awq, base, merged" in capsys.readouterr().out
    folder = place / "data/reviews/march"
    cards = read_cards(folder)
    for card in cards:
        add_mark(folder, mark_of(card, "expert-1"), cards)
        add_mark(folder, mark_of(card, "expert-2", severity="major", corrected=f"应答{card.card_id}"), cards)
    run("review", "report", "--name", "march")
    text = capsys.readouterr().out
    assert f"march: {len(cards)} answers, marked by expert-1 ({len(cards)}), expert-2 ({len(cards)})" in text
    assert "1.00 [1.00, 1.00], 100% alike" in text
    assert "--force dossier" in text
    run("review", "report", "--name", "march", "--json")
    assert json.loads(capsys.readouterr().out)["against_automatic"]["points"][0]["value"] == 1
    run("review", "rows", "--name", "march", "--to", "rows.jsonl")
    text = capsys.readouterr().out
    assert "eval_leak" in text
    rows = lines(Path("rows.jsonl"))
    assert rows
    assert all(row["chosen"][0]["content"].startswith("应答c-") for row in rows)


def test_what_is_refused(place):
    with pytest.raises(ConfigError, match="tunegate review draw --name april"):
        run("review", "report", "--name", "april")
    with pytest.raises(ConfigError, match="is no suite with written answers"):
        run("review", "draw", "--suite", "domain_choice")
    shutil.rmtree(place / "data/reports/eval/base")
    with pytest.raises(ConfigError, match="hop base is not evaluated"):
        run("review", "draw", "--hop", "base")


def test_facts_of_a_pack_as_markdown(place, capsys):
    run("review", "facts")
    assert capsys.readouterr().out == (ROOT / "docs/facts.md").read_text("utf-8")
