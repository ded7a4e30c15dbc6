"""Who makes versions cannot promote them: compose and Kubernetes keep account, socket, keys and login apart."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from tasks.serving.control_access import GROUP_VARIABLE
from tests.contract.kubernetes_rules import pods
from tests.contract.test_containers import COMPOSE, KUBERNETES, ROOT

#: What serves and promotes; it holds the promoter's login and the host's state.
SERVING = {"gateway", "worker-release"}
PIPELINE = {"worker-cpu", "worker-gpu"}
#: Where the control socket, the host's key and the gateway's keys lie.
HOST_STATE = "serving"
#: What only the serving side, or the service that makes the accounts, may be told.
PROMOTES = re.compile(r"MLFLOW_(PROMOTER|ADMIN)_PASSWORD|TUNEGATE_HOST_KEY")


def compose_faults(compose: dict) -> list[str]:
    """Return where compose lets a worker of the pipeline do what is not its own."""
    services, found = compose["services"], []
    for name, service in services.items():
        mounts = {str(volume).partition(":")[0] for volume in service.get("volumes", [])}
        if name not in SERVING | {"mlflow", "mlflow-users"} and PROMOTES.search(str(service.get("environment"))):
            found.append(f"{name}: has a login that promotes")
        if name in PIPELINE:
            found += [f"{name}: mounts {one}" for one in mounts & {HOST_STATE}]
            found += [f"{name}: shares {key}" for key in ("pid", "network_mode", "ipc") if service.get(key)]
            if service.get("user", "10001").partition(":")[0] == services["gateway"]["user"].partition(":")[0]:
                found.append(f"{name}: is the host's user")
            if service["environment"]["MLFLOW_TRACKING_USERNAME"] != "pipeline":
                found.append(f"{name}: is not MLflow's pipeline")
        if name in SERVING and "state" in mounts:
            found.append(f"{name}: mounts the pipeline's state")
        if "release" in service.get("command", []) and name not in SERVING:
            found.append(f"{name}: takes runs of pool release")
    if "--app-name=basic-auth" not in services["mlflow"]["command"]:
        found.append("mlflow: no login")
    if "promoter" not in services["mlflow"]["environment"].get("TUNEGATE_MLFLOW_PROMOTERS", ""):
        found.append("mlflow: no promoter")
    if not services["prefect"]["environment"].get("PREFECT_SERVER_API_AUTH_STRING"):
        found.append("prefect: no login")
    return found


def kubernetes_faults(documents: list[dict]) -> list[str]:
    """Return where the manifests let a pod of the pipeline do what is not its own."""
    found = []
    for name, pod in pods(documents):
        account, context = pod.get("serviceAccountName"), pod["securityContext"]
        claims = {one["persistentVolumeClaim"]["claimName"]: one["persistentVolumeClaim"].get("readOnly", False)
                  for one in pod.get("volumes", []) if "persistentVolumeClaim" in one}  # fmt: skip
        secrets = {source["secretRef"]["name"] for item in pod["containers"] for source in item.get("envFrom", [])
                   if "secretRef" in source}  # fmt: skip
        mounted = {one["secret"]["secretName"] for one in pod.get("volumes", []) if "secret" in one}
        if "tunegate-release" in secrets | mounted and account != "tunegate-release":
            found.append(f"{name}: has the login that promotes")
        if account == "tunegate-release" and not claims.get("tunegate", True):
            found.append(f"{name}: may write the pipeline's volume")
        if "tunegate-serving" in claims and context["runAsUser"] != 10002:
            found.append(f"{name}: mounts the host's state")
        if account != "tunegate-release" and context["runAsUser"] == 10002 and "tunegate" in claims:
            found.append(f"{name}: is the host's user")
        if "fsGroup" in context and context.get("fsGroupChangePolicy") != "OnRootMismatch":
            found.append(f"{name}: keys are opened to the group at each start")
        for item in pod["containers"]:
            words = " ".join(item["command"])
            if re.search(r"--pool \S*release", words) and "prefect worker" in words:
                found.append(f"{name}: Prefect's own worker takes pool release")
            if "flows.release_worker" in words and account != "tunegate-release":
                found.append(f"{name}: takes runs of pool release")
    return found


def manifests(folder: Path = KUBERNETES) -> list[dict]:
    paths = [path for path in sorted(folder.glob("*.yaml")) if path.name != "kustomization.yaml"]
    return [item for path in paths for item in yaml.safe_load_all(path.read_text("utf-8"))]


def test_as_shipped():
    assert compose_faults(COMPOSE) == []
    assert kubernetes_faults(manifests()) == []
    assert kubernetes_faults(manifests(ROOT / "infra" / "kubernetes-gateways")) == []
    assert set(COMPOSE["services"]) >= SERVING | PIPELINE
    accounts = {name: pod.get("serviceAccountName") for name, pod in pods(manifests())}
    assert accounts["worker-cpu"] == accounts["worker-gpu"] == accounts["deploy-flows"] == "tunegate-pipeline"
    assert accounts["gateway"] == "tunegate-release"


def mount(service: dict) -> None:
    service["volumes"] = [*service["volumes"], "serving:/tunegate/host"]


def with_secret(service: dict) -> None:
    service["environment"] = service["environment"] | {"MLFLOW_TRACKING_PASSWORD": "${MLFLOW_PROMOTER_PASSWORD:?}"}


@pytest.mark.parametrize(
    ("service", "change", "said"),
    [
        ("worker-cpu", mount, "worker-cpu: mounts serving"),
        ("worker-gpu", with_secret, "worker-gpu: has a login that promotes"),
        ("gateway-2", with_secret, "gateway-2: has a login that promotes"),
        ("worker-cpu", lambda one: one.update(user="10002:10002"), "worker-cpu: is the host's user"),
        ("worker-cpu", lambda one: one.update(pid="service:gateway"), "worker-cpu: shares pid"),
        ("worker-cpu", lambda one: one.update(command=["python", "--pool", "release"]), "takes runs of pool release"),
        ("mlflow", lambda one: one["command"].remove("--app-name=basic-auth"), "mlflow: no login"),
        ("mlflow", lambda one: one["environment"].pop("TUNEGATE_MLFLOW_PROMOTERS"), "mlflow: no promoter"),
        ("prefect", lambda one: one["environment"].pop("PREFECT_SERVER_API_AUTH_STRING"), "prefect: no login"),
    ],
)
def test_a_planted_fault_in_compose_is_seen(service, change, said):
    compose = copy.deepcopy(COMPOSE)
    one = compose["services"][service]
    # Anchors are shared objects: only this service is to change.
    compose["services"][service] = one = copy.deepcopy(one) | {
        "environment": dict(one["environment"]), "volumes": list(one.get("volumes", [])),
    }  # fmt: skip
    change(one)
    assert any(said in fault for fault in compose_faults(compose))


def claim(name: str) -> dict:
    return {"name": "more", "persistentVolumeClaim": {"claimName": name}}


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("worker-cpu", lambda pod: pod["volumes"].append(claim("tunegate-serving")), "mounts the host's state"),
        ("worker-gpu", lambda pod: pod["containers"][0]["envFrom"].append({"secretRef": {"name": "tunegate-release"}}),
         "worker-gpu: has the login that promotes"),
        ("worker-cpu", lambda pod: pod["volumes"].append({"name": "s", "secret": {"secretName": "tunegate-release"}}),
         "worker-cpu: has the login that promotes"),
        ("worker-cpu", lambda pod: pod["securityContext"].update(runAsUser=10002), "is the host's user"),
        ("worker-cpu", lambda pod: pod["securityContext"].pop("fsGroupChangePolicy"), "keys are opened"),
        ("gateway", lambda pod: pod["volumes"].append(claim("tunegate")), "may write the pipeline's volume"),
        ("gateway", lambda pod: pod["containers"][1].update(command=["prefect worker start --pool release"]),
         "Prefect's own worker"),
        ("worker-cpu", lambda pod: pod["containers"][0].update(command=["python", "-m", "flows.release_worker"]),
         "worker-cpu: takes runs of pool release"),
    ],
)  # fmt: skip
def test_a_planted_fault_in_kubernetes_is_seen(name, change, said):
    documents = copy.deepcopy(manifests())
    change(dict(pods(documents))[name])
    assert any(said in fault for fault in kubernetes_faults(documents))


def test_files_of_this_checkout_that_compose_mounts_are_there():
    mounted = {
        volume.split(":")[0] for service in COMPOSE["services"].values() for volume in service.get("volumes", [])
    }
    files = {name for name in mounted if "/" in name}
    assert {"../approvers.yaml", "../../params.yaml", "../../data/raw"} <= files
    assert all((ROOT / "infra" / "containers" / name).exists() for name in files)


def test_each_image_has_both_accounts():
    text = (ROOT / "infra" / "containers" / "Containerfile").read_text("utf-8")
    assert set(re.findall(r"--uid (\d+)", text)) == {"10001", COMPOSE["services"]["gateway"]["user"].partition(":")[0]}


def test_mlflows_settings_hold_no_secret_and_name_what_is_there():
    ini = (ROOT / "infra" / "mlflow" / "auth.ini").read_text("utf-8")
    assert not re.search(r"^\s*admin_password", ini, re.MULTILINE)
    assert "authorization_function = promoters:authenticate" in ini
    image = (ROOT / "infra" / "containers" / "Containerfile.mlflow").read_text("utf-8")
    mlflow = COMPOSE["services"]["mlflow"]["environment"]["MLFLOW_AUTH_CONFIG_PATH"]
    assert mlflow == "/mlflow/auth.ini"
    assert "infra/mlflow/auth.ini infra/mlflow/promoters.py /mlflow/" in image
    assert "ENV PYTHONPATH=/mlflow\n" in image


def test_the_page_has_every_name_in_one_table():
    text = (ROOT / "infra" / "README.md").read_text("utf-8")
    names = {"MLFLOW_TRACKING_USERNAME", "PREFECT_API_AUTH_STRING", "MLFLOW_AUTH_ADMIN_PASSWORD",
             "TUNEGATE_MLFLOW_PROMOTERS", "TUNEGATE_HOST_KEY", "TUNEGATE_RELEASE_KEY", GROUP_VARIABLE}  # fmt: skip
    for name in names:
        assert re.search(rf"^\| .*`{name}`", text, re.MULTILINE), name
