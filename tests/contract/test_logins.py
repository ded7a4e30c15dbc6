"""MLflow and Prefect with the logins of infra: real servers, asked without a login, with a wrong one and with each."""

import base64
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from tasks.core import tracking
from tasks.core.errors import ConfigError
from tasks.core.settings import load_settings
from tasks.release.register import register
from tasks.release.registry import Registry
from tests.flows.servers import PrefectServer
from tests.mlflow_server import MlflowServer
from tests.unit.release.conftest import _run_stages

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MLFLOW = ROOT / "infra" / "mlflow"
UV = Path(sys.executable).with_name("uv")
PASSWORDS = {name: f"{name}-{os.urandom(12).hex()}" for name in ("admin", "pipeline", "promoter", "reader")}


class LoggedMlflow(MlflowServer):
    """The server of infra/containers/compose.yaml: the same app, file of settings and rule, with a database here."""

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        packages, settings = folder / "packages", folder / "auth.ini"
        install = [UV, "pip", "install", "-q", "--no-deps", "--target", packages, "--python", sys.executable]
        subprocess.run([*install, "-r", MLFLOW / "auth.lock"], check=True, timeout=300)
        text = (MLFLOW / "auth.ini").read_text("utf-8")
        settings.write_text(
            text.replace("sqlite:////mlflow/auth/users.db", f"sqlite:///{folder / 'users.db'}"), "utf-8"
        )
        self.command += ["--app-name", "basic-auth"]
        self.environment = {
            "PYTHONPATH": os.pathsep.join(map(str, (packages, MLFLOW))), "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORDS["admin"], "MLFLOW_FLASK_SERVER_SECRET_KEY": os.urandom(16).hex(),
            "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true", "TUNEGATE_MLFLOW_PROMOTERS": "admin,promoter",
        }  # fmt: skip


@pytest.fixture(scope="module")
def server(tmp_path_factory, free_ports):
    with LoggedMlflow(tmp_path_factory.mktemp("mlflow"), free_ports(1)[0]) as found:
        yield found


@pytest.fixture(scope="module")
def settings():
    return load_settings(ROOT / "params.yaml")


