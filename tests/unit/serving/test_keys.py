import json
import stat
import subprocess

import pytest

from tasks.core.errors import ConfigError
from tasks.serving.keys import KeyStore


@pytest.fixture
def store(tmp_path):
    return KeyStore(tmp_path / "state" / "keys.json")


def test_a_key_is_found_by_its_secret_alone(store):
    secret = store.create("值班员", "caller")
    assert secret.startswith("tg_")
    assert store.find(secret).name == "值班员"
    assert store.find(secret[:-1]) is None
    assert store.find("") is None


def test_a_temporary_key_ends_with_its_block_and_those_of_dead_processes_with_the_next(store):
    gone = subprocess.Popen(["true"])
    gone.wait()
    for name in (f"eval-live-{gone.pid}-ab", "eval-live-mine", f"run-{gone.pid}-cd"):
        store.create(name, "caller")
    with pytest.raises(ZeroDivisionError):
        _use_and_fail(store)
    live = [key.name for key in store.all() if key.revoked_at is None]
    assert live == ["eval-live-mine", f"run-{gone.pid}-cd"]


def _use_and_fail(store):
    with store.temporary("eval-live") as secret:
        made = store.find(secret)
        assert (made.role, made.revoked_at) == ("caller", None)
        _ = 1 / 0


def test_the_secret_is_not_in_the_file(store):
    secret = store.create("a", "admin")
    assert secret not in store.path.read_text()
    assert secret.removeprefix("tg_") not in store.path.read_text()


def test_the_file_is_for_its_owner_alone(store):
    store.create("a", "caller")
    store.create("b", "caller")
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_another_process_sees_a_new_and_a_revoked_key_at_once(store):
    gateway = KeyStore(store.path)
    assert gateway.find("tg_x") is None
    secrets = [store.create(f"k{number}", "caller") for number in range(3)]
    assert [gateway.find(secret).name for secret in secrets] == ["k0", "k1", "k2"]
    store.revoke("k1")
    assert gateway.find(secrets[1]).revoked_at is not None
    assert gateway.find(secrets[0]).revoked_at is None


def test_a_name_is_free_again_after_its_revocation(store):
    first = store.create("a", "caller")
    with pytest.raises(ConfigError, match="there is a key called a"):
        store.create("a", "caller")
    store.revoke("a")
    second = store.create("a", "caller")
    assert store.find(first).revoked_at is not None
    assert store.find(second).revoked_at is None
    with pytest.raises(ConfigError, match="no live key"):
        store.revoke("b")


@pytest.mark.parametrize("name", ["", "a b", "a\n", "x" * 65, "../a"])
def test_a_bad_name_is_refused(store, name):
    with pytest.raises(ConfigError):
        store.create(name, "caller")


def test_a_failed_change_leaves_the_file_as_it_was(store):
    store.create("a", "caller")
    before = store.path.read_bytes()
    with pytest.raises(ConfigError):
        store.create("a", "caller")
    assert store.path.read_bytes() == before


@pytest.mark.parametrize(
    "value",
    [{}, {"keys": [{"name": "a"}]}, [], {"keys": [{"name": "a", "role": "root", "sha256": "", "created_at": ""}]}],
)
def test_a_damaged_file_lets_nobody_in(store, value):
    store.path.parent.mkdir()
    store.path.write_text(json.dumps(value))
    with pytest.raises(ConfigError, match="no key file"):
        store.find("tg_x")
