"""Forgeries, each planted in something real and signed: all refused, each by the link that is broken."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from tasks.cli.audit import audit_verify
from tasks.core import tracking
from tasks.core.digest import sha256_json
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.proof.signers import machine_signer, make_key
from tasks.release.history import ENTRY, HEAD, append_event, read_history, readable_history
from tasks.release.registry import Registry
from tasks.serving.audit import AuditLog
from tasks.serving.audit.chain import read_link
from tasks.serving.audit.head import note_seen
from tasks.serving.audit.log import Ways
from tasks.serving.paths import audit_folder, audit_seen
from tests.unit.release.conftest import ROOT


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """One project for all forgeries; what each does is undone after it."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "TUNEGATE_RELEASE_KEY", "TUNEGATE_HOST_KEY"):
            patch.delenv(name, raising=False)
        found = Project(tmp_path_factory.mktemp("forged"))
        patch.setenv("TUNEGATE_ROOT", str(found.root))
        patch.setenv("TUNEGATE_USER", "王工")
        shutil.copyfile(ROOT / "params.yaml", found.root / "params.yaml")
        yield found


@pytest.fixture(scope="module")
def registry(project):
    """Its registry; the history has three signed entries."""
    registry = Registry(project, load_settings(project.root / "params.yaml").register_.model_name)
    tracking.create_registered_model(registry.client, registry.name)
    for number in ("1", "2", "3"):
        append_event(registry, "promote", number, "王工", "首次上线")
    return registry


@pytest.fixture
def history(registry):
    """The registry, its history and what this machine saw of it put back afterwards."""
    before, seen = tags_of(registry), registry.project.state / "serving" / "history_seen.json"
    noted = seen.read_bytes()
    yield registry
    after = tags_of(registry)
    for name in after.keys() - before.keys():
        registry.client.delete_registered_model_tag(registry.name, name)
    for name, value in before.items() - after.items():
        registry.client.set_registered_model_tag(registry.name, name, value)
    seen.write_bytes(noted)


def tags_of(registry) -> dict[str, str]:
    return dict(tracking.find_registered_model(registry.client, registry.name).tags)


def entry(registry, number: int) -> str:
    return f"{ENTRY}{number:06d}"


def edited(registry, number: int, **changes: object) -> None:
    put(registry, entry(registry, number), json.loads(tags_of(registry)[entry(registry, number)]) | changes)


def put(registry, name: str, value: object) -> None:
    registry.client.set_registered_model_tag(registry.name, name, json.dumps(value))


def truncated(registry) -> None:
    registry.client.delete_registered_model_tag(registry.name, entry(registry, 3))


def old_head_put_back(registry) -> None:
    """The last entry goes, and the head of the time before it came comes back."""
    events, _ = readable_history(registry)
    truncated(registry)
    append_event_head(registry, events[1])


def append_event_head(registry, event) -> None:
    from tasks.proof.envelope import HISTORY, signed

    head = {"model": registry.name, "sequence": event.sequence, "link": sha256_json(event.row())}
    put(registry, HEAD, signed(HISTORY, head, machine_signer(registry.project, "host")))


def rewritten_with_another_key(registry) -> None:
    """All of it again, with a key of the forger's own."""
    place = registry.project.state / "signing" / "host.pem"
    kept = place.with_name("kept.pem")
    place.rename(kept)
    make_key(place)
    for number in (1, 2, 3):
        registry.client.delete_registered_model_tag(registry.name, entry(registry, number))
    (registry.project.state / "serving" / "history_seen.json").unlink()
    for number in ("1", "2", "4"):
        append_event(registry, "promote", number, "王工", "首次上线")
    (registry.project.state / "serving" / "history_seen.json").unlink()
    kept.replace(place)


def unsigned(registry) -> None:
    """All of it again, without a signature, as an older release would have written it; on a machine that saw none."""
    events, _ = readable_history(registry)
    link = ""
    for event in events:
        row = event.row() | {"previous": link}
        row = {name: value for name, value in row.items() if name not in ("key_id", "signature")}
        put(registry, entry(registry, event.sequence), row)
        link = sha256_json(row)


