"""Compose, read and not run: schema, loopback, no secrets, health, limits, time to end, and that a run can finish."""

import copy
import json
import re
from importlib import resources

import jsonschema
import pytest
import yaml

from tasks.core.settings import load_settings
from tests.contract.test_containers import COMPOSE, CONTAINERS, NO_SECRET, PINNED, ROOT, SECRET

GIVEN = re.compile(r"\$\{\w+:\?[^}]*\}")
GPU = yaml.safe_load((CONTAINERS / "compose.gpu.yaml").read_text("utf-8"))
#: What the process needs of its own to end well.
DRAINS = {"gateway", "gateway-2"}


def merged(base: dict, over: dict) -> dict:
    """Return one compose file on another, as compose has it: tables merge, all else is replaced."""
    found = dict(base)
    for name, value in over.items():
        found[name] = (
            merged(base[name], value) if isinstance(value, dict) and isinstance(base.get(name), dict) else value
        )
    return found


def problems(compose: dict) -> list[str]:
    """Return what our own rules refuse in a compose file."""
    found = []
    for name, service in compose["services"].items():
        found += [f"{name}: {problem}" for problem in service_problems(service)]
        target = str(service.get("network_mode", "")).partition("service:")[2]
        if target and service.get("ports"):
            found.append(f"{name}: ports belong to {target}, whose network it shares")
        found += [
            f"{name}: {one} is not there" for one in service.get("depends_on", {}) if one not in compose["services"]
        ]
    used = {
        str(one).partition(":")[0] for service in compose["services"].values() for one in service.get("volumes", [])
    }
    named = {one for one in used if "/" not in one}
    found += [f"volumes: {one} is not declared" for one in sorted(named - set(compose["volumes"]))]
    found += [f"volumes: nobody uses {one}" for one in sorted(set(compose["volumes"]) - named)]
    return found


def service_problems(service: dict) -> list[str]:
    """Return what is wrong with one service."""
    found, once = [], service.get("restart") == "no"
    if not PINNED.match(service["image"]):
        found.append(f"image {service['image']}")
    if service["image"].startswith("tunegate-") and "build" not in service:
        found.append("its image is ours, and nothing says how it is built")
    if not once and "healthcheck" not in service:
        found.append("no healthcheck")
    if not once and "stop_grace_period" not in service:
        found.append("no time to end")
    if "memory" not in service.get("deploy", {}).get("resources", {}).get("limits", {}):
        found.append("no limit of memory")
    found += [f"port {port}" for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]
    found += [f"{key} stands in the file" for key, value in service.get("environment", {}).items()
              if SECRET.search(NO_SECRET.sub("", key)) and not GIVEN.search(str(value))]  # fmt: skip
    if service.get("privileged") or "no-new-privileges:true" not in service.get("security_opt", []):
        found.append("privileged")
    return found


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize("compose", [COMPOSE, merged(COMPOSE, GPU)], ids=["CPU", "GPU"])
def test_compose_is_valid_and_keeps_our_rules(compose):
    vendored = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(compose, json.loads(vendored.read_text("utf-8")))
    jsonschema.validate(GPU, json.loads(vendored.read_text("utf-8")))
    assert problems(compose) == []


def without(name: str):
    return lambda service: service.pop(name)


@pytest.mark.parametrize(
    ("service", "change", "said"),
    [
        ("prefect", lambda one: one.update(image="prefecthq/prefect:latest"), "prefect: image"),
        ("prefect", lambda one: one.update(image="prefecthq/prefect"), "prefect: image"),
        ("gateway", lambda one: one.update(ports=["8080:8080"]), "gateway: port 8080"),
        ("mlflow-db", lambda one: one.update(environment={"POSTGRES_PASSWORD": "mlflow"}), "stands in the file"),
        ("store", lambda one: one.update(privileged=True), "store: privileged"),
        ("store", without("security_opt"), "store: privileged"),
        ("grafana", without("healthcheck"), "grafana: no healthcheck"),
        ("worker-cpu", without("stop_grace_period"), "worker-cpu: no time to end"),
        ("mlflow", without("deploy"), "mlflow: no limit of memory"),
        ("gateway", without("build"), "gateway: its image is ours"),
        ("prometheus", lambda one: one.update(ports=["127.0.0.1:9091:9090"]), "ports belong to gateway"),
        ("owners", lambda one: one.update(volumes=["dta:/tunegate/data"]), "dta is not declared"),
        ("gateway-2", lambda one: one.update(volumes=["serving:/tunegate/shared:ro"]), "nobody uses gateway-2"),
        ("grafana", lambda one: one.update(depends_on={"promtheus": {}}), "promtheus is not there"),
    ],
)
def test_a_planted_fault_in_compose_is_seen(service, change, said):
    compose = copy.deepcopy(COMPOSE)
    # Anchors are shared objects: only this service is to change.
    compose["services"][service] = one = copy.deepcopy(compose["services"][service])
    change(one)
    assert any(said in problem for problem in problems(compose))


