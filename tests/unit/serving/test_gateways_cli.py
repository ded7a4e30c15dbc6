"""`tunegate gateway`, and `tunegate audit` over the logs of several gateways."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasks.cli.audit import audit
from tasks.cli.serve import gateway
from tasks.core.errors import ConfigError, DataContractError
from tasks.serving.audit import AuditLog
from tasks.serving.audit.log import Ways


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Two logs whose records came in turn."""
    monkeypatch.setenv("TUNEGATE_ROOT", str(tmp_path))
    found = [tmp_path / name for name in "ab"]

    async def write(folder: Path, *seconds: int) -> None:
        log = AuditLog(folder, Ways(lambda text: (text, {}), 1))
        await log.open()
        for second in seconds:
            await log.submit({"kind": "request", "key": "甲", "replica": folder.name,
                              "time": f"2026-03-01T12:00:0{second}.000+00:00", "prompt": f"问 {second}"})  # fmt: skip
        await log.close()

    asyncio.run(write(found[0], 1, 4))
    asyncio.run(write(found[1], 2, 3))
    return found


def asked(command: str, folders: list[Path], *words: str) -> str:
    each = [word for folder in folders for word in ("--folder", str(folder))]
    done = CliRunner().invoke(audit, [command, *each, *words], catch_exceptions=False, standalone_mode=False)
    return done.stdout


def test_records_of_all_are_found_in_their_order(folders):
    found = json.loads(asked("find", folders, "--key", "甲", "--json"))
    assert [(record["replica"], record["prompt"]) for record in found] == [
        ("a", "问 1"), ("b", "问 2"), ("b", "问 3"), ("a", "问 4")]  # fmt: skip
    assert len(json.loads(asked("find", folders[:1], "--json"))) == 2


def test_each_chain_is_verified_and_the_one_at_fault_is_named(folders):
    assert json.loads(asked("verify", folders, "--json"))["records"] == 4
    (day,) = folders[1].glob("*.jsonl")
    day.write_text(day.read_text().replace("问 3", "问 5"))
    with pytest.raises(DataContractError, match=f"{folders[1]}: .*was changed"):
        asked("verify", folders)
    assert json.loads(asked("verify", folders[:1], "--json"))["problems"] == []


def test_anchors_are_of_one_log(folders, tmp_path):
    (tmp_path / "heads.jsonl").touch()
    with pytest.raises(ConfigError, match="of one log"):
        asked("verify", folders, "--anchors", str(tmp_path / "heads.jsonl"))


@pytest.mark.parametrize("missing", ["TUNEGATE_UPSTREAMS", "TUNEGATE_LIMITS_URL"])
def test_a_follower_says_what_it_needs(tmp_path, monkeypatch, missing):
    monkeypatch.setenv("TUNEGATE_ROOT", str(tmp_path))
    monkeypatch.setenv("TUNEGATE_UPSTREAMS", "http://127.0.0.1:1")
    monkeypatch.setenv("TUNEGATE_LIMITS_URL", "redis://127.0.0.1:1")
    monkeypatch.delenv(missing)
    with pytest.raises(ConfigError, match=missing):
        CliRunner().invoke(gateway, [], catch_exceptions=False, standalone_mode=False)
