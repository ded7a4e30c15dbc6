"""Container files, compose and Kubernetes: read, not run. Pins, probes, loopback, no secrets, no root."""

import copy
import json
import re
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
CONTAINERS, KUBERNETES = ROOT / "infra" / "containers", ROOT / "infra" / "kubernetes"
COMPOSE = yaml.safe_load((CONTAINERS / "compose.yaml").read_text("utf-8"))
FILES = sorted(CONTAINERS.glob("Containerfile.*"))
PINNED = re.compile(r"^[\w./-]+:v?\d[\w.-]*$")
SECRET = re.compile(r"(PASSWORD|SECRET|AUTH|KEY)", re.IGNORECASE)
#: Names that sound like one: paths of files, and a switch.
NO_SECRET = re.compile(r"_(KEYS_FILE|AUTH_CONFIG_PATH|AUTH_FAIL_CLOSED)$")
GIVEN = re.compile(r"\$\{\w+:\?[^}]*\}")


def compose_problems(compose: dict) -> list[str]:
    """Return what our own rules refuse in a compose file."""
    found = []
    for name, service in compose["services"].items():
        if not PINNED.match(service["image"]):
            found.append(f"{name}: image {service['image']}")
        if "healthcheck" not in service and service.get("restart") != "no":
            found.append(f"{name}: no healthcheck")
        found += [f"{name}: port {port}" for port in service.get("ports", []) if not port.startswith("127.0.0.1:")]
        for key, value in service.get("environment", {}).items():
            if SECRET.search(NO_SECRET.sub("", key)) and not GIVEN.search(str(value)):
                found.append(f"{name}: {key} stands in the file")
        if service.get("privileged"):
            found.append(f"{name}: privileged")
    return found


def pods(documents: list[dict]) -> list[tuple[str, dict]]:
    """Return the pod templates of workloads."""
    return [(item["metadata"]["name"], item["spec"]["template"]["spec"]) for item in documents
            if item["kind"] in ("Deployment", "Job")]  # fmt: skip


def kubernetes_problems(documents: list[dict]) -> list[str]:
    """Return what our own rules refuse in the manifests."""
    found = [f"{item['metadata']['name']}: a secret in the file" for item in documents if item["kind"] == "Secret"]
    for item in documents:
        for name, pod in pods([item]):
            if not pod.get("securityContext", {}).get("runAsNonRoot"):
                found.append(f"{name}: may run as root")
            for container in pod["containers"]:
                where = f"{name}/{container['name']}"
                if not PINNED.match(container["image"]):
                    found.append(f"{where}: image {container['image']}")
                if item["kind"] == "Deployment" and not {"readinessProbe", "livenessProbe"} <= set(container):
                    found.append(f"{where}: probes")
                if not {"requests", "limits"} <= set(container.get("resources", {})):
                    found.append(f"{where}: resources")
                context = container.get("securityContext", {})
                if context.get("allowPrivilegeEscalation") is not False or context["capabilities"] != {"drop": ["ALL"]}:
                    found.append(f"{where}: privileges")
                found += [f"{where}: {env['name']} stands in the file" for env in container.get("env", [])
                          if SECRET.search(NO_SECRET.sub("", env["name"])) and "value" in env]  # fmt: skip
    return found


def manifests() -> list[dict]:
    documents = []
    for path in sorted(KUBERNETES.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            documents += list(yaml.safe_load_all(path.read_text("utf-8")))
    return documents


def test_compose_is_valid_and_keeps_our_rules():
    vendored = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(COMPOSE, json.loads(vendored.read_text("utf-8")))
    assert compose_problems(COMPOSE) == []


@pytest.mark.parametrize(
    ("service", "change", "said"),
    [
        ("prefect", {"image": "prefecthq/prefect:latest"}, "image"),
        ("prefect", {"image": "prefecthq/prefect"}, "image"),
        ("gateway", {"ports": ["8080:8080"]}, "port"),
        ("mlflow-db", {"environment": {"POSTGRES_PASSWORD": "mlflow"}}, "stands in the file"),
        ("store", {"privileged": True}, "privileged"),
    ],
)
def test_a_planted_fault_in_compose_is_seen(service, change, said):
    compose = copy.deepcopy(COMPOSE)
    compose["services"][service].update(change)
    assert any(said in problem for problem in compose_problems(compose))


def test_every_secret_of_compose_is_in_the_example_and_empty_there():
    asked = set(re.findall(r"\$\{(\w+):\?", (CONTAINERS / "compose.yaml").read_text("utf-8")))
    lines = [line for line in (CONTAINERS / "env.example").read_text("utf-8").splitlines() if line[:1] not in ("", "#")]
    assert {line.rstrip("=") for line in lines} == asked
    assert all(line.endswith("=") for line in lines)


def test_servers_in_containers_are_the_locked_ones():
    lock = (ROOT / "infra" / "environments" / "pipeline.lock").read_text("utf-8")
    prefect = re.search(r"^prefect==(\S+)", lock, re.MULTILINE)[1]
    mlflow = re.search(r"^mlflow==(\S+)", lock, re.MULTILINE)[1]
    assert COMPOSE["services"]["prefect"]["image"].endswith(f"/prefect:{prefect}-python3.11")
    assert f"mlflow:v{mlflow}\n" in (CONTAINERS / "Containerfile.mlflow").read_text("utf-8")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_images_start_from_a_pin_and_end_as_nobody(path):
    text = path.read_text("utf-8")
    values = dict(re.findall(r"^ARG (\w+)=(\S+)", text, re.MULTILINE))
    (base,) = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert PINNED.match(re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], base))
    # Containerfile.serve starts from the pipeline image, which ends as 10001.
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    assert users[-1:] == ["10001"] or base == "${PIPELINE}"
    assert not re.search(r"(ADD https?:|curl .*\| *sh|--trusted-host)", text)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_what_images_copy_exists(path):
    for names in re.findall(r"^COPY (?:--\S+ )*(.*) \S+$", path.read_text("utf-8"), re.MULTILINE):
        for name in names.split():
            assert (ROOT / name).exists(), name