def test_every_secret_of_compose_is_in_the_example_and_empty_there():
    asked = set(re.findall(r"\$\{(\w+):\?", (CONTAINERS / "compose.yaml").read_text("utf-8")))
    lines = [line for line in (CONTAINERS / "env.example").read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    assert {line.rstrip("=") for line in lines} == asked
    assert all(line.endswith("=") for line in lines)


def pools(compose: dict) -> dict[str, list[str]]:
    """Return pool -> the services that start by themselves and take its runs."""
    found: dict[str, list[str]] = {}
    for name, service in compose["services"].items():
        words = service.get("command", [])
        if "flows.workers" in words and not service.get("profiles"):
            for place, word in enumerate(words):
                if word == "--pool":
                    found.setdefault(words[place + 1], []).append(name)
    return found


def test_a_run_finishes_with_and_without_a_gpu():
    assert pools(COMPOSE) == {"release": ["worker-release"], "cpu": ["worker-cpu"], "gpu": ["worker-cpu"]}
    services = merged(COMPOSE, GPU)["services"]
    with_cards = {"services": {name: one | {"profiles": []} if name == "worker-gpu" else one
                               for name, one in services.items()}}  # fmt: skip
    assert pools(with_cards) == {"release": ["worker-release"], "cpu": ["worker-cpu"], "gpu": ["worker-gpu"]}
    for name in ("gateway", "worker-gpu"):
        assert services[name]["image"].startswith("tunegate-serve-cuda")
        assert services[name]["build"]["args"]["ACCELERATOR"] == "cuda"
        assert services[name]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]


def test_all_workers_are_of_one_project_on_the_prefect_server():
    """The two accounts have no state in common; without a name each would refuse the other's deployments."""
    names = {service["environment"]["TUNEGATE_PROJECT"] for service in COMPOSE["services"].values()
             if "flows.workers" in service.get("command", [])}  # fmt: skip
    assert names == {"${TUNEGATE_PROJECT:-tunegate}"}


def mounts(service: dict) -> dict[str, str]:
    """Return place in the container -> source."""
    return {str(volume).split(":")[1]: str(volume).split(":")[0] for volume in service.get("volumes", [])}


def test_data_and_settings_are_this_checkouts_and_what_dvc_records_outlives_a_container():
    for name in ("worker-cpu", "worker-gpu", "gateway", "worker-release"):
        found = mounts(COMPOSE["services"][name])
        assert found["/tunegate/params.yaml"] == "../../params.yaml", name
        assert found["/tunegate/data/raw"] == "../../data/raw", name
    text = (CONTAINERS / "Containerfile").read_text("utf-8")
    assert "ln -s .tunegate/dvc.lock dvc.lock" in text
    # DVC takes no link to nothing (tried: 'dvc.lock' is not a .dvc file).
    assert "/pipeline/dvc.lock" in " ".join(COMPOSE["services"]["owners"]["command"])
    assert (
        mounts(COMPOSE["services"]["owners"])["/pipeline"]
        == mounts(COMPOSE["services"]["worker-cpu"])["/tunegate/.tunegate"]
    )


def test_what_is_answered_when_the_gateway_is_told_to_end_is_answered():
    settings = load_settings(ROOT / "params.yaml")
    for name in DRAINS:
        assert seconds(COMPOSE["services"][name]["stop_grace_period"]) > settings.serve.gateway.drain_timeout_s


def test_prometheus_reads_from_the_gateways_own_loopback_and_grafana_reads_it():
    """From anywhere else /metrics wants a key."""
    scraped = yaml.safe_load((ROOT / "infra" / "monitoring" / "prometheus.yaml").read_text("utf-8"))
    (job,) = scraped["scrape_configs"]
    port = job["static_configs"][0]["targets"][0].removeprefix("127.0.0.1:")
    prometheus, gateway = COMPOSE["services"]["prometheus"], COMPOSE["services"]["gateway"]
    assert prometheus["network_mode"] == "service:gateway"
    assert f"127.0.0.1:{port}:{port}" in gateway["ports"]
    assert mounts(prometheus)["/etc/prometheus/tunegate.rules.yaml"].endswith(scraped["rule_files"][0])
    folder = ROOT / "infra" / "monitoring" / "grafana"
    (source,) = yaml.safe_load((folder / "datasource.yaml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://gateway:9090"
    (provider,) = yaml.safe_load((folder / "dashboards.yaml").read_text("utf-8"))["providers"]
    assert f"{provider['options']['path']}/tunegate.json" in mounts(COMPOSE["services"]["grafana"])


def test_a_backup_reads_the_databases_that_the_servers_write():
    services = COMPOSE["services"]
    backup, server = services["backup"]["environment"], services["mlflow"]["environment"]
    assert backup["MLFLOW_BACKEND_STORE_URI"] == server["MLFLOW_BACKEND_STORE_URI"]
    url = services["prefect"]["environment"]["PREFECT_API_DATABASE_CONNECTION_URL"]
    assert backup["PREFECT_API_DATABASE_CONNECTION_URL"] == url
    # Its pg_dump is Debian bookworm's: 15, and no newer server.
    assert services["mlflow-db"]["image"].partition(":")[2].startswith("15.")
    for name, state in (("backup", "state"), ("backup-serving", "serving")):
        assert mounts(services[name])["/tunegate/.tunegate"] == state
