"""`tunegate keys` and `tunegate audit`, through the command line itself."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tasks.serving.audit import AuditLog
from tasks.serving.audit.log import Ways
from tasks.serving.keys import KeyStore

TUNEGATE = Path(sys.executable).with_name("tunegate")


@pytest.fixture
def tunegate(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNEGATE_ROOT", str(tmp_path))

    def run(*words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([TUNEGATE, *words], capture_output=True, text=True, check=False)

    return run


def test_a_key_is_shown_once_listed_without_its_secret_and_revoked(tunegate, tmp_path):
    made = json.loads(
        tunegate("keys", "create", "值班员", "--role", "admin", "--tokens-per-minute", "50", "--json").stdout
    )
    assert KeyStore(tmp_path / ".tunegate" / "keys.json").find(made["key"]).role == "admin"
    (listed,) = json.loads(tunegate("keys", "list", "--json").stdout)
    assert (listed["name"], listed["tokens_per_minute"], listed["revoked_at"]) == ("值班员", 50, None)
    assert made["key"] not in tunegate("keys", "list").stdout
    assert "sha256" not in listed
    assert tunegate("keys", "revoke", "值班员").returncode == 0
    assert json.loads(tunegate("keys", "list", "--json").stdout)[0]["revoked_at"]


def test_the_key_alone_is_on_stdout(tunegate):
    made = tunegate("keys", "create", "a")
    assert made.stdout.startswith("tg_")
    assert len(made.stdout.split()) == 1
    assert "not shown again" in made.stderr


def test_a_key_expires_is_rotated_and_limited(tunegate, tmp_path):
    store = KeyStore(tmp_path / ".tunegate" / "keys.json")
    old = json.loads(tunegate("keys", "create", "a", "--expires", "90d", "--priority", "batch", "--json").stdout)
    assert old["expires_at"] > old["created_at"]
    new = tunegate("keys", "rotate", "a", "--overlap", "24h")
    assert store.find(new.stdout.strip()).priority == "batch"
    assert store.find(old["key"]).works(datetime.now(UTC))
    limited = json.loads(tunegate("keys", "limit", "a", "--tokens-per-day", "1000", "--json").stdout)
    assert limited["tokens_per_day"] == store.find(old["key"]).tokens_per_day == 1000
    assert tunegate("keys", "limit", "a").returncode == 2
    assert tunegate("keys", "create", "b", "--expires", "soon").returncode == 2


@pytest.mark.parametrize("words", [("create", "a b"), ("create", "a", "--role", "root"), ("revoke", "nobody"),
                                   ("create", "a", "--requests-per-minute", "0")])  # fmt: skip
def test_mistakes_exit_2_with_the_next_step(tunegate, words):
    done = tunegate("keys", *words)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_audit_verify_exits_3_where_a_record_was_changed(tunegate, tmp_path):
    folder = tmp_path / ".tunegate" / "audit"

    async def write():
        log = AuditLog(folder, Ways(lambda text: (text, {}), 1))
        await log.open()
        await log.submit({"prompt": "碘片？"})
        await log.close()

    asyncio.run(write())
    good = tunegate("audit", "verify", "--json")
    assert (good.returncode, json.loads(good.stdout)["records"]) == (0, 1)
    (path,) = folder.glob("*.jsonl")
    path.write_text(path.read_text().replace("碘片", "牛奶"))
    bad = tunegate("audit", "verify")
    assert bad.returncode == 3
    assert "record 1 was changed" in bad.stderr
