"""A follower does what its leader tells by a real Redis, and lets go of a candidate that nobody judges any more."""

import asyncio
import json

import pytest

from tasks.core.errors import DataContractError
from tasks.serving.shared import lead
from tasks.serving.shared.lead import Follower, Leader
from tasks.serving.shared.store import Store as SharedStore
from tasks.serving.shared.store import StoreLostError
from tasks.serving.slots import Slots
from tests.contract.upstreams import version
from tests.unit.serving.test_recovery import Server
from tests.unit.serving.test_shared import eventually, program, store  # noqa: F401 - fixtures


class Gateway:
    """Slots whose versions start at once; `broken` ones are not what they say."""

    def __init__(self) -> None:
        self.broken: set[str] = set()
        self.slots = Slots(["blue", "green"], lambda *_: Server(works=True), self.smoke, 1.0)

    async def smoke(self, url, deployment) -> None:
        if deployment.version in self.broken:
            raise DataContractError("other weights", "mend them")

    @property
    def serves(self) -> tuple[str | None, str | None, float]:
        live, candidate = self.slots.live, self.slots.candidate
        return (live.deployment.version if live else None, candidate.deployment.version if candidate else None,
                self.slots.share.percent if candidate else 0.0)  # fmt: skip


class Told:
    """A leader that says what a test wants."""

    mirror = None
    running = True

    def __init__(self) -> None:
        self.current = self
        self.state, self.fresh = {"id": "trial-1"}, []


def follow(store, story):  # noqa: F811
    async def main():
        leads, follows, told = Gateway(), Gateway(), Told()
        shared = [SharedStore(store.url, "model", name) for name in "ab"]
        for one in shared:
            one.lost_since = None
        leader, follower = Leader(shared[0], leads.slots, told), Follower(shared[1], follows.slots)
        try:
            await story(leader, leads, follower, follows, told)
        finally:
            for one in shared:
                await one.close()

    asyncio.run(main())


def test_it_follows_a_switch_a_share_and_its_end(store, monkeypatch):  # noqa: F811
    monkeypatch.setattr(lead, "LEASE_S", 0.3)

    async def story(leader, leads, follower, follows, told):
        await follower.look()
        assert follows.serves == (None, None, 0.0)
        await leads.slots.deploy(version("1"), lambda line: None)
        await leader.look()
        await follower.look()
        assert follows.serves == ("1", None, 0.0)
        await leads.slots.start_candidate(version("2"), lambda line: None)
        leads.slots.share = lead.Share("trial-1", 10.0)
        await leader.look()
        await follower.look()
        assert follows.serves == ("1", "2", 10.0)
        # Same callers everywhere.
        units = [f"caller {number}" for number in range(500)]
        assert [follows.slots.share.holds(unit) for unit in units] == [leads.slots.share.holds(unit) for unit in units]
        # The leader has gone: nobody judges the candidate.
        await asyncio.sleep(0.4)
        await follower.look()
        assert follows.serves == ("1", None, 0.0)
        # Back, it goes live.
        await leader.look()
        await follower.look()
        await leads.slots.promote_candidate(lambda: None)
        await leader.look()
        await follower.look()
        assert follows.serves == ("2", None, 0.0)

    follow(store, story)


def test_what_it_finds_otherwise_is_not_served_and_what_serves_stays(store, monkeypatch):  # noqa: F811
    monkeypatch.setattr(lead, "AGAIN_S", 0.1)

    async def story(leader, leads, follower, follows, told):
        await leads.slots.deploy(version("1"), lambda line: None)
        await leader.look()
        await follower.look()
        follows.broken.add("2")
        await leads.slots.deploy(version("2"), lambda line: None)
        await leader.look()
        await follower.look()
        assert follows.serves == ("1", None, 0.0)
        follows.broken.clear()
        await asyncio.sleep(0.15)
        await follower.look()
        assert follows.serves == ("2", None, 0.0)

    follow(store, story)


def test_without_the_store_what_is_live_stays_and_a_candidate_goes(store):  # noqa: F811
    async def story(leader, leads, follower, follows, told):
        await leads.slots.deploy(version("1"), lambda line: None)
        await leads.slots.start_candidate(version("2"), lambda line: None)
        await leader.look()
        await follower.look()
        assert follows.serves[:2] == ("1", "2")
        store.kill()
        with pytest.raises(StoreLostError):
            await follower.look()
        assert follows.serves[:2] == ("1", None)

    follow(store, story)


def test_the_leader_is_told_how_it_went_and_never_what_was_said(store):  # noqa: F811
    async def story(leader, leads, follower, follows, told):
        await leads.slots.deploy(version("1"), lambda line: None)
        await leads.slots.start_candidate(version("2"), lambda line: None)
        await leader.look()
        await follower.look()
        telling = asyncio.create_task(follower._tell())
        began = asyncio.get_running_loop().time()
        follower._seen.put_nowait(lead.Observation(True, began, 200, 0.4, False, lambda: "我不能回答，病人王伟"))
        key = follower.store.key("seen", "trial-1")
        await eventually(lambda: store.client().llen(key) == 1)
        (row,) = store.client().lrange(key, 0, -1)
        assert set(json.loads(row)) == {"candidate", "ago_s", "status", "seconds", "stream", "refusal", "unknown"}
        await leader.look()
        (seen,) = told.fresh
        assert (seen.candidate, seen.status, seen.seconds, seen.text) == (True, 200, 0.4, None)
        assert abs(seen.began - began) < 5
        telling.cancel()

    follow(store, story)
