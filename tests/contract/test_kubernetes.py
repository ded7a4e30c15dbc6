"""Kubernetes manifests: our rules, the overlays as `kubectl kustomize` renders them, and the published schemas."""

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.utilities.templating import apply_values

from tasks.core.settings import load_settings
from tests.contract.kubernetes_rules import INFRA, OVERLAYS, WHOLES, containers, manifests, pods, problems, rendered
from tests.contract.test_containers import KUBERNETES

CARD = "nvidia.com/gpu"
VALIDATOR = "kubernetes-validate==1.37.0"
RELEASE = "1.32"


def test_the_base_keeps_our_rules():
    assert problems(manifests()) == []
    assert {item["kind"] for item in manifests()} >= {
        "Deployment", "Service", "NetworkPolicy", "Job", "CronJob", "PodDisruptionBudget", "PersistentVolumeClaim",
    }  # fmt: skip


def _gateway(documents: list[dict], number: int = 0) -> dict:
    return dict(pods(documents))["gateway"]["containers"][number]


def _item(documents: list[dict], kind: str, name: str) -> dict:
    return next(item for item in documents if (item["kind"], item["metadata"]["name"]) == (kind, name))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda all_: _gateway(all_).update(image="tunegate-serve:latest"), "gateway/gateway: image"),
        (lambda all_: _gateway(all_).update(resources={}), "gateway/gateway: resources"),
        (lambda all_: _gateway(all_).update(securityContext={"allowPrivilegeEscalation": True}), "privileges"),
        (lambda all_: _gateway(all_).update(env=[{"name": "API_KEY", "value": "x"}]), "stands in the file"),
        (lambda all_: all_.append({"kind": "Secret", "metadata": {"name": "s"}}), "a secret"),
        (lambda all_: _gateway(all_, 1).pop("livenessProbe"), "gateway/worker: probes"),
        (lambda all_: _gateway(all_)["readinessProbe"]["httpGet"].update(path="/ready"), "no such route"),
        (lambda all_: _gateway(all_)["readinessProbe"]["httpGet"].update(port="htp"), "asks port htp"),
        (lambda all_: _gateway(all_, 1)["env"][0].update(value="8082"), "gateway/worker: the worker answers on"),
        (lambda all_: _gateway(all_)["volumeMounts"].append({"name": "moels"}), "mounts moels"),
        (lambda all_: _item(all_, "PodDisruptionBudget", "gateway")["spec"]["selector"]["matchLabels"].update(app="x"),
         "PodDisruptionBudget gateway: chooses nobody"),
        (lambda all_: _gateway(all_, 1)["command"].extend(["--pool", "$(TUNEGATE_PROJECT)-cpu"]),
         "gateway: a worker of stages beside the gateway"),
        (lambda all_: dict(pods(all_))["worker-cpu"]["initContainers"][0].pop("resources"), "lock: resources"),
    ],
)  # fmt: skip
def test_a_planted_fault_is_seen(change, said):
    documents = copy.deepcopy(manifests())
    change(documents)
    assert any(said in problem for problem in problems(documents)), problems(documents)