@pytest.fixture
def project(project, server, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    return project.project


@pytest.fixture
def login(monkeypatch):
    def become(name: str | None, password: str | None = None) -> None:
        for variable, value in (("USERNAME", name), ("PASSWORD", password or PASSWORDS.get(name or ""))):
            if value is None:
                monkeypatch.delenv(f"MLFLOW_TRACKING_{variable}", raising=False)
            else:
                monkeypatch.setenv(f"MLFLOW_TRACKING_{variable}", value)

    return become


@pytest.fixture
def accounts(project, server):
    """What the service mlflow-users of compose does; run twice, as after a change of passwords."""
    given = {f"MLFLOW_{name.upper()}_PASSWORD": word for name, word in PASSWORDS.items() if name != "admin"}
    environment = os.environ | given | {
        "PYTHONPATH": str(ROOT), "TUNEGATE_ROOT": str(project.root), "MLFLOW_TRACKING_URI": server.url,
        "MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORDS["admin"],
    }  # fmt: skip
    for _ in range(2):
        done = subprocess.run([sys.executable, MLFLOW / "users.py"], env=environment, capture_output=True, text=True,
                              check=False, timeout=120)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert not any(word in done.stdout + done.stderr for word in PASSWORDS.values())
    return PASSWORDS


def status_of(url: str, login: str | None = None) -> int:
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def refused(action) -> str:
    with pytest.raises(MlflowException) as caught:
        action()
    return str(caught.value.error_code)


def test_mlflow_knows_who_asks_and_the_promoter_alone_moves_the_alias(project, server, login, accounts, settings):
    """One story: the server takes half a minute to start."""
    url, name = server.url, settings.register_.model_name
    search = f"{url}/api/2.0/mlflow/registered-models/search"
    assert status_of(search) == 401
    assert status_of(search, "pipeline:wrong") == 401
    assert status_of(search, f"reader:{PASSWORDS['reader']}") == 200
    assert status_of(f"{url}/health") == 200

    # Without a login our own client says what is missing.
    login(None)
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_USERNAME"):
        tracking.client(project)

    # The pipeline registers, with all that belongs to it: runs, files, tags of the version.
    login("pipeline")
    _run_stages(project, "tg-1")
    version = register(project, settings)
    registry = Registry(project, name)
    assert registry.weights(version).is_dir()
    # It moves no alias, by neither road, and changes no tag of the model: there the champion history is.
    with pytest.raises(ConfigError, match="promoter"):
        registry.set_champion(version.number)
    body = {"name": name, "alias": "champion", "version": version.number}
    for road in ("api", "ajax-api"):
        assert posted(f"{url}/{road}/2.0/mlflow/registered-models/alias", "pipeline", body) == 403
    assert refused(lambda: registry.client.delete_registered_model_alias(name, "champion")) == "PERMISSION_DENIED"
    assert refused(lambda: registry.client.set_registered_model_tag(name, "x", "y")) == "PERMISSION_DENIED"
    assert refused(lambda: registry.client.rename_registered_model(name, "other")) == "PERMISSION_DENIED"
    assert refused(lambda: registry.client.delete_registered_model(name)) == "PERMISSION_DENIED"
    assert refused(lambda: registry.client.delete_model_version(name, version.number)) == "PERMISSION_DENIED"
    assert registry.champion() is None

    # A reader reads.
    login("reader")
    reading = Registry(project, name)
    assert [one.number for one in reading.versions()] == [version.number]
    with pytest.raises(ConfigError, match="reader"):
        reading.tag(version.number, "verdict", "PASS")
    with pytest.raises(ConfigError, match="promoter"):
        reading.set_champion(version.number)
    assert refused(lambda: reading.client.create_model_version(name, "file:///tmp/x")) == "PERMISSION_DENIED"

    # The promoter moves it, keeps the history, and takes back a tag that is no longer true.
    login("promoter")
    promoting = Registry(project, name)
    promoting.set_champion(version.number)
    promoting.client.set_registered_model_tag(name, "tunegate.history", "{}")
    promoting.tag(version.number, "refused", "x")
    promoting.untag(promoting.version(version.number), "refused")
    assert promoting.champion() == promoting.version(version.number)


def posted(url: str, name: str, body: dict) -> int:
    return requests.post(url, json=body, auth=(name, PASSWORDS[name]), timeout=20).status_code


def test_the_rule_is_what_keeps_the_pipeline_from_the_alias(
    tmp_path, project, login, settings, free_ports, monkeypatch
):
    """The planted fault: with MLflow's own permissions alone, who may register may move the alias."""
    with LoggedMlflow(tmp_path / "plain", free_ports(1)[0]) as plain:
        plain.kill()
        path = Path(plain.environment["MLFLOW_AUTH_CONFIG_PATH"])
        text = path.read_text("utf-8").replace(
            "promoters:authenticate", "mlflow.server.auth:authenticate_request_basic_auth"
        )
        path.write_text(text, "utf-8")
        plain.start()
        plain.wait()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", plain.url)
        environment = os.environ | {
            "PYTHONPATH": str(ROOT), "TUNEGATE_ROOT": str(project.root), "MLFLOW_TRACKING_USERNAME": "admin",
            "MLFLOW_TRACKING_PASSWORD": PASSWORDS["admin"], "MLFLOW_PIPELINE_PASSWORD": PASSWORDS["pipeline"],
        }  # fmt: skip
        subprocess.run([sys.executable, MLFLOW / "users.py"], env=environment, check=True, timeout=120)
        login("pipeline")
        _run_stages(project, "tg-1")
        version = register(project, settings)
        registry = Registry(project, settings.register_.model_name)
        registry.set_champion(version.number)
        assert registry.champion().number == version.number


def test_prefect_asks_for_its_login(tmp_path, monkeypatch):
    word = f"tunegate:{os.urandom(12).hex()}"
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", word)
    found = PrefectServer(tmp_path / "prefect").start()
    try:
        assert status_of(f"{found.url}/admin/version") == 401
        assert status_of(f"{found.url}/admin/version", "tunegate:wrong") == 401
        assert status_of(f"{found.url}/admin/version", word) == 200
        assert status_of(f"{found.url}/health") == 200
        asked_as = temporary_settings({PREFECT_API_URL: found.url, PREFECT_API_AUTH_STRING: word})
        with asked_as, get_client(sync_client=True) as client:
            assert client.read_work_pools() == []
    finally:
        found.kill()