HISTORY_FORGERIES: dict[str, tuple[Callable[[Registry], None], str]] = {
    "an entry edited": (lambda registry: edited(registry, 2, by="张三"), "000002 was changed"),
    "the last entry edited": (lambda registry: edited(registry, 3, version="1"), "000003 was changed"),
    "an entry's signature stripped": (lambda registry: edited(registry, 3, signature=""), "000003 is not signed"),
    "truncated": (truncated, "entry 3, seen on this machine, is gone"),
    "truncated, an old head put back": (old_head_put_back, "entry 3, seen on this machine, is gone"),
    "written again with another key": (rewritten_with_another_key, "000001 was changed, or is not signed by a known"),
    "written again without signatures": (unsigned, "entry 3, seen on this machine, is gone or is another one"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("forge", "link"), HISTORY_FORGERIES.values(), ids=HISTORY_FORGERIES)
def test_a_forged_history_is_refused(history, forge, link):
    assert len(read_history(history)) == 3
    forge(history)
    with pytest.raises(DataContractError, match=link):
        read_history(history)


@pytest.mark.slow
def test_a_history_cut_off_stays_broken_when_it_goes_on(history):
    truncated(history)
    append_event(history, "promote", "4", "王工", "")
    with pytest.raises(DataContractError):
        read_history(history)


def written(project: Project, *records: dict) -> Path:
    """A log with these records, its head signed as the host does it."""

    async def run():
        ways = Ways(lambda text: (text, {}), 30, signer=machine_signer(project, "host"))
        log = AuditLog(audit_folder(project), ways)
        await log.open()
        assert all(await asyncio.gather(*[log.submit(record) for record in records]))
        await log.close()

    asyncio.run(run())
    folder = audit_folder(project)
    note_seen(audit_seen(project), read_link(folder / "head.json"))
    return folder


def lines_of(folder: Path) -> tuple[Path, list[bytes]]:
    (path,) = folder.glob("*.jsonl")
    return path, path.read_bytes().splitlines(keepends=True)


def cut(folder: Path, head: dict | None) -> None:
    """The last record goes, with a head that fits."""
    path, lines = lines_of(folder)
    path.write_bytes(b"".join(lines[:-1]))
    last = json.loads(lines[-2])
    write_json(folder / "head.json", {"sequence": last["sequence"], "hash": last["hash"]} | (head or {}))


def record_edited(folder: Path) -> None:
    path, lines = lines_of(folder)
    path.write_bytes(b"".join([lines[0].replace(b"one", b"eno"), *lines[1:]]))


def everything_rewritten(folder: Path) -> None:
    """Another story from the beginning, chained as the log does it, by somebody without the key."""
    shutil.rmtree(folder)
    project = Project(folder.parents[1])
    place, kept = project.state / "signing" / "host.pem", project.state / "signing" / "kept.pem"
    place.rename(kept)
    written(project, {"x": "story"}, {"x": "another"}, {"x": "end"})
    kept.replace(place)


AUDIT_FORGERIES: dict[str, tuple[Callable[[Path, dict], None], str]] = {
    "a record edited": (lambda folder, old: record_edited(folder), "record 1 was changed"),
    "cut off with a new head": (lambda folder, old: cut(folder, None), "head.json is not signed"),
    "cut off with a made-up signature": (
        lambda folder, old: cut(folder, {name: old[name] for name in ("key_id", "signature")} | {"sequence": 3}),
        "head.json is not signed with a key of a known host",
    ),
    "an old head put back": (lambda folder, old: cut(folder, old), "head.json is an old one"),
    "the head removed": (lambda folder, old: (folder / "head.json").unlink(), "head.json is gone"),
    "written again": (lambda folder, old: everything_rewritten(folder), "not signed with a key of a known host"),
}


@pytest.mark.parametrize(("forge", "link"), AUDIT_FORGERIES.values(), ids=AUDIT_FORGERIES)
def test_a_forged_audit_log_is_refused(project, forge, link):
    shutil.rmtree(audit_folder(project), ignore_errors=True)
    audit_seen(project).unlink(missing_ok=True)
    folder = written(project, {"x": "one"}, {"x": "two"})
    old = read_json(folder / "head.json")
    written(project, {"x": "three"})
    assert CliRunner().invoke(audit_verify, standalone_mode=False).exception is None
    forge(folder, old)
    refused = CliRunner().invoke(audit_verify, standalone_mode=False).exception
    assert isinstance(refused, DataContractError)
    assert link in str(refused)
