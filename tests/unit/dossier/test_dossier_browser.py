"""The dossier in a real browser: it fits phone and desk, its console is silent, nothing is fetched, no glyph lacks.

Runs where a Chromium or Chrome is on PATH: `pytest -m slow tests/unit/dossier/test_dossier_browser.py`.
`TUNEGATE_DOSSIER=data/reports/dossier/index.html` looks at that page instead of a made-up run's, and
`TUNEGATE_SCREENSHOTS=FOLDER` keeps the pictures (the README's is `dossier-960-top.png`, in fewer colours).
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

from tasks.core.settings import DossierParams
from tasks.dossier.dossier import dossier
from tasks.gate.gate import gate

pytestmark = pytest.mark.slow

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE, TABLET, DESK = 390, 960, 1280
#: As much of the page as a picture of it shows.
TOP = 1500
#: A code point that is assigned to nothing: drawn like any other that no font has.
NOTHING = 0x10FFFE

#: Elements that end beyond the right edge, or hide a part of themselves, or have to be scrolled sideways.
OVERFLOWING = """
[...document.querySelectorAll('body *')].filter(e => {
  const box = e.getBoundingClientRect();
  return box.right > %d + 1 || box.left < -1 ||
    (!(e instanceof SVGElement) && e.clientWidth > 0 && e.scrollWidth > e.clientWidth + 1);
}).map(e => `${e.tagName}.${e.className.baseVal ?? e.className}: ${e.textContent.trim().slice(0, 60)}`)
"""
#: Characters of the page that are drawn as the box of a character no font has.
MISSING = """
(() => {
  const canvas = document.createElement('canvas'); canvas.width = canvas.height = 40;
  const pen = canvas.getContext('2d', {willReadFrequently: true});
  const family = getComputedStyle(document.body).fontFamily;
  const drawn = (text) => {
    pen.clearRect(0, 0, 40, 40); pen.font = '24px ' + family; pen.fillText(text, 4, 30);
    return pen.getImageData(0, 0, 40, 40).data.join();
  };
  const box = drawn(String.fromCodePoint(%d));
  return [...new Set(document.body.innerText)].filter(c => c.trim() && drawn(c) === box);
})()
"""


class Tab:
    """One page in a headless browser, spoken to by the DevTools protocol."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.number, self.events = socket, 0, []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command; return its result, and keep the events that come before it."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"]["value"]

    def open(self, page: Path, width: int, scale: float = 1.0) -> None:
        """Open a file at a width in CSS pixels and wait until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=scale,
                  mobile=width < 500)  # fmt: skip
        self.call("Page.navigate", url=page.as_uri())
        deadline = time.monotonic() + 30
        while self.ask("document.readyState") != "complete" or self.ask("location.href") == "about:blank":
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def picture(self, height: int | None = None) -> bytes:
        """Return the page as a PNG: all of it, or so many pixels from its top."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        found = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def seen(self, *methods: str) -> list[dict[str, Any]]:
        """Return what happened, by the names of the events."""
        self.ask("1")
        return [event["params"] for event in self.events if event["method"] in methods]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a headless browser of our own; give the address of its protocol."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip(f"no browser on PATH (looked for {', '.join(NAMES)})")
    home = tmp_path_factory.mktemp("browser")
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--no-first-run", "--hide-scrollbars", f"--user-data-dir={home}", "--remote-debugging-port=0",
               "about:blank"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _address(home / "DevToolsActivePort", process)
    finally:
        process.terminate()
        process.wait(30)


def _address(path: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait for the file a browser writes when its port is open."""
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.read_text(encoding="ascii").count("\n") >= 1):
        assert process.poll() is None, "the browser ended"
        assert time.monotonic() < deadline, "the browser did not open its port"
        time.sleep(0.05)
    return f"127.0.0.1:{path.read_text(encoding='ascii').splitlines()[0]}"


@pytest.fixture
def tab(browser: str) -> Iterator[Tab]:
    """Open a tab that tells its console, its log and its requests."""
    from urllib.request import Request, urlopen

    with urlopen(Request(f"http://{browser}/json/new?about:blank", method="PUT"), timeout=30) as answer:
        target = json.load(answer)
    with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
        opened = Tab(socket)
        for domain in ("Page", "Runtime", "Log", "Network"):
            opened.call(f"{domain}.enable")
        yield opened
        opened.call("Page.close")


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


def keep(name: str, picture: bytes) -> None:
    """Keep a picture where the caller asks for it."""
    if folder := os.environ.get("TUNEGATE_SCREENSHOTS"):
        Path(folder, name).write_bytes(picture)


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
