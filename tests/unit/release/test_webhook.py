"""MLflow's webhook: signed by MLflow's own code, taken once; a forged, replayed or late one is refused."""

import socket
import threading
import time
from datetime import UTC, datetime
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from cryptography.fernet import Fernet
from mlflow.entities.webhook import WebhookAction, WebhookEntity, WebhookEvent
from mlflow.webhooks.delivery import _generate_hmac_signature

from tasks.core import tracking
from tasks.core.errors import ConfigError
from tasks.core.project import Project
from tasks.release.webhook import ADDRESS, DELIVERY, SECRET, SIGNATURE, TIMESTAMP, Deliveries, listening
from tests.mlflow_server import MlflowServer

WORD = "a secret of both sides"
BODY = b'{"entity": "model_version_alias", "action": "created"}'
NOW = datetime(2026, 3, 1, tzinfo=UTC).timestamp()


def headers(*, secret: str = WORD, stamp: float = NOW, delivery: str = "d-1", body: bytes = BODY) -> dict[str, str]:
    text = str(int(stamp))
    signature = _generate_hmac_signature(secret, delivery, text, body.decode())
    return {SIGNATURE: signature, TIMESTAMP: text, DELIVERY: delivery}


def test_a_delivery_counts_once():
    deliveries = Deliveries(WORD)
    assert deliveries.refusal(headers(), BODY, NOW) is None
    assert deliveries.refusal(headers(), BODY, NOW + 1) == "it was delivered before"
    assert deliveries.refusal(headers(delivery="d-2"), BODY, NOW + 1) is None


@pytest.mark.parametrize(("given", "body", "now", "why"), [
    ({}, BODY, NOW, "signature"),
    (headers(secret="another secret, guessed"), BODY, NOW, "signature"),
    (headers(), BODY.replace(b"created", b"deleted"), NOW, "signature"),
    (headers() | {DELIVERY: "d-9"}, BODY, NOW, "signature"),
    (headers() | {TIMESTAMP: str(int(NOW) + 1)}, BODY, NOW, "signature"),
    (headers() | {SIGNATURE: headers()[SIGNATURE][:-2]}, BODY, NOW, "signature"),
    (headers(), BODY, NOW + 301, "too old"),
    (headers(), BODY, NOW - 301, "too old"),
    (headers(stamp=-1), BODY, NOW, "too old"),
])  # fmt: skip
def test_a_forged_or_late_one_is_refused(given, body, now, why):
    assert why in Deliveries(WORD).refusal(given, body, now)


def test_it_wakes_whoever_waits(monkeypatch):
    monkeypatch.setenv(SECRET, WORD)
    monkeypatch.setenv(ADDRESS, "127.0.0.1:0")
    wake = threading.Event()
    with listening(wake) as address:
        with pytest.raises(HTTPError, match="401"):
            urlopen(Request(address, BODY, method="POST"), timeout=5)
        with pytest.raises(HTTPError, match="501"):
            urlopen(address, timeout=5)
        with pytest.raises(HTTPError, match="413"):
            urlopen(Request(address, b"x" * 70_000, method="POST"), timeout=5)
        assert not wake.is_set()
        signed = Request(address, BODY, headers(stamp=time.time()), method="POST")
        assert urlopen(signed, timeout=5).status == 204
        assert wake.is_set()
        with pytest.raises(HTTPError, match="401"):
            urlopen(signed, timeout=5)


def test_without_a_secret_nothing_listens_and_a_weak_one_is_refused(monkeypatch):
    monkeypatch.delenv(SECRET, raising=False)
    with listening(threading.Event()) as address:
        assert address is None
    monkeypatch.setenv(SECRET, "short")
    with pytest.raises(ConfigError, match="too short"), listening(threading.Event()):
        pass
    monkeypatch.setenv(SECRET, WORD)
    monkeypatch.setenv(ADDRESS, "8105")
    with pytest.raises(ConfigError, match="no HOST:PORT"), listening(threading.Event()):
        pass


@pytest.mark.slow
def test_a_real_server_wakes_by_a_moved_alias(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, value in {
        SECRET: WORD, ADDRESS: "127.0.0.1:0", "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http",
        "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
        "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY": Fernet.generate_key().decode(),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    wake = threading.Event()
    with MlflowServer(tmp_path, port) as server, listening(wake) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
        client = tracking.client(Project(tmp_path))
        client.create_registered_model("m")
        client.create_model_version("m", "s3://nowhere/model")
        moved = WebhookEvent(WebhookEntity.MODEL_VERSION_ALIAS, WebhookAction.CREATED)
        client.create_webhook("tunegate", address, [moved], secret=WORD)
        deadline = time.monotonic() + 60
        # A move soon after the webhook was made is not delivered.
        while not wake.wait(1.0):
            assert time.monotonic() < deadline
            client.set_registered_model_alias("m", "champion", "1")
