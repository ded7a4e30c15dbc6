"""Approval page, sweep report and data checks in a real browser: phone and desk, keyboard, console, contrast, names.

Runs where a Chromium or Chrome is on PATH. The dossier's own test is tests/unit/dossier/test_dossier_browser.py.
"""

import json
import shutil
from pathlib import Path

import pytest

from tasks.core.files import read_json, write_json, write_jsonl
from tasks.core.layout import DOSSIER, GATE
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.data.expectations.data_docs import Table, finish_site
from tasks.data.expectations.outcome import Outcome
from tasks.dossier.dossier import dossier
from tasks.gate.evidence import read_report
from tasks.gate.gate import gate
from tasks.proof.envelope import APPROVAL, content, sign
from tasks.release.page.server import ApprovalPage
from tasks.release.register import register
from tasks.release.registry import Registry
from tasks.sweep.comparison import conclude, selection_value
from tasks.sweep.report import write_report
from tasks.sweep.store import Plan, Sweep
from tests.browser import BROKEN, DESK, FAINT, MISSING, NOTHING, OVERFLOWING, PHONE, Tab, browser, keep, tab
from tests.contract.forged import World
from tests.contract.pages import serving
from tests.made_reports import samples, write_evaluation
from tests.unit.made_run import make_run
from tests.unit.release.conftest import PEOPLE, ROOT, _run_stages, _with_promote, list_approvers, write_stage

__all__ = ["browser", "tab"]

pytestmark = pytest.mark.slow
LINEAGE = "tg-635b96fa7ce4e914"
METRIC = "domain_bits_per_byte"
NOISE = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A project with one version, whose verdict and dossier are a whole run's."""
    root = tmp_path_factory.mktemp("reviewed")
    settings = load_settings(ROOT / "params.yaml")
    settings = settings.model_copy(update={"gate": settings.gate.model_copy(update={"bootstrap_samples": 1000})})
    settings = _with_promote(settings, approvals_required=2)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "TUNEGATE_RELEASE_KEY", "TUNEGATE_HOST_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("TUNEGATE_USER", "王工")
        patch.setenv("TUNEGATE_ROOT", str(root / "project"))
        project = Project(root / "project")
        project.root.mkdir()
        shutil.copyfile(ROOT / "params.yaml", project.root / "params.yaml")
        shutil.copytree(ROOT / "infra/environments", project.root / "infra/environments")
        list_approvers(project)
        _run_stages(project, LINEAGE)
        _judge(project, make_run(root / "run", settings))
        register(project, settings)
        yield World(project, settings, Registry(project, settings.register_.model_name))


def _judge(project: Project, run) -> None:
    """Put the verdict and the dossier of a whole run in the place of the small ones."""
    judged, page = run.root / "data/reports/gate", run.root / "data/reports/dossier"
    for folder in (judged, page):
        folder.mkdir(parents=True)
    gate(run.settings.gate, output=judged, **run.gate_inputs)
    dossier(run.settings.dossier, output=page, promote=run.settings.promote, **run.dossier_inputs)
    verdict = read_json(judged / "verdict.json") | {"lineage_id": LINEAGE}
    write_stage(project.root, GATE, LINEAGE, verdict=verdict)
    write_stage(project.root, DOSSIER, LINEAGE, index=(page / "index.html").read_text(encoding="utf-8"))