def test_kustomization_lists_every_manifest_and_names_what_they_use():
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text("utf-8"))
    on_disk = {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == on_disk | {"../../profiles"}
    used = [container for _, pod in pods(manifests()) for container in containers(pod)]
    assert {item["image"].partition(":")[0] for item in used} == {item["name"] for item in kustomization["images"]}
    maps = {
        source["configMapRef"]["name"]
        for item in used
        for source in item.get("envFrom", [])
        if "configMapRef" in source
    }
    assert maps == {item["name"] for item in kustomization["configMapGenerator"]}
    claims = {item["metadata"]["name"] for item in manifests() if item["kind"] == "PersistentVolumeClaim"}
    assert claims == {"tunegate", "tunegate-models", "tunegate-serving"}


def test_callers_come_through_the_ingress_and_prometheus_gets_its_metrics():
    spec = _item(manifests(), "NetworkPolicy", "gateway-from-ingress")["spec"]
    names = {peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
             for rule in spec["ingress"] for peer in rule["from"]}  # fmt: skip
    assert names == {"ingress-nginx", "monitoring"}
    everybody = _item(manifests(), "NetworkPolicy", "nothing-comes-in")["spec"]
    assert everybody == {"podSelector": {}, "policyTypes": ["Ingress"]}


def cards(documents: list[dict]) -> dict[str, int]:
    """Return workload -> cards that it takes as applied."""
    found = {}
    for item in documents:
        for name, pod in pods([item]):
            own = sum(int(one["resources"]["limits"].get(CARD, 0)) for one in pod["containers"])
            found |= {name: own} if own * item["spec"].get("replicas", 1) else {}
    return found


def settings_of(documents: list[dict]) -> set[str]:
    """Return the params.yaml that workloads mount."""
    texts = {
        item["metadata"]["name"]: item["data"].get("params.yaml") for item in documents if item["kind"] == "ConfigMap"
    }
    return {texts[volume["configMap"]["name"]] for _, pod in pods(documents) for volume in pod.get("volumes", [])
            if volume["name"] == "settings"}  # fmt: skip


@pytest.mark.parametrize("name", WHOLES)
def test_each_whole_keeps_our_rules_as_rendered(name):
    documents = rendered(name)
    assert problems(documents) == []
    # One site, one set of settings, and it is one that the code reads.
    assert len(settings_of(documents)) == 1
    commands = [one for _, pod in pods(documents) for one in pod["containers"] if "tunegate" in one["command"]]
    for one in commands:
        assert "/tunegate/params.yaml" in {mount["mountPath"] for mount in one["volumeMounts"]}, one["name"]


@pytest.mark.parametrize("name", WHOLES)
def test_all_pods_are_of_one_project_on_the_prefect_server(name):
    """Without a name each pod would be a checkout of its own, and refuse the deployments of the others."""
    documents = rendered(name)
    named = {item["metadata"]["name"] for item in documents if "TUNEGATE_PROJECT" in item.get("data", {})}
    assert len(named) == 1
    for pod_name, pod in pods(documents):
        for one in pod["containers"]:
            words = " ".join(one["command"])
            if not re.search(r"flows\.|prefect worker", words):
                continue
            assert named & {source.get("configMapRef", {}).get("name") for source in one["envFrom"]}, pod_name
            assert "--pool" not in words or "--pool $(TUNEGATE_PROJECT)-" in words, pod_name


@pytest.mark.parametrize(
    ("name", "profile", "expected"),
    [
        ("base", "production-72b", {"gateway": 8, "worker-gpu": 4}),
        ("eight-gpu", "optimize-32b", {"gateway": 4, "worker-gpu": 4}),
        ("one-gpu", "one-gpu", {"gateway": 1}),
        ("laptop", "laptop", {}),
    ],
)
def test_each_overlay_fits_its_node_and_has_its_profile(name, profile, expected, tmp_path):
    documents = rendered(name)
    assert cards(documents) == expected
    (text,) = settings_of(documents)
    own = OVERLAYS / "one-gpu" / "params.yaml"
    assert text == (own if profile == "one-gpu" else INFRA / "profiles" / f"{profile}.yaml").read_text("utf-8")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    settings = load_settings(tmp_path / "params.yaml")
    env = {one["name"]: one.get("value") for one in _gateway(documents).get("env", [])}
    if not expected:
        assert "TUNEGATE_SLOT_GPUS" not in env
        return
    groups = [{*part.split(",")} for part in env["TUNEGATE_SLOT_GPUS"].split("|")]
    assert len(set.union(*groups)) == sum(map(len, groups)) == expected["gateway"]
    assert len(groups) == (2 if settings.serve.swap == "beside" else 1)
    # Some group holds the model as it is served.
    assert all(len(group) >= settings.serve.vllm.tensor_parallel for group in groups)


def test_the_one_card_settings_are_the_profiles_but_for_the_card():
    profile, own = (
        yaml.safe_load(path.read_text("utf-8"))
        for path in (INFRA / "profiles" / "verify-7b.yaml", OVERLAYS / "one-gpu" / "params.yaml")
    )
    profile["hardware"]["gpus"], profile["serve"]["swap"] = 1, "hold"
    assert own == profile


def test_a_laptop_has_one_image_both_pools_and_its_servers():
    documents = rendered("laptop")
    images = {one["image"] for _, pod in pods(documents) for one in containers(pod)}
    assert images == {"tunegate-serve:0.1.0"}
    words = [" ".join(one["command"]) for _, pod in pods(documents) for one in pod["containers"]]
    assert sorted(word.split("--pool ")[1].split()[0] for word in words if "--pool" in word) == [
        "$(TUNEGATE_PROJECT)-cpu",
        "$(TUNEGATE_PROJECT)-gpu",
    ]
    services = {
        item["metadata"]["name"]: item["spec"]["ports"][0]["port"] for item in documents if item["kind"] == "Service"
    }
    config = next(
        item["data"] for item in documents if item["kind"] == "ConfigMap" and "PREFECT_API_URL" in item["data"]
    )
    assert config["PREFECT_API_URL"] == f"http://prefect:{services['prefect']}/api"
    assert config["MLFLOW_TRACKING_URI"] == f"http://mlflow:{services['mlflow']}"


def job() -> dict:
    """Return the job that Prefect makes of the work pool's template, by Prefect's own templating."""
    template = json.loads((WHOLES["work-pool"] / "gpu.json").read_text("utf-8"))
    variables = template["variables"]["properties"]
    values = {name: one["default"] for name, one in variables.items() if "default" in one}
    values |= {
        "settings": "tunegate-profile-production-72b-abc", "name": "amber-fox",
        "command": ["prefect", "flow-run", "execute"], "env": [{"name": "TUNEGATE_ROOT", "value": "/tunegate"}],
    }  # fmt: skip
    assert set(template["variables"]["required"]) <= set(values)
    made = apply_values(template["job_configuration"]["job_manifest"], values)
    assert "{{" not in json.dumps(made)
    return made


def test_prefects_worker_takes_the_template_and_keeps_its_login_out_of_jobs():
    """As prefect-kubernetes 0.8 asks for them (run once, not in CI): two words of jobs inside the pod, a secret."""
    pod = job()["spec"]["template"]["spec"]
    assert (pod["parallelism"], pod["completions"]) == (1, 1)
    (worker,) = dict(pods(manifests(WHOLES["work-pool"])))["worker-jobs"]["containers"]
    env = {one["name"].rpartition("AUTH_STRING_")[2]: one["value"] for one in worker["env"]}
    assert {"secretRef": {"name": env["SECRET_NAME"]}} in worker["envFrom"]
    assert env["SECRET_KEY"] == "PREFECT_API_AUTH_STRING"


def test_the_work_pools_job_keeps_our_rules_and_waits_in_kueues_queue():
    found = job()
    assert problems([found | {"metadata": found["metadata"] | {"name": "job"}}]) == []
    queues = list(yaml.safe_load_all((WHOLES["work-pool"] / "queue.yaml").read_text("utf-8")))
    local = _item(queues, "LocalQueue", "tunegate")
    assert found["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"]
    assert found["metadata"]["namespace"] == local["metadata"]["namespace"]
    assert found["spec"]["suspend"] is True
    quota = _item(queues, "ClusterQueue", "tunegate")["spec"]["resourceGroups"][0]["flavors"][0]["resources"]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    asked = container["resources"]["limits"][CARD]
    assert int(asked) <= int(next(one["nominalQuota"] for one in quota if one["name"] == CARD))
    # What a stage reads and writes is what the base's worker has.
    worker = dict(pods(manifests()))["worker-gpu"]
    assert container["volumeMounts"] == worker["containers"][0]["volumeMounts"]
    assert {one["name"] for one in found["spec"]["template"]["spec"]["volumes"]} == {
        one["name"] for one in worker["volumes"]
    }


@pytest.mark.slow
def test_all_of_it_is_valid_by_the_published_schemas(tmp_path):
    """Kubernetes' own, strictly: a word that it does not know is a fault. Kueue's kinds have none there."""
    uv, python = Path(sys.executable).with_name("uv"), tmp_path / "venv" / "bin" / "python"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, tmp_path / "venv"], check=True, timeout=120)
    subprocess.run([uv, "pip", "install", "-q", "--python", python, VALIDATOR], check=True, timeout=120)
    # The name is Prefect's to make up; its worker wants two words where Kubernetes has none.
    made = job() | {"metadata": job()["metadata"] | {"name": "job"}}
    for word in ("parallelism", "completions"):
        made["spec"]["template"]["spec"].pop(word)
    planted = copy.deepcopy(made)
    planted["spec"]["template"]["spec"]["containers"][0]["volumeMount"] = []
    for name, documents in ({name: rendered(name) for name in WHOLES} | {"job": [made], "planted": [planted]}).items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump_all(documents), encoding="utf-8")
        words = [python.with_name("kubernetes-validate"), "--strict", "-k", RELEASE, path]
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
        assert (done.returncode == 0) == (name != "planted"), done.stdout + done.stderr