def test_kubernetes_keeps_our_rules():
    assert kubernetes_problems(manifests()) == []
    assert {item["kind"] for item in manifests()} >= {"Deployment", "Service", "NetworkPolicy", "Job"}


def _change_gateway(**change):
    documents = copy.deepcopy(manifests())
    dict(pods(documents))["gateway"]["containers"][0].update(change)
    return documents


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        (_change_gateway(image="tunegate-serve:latest"), "image"),
        (_change_gateway(resources={}), "resources"),
        (_change_gateway(securityContext={"allowPrivilegeEscalation": True}), "privileges"),
        (_change_gateway(env=[{"name": "API_KEY", "value": "x"}]), "stands in the file"),
        ([{"kind": "Secret", "metadata": {"name": "s"}}], "a secret"),
    ],
)
def test_a_planted_fault_in_kubernetes_is_seen(documents, said):
    assert any(said in problem for problem in kubernetes_problems(documents))


def test_a_missing_probe_is_seen():
    documents = copy.deepcopy(manifests())
    del dict(pods(documents))["gateway"]["containers"][1]["livenessProbe"]
    assert kubernetes_problems(documents) == ["gateway/worker: probes"]


def test_kustomization_lists_every_manifest_and_names_what_they_use():
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text("utf-8"))
    on_disk = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == on_disk
    containers = [container for _, pod in pods(manifests()) for container in pod["containers"]]
    assert {item["image"].partition(":")[0] for item in containers} == {
        item["name"] for item in kustomization["images"]
    }
    maps = {
        source["configMapRef"]["name"] for item in containers for source in item["envFrom"] if "configMapRef" in source
    }
    assert maps == {item["name"] for item in kustomization["configMapGenerator"]}
    claims = {item["metadata"]["name"] for item in manifests() if item["kind"] == "PersistentVolumeClaim"}
    assert claims == {"tunegate", "tunegate-serving"}


def test_mounts_have_volumes():
    for _, pod in pods(manifests()):
        volumes = {volume["name"] for volume in pod.get("volumes", [])}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container.get("volumeMounts", [])} <= volumes


def test_both_slots_of_the_gateway_have_gpus_of_their_own():
    gateway = dict(pods(manifests()))["gateway"]["containers"][0]
    (value,) = [env["value"] for env in gateway["env"] if env["name"] == "TUNEGATE_SLOT_GPUS"]
    blue, green = ({*part.split(",")} for part in value.split("|"))
    assert not blue & green
    assert len(blue | green) == int(gateway["resources"]["limits"]["nvidia.com/gpu"])


def test_the_page_says_what_was_not_run():
    text = (ROOT / "infra" / "README.md").read_text("utf-8")
    assert "never built or\nstarted" in text
    assert len(text.splitlines()) < 80


class TestGateways:
    """Two gateways before model servers that others run."""

    FOLDER = ROOT / "infra" / "kubernetes-gateways"

    def documents(self):
        return [item for path in sorted(self.FOLDER.glob("*.yaml")) if path.name != "kustomization.yaml"
                for item in yaml.safe_load_all(path.read_text("utf-8"))]  # fmt: skip

    def named(self, kind, name):
        return next(item for item in self.documents() if (item["kind"], item["metadata"]["name"]) == (kind, name))

    def test_our_rules_hold(self):
        assert kubernetes_problems(self.documents()) == []
        kustomization = yaml.safe_load((self.FOLDER / "kustomization.yaml").read_text("utf-8"))
        on_disk = {path.name for path in self.FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
        assert set(kustomization["resources"]) == on_disk | {"../kubernetes"}
        used = {
            container["image"].partition(":")[0] for _, pod in pods(self.documents()) for container in pod["containers"]
        }
        assert used <= {item["name"] for item in kustomization["images"]}

    def test_one_of_two_is_always_there(self):
        gateways = self.named("Deployment", "gateways")["spec"]
        labels = gateways["template"]["metadata"]["labels"]
        assert gateways["replicas"] == 2
        assert gateways["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        budget = self.named("PodDisruptionBudget", "gateways")["spec"]
        assert 0 < budget["minAvailable"] < gateways["replicas"]
        for selector in (gateways["selector"], budget["selector"]):
            assert selector["matchLabels"] == labels
        assert self.named("Service", "gateways")["spec"]["selector"] == labels
        assert self.named("Deployment", "leader")["spec"]["replicas"] == 1

    def test_probes_are_the_gateways_own_routes(self):
        (container,) = dict(pods(self.documents()))["gateways"]["containers"]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert container["livenessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/livez"

    def test_each_gateway_keeps_a_log_of_its_own_and_reads_the_keys_alone(self):
        (container,) = dict(pods(self.documents()))["gateways"]["containers"]
        state, shared = container["volumeMounts"]
        assert "$(TUNEGATE_REPLICA)" in state["subPathExpr"]
        assert shared["readOnly"] is True
        keys = next(env["value"] for env in container["env"] if env["name"] == "TUNEGATE_KEYS_FILE")
        assert keys.startswith(shared["mountPath"])

    def test_nobody_but_ingress_and_prometheus_comes_in(self):
        policy = self.named("NetworkPolicy", "gateways-from-ingress")["spec"]
        names = {peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
                 for rule in policy["ingress"] for peer in rule["from"]}  # fmt: skip
        assert names == {"ingress-nginx", "monitoring"}
        assert all(rule.get("to") for rule in policy["egress"])
