"""Take the pictures in docs/ anew, in a Chromium that is on PATH (Debian: chromium, fonts-noto-cjk).

    python docs/take_pictures.py                               # our own pages, as the browser tests make them
    python docs/take_pictures.py --ui http://127.0.0.1:4200    # the Prefect UI of a server: its last run that the gate
                                                               # refused, and its last promotion that waits

A project folder without a name in it (/srv/tunegate) keeps names out of the pictures.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import Request, urlopen

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser import Tab, opened, program, started  # noqa: E402 (the checkout's, from wherever it is called)

#: Picture in docs/ -> (what the tests keep, width, height from its top).
OURS = {"approval.png": ("approval-1280.png", 960, 700), "sweep.png": ("sweep-1280.png", 960, 780)}
TESTS = "tests/contract/test_pages_browser.py"
WIDTH, HEIGHT = 1280, 540
COLOURS = 128
#: The UI draws its graph after it is loaded.
DRAWN_AFTER_S = 8.0
RESUME = "[...document.querySelectorAll('button')].find(e => /Resume/.test(e.innerText)).click() ?? true"


def main() -> None:
    """Take the pictures that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ui", help="address of a Prefect server's UI")
    if address := parser.parse_args().ui:
        take_prefect(address.rstrip("/"))
    else:
        take_ours()


def take_ours() -> None:
    """Have the browser tests keep what they look at, and reduce it."""
    with TemporaryDirectory() as folder:
        environment = os.environ | {"TUNEGATE_SCREENSHOTS": folder, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", TESTS]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        for name, (kept, width, height) in OURS.items():
            with Image.open(Path(folder, kept)) as picture:
                left = (picture.width - width) // 2
                write(name, picture.crop((left, 0, left + width, height)))


def take_prefect(address: str) -> None:
    """Take a run that the gate refused, and a promotion that waits, with its form open."""
    if (found := program()) is None:
        raise SystemExit("no Chromium on PATH")
    with TemporaryDirectory() as home, started(found, Path(home)) as browser:
        for name, state, click in (("prefect-run.png", "GateFailed", None), ("prefect-waits.png", "Suspended", RESUME)):
            with opened(browser) as tab:
                tab.open(f"{address}/runs/flow-run/{last_run(address, state)}", WIDTH)
                _fit(tab, HEIGHT if click is None else 640)
                if click:
                    tab.ask(click)
                    time.sleep(DRAWN_AFTER_S)
                write(name, Image.open(io.BytesIO(tab.window())))


def last_run(address: str, state: str) -> str:
    """Return the id of the last run on a server that is in a state."""
    asked: dict[str, Any] = {"sort": "START_TIME_DESC", "limit": 1,
                             "flow_runs": {"state": {"name": {"any_": [state]}}}}  # fmt: skip
    request = Request(
        f"{address}/api/flow_runs/filter", json.dumps(asked).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(request, timeout=30) as answer:
        runs = json.load(answer)
    if not runs:
        raise SystemExit(f"{address} has no run in the state {state}")
    return str(runs[0]["id"])


def _fit(tab: Tab, height: int) -> None:
    """Make the window as high as the picture shall be, and wait until the page is drawn in it."""
    tab.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=height, deviceScaleFactor=1, mobile=False)
    time.sleep(DRAWN_AFTER_S)


def write(name: str, picture: Image.Image) -> None:
    """Write a picture into docs/, in few colours."""
    path = ROOT / "docs" / name
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
