"""The data pages of the dossier: every count of the summary is on the page, and the pictures say the same."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.core.files import read_json, write_json
from tasks.core.settings import DossierParams
from tasks.dossier.data import NAMES_SHOWN, data_facts, waterfall
from tasks.dossier.data_charts import BAR_WIDTH, bar, histogram_chart, length_charts, middle
from tasks.dossier.dossier import dossier
from tasks.gate.gate import gate

EDGES = [0, 10, 20, 40]


@pytest.fixture
def facts(run: Any) -> dict[str, Any]:
    """What the dossier says about the planted data."""
    return data_facts(run.root / "data/prepared", read_json(run.root / "data/reports/validation/validation.json"))


def page_of(run: Any, output: Path) -> str:
    """Return the page as text, tags kept."""
    judged = run.root / "data/reports/gate"
    judged.mkdir(parents=True, exist_ok=True)
    gate(run.settings.gate, output=judged, **run.gate_inputs)
    output.mkdir()
    dossier(DossierParams(title="t"), output=output, **run.dossier_inputs)
    return (output / "index.html").read_text(encoding="utf-8")


def section(page: str, name: str) -> str:
    """Return a table of the page by its id, tags taken out."""
    table = page.split(f'id="{name}"', 1)[1].split("</table>", 1)[0]
    return " ".join(re.sub(r"<[^>]+>", " ", table).split())


def test_the_page_shows_every_count(run: Any, tmp_path: Path) -> None:
    page = page_of(run, tmp_path / "out")
    assert "raw rows read 读入的原始行 654" in section(page, "waterfall")
    assert "exact duplicates 完全重复 −3" in section(page, "waterfall")
    assert "kept 保留 641" in section(page, "waterfall")
    assert "mobile 手机号 · mask 遮盖 2" in section(page, "masks")
    assert "organisation 机构与设施 · keep 保留 –" in section(page, "masks")
    assert section(page, "clusters").endswith("2 4 3 1")
    assert "domain_short searched 95 of 96 1 1" in section(page, "leaks")
    assert "languages en: 10.0 % → 34.0 %; zh: 90.0 % → 66.0 % 0.310 0.200" in section(page, "drift")
    for words in ("c-0123456789abcdef", "Chinese <span", "moved: languages", "28 others", "1 row had more than 512"):
        assert words in page, words
    assert page.count('class="column"') == 20
    assert page.count("512 = limit") == 2


@pytest.mark.parametrize(
    ("added", "said"),
    [
        (
            {"system_turn": "You are <b>Q</b>."},
            "a system turn, where a row has none 行内无系统提示时加入系统轮 You are",
        ),
        ({"system_turn": ""}, "a system turn, where a row has none 行内无系统提示时加入系统轮 without words 无文字"),
        (
            {"in_system_turn": "Think hard."},
            "words beside a row's own system prompt 在行内系统提示旁加入文字 Think hard.",
        ),
        ({"empty_thought": "<think>\n\n</think>"}, "that has none 回答无思考时加入空思考 &lt;think&gt; &lt;/think&gt;"),
        ({}, "Nothing: rows are trained and served as they are."),
    ],
)
def test_what_the_template_adds_is_on_the_page_and_on_the_card(
    run: Any, tmp_path: Path, added: dict[str, str], said: str
) -> None:
    path = run.root / "data/prepared/summary.json"
    write_json(path, read_json(path) | {"template": added})
    page = page_of(run, tmp_path / "out")
    assert said in section(page, "template").replace("&#39;", "'")
    assert "<b>Q</b>" not in page
    card = (tmp_path / "out/model_card.md").read_text(encoding="utf-8")
    assert ("The chat template adds nothing to the rows." in card) is not bool(added)
    assert ("The chat template adds to rows that do not have it" in card) is bool(added)


def test_the_waterfall_goes_from_read_to_kept_without_a_gap(facts: dict[str, Any]) -> None:
    steps = facts["waterfall"]
    lost = [step for step in steps if step["kind"] == "lost"]
    assert [step["kind"] for step in steps] == ["read", "lost", "lost", "lost", "lost", "kept"]
    assert lost[0]["end"] == steps[0]["end"]
    for before, after in pairwise(lost):
        assert after["end"] == before["start"]
    assert lost[-1]["start"] == steps[-1]["rows"]


@given(st.integers(0, 50), st.dictionaries(st.sampled_from(["eval_leak", "too_long", "new_reason"]), st.integers(1, 9)))
def test_any_ledger_that_balances_makes_a_waterfall_that_ends_at_the_kept_rows(
    quarantined: int, dropped: dict[str, int]
) -> None:
    kept, lost = 7, sum(dropped.values())
    rows = {"in": kept + lost + quarantined, "kept": kept, "dropped": lost, "quarantined": quarantined}
    steps = waterfall({"rows": rows, "reasons": {"dropped": dropped}})
    assert steps[-2]["start"] == steps[-1]["rows"] == kept
    assert sum(step["rows"] for step in steps if step["kind"] == "lost") == lost + quarantined


def test_many_names_are_shown_as_the_first_ones_and_the_rest(facts: dict[str, Any]) -> None:
    assert len(facts["concepts"]) == NAMES_SHOWN + 1
    assert facts["concepts"][-1]["words"] == ("28 others", "其他")
    shown = sum(item["rows"] for item in facts["concepts"])
    assert shown == sum(facts["summary"]["concepts"].values())


def test_cluster_sizes_of_a_large_dataset_count_together(run: Any) -> None:
    path = run.root / "data/prepared/summary.json"
    sizes = {"2": 90, "3": 5, "7": 2, "10": 1, "100": 1, "2500": 1}
    write_json(path, read_json(path) | {"cluster_sizes": sizes})
    drift = {"drift": {"words": "", "drifts": []}}
    clusters = data_facts(path.parent, drift)["clusters"]
    assert [(size["name"], size["count"]) for size in clusters["sizes"]] == [
        ("2", 90), ("3", 5), ("6–10", 3), ("11–100", 1), ("1,001 and more", 1),
    ]  # fmt: skip
    assert (clusters["count"], clusters["rows"]) == (100, 2819)


def test_no_duplicates_and_nothing_to_compare_with_are_said(run: Any, tmp_path: Path) -> None:
    path = run.root / "data/prepared/summary.json"
    write_json(path, read_json(path) | {"cluster_sizes": {}, "largest_clusters": []})
    report = run.root / "data/reports/validation/validation.json"
    write_json(report, read_json(report) | {"drift": {"words": "Nothing to compare with: x.", "drifts": []}})
    page = page_of(run, tmp_path / "out")
    assert "No two rows are alike." in page
    assert "Nothing to compare with" in page
    assert 'id="drift"' not in page


@hypothesis_settings(max_examples=60)
@given(st.lists(st.integers(0, 10**7), min_size=4, max_size=4), st.one_of(st.none(), st.integers(0, 100)))
def test_any_histogram_draws_within_its_frame(counts: list[int], limit: int | None) -> None:
    drawn = histogram_chart(EDGES, counts, limit, "lengths")
    assert drawn.count('class="column"') == sum(count > 0 for count in counts)
    for y, height in re.findall(r'y="([\d.-]+)" width="[\d.]+" height="([\d.]+)"', drawn):
        assert 9.9 <= float(y) <= float(y) + float(height) <= 150.2
    assert ("limit" in drawn) == (limit is not None and limit < EDGES[-1])


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(1, 10**6))
def test_any_bar_stays_on_its_track_and_one_row_can_be_seen(start: int, width: int, total: int) -> None:
    drawn = bar(min(start + width, total), total, min(start, total))
    [(x, length)] = [tuple(map(float, found)) for found in re.findall(r'class="plain" x="(.+?)" width="(.+?)"', drawn)]
    assert x >= 0
    assert x + length <= BAR_WIDTH + 0.02
    assert (length >= 1) == (min(start + width, total) > min(start, total))


@pytest.mark.parametrize(
    ("counts", "words"), [([5, 0, 0, 0], "0–9"), ([1, 1, 1, 4], "40 or more"), ([0, 3, 2, 0], "10–19")]
)
def test_the_middle_row_is_named_by_its_bin(counts: list[int], words: str) -> None:
    assert middle(EDGES, counts) == words


def test_a_language_without_rows_has_no_picture() -> None:
    lengths = {"characters": {"edges": EDGES, "zh": [1, 2, 3, 4], "en": [0, 0, 0, 0]}}
    charts = length_charts(lengths, 512)
    assert [(chart["language"][0], chart["rows"]) for chart in charts] == [("Chinese", 10)]
