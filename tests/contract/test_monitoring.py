"""Rules and dashboard against what the gateway really shows: by name, and by the real Prometheus in slow tests."""

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tasks.serving import control
from tasks.serving.metrics import Metrics
from tests.contract.embeddings import configure, up
from tests.contract.hosts import BODY, CHAT, STREAMED, until
from tests.debian import unpacked

FOLDER = Path(__file__).parents[2] / "infra" / "monitoring"
RULES = FOLDER / "tunegate.rules.yaml"
DASHBOARD = FOLDER / "grafana-dashboard.json"
#: Of Debian's package where none is installed; the oldest that the rules are held to.
PACKAGE = "prometheus"


def shown() -> set[str]:
    """The names of all series that a gateway can show."""
    return {
        sample
        for family in Metrics().registry.collect()
        for sample in _samples(family.name, family.type)
    }  # fmt: skip


def _samples(name: str, kind: str) -> list[str]:
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(kind, [""])
    return [name + ending for ending in endings]


@pytest.mark.parametrize("path", [RULES, DASHBOARD], ids=lambda path: path.name)
def test_only_series_that_the_gateway_shows_are_asked_for(path):
    text = path.read_text("utf-8")
    recorded = set(re.findall(r"record: (\S+)", RULES.read_text("utf-8")))
    asked = set(re.findall(r"tunegate(?::\w+)+|tunegate_\w+", text))
    assert asked
    assert asked <= shown() | recorded


def test_a_series_that_is_not_shown_would_be_seen():
    assert "tunegate_live" in shown()
    assert "tunegate_answers_total" in shown()
    assert "tunegate_answers" not in shown()


def test_every_series_has_its_place_on_the_dashboard():
    text = DASHBOARD.read_text("utf-8") + RULES.read_text("utf-8")
    families = {family.name for family in Metrics().registry.collect()}
    assert {name for name in families if name not in text} == set()


