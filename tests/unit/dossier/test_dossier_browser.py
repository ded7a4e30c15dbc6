"""The dossier in a real browser: it fits phone and desk, its console is silent, nothing is fetched, no glyph lacks.

Runs where a Chromium or Chrome is on PATH: `pytest -m slow tests/unit/dossier/test_dossier_browser.py`.
`TUNEGATE_DOSSIER=data/reports/dossier/index.html` looks at that page instead of a made-up run's, and
`TUNEGATE_SCREENSHOTS=FOLDER` keeps the pictures (the README's is `dossier-960-top.png`, in fewer colours).
"""

import base64
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.core.settings import DossierParams
from tasks.dossier.dossier import dossier
from tasks.gate.gate import gate
from tests.browser import DESK, MISSING, NOTHING, OVERFLOWING, PHONE, TABLET, TOP, Tab, keep

pytestmark = pytest.mark.slow


@pytest.fixture
def page(run: Any, tmp_path: Path) -> Path:
    """Write the dossier of a good run, or copy the one that is asked for."""
    if asked := os.environ.get("TUNEGATE_DOSSIER"):
        return Path(shutil.copy(asked, tmp_path / "index.html"))
    return dossier_of(run, tmp_path / "out")


def dossier_of(run: Any, output: Path) -> Path:
    """Judge a run and write its dossier; return the page."""
    judged = run.root / "data/reports/gate"
    judged.mkdir(parents=True)
    gate(run.settings.gate, output=judged, **run.gate_inputs)
    output.mkdir()
    dossier(DossierParams(title=run.settings.dossier.title), output=output, promote=run.settings.promote,
            **run.dossier_inputs)  # fmt: skip
    return output / "index.html"


@pytest.mark.parametrize("width", [PHONE, TABLET, DESK])
def test_nothing_is_cut_off_or_has_to_be_scrolled_sideways(tab: Tab, page: Path, width: int) -> None:
    tab.open(page, width)
    keep(f"dossier-{width}.png", tab.picture())
    keep(f"dossier-{width}-top.png", tab.picture(TOP))
    assert tab.ask(OVERFLOWING % width) == []
    assert tab.ask("document.documentElement.scrollWidth") <= width
    verdict = tab.ask("document.getElementById('verdict').getBoundingClientRect().top")
    assert 0 < verdict < 300


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_failed_run_with_words_that_do_not_break_fits_too(tab: Tab, run: Any, tmp_path: Path, width: int) -> None:
    fault = {"shape": "system", "row_id": "r" * 90, "words": f"token 4: {'x' * 90!r} became {'码' * 90!r}"}
    run.edit_results("merged", canary={"items": 10, "passed": False, "failures": ["x"]},
                     parity={"rows": 3, "shapes": {"system": 3}, "mismatches": [fault]})  # fmt: skip
    rows = run.samples("awq")
    for row in rows:
        row["value"] = 0.0 if row["metric"] == "accuracy" else row["value"]
        row["detail"] |= {"text": "https://" + "a" * 300} if "text" in row["detail"] else {}
    run.rewrite("awq", rows)
    tab.open(dossier_of(run, tmp_path / "out"), width)
    keep(f"dossier-failed-{width}.png", tab.picture())
    assert tab.ask("document.querySelector('.word').textContent").startswith("FAIL")
    assert tab.ask(OVERFLOWING % width) == []


def test_a_page_too_wide_is_seen(tab: Tab, page: Path) -> None:
    wide = page.read_text(encoding="utf-8").replace("<h1>", '<h1 style="white-space:nowrap;width:900px">', 1)
    page.write_text(wide, encoding="utf-8")
    tab.open(page, PHONE)
    assert any(found.startswith("H1.") for found in tab.ask(OVERFLOWING % PHONE))


def test_the_console_is_silent_and_nothing_is_fetched(tab: Tab, page: Path) -> None:
    tab.open(page, DESK)
    assert tab.seen("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []
    assert {request["request"]["url"] for request in tab.seen("Network.requestWillBeSent")} == {page.as_uri()}


def test_what_a_page_may_not_do_is_refused_and_seen(tab: Tab, page: Path) -> None:
    planted = '<script>document.title="x"</script><img src="http://127.0.0.1:9/x.png"></main>'
    page.write_text(page.read_text(encoding="utf-8").replace("</main>", planted, 1), encoding="utf-8")
    tab.open(page, DESK)
    assert len(tab.seen("Log.entryAdded")) >= 2
    assert tab.ask("document.title") != "x"


def test_every_character_has_a_glyph(tab: Tab, page: Path) -> None:
    tab.open(page, DESK)
    missing = tab.ask(MISSING % NOTHING)
    if len([found for found in missing if "\u4e00" <= found <= "\u9fff"]) > 50:
        pytest.skip("this machine has no Chinese font: install one (fonts-noto-cjk) to check the glyphs")
    assert missing == []


def test_a_character_no_font_has_is_seen(tab: Tab, page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("<h1>", f"<h1>{chr(NOTHING - 1)}", 1)
    page.write_text(text, encoding="utf-8")
    tab.open(page, DESK)
    assert chr(NOTHING - 1) in tab.ask(MISSING % NOTHING)


def test_it_prints_on_paper(tab: Tab, page: Path) -> None:
    tab.open(page, DESK)
    printed = base64.b64decode(tab.call("Page.printToPDF", printBackground=False)["data"])
    keep("dossier.pdf", printed)
    assert printed.startswith(b"%PDF")
    assert len(printed) > 50_000