@pytest.fixture
def address(world):
    """Where the approval page is."""
    with serving(ApprovalPage(world.registry, "1", world.settings.promote).app()) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The page of a sweep that is done: a winner, one that failed, one that repeats another."""
    settings = load_settings(ROOT / "params.yaml")
    project = Project(tmp_path_factory.mktemp("swept"))
    sweep = Sweep(project, "学习率", Plan({}, "grid", None, 0, "awq", METRIC))
    points = [{}, *({"train.learning_rate": rate, "quantize.candidates": [{"scheme": "W4A16", "group_size": size}]}
                    for rate in (0.001, 0.004) for size in (32, 64, 128))]  # fmt: skip
    reports, lines = {}, []
    for number, point in enumerate(points):
        folder = sweep.folder / "reports" / str(number)
        write_evaluation(folder, "awq", samples(60, lambda item, number=number: 0.01 * number, number))
        reports[number] = read_report("awq", folder)
        value = selection_value(reports[number], METRIC, settings.gate.seed)
        lines.append({"trial": number, "settings": point, "status": "done", "value": value})
    lines.append({"trial": 7, "settings": points[1] | {"train.max_steps": 40}, "status": "failed",
                  "why": "TransientError: 第 7 次尝试: " + "x" * 90})  # fmt: skip
    lines.append({"trial": 8, "settings": points[2], "status": "same", "of": 2})
    write_jsonl(sweep.folder / "trials.jsonl", lines)
    write_json(sweep.folder / "snapshot.json", {"commit": "0" * 40, "edited": True, "id": "学习率"})
    result = conclude(reports, METRIC, settings.gate, settings.gate.seed)
    more = {"hop": "awq", "settings": points[result["winner"]], "failed": 1, "repeated": 1, "earlier_looks": 2}
    write_report(sweep, result | more)
    return sweep.folder / "report.html"


def look(tab: Tab, page: Path | str, width: int, name: str) -> None:
    """Open a page and hold it to what all of our pages are held to."""
    tab.open(page, width)
    keep(f"{name}-{width}.png", tab.picture())
    assert tab.ask("document.title")
    assert tab.ask(OVERFLOWING % width) == []
    assert tab.ask("document.documentElement.scrollWidth") <= width
    assert tab.ask(FAINT) == []
    assert tab.ask(BROKEN) == []
    assert tab.unnamed() == []
    assert tab.seen(*NOISE) == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_approval_page_fits_reads_and_is_silent(tab, address, width):
    look(tab, address, width, "approval")
    missing = tab.ask(MISSING % NOTHING)
    assert len(missing) > 50 or missing == [], "a machine with Chinese fonts has every glyph"


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_a_sweeps_report_fits_reads_and_is_silent(tab, report, width):
    look(tab, report, width, "sweep")


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_data_checks_fit_their_tables_scroll_by_themselves(tab, tmp_path, width):
    page = "validations/rows_multilingual_thinking/20000101T000000.000000Z/rows_multilingual_thinking.html"
    (tmp_path / page).parent.mkdir(parents=True)
    (tmp_path / page).write_text("<html><head></head><body></body></html>")
    outcome = Outcome("multilingual_thinking.answers_long_enough", "rows", "critical", True, "0 of 112 rows",
                      {"min_value": 2}, "no answer is shorter than allowed", 0, ())  # fmt: skip
    files = Table(("Raw files", "原始文件"), "What became of the rows of each file.", ("source", "quarantined"),
                  [("instructions/alpaca_zh.jsonl", 240)])  # fmt: skip
    finish_site(tmp_path, [outcome], [files])
    tab.open(tmp_path / "index.html", width)
    keep(f"data-checks-{width}.png", tab.picture())
    assert tab.ask("document.documentElement.scrollWidth") <= width
    assert tab.ask(BROKEN) == []
    assert tab.ask(FAINT) == []
    cell = "document.querySelectorAll('table')[1].querySelector('td')"
    assert tab.ask(f"{cell}.getClientRects().length === 1 && {cell}.clientHeight < 50"), "a file's name is one line"


def test_the_dossier_opens_beside_the_approval_page_and_its_contents_lead_somewhere(tab, address):
    look(tab, address + "dossier", PHONE, "approval-dossier")
    assert tab.ask("[...document.querySelectorAll('a[href^=\"#\"]')].filter("
                   "a => !document.getElementById(a.hash.slice(1))).length") == 0  # fmt: skip


def test_an_approval_is_given_with_the_keyboard_alone(tab, address, world):
    look(tab, address, PHONE, "approval-before")
    given = content(world.approval(PEOPLE["李审"]), APPROVAL) | {"by": "李审", "reason": "读过报告，同意"}
    _give(tab, json.dumps(sign(APPROVAL, given, PEOPLE["李审"])))
    assert tab.ask("location.hash") == "#approvals"
    assert [one["by"] for one in world.version().approvals] == ["李审"]
    look(tab, address, PHONE, "approval-given")
    assert "读过报告，同意" in tab.ask("document.body.innerText")


def test_what_is_refused_is_said_at_the_top_in_view(tab, address, world):
    before = world.approvals()
    tab.open(address, PHONE)
    _give(tab, "同意")
    assert world.approvals() == before
    box = tab.ask("(() => { const b = document.querySelector('[role=alert]').getBoundingClientRect();"
                  " return [b.top, b.bottom]; })()")  # fmt: skip
    assert 0 <= box[0] < box[1] <= 900
    assert tab.ask(OVERFLOWING % PHONE) == []
    keep("approval-refused-390.png", tab.picture(900))


def _give(tab: Tab, text: str) -> None:
    """Go to the field by Tab, put the text in, go on to the button and press it."""
    _tab_to(tab, "TEXTAREA")
    tab.type(text)
    _tab_to(tab, "BUTTON")
    before = tab.ask("performance.timeOrigin")
    tab.press("Enter", "\r")
    tab.until(f"performance.timeOrigin !== {before} && document.readyState === 'complete'")


def _tab_to(tab: Tab, name: str) -> None:
    """Press Tab until an element of this name has the focus, and see that the focus can be seen."""
    for _ in range(20):
        tab.press("Tab")
        if tab.ask("document.activeElement.tagName") == name:
            assert tab.ask("getComputedStyle(document.activeElement).outlineStyle") != "none"
            return
    raise AssertionError(f"Tab does not come to a {name}")


def test_what_is_hard_to_read_is_seen(tab, tmp_path):
    page = tmp_path / "faulty.html"
    page.write_text(
        '<title>页</title><p style="color:#aaa">浅色</p><p>深色</p><button></button><label>名<input></label>'
        '<p style="width:2em;overflow-wrap:anywhere">outcome 结果</p>'
    )
    tab.open(page, PHONE)
    assert [found.partition(":")[0] for found in tab.ask(FAINT)] == ["2.32"]
    assert tab.unnamed() == ["button"]
    assert tab.ask(BROKEN) == ["outcome"]
