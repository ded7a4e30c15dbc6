"""A real headless browser for tests of our own pages: what overflows, what has no glyph, what the console says, keys.

Fixtures `browser` and `tab`; both skip where no Chromium or Chrome is on PATH. `TUNEGATE_SCREENSHOTS=FOLDER` keeps
pictures.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

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

#: Words that go on in the next line because their column is too narrow for them; digests and the like are no words.
BROKEN = """
(() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [], range = document.createRange();
  for (let node; node = walker.nextNode();) {
    if (node.parentElement.closest('code, pre, style, svg')) continue;
    for (const word of node.textContent.matchAll(/(?<![\\w.\\/:=-])[A-Za-z]{3,20}(?![\\w.\\/:=-])/g)) {
      range.setStart(node, word.index); range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(box => box.top)).size > 1) found.push(word[0]);
    }
  }
  return found;
})()
"""
#: Texts that stand out less than people need (WCAG 2.1, 1.4.3: 4.5 to 1, large ones 3 to 1), with the ratio.
FAINT = """
(() => {
  const pen = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const colour = (name) => {
    pen.clearRect(0, 0, 1, 1); pen.fillStyle = name; pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const found = colour(getComputedStyle(e).backgroundColor);
      if (found[3] > 250) return found;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll('body *')].filter(e => e.checkVisibility() &&
      [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())).map(e => {
    const style = getComputedStyle(e), size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const ink = light(colour(e instanceof SVGElement ? style.fill : style.color)), paper = light(behind(e));
    const ratio = (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    return ratio < least ? `${ratio.toFixed(2)}: ${e.tagName} ${e.textContent.trim().slice(0, 60)}` : null;
  }).filter(found => found);
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

    def open(self, page: Path | str, width: int, scale: float = 1.0) -> None:
        """Open a file or an address at a width in CSS pixels and wait until it is loaded."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=scale,
                  mobile=width < 500)  # fmt: skip
        self.call("Page.navigate", url=page if isinstance(page, str) else page.as_uri())
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + 60
        while not self.ask(expression):
            assert time.monotonic() < deadline, expression
            time.sleep(0.05)

    def unnamed(self) -> list[str]:
        """Return the controls and pictures that somebody who cannot see them is told nothing of, by their role."""
        roles = {"button", "checkbox", "combobox", "image", "img", "link", "textbox"}
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        shown = [node for node in nodes if not node["ignored"] and node["role"]["value"] in roles]
        return [node["role"]["value"] for node in shown if not node.get("name", {}).get("value")]

    def picture(self, height: int | None = None) -> bytes:
        """Return the page as a PNG: all of it, or so many pixels from its top."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        found = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(found["data"])

    def window(self) -> bytes:
        """Return what the window shows as a PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def press(self, key: str, text: str = "") -> None:
        """Press and release a key, by its name in JavaScript; `text` is what it types."""
        code = {"Tab": 9, "Enter": 13, " ": 32}.get(key, 0)
        down = {"text": text} if text else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **down)
            down = {}

    def type(self, text: str) -> None:
        """Put text in where the focus is, as a paste does."""
        self.call("Input.insertText", text=text)

    def seen(self, *methods: str) -> list[dict[str, Any]]:
        """Return what happened, by the names of the events."""
        self.ask("1")
        return [event["params"] for event in self.events if event["method"] in methods]


def program() -> str | None:
    """Return the browser that is on PATH."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def started(program: str, home: Path) -> Iterator[str]:
    """Start a headless browser of our own; give the address of its protocol.

    Args:
        home: an empty folder for its profile.
    """
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
               "--no-first-run", "--hide-scrollbars", f"--user-data-dir={home}", "--remote-debugging-port=0",
               "about:blank"]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield _address(home / "DevToolsActivePort", process)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def opened(address: str) -> Iterator[Tab]:
    """Open a tab that tells its console, its log and its requests."""
    with urlopen(Request(f"http://{address}/json/new?about:blank", method="PUT"), timeout=30) as answer:
        target = json.load(answer)
    with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
        tab = Tab(socket)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        yield tab
        tab.call("Page.close")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A headless browser: the address of its protocol."""
    if (found := program()) is None:
        pytest.skip(f"no browser on PATH (looked for {', '.join(NAMES)})")
    with started(found, tmp_path_factory.mktemp("browser")) as address:
        yield address


@pytest.fixture
def tab(browser: str) -> Iterator[Tab]:
    """A tab of it."""
    with opened(browser) as found:
        yield found


def _address(path: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait for the file a browser writes when its port is open."""
    deadline = time.monotonic() + 60
    while not (path.is_file() and path.read_text(encoding="ascii").count("\n") >= 1):
        assert process.poll() is None, "the browser ended"
        assert time.monotonic() < deadline, "the browser did not open its port"
        time.sleep(0.05)
    return f"127.0.0.1:{path.read_text(encoding='ascii').splitlines()[0]}"


def keep(name: str, picture: bytes) -> None:
    """Keep a picture where the caller asks for it."""
    if folder := os.environ.get("TUNEGATE_SCREENSHOTS"):
        Path(folder, name).write_bytes(picture)
