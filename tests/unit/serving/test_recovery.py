"""The host on its own: brought up again, with back-off, and the version before where one will not start."""

import asyncio
import contextlib
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.errors import DataContractError, TransientError
from tasks.core.manifest import write_manifest
from tasks.core.project import Project
from tasks.engine.deployment import Deployment
from tasks.serving.record import KEPT, ServedRecord
from tasks.serving.recovery import Pace, Recovery
from tasks.serving.slots import Slots

QUICK = Pace(look_every_s=0.01, ill_looks=2, first_wait_s=0.01, longest_wait_s=0.05, after_abort_s=0.2)


class Server:
    """Stands in for a model server."""

    url = "http://127.0.0.1:1"

    def __init__(self, works: bool) -> None:
        self.alive, self.works = True, works

    def wait_ready(self) -> float:
        if not self.works:
            self.alive = False
            raise TransientError("vllm ended while starting: 内存不足", "read its log")
        return 0.0

    def stop(self) -> None:
        self.alive = False


class Site:
    """Slots, record and recovery of one project; `broken` versions do not start."""

    def __init__(self, project: Project) -> None:
        self.project, self.broken, self.started, self.answers = project, set(), [], True
        self.record = ServedRecord(project)
        self.slots = Slots(["blue", "green"], self.start, self.smoke, 1.0, on_switch=self.switched)
        self.recovery = Recovery(self.record, self.slots, self.healthy, QUICK)

    def switched(self, deployment) -> None:
        self.record.switched(deployment)
        self.recovery.switched()

    def start(self, slot, deployment, on_progress) -> Server:
        self.started.append(deployment.version)
        return Server(deployment.version not in self.broken)

    async def smoke(self, url, deployment) -> None:
        if not self.answers and len(self.started) < 3:
            raise TransientError("no answer", "read its log")

    async def healthy(self) -> bool:
        return self.answers

    def deployment(self, version: str, **changes) -> Deployment:
        return Deployment(version, f"tg-{version}", Path("/nowhere"), **changes)

    async def deploy(self, version: str) -> None:
        await self.slots.deploy(self.deployment(version), lambda line: None)

    @property
    def serves(self) -> str | None:
        slot = self.slots.live
        return slot.deployment.version if slot and slot.healthy else None

    @contextlib.asynccontextmanager
    async def kept_up(self):
        task = asyncio.create_task(self.recovery.run())
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def until(condition) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    pytest.fail("it did not happen in time")


@pytest.fixture
def project(tmp_path) -> Project:
    return Project(tmp_path)


def test_what_served_is_brought_up_at_the_next_start_without_anybody(project):
    async def steps():
        first = Site(project)
        await first.deploy("1")
        await first.slots.close()
        again = Site(project)
        assert again.record.wanted.version == "1"
        async with again.kept_up():
            await until(lambda: again.serves == "1")

    asyncio.run(steps())


def test_a_dead_server_and_a_silent_one_are_replaced(project):
    async def steps():
        site = Site(project)
        await site.deploy("1")
        async with site.kept_up():
            site.slots.live.server.alive = False
            await until(lambda: site.serves == "1")
            assert site.started == ["1", "1"]
            site.answers = False
            await until(lambda: len(site.started) >= 3)
            site.answers = True
            await until(lambda: not site.recovery.recovering)
        assert site.serves == "1"

    asyncio.run(steps())


def test_after_three_tries_the_version_before_serves_and_it_is_said(project, caplog):
    async def steps():
        site = Site(project)
        await site.deploy("1")
        await site.deploy("2")
        site.broken = {"2"}
        async with site.kept_up():
            site.slots.live.server.alive = False
            await until(lambda: site.serves == "1")
            await asyncio.sleep(0.1)
        assert site.started == ["1", "2", "2", "2", "2", "1"]
        assert "内存不足" in site.record.given_up["2"]

    asyncio.run(steps())
    assert "version 2 is given up after 3 tries; version 1 serves instead" in caplog.text
    kept = ServedRecord(project)
    assert (kept.wanted.version, list(kept.given_up)) == ("1", ["2"])


def test_a_version_that_starts_and_ends_soon_after_is_given_up_too(project):
    async def steps():
        site = Site(project)
        await site.deploy("1")
        await site.deploy("2")
        async with site.kept_up():
            while site.serves != "1":
                if site.slots.live.deployment.version == "2":
                    site.slots.live.server.alive = False
                await asyncio.sleep(0.005)
        assert site.started == ["1", "2", "2", "2", "2", "1"]
        assert "after it was brought up" in site.record.given_up["2"]

    asyncio.run(steps())


def test_a_version_that_stayed_up_for_a_while_has_its_tries_back(project):
    async def steps():
        site = Site(project)
        site.recovery.pace = replace(QUICK, steady_s=0.05)
        await site.deploy("1")
        await site.deploy("2")
        async with site.kept_up():
            for number in range(5):
                site.slots.live.server.alive = False
                await until(lambda before=number: len(site.started) == before + 3 and site.serves == "2")
                await asyncio.sleep(0.15)
        assert site.record.given_up == {}

    asyncio.run(steps())


