"""Two gateways before model servers that others run: the manifests keep our rules."""

import yaml

from tests.contract.kubernetes_rules import WHOLES, containers, pods, problems

FOLDER = WHOLES["gateways"]


def documents():
    return [item for path in sorted(FOLDER.glob("*.yaml")) if path.name != "kustomization.yaml"
            for item in yaml.safe_load_all(path.read_text("utf-8"))]  # fmt: skip


def named(kind, name):
    return next(item for item in documents() if (item["kind"], item["metadata"]["name"]) == (kind, name))


def test_our_rules_hold():
    assert problems(documents()) == []
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
    on_disk = {path.name for path in FOLDER.glob("*.yaml")} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == on_disk | {"../kubernetes/base"}
    used = {container["image"].partition(":")[0] for _, pod in pods(documents()) for container in containers(pod)}
    assert used <= {item["name"] for item in kustomization["images"]}


def test_one_of_two_is_always_there():
    gateways = named("Deployment", "gateways")["spec"]
    labels = gateways["template"]["metadata"]["labels"]
    assert gateways["replicas"] == 2
    assert gateways["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    budget = named("PodDisruptionBudget", "gateways")["spec"]
    assert 0 < budget["minAvailable"] < gateways["replicas"]
    for selector in (gateways["selector"], budget["selector"]):
        assert selector["matchLabels"] == labels
    assert named("Service", "gateways")["spec"]["selector"] == labels
    assert named("Deployment", "leader")["spec"]["replicas"] == 1


def test_probes_are_the_gateways_own_routes():
    (container,) = dict(pods(documents()))["gateways"]["containers"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/livez"


def test_each_gateway_keeps_a_log_of_its_own_and_reads_the_keys_alone():
    (container,) = dict(pods(documents()))["gateways"]["containers"]
    state, shared, _ = container["volumeMounts"]
    assert "$(TUNEGATE_REPLICA)" in state["subPathExpr"]
    assert shared["readOnly"] is True
    keys = next(env["value"] for env in container["env"] if env["name"] == "TUNEGATE_KEYS_FILE")
    assert keys.startswith(shared["mountPath"])


def test_nobody_but_ingress_and_prometheus_comes_in():
    policy = named("NetworkPolicy", "gateways-from-ingress")["spec"]
    names = {peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
             for rule in policy["ingress"] for peer in rule["from"]}  # fmt: skip
    assert names == {"ingress-nginx", "monitoring"}
    assert all(rule.get("to") for rule in policy["egress"])
