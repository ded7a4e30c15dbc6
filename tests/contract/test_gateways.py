"""Two gateways, one store, model servers behind URLs: what one may not give twice, and what both serve.

Both are real processes and the store is a real Redis; stand-ins are what the platform runs.
"""

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from types import SimpleNamespace

import httpx
import pytest

from tasks.core.files import read_jsonl
from tasks.serving import control
from tests.contract.hosts import BODY, CHAT, until
from tests.contract.rollouts import Crowd, decide_quickly, phase
from tests.contract.upstreams import Upstream, version
from tests.stores import Store, redis_server


class Together:
    """A leader, a follower, their store and two upstreams."""

    def __init__(self, leader, follower, store: Store, upstreams: list[Upstream]) -> None:
        self.leader, self.follower, self.store, self.upstreams = leader, follower, store, upstreams
        self.process: subprocess.Popen[bytes] | None = None

    def follow(self) -> None:
        environment = dict(os.environ) | self.follower.environment | {
            "TUNEGATE_FOLLOWS": "1", "TUNEGATE_REPLICA": "b",
            "TUNEGATE_KEYS_FILE": str(self.leader.keys.path),
        }  # fmt: skip
        with (self.follower.root / "host.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "tasks.serving.host"], env=environment, stdout=log,
                                            stderr=log, cwd=self.follower.root)  # fmt: skip

    def end(self, number: int = signal.SIGTERM) -> None:
        if self.process:
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    @property
    def urls(self) -> list[str]:
        port = self.follower.environment["TUNEGATE_GATEWAY_PORT"]
        return [self.leader.project.gateway_url, f"http://127.0.0.1:{port}"]

    def versions(self, key: str) -> list[str | None]:
        return [post(url, key).headers.get("x-tunegate-version") for url in self.urls]

    def ready(self) -> bool:
        try:
            return all(httpx.get(f"{url}/readyz").status_code == 200 for url in self.urls)
        except httpx.TransportError:
            return False

    def deploy(self, number: str) -> None:
        control.deploy(self.leader.project, version(number))


def post(url: str, key: str, body: dict = BODY) -> httpx.Response:
    return httpx.post(url + CHAT, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=30)


@pytest.fixture
def together(project, tmp_path, free_ports, monkeypatch):
    from tests.contract.conftest import ServedProject

    folder = tmp_path / "store"
    folder.mkdir()
    ports = free_ports(3)
    store = Store(folder, ports[0], *redis_server(folder))
    upstreams = [Upstream(tmp_path / "platform", port) for port in ports[1:]]
    monkeypatch.setenv("TUNEGATE_UPSTREAMS", "|".join(one.url for one in upstreams))
    monkeypatch.setenv("TUNEGATE_LIMITS_URL", store.url)
    monkeypatch.setenv("TUNEGATE_REPLICA", "a")
    # Where one in five is the candidate's, each that fails multiplies the evidence by about five: so strict, three in
    # one block of a slow machine are not enough.
    decide_quickly(project, alpha=1e-5)
    found = Together(project, ServedProject(tmp_path / "follower"), store, upstreams)
    try:
        store.start()
        upstreams[0].serve("1")
        upstreams[1].serve("2", token_s=0.02)
        control.ensure_host(project.project)
        found.deploy("1")
        found.follow()
        until(found.ready, timeout_s=40)
        yield found
    finally:
        found.end()
        control.stop_host(project.project)
        for one in upstreams:
            one.kill()
        store.kill()


@pytest.mark.slow
def test_one_limit_one_budget_one_live_version(together):
    """One long story: each part needs both gateways up, and starting them takes longer than the part."""
    key = together.leader.key("ward-7", requests_per_minute=12)
    statuses = Counter(post(together.urls[number % 2], key).status_code for number in range(30))
    # One or two flow in while thirty are asked.
    assert 12 <= statuses[200] <= 15
    assert statuses[200] + statuses[429] == 30

    # A budget outlives the follower's kill -9 and the end of both.
    spender = together.leader.key("spender", tokens_per_day=20)
    while post(together.urls[0], spender).status_code == 200:
        pass
    assert post(together.urls[1], spender).json()["error"]["code"] == "budget_used_up"
    together.end(signal.SIGKILL)
    together.follow()
    until(together.ready, timeout_s=40)
    assert post(together.urls[1], spender).json()["error"]["code"] == "budget_used_up"

    # Promotion and rollback are followed.
    asker = together.leader.key("asker")
    together.deploy("2")
    until(lambda: together.versions(asker) == ["2", "2"])
    together.deploy("1")
    until(lambda: together.versions(asker) == ["1", "1"])

    # The store is lost: both go on, and it is seen.
    together.store.kill()
    assert together.versions(asker) == ["1", "1"]
    metrics = [httpx.get(f"{url}/metrics").text for url in together.urls]
    assert all("tunegate_limits_hold 0.0" in text for text in metrics)
    together.store.start()
    until(lambda: all("tunegate_limits_hold 1.0" in httpx.get(f"{url}/metrics").text for url in together.urls))
    assert post(together.urls[0], spender).json()["error"]["code"] == "budget_used_up"

    # Each has its own log with its name in it.
    days = sorted((together.follower.root / ".tunegate" / "audit").glob("*.jsonl"))
    assert {row["replica"] for day in days for row in read_jsonl(day) if row["kind"] == "request"} == {"b"}


@pytest.mark.slow
def test_places_of_a_killed_gateway_are_free_again(together):
    key = together.leader.key("ward-7", priority="interactive")
    together.upstreams[0].serve("1", token_s=0.5)
    until(together.ready, timeout_s=30)
    cap = 16
    slow = BODY | {"messages": [{"role": "user", "content": "a slow answer"}]}

    def ask() -> None:
        with pytest.raises(httpx.TransportError):
            post(together.urls[1], key, slow)

    askers = [threading.Thread(target=ask) for _ in range(cap)]
    for one in askers:
        one.start()
    client = together.store.client()
    name = until_found(client, "tunegate:*:places:ward-7")
    until(lambda: client.zcard(name) == cap, timeout_s=20)
    together.end(signal.SIGKILL)
    for one in askers:
        one.join()
    assert client.zcard(name) == cap
    # Waits for its place until the dead gateway's are forgotten.
    assert post(together.urls[0], key).status_code == 200


def until_found(client, pattern: str) -> str:
    found: list[str] = []
    until(lambda: bool(found.extend(client.scan_iter(pattern)) or found), timeout_s=20)
    return found[0]


@pytest.mark.slow
def test_a_canary_has_its_share_at_both_and_is_taken_back_at_both(together):
    together.upstreams[1].serve("2", fails_on="故障")
    key = together.leader.key("asker")
    # All callers come to the follower: the leader judges by what it is told.
    there = SimpleNamespace(key=together.leader.key, client=lambda key: httpx.Client(
        base_url=together.urls[1], headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False,
    ))  # fmt: skip
    with Crowd(there, word="故障") as crowd:
        control.begin_rollout(together.leader.project, version("2"), "canary")
        until(lambda: phase(together.leader) == "aborted", timeout_s=60)
    assert crowd.statuses[503] > 0
    state = control.last_rollout(together.leader.project)
    assert state["why"].startswith("error went up")
    assert state["arms"]["candidate"]["requests"] >= 5
    until(lambda: together.versions(key) == ["1", "1"])