def test_the_only_version_is_tried_for_ever_with_longer_waits(project):
    async def steps():
        site = Site(project)
        await site.deploy("1")
        site.broken = {"1"}
        async with site.kept_up():
            site.slots.live.server.alive = False
            await until(lambda: len(site.started) > 6)
            assert site.record.given_up == {}
            site.broken = set()
            await until(lambda: site.serves == "1")

    asyncio.run(steps())


def test_a_version_promoted_again_is_no_longer_given_up(project):
    record = ServedRecord(project)
    site = Site(project)
    for version in ("1", "2"):
        record.switched(site.deployment(version))
    record.give_up(site.deployment("2"), "did not start")
    assert record.wanted.version == "1"
    record.switched(site.deployment("2", by="李审", reason="修好了"))
    assert (record.wanted.version, record.wanted.by, record.given_up) == ("2", "李审", {})


def test_going_back_twice_goes_back_two_versions(project):
    record = ServedRecord(project)
    site = Site(project)
    for version in ("1", "2", "3"):
        record.switched(site.deployment(version))
    assert [one.version for one in record.previous] == ["2", "1"]
    record.switched(record.previous[0])
    assert [one.version for one in record.previous] == ["1"]
    for version in "4567890":
        record.switched(site.deployment(version))
    assert len(ServedRecord(project).stack) == KEPT


def test_weights_changed_on_disk_are_not_brought_up(project, tmp_path):
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"1")
    write_manifest(folder, {"stage": "quantize", "lineage_id": "tg-1", "parts": {}})
    from tasks.core.digest import sha256_file

    wanted = Deployment("1", "tg-1", folder, manifest_sha256=sha256_file(folder / "manifest.json"))
    wanted.verify()
    assert Deployment.of_row(wanted.row()) == wanted
    (folder / "model.safetensors").write_bytes(b"2")
    with pytest.raises(DataContractError, match=r"model\.safetensors"):
        wanted.verify()

    async def steps():
        site = Site(project)
        site.record.switched(site.deployment("0"))
        site.record.switched(wanted)
        async with site.kept_up():
            await until(lambda: site.serves == "0")
        assert "1" not in site.started

    asyncio.run(steps())


def test_a_start_ended_by_a_person_leaves_him_room(project):
    async def steps():
        site = Site(project)
        site.record.switched(site.deployment("1"))
        slow = asyncio.Event()

        async def smoke(url, deployment):
            if deployment.version == "1":
                await slow.wait()

        site.slots.smoke = smoke
        async with site.kept_up():
            await until(lambda: site.recovery.recovering and site.started)
            assert site.recovery.abort() is True
            await until(lambda: not site.slots.changing)
            await site.deploy("2")
            await asyncio.sleep(0.3)
            assert site.serves == "2"
            assert site.recovery.failures == 0

    asyncio.run(steps())


def test_requests_wait_for_what_was_lost_until_a_try_has_failed(project):
    async def steps():
        site = Site(project)
        site.slots.lost_s, site.slots.returning = 60.0, lambda: site.recovery.returning
        await site.deploy("1")
        site.slots.live.server.alive = False
        waiting = asyncio.create_task(site.slots.opened())
        await asyncio.sleep(0.1)
        assert not waiting.done()
        async with site.kept_up():
            await waiting
            assert site.serves == "1"
            site.broken = {"1"}
            site.slots.live.server.alive = False
            await site.slots.opened()
        assert site.serves is None
        assert site.recovery.failures > 0

    asyncio.run(steps())


def test_what_is_only_tried_gives_way_to_what_was_lost(project):
    async def steps():
        site = Site(project)
        await site.deploy("1")
        site.slots.start_server = lambda slot, deployment, tell: (
            NeverReady(True) if deployment.version == "2" else site.start(slot, deployment, tell)
        )
        trial = asyncio.create_task(site.slots.start_candidate(site.deployment("2"), lambda line: None))
        await until(lambda: site.slots.slots[1].server is not None)
        never_ready = site.slots.slots[1].server
        async with site.kept_up():
            site.slots.live.server.alive = False
            await until(lambda: site.serves == "1")
        assert trial.cancelled()
        assert not never_ready.alive
        assert site.slots.candidate is None

    asyncio.run(steps())


class NeverReady(Server):
    """Starts for ever."""

    def wait_ready(self) -> float:
        while self.alive:
            time.sleep(0.01)
        raise TransientError("vllm ended while starting", "read its log")


@pytest.mark.parametrize("failures", [2_000, 1 << 40])
def test_failures_without_end_do_not_end_the_waiting(project, failures):
    site = Site(project)
    site.recovery.failures = failures
    error = TransientError("nobody answers", "look at its log")
    assert site.recovery._failed(site.deployment("1"), error) == QUICK.longest_wait_s
