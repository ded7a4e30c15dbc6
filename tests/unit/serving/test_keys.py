import json
import stat
import subprocess
from datetime import UTC, datetime, timedelta

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


def test_a_key_ends_by_itself_and_its_name_is_free_again(store):
    secret = store.create("a", "caller", lives=timedelta(hours=1), author="审查员")
    key, now = store.find(secret), datetime.now(UTC)
    assert (key.author, key.works(now), key.works(now + timedelta(minutes=59))) == ("审查员", True, True)
    assert not key.works(now + timedelta(hours=1))
    over = store.create("b", "caller", lives=timedelta(seconds=-1))
    assert not store.find(over).works(now)
    store.create("b", "caller")


def test_a_rotation_overlaps_and_the_new_key_has_the_terms_of_the_old(store):
    old = store.create("a", "evaluator", priority="batch", tokens_per_day=9)
    new = store.rotate("a", timedelta(hours=24), author="审查员")
    now = datetime.now(UTC)
    assert store.find(old).works(now)
    assert not store.find(old).works(now + timedelta(hours=24))
    found = store.find(new)
    assert (found.role, found.priority, found.tokens_per_day, found.expires_at) == ("evaluator", "batch", 9, None)
    assert found.key_id != store.find(old).key_id
    # A second rotation does not let the first one's key live longer.
    ends = store.find(old).expires_at
    store.rotate("a", timedelta(days=30))
    assert store.find(old).expires_at == ends
    store.revoke("a")
    assert not any(store.find(secret).works(now) for secret in (old, new))
    with pytest.raises(ConfigError, match="no live key"):
        store.rotate("a", timedelta(0))


def test_limits_of_a_key_are_changed_for_a_running_gateway(store):
    gateway = KeyStore(store.path)
    secret = store.create("a", "caller")
    assert gateway.find(secret).tokens_per_minute is None
    store.limit("a", {"tokens_per_minute": 5, "priority": "emergency"})
    assert (gateway.find(secret).tokens_per_minute, gateway.find(secret).priority) == (5, "emergency")


def test_every_change_is_left_for_the_log_without_the_secret(store):
    secret = store.create("a", "caller", author="甲")
    store.limit("a", {"tokens_per_minute": 5}, author="乙")
    store.rotate("a", timedelta(hours=1), author="丙")
    store.revoke("a", author="丁")
    left = [json.loads(path.read_text()) for path in sorted((store.path.parent / "audit_outbox").iterdir())]
    assert [(record["action"], record["by"]) for record in left] == [
        ("created", "甲"), ("limited", "乙"), ("expires", "丙"), ("rotated", "丙"),
        ("revoked", "丁"), ("revoked", "丁"),
    ]  # fmt: skip
    assert all(record["key"] == "a" and record["key_id"].startswith("k-") for record in left)
    text = json.dumps(left)
    assert secret not in text
    assert store.find(secret).sha256 not in text


def test_a_key_file_of_an_older_release_still_lets_its_keys_in(store):
    secret = store.create("a", "caller")
    value = json.loads(store.path.read_text())
    for name in ("priority", "author", "expires_at", "tokens_per_day", "tokens_per_month"):
        del value["keys"][0][name]
    store.path.write_text(json.dumps(value))
    assert KeyStore(store.path).find(secret).priority == "interactive"
