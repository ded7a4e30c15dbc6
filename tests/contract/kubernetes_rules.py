"""Our rules for Kubernetes manifests, and what the overlays are as `kubectl kustomize` renders them."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml

from tasks.serving.gateway import ALIVE, READY
from tests.contract.test_containers import KUBERNETES, NO_SECRET, PINNED, ROOT, SECRET

INFRA = ROOT / "infra"
OVERLAYS = INFRA / "kubernetes" / "overlays"
#: What is applied as a whole.
WHOLES = {
    "base": KUBERNETES, "gateways": INFRA / "kubernetes-gateways", "work-pool": INFRA / "kubernetes" / "work-pool",
    **{path.name: path for path in sorted(OVERLAYS.iterdir())},
}  # fmt: skip
#: A worker that runs stages; release has to be beside the gateway, whose socket it moves versions by.
STAGES = re.compile(r"--pool \S+-(cpu|gpu)\b")


def template_of(item: dict) -> dict | None:
    """Return the pod template of a workload, None for what is none."""
    spec = item.get("spec", {})
    if item["kind"] == "CronJob":
        return spec["jobTemplate"]["spec"]["template"]
    return spec["template"] if item["kind"] in ("Deployment", "Job") else None


def pods(documents: list[dict]) -> list[tuple[str, dict]]:
    """Return the pods of workloads."""
    return [(item["metadata"].get("name", "job"), template["spec"]) for item in documents
            if (template := template_of(item))]  # fmt: skip


def containers(pod: dict) -> list[dict]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def problems(documents: list[dict]) -> list[str]:
    """Return what our own rules refuse in the manifests."""
    found = [f"{item['metadata']['name']}: a secret in the file" for item in documents if item["kind"] == "Secret"]
    for item in documents:
        for name, pod in pods([item]):
            found += [f"{name}: may run as root"] if not pod.get("securityContext", {}).get("runAsNonRoot") else []
            words = [" ".join(one.get("command", [])) for one in pod["containers"]]
            if any("tunegate serve" in one for one in words) and any(map(STAGES.search, words)):
                found.append(f"{name}: a worker of stages beside the gateway")
            volumes = {volume["name"] for volume in pod.get("volumes", [])}
            for container in containers(pod):
                found += [f"{name}/{container['name']}: {one}" for one in container_problems(container, volumes)]
            if item["kind"] == "Deployment":
                found += [
                    f"{name}/{one['name']}: {problem}" for one in pod["containers"] for problem in probe_problems(one)
                ]
    return found + selector_problems(documents)


def container_problems(container: dict, volumes: set[str]) -> list[str]:
    """Return what is wrong with one container."""
    found = [] if PINNED.match(container["image"]) else [f"image {container['image']}"]
    resources = container.get("resources", {})
    if not {"requests", "limits"} <= set(resources) or "memory" not in resources["limits"]:
        found.append("resources")
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context["capabilities"] != {"drop": ["ALL"]}:
        found.append("privileges")
    found += [f"{env['name']} stands in the file" for env in container.get("env", [])
              if SECRET.search(NO_SECRET.sub("", env["name"])) and "value" in env]  # fmt: skip
    found += [f"mounts {one['name']}, which is no volume" for one in container.get("volumeMounts", [])
              if one["name"] not in volumes]  # fmt: skip
    return found


def probe_problems(container: dict) -> list[str]:
    """Return where probes ask what the program in the container does not answer."""
    if not {"readinessProbe", "livenessProbe"} <= set(container):
        return ["probes"]
    ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
    words, env = " ".join(container["command"]), {one["name"]: one.get("value") for one in container.get("env", [])}
    found = []
    for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
        asked = container.get(kind, {}).get("httpGet") or container.get(kind, {}).get("tcpSocket")
        if asked and asked["port"] not in ports:
            found.append(f"{kind} asks port {asked['port']}")
    if "worker" in words and str(ports.get(container["readinessProbe"]["httpGet"]["port"])) != env.get(
        "PREFECT_WORKER_WEBSERVER_PORT"
    ):
        found.append("the worker answers on another port")
    if "worker" in words and "--with-healthcheck" not in words:
        found.append("the worker answers nobody")
    if "tunegate" in container["command"]:
        asked = {container["readinessProbe"]["httpGet"]["path"], container["livenessProbe"]["httpGet"]["path"]}
        found += ["the gateway has no such route"] if asked != {READY, ALIVE} else []
    return found


def selector_problems(documents: list[dict]) -> list[str]:
    """Return which budgets, services and policies choose nobody."""
    labels = [template["metadata"]["labels"] for item in documents if (template := template_of(item))]
    found = []
    for item in documents:
        spec = item.get("spec", {})
        chosen = {
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda spec: spec["podSelector"].get("matchLabels", {}),
            "Service": lambda spec: spec["selector"],
            "Deployment": lambda spec: spec["selector"]["matchLabels"],
        }.get(item["kind"])
        if chosen and not any(chosen(spec).items() <= one.items() for one in labels):
            found.append(f"{item['kind']} {item['metadata']['name']}: chooses nobody")
    return found


def manifests(folder: Path = KUBERNETES) -> list[dict]:
    paths = [path for path in sorted(folder.glob("*.yaml")) if path.name != "kustomization.yaml"]
    return [item for path in paths for item in yaml.safe_load_all(path.read_text("utf-8"))]


@cache
def rendered(name: str) -> list[dict]:
    """Return a whole as kubectl renders it; skips where there is none."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not here")
    done = subprocess.run(
        ["kubectl", "kustomize", WHOLES[name]], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))
