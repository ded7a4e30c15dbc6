"""What tests of rollouts need: a project that decides quickly, and callers who begin one conversation after another."""

import contextlib
import threading
from collections import Counter

import httpx
import yaml

from tasks.serving import control
from tests.contract.hosts import CHAT

#: Seconds where it is days, and margins that a few dozen requests can show.
QUICK = {"steps_percent": [20.0, 50.0], "step_requests": 5, "least_requests": 20, "longest_s": 60.0, "block_s": 0.3,
         "margins": {"error": 0.2, "slow": 0.4, "refusal": 0.2, "unknown": 0.2}, "shadow_percent": 100.0,
         "shadow_concurrency": 8}  # fmt: skip


def decide_quickly(project, **changes: object) -> None:
    """Write rollout settings a test can wait for."""
    path = project.root / "params.yaml"
    params = yaml.safe_load(path.read_text("utf-8"))
    params["promote"]["rollout"] |= QUICK | changes
    path.write_text(yaml.safe_dump(params, allow_unicode=True), "utf-8")


class Crowd:
    """Callers with one key who ask one question after another, half of them streaming, until the `with` ends."""

    def __init__(self, project, *, callers: int = 4, word: str = "") -> None:
        self.project, self.word = project, word
        self.key = project.key(f"crowd-{id(self)}")
        self.statuses: Counter[int] = Counter()
        self.versions: Counter[str] = Counter()
        self.torn = 0
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(callers)]

    def __enter__(self) -> "Crowd":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, caller: int) -> None:
        with self.project.client(self.key) as client:
            number = 0
            while not self._over.wait(0.01):
                number += 1
                question = f"碘片什么时候服用？ {self.word} {caller} {number}"
                body = {"model": "champion", "messages": [{"role": "user", "content": question}]}
                with contextlib.suppress(httpx.TransportError):
                    self._one(client, body | {"stream": caller % 2 == 0})

    def _one(self, client: httpx.Client, body: dict) -> None:
        response = client.post(CHAT, json=body)
        self.statuses[response.status_code] += 1
        self.versions[response.headers.get("x-tunegate-version", "none")] += 1
        if response.status_code == 200 and body["stream"]:
            last = response.text.rstrip().split("\n\n")[-1]
            self.torn += last != "data: [DONE]" and '"error"' not in last


def phase(project) -> str:
    """Return how the last rollout stands."""
    state = control.last_rollout(project.project)
    return state["phase"] if state else "none"