def test_a_stat_shows_what_is_now_and_says_what_it_is():
    """Left to itself it draws the last value of six hours, of what is gone too, and of a single series no name."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    stats = {panel["title"]: panel for panel in panels if panel["type"] == "stat"}
    assert [title for title, panel in stats.items() if not all(one.get("instant") for one in panel["targets"])] == []
    # Always 1: the version is in the name.
    assert stats["Live version"]["options"]["textMode"] == "name"


#: Reads a dashboard by Grafana's published schema and writes it again: what the schema has not is gone then.
READS = """
import json, sys
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard
register_default_plugins()
print(JSONEncoder().encode(Dashboard.from_json(json.load(sys.stdin))))
"""
SCHEMA = "grafana-foundation-sdk==1769699998!10.1.0"
#: Of the Prometheus data source alone, which has no part in that schema.
OF_THE_SOURCE = {".annotations.list[0].titleFormat"}


def lost(given, read, at: str = "") -> set[str]:
    """Return where a value read by the schema lacks something of what was given, or has it otherwise."""
    if isinstance(given, dict) and isinstance(read, dict):
        gone = {f"{at}.{name}" for name in given if name not in read}
        return gone.union(*(lost(given[name], read[name], f"{at}.{name}") for name in given if name in read))
    if isinstance(given, list) and isinstance(read, list) and len(given) == len(read):
        pairs = enumerate(zip(given, read, strict=True))
        return set().union(*(lost(one, other, f"{at}[{n}]") for n, (one, other) in pairs))
    return set() if given == read else {at}


@pytest.mark.slow
def test_the_dashboard_is_one_by_grafanas_published_schema(tmp_path):
    """Grafana itself is not to be had from package registries; its schema's own reader is."""
    uv, python = Path(sys.executable).with_name("uv"), tmp_path / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, tmp_path / "venv"], check=True, timeout=120)
    subprocess.run([uv, "pip", "install", "-q", "--python", python, SCHEMA], check=True, timeout=120)

    def read(value: dict) -> dict:
        done = subprocess.run(
            [python, "-c", READS], input=json.dumps(value), capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    assert lost(dashboard, read(dashboard)) == OF_THE_SOURCE
    planted = json.loads(DASHBOARD.read_text("utf-8"))
    planted["panels"][0]["gridPosition"] = planted["panels"][0].pop("gridPos")
    planted["panels"][1]["targets"][0]["query"] = "tunegate_live"
    assert lost(planted, read(planted)) - OF_THE_SOURCE == {".panels[0].gridPosition", ".panels[1].targets[0].query"}


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> Path:
    """The folder of `prometheus` and `promtool`: what is installed, else Debian's package unpacked."""
    if found := shutil.which("promtool"):
        return Path(found).parent
    folder = tmp_path_factory.mktemp("prometheus")
    unpacked("Prometheus", [PACKAGE], folder)
    return folder / "usr" / "bin"


@pytest.mark.slow
def test_the_rules_say_what_they_should_of_made_up_hours(programs):
    for words in (["check", "config", "prometheus.yaml"], ["test", "rules", "tunegate.rules.test.yaml"]):
        done = subprocess.run([programs / "promtool", *words], cwd=FOLDER, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """A real Prometheus that scrapes one gateway every half second."""

    def __init__(self, programs: Path, folder: Path, port: int, target: str) -> None:
        folder.mkdir()
        settings = (FOLDER / "prometheus.yaml").read_text("utf-8")
        assert "127.0.0.1:8080" in settings
        settings = settings.replace("127.0.0.1:8080", target).replace("interval: 15s", "interval: 500ms")
        (folder / "prometheus.yaml").write_text(settings, "utf-8")
        shutil.copy(RULES, folder)
        self.url = f"http://127.0.0.1:{port}"
        words = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data",
                 f"--web.listen-address=127.0.0.1:{port}"]  # fmt: skip
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen([programs / "prometheus", *words], stdout=log, stderr=log)

    def ask(self, expression: str) -> list[dict]:
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", (expression, answer)
        return answer["data"]["result"]

    def up(self) -> bool:
        try:
            # Until it is ready it answers in words, not JSON.
            ready = httpx.get(f"{self.url}/-/ready").is_success
        except httpx.TransportError:
            return False
        return ready and bool(self.ask('up{job="tunegate"} == 1'))

    def alarms(self) -> set[str]:
        alarms = httpx.get(f"{self.url}/api/v1/alerts").json()["data"]["alerts"]
        return {alarm["labels"]["alertname"] for alarm in alarms}

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def whole(project):
    """A project with a share in every panel: version 1 live, an embedding model, and a candidate beside."""
    configure(project.root, project.model("bge"))
    control.ensure_host(project.project)
    project.deploy("1", token_s=0.01)
    control.begin_rollout(project.project, project.deployment("2", by="王工", reason="第二版"), "canary")
    until(lambda: up(project.project))
    return project


@pytest.fixture
def prometheus(programs, tmp_path, whole, free_ports):
    (port,) = free_ports(1)
    found = Prometheus(programs, tmp_path / "prometheus", port, whole.project.gateway_url.removeprefix("http://"))
    yield found
    found.stop()


@pytest.mark.slow
def test_a_live_gateway_on_every_panel_and_a_stopped_one_as_an_alarm(prometheus, whole):
    until(prometheus.up, timeout_s=30)
    with whole.client(whole.key("desk")) as client:
        for _ in range(6):
            client.post(CHAT, json=BODY)
            client.post(CHAT, json=STREAMED)
            httpx.post(f"{whole.project.gateway_url}{CHAT}", json=BODY)
    queries = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]
    drawn = [query for query in queries if "aborted" not in query]
    deadline = time.monotonic() + 30
    while empty := [query for query in drawn if not prometheus.ask(query)]:
        assert time.monotonic() < deadline, empty
        time.sleep(0.5)
    assert prometheus.ask("tunegate_live")[0]["metric"]["version"] == "1"
    assert not prometheus.alarms()
    control.stop_host(whole.project)
    until(lambda: "TunegateDown" in prometheus.alarms(), timeout_s=30)
