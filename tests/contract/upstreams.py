"""Model servers that somebody else runs: stand-ins at addresses of their own, started and killed by the test."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tasks.core.project import Project
from tasks.engine.deployment import Deployment
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS, SERVED_HOP, Fingerprint
from tests.contract.hosts import until
from tests.proofs import proven

STAND_IN = Path(__file__).with_name("stand_in_vllm.py")


def fingerprint(*ids: int) -> Fingerprint:
    """The fingerprint of a stand-in that answers these ids to everything."""
    return Fingerprint(FINGERPRINT_PROMPTS, {SERVED_HOP: [list(ids)] * len(FINGERPRINT_PROMPTS)})


def version(number: str, *, ids: tuple[int, ...] = (3, 1, 2), **facts: object) -> Deployment:
    """A version whose weights are not on this machine."""
    wanted = Deployment(number, f"tg-{number}", Path("/not/here"), fingerprint(*ids), "0" * 64, **facts)
    return proven(Project.here(), wanted)


class Upstream:
    """One address; what serves there changes by `serve` and `kill`."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port, self.url = folder, port, f"http://127.0.0.1:{port}"
        self.process: subprocess.Popen[bytes] | None = None

    def serve(self, number: str, *, wait: bool = True, **behaviour: object) -> None:
        self.kill()
        model = self.folder / f"{number}-{self.port}"
        model.mkdir(parents=True, exist_ok=True)
        (model / "behaviour.json").write_text(json.dumps({"token_ids": [3, 1, 2]} | behaviour))
        words = ["--model", model, "--served-model-name", f"tg-{number}", "--host", "127.0.0.1", "--port", self.port]
        self.process = subprocess.Popen([sys.executable, STAND_IN, *map(str, words)])
        if wait:
            until(self.answers, timeout_s=30)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health").status_code < 500
        except httpx.TransportError:
            return False

    def kill(self) -> None:
        if self.process:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
