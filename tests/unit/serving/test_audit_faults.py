"""What the audit log meets in real life: values JSON has not, disks that fill or fail, a second writer, readers."""

import asyncio
import errno
import json
import os
import resource
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.data.privacy.desensitize import mask_text
from tasks.serving.audit import AuditLog, verify
from tasks.serving.audit.log import Ways
from tasks.serving.audit.masker import Masker, MaskerLostError
from tasks.serving.audit.outbox import collect, leave
from tasks.serving.audit.refusals import Refusals
from tasks.serving.audit.retention import add_hold, lift_hold
from tasks.serving.audit.room import Room

KEY = b"k" * 32
ROOT = Path(__file__).parents[3]


def plain(text):
    return text, {}


def with_log(folder, clock, use, **ways):
    """Run `use(log)` on an open log and return what it returns."""

    async def run():
        log = AuditLog(folder, Ways(**{"redact": plain, "retention_days": 30} | ways), now=clock)
        await log.open()
        try:
            return await use(log)
        finally:
            await log.close()

    return asyncio.run(run())


def write(folder, clock, *records, **ways):
    async def use(log):
        return await asyncio.gather(*[log.submit(record) for record in records])

    return with_log(folder, clock, use, **ways)


def records(folder):
    return [json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()]


async def until(condition):
    deadline = asyncio.get_running_loop().time() + 10
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it did not happen in time"
        await asyncio.sleep(0.02)


class TestTombstone:
    @pytest.mark.parametrize("value", [float("inf"), float("nan"), "\ud800", {1, 2}, object(), {"x": [float("-inf")]}])
    def test_what_json_has_not_leaves_a_tombstone_and_the_log_goes_on(self, tmp_path, clock, value):
        bad = {"kind": "request", "request_id": "req-1", "key": "甲", "settings": value, "prompt": "秘密"}
        assert write(tmp_path, clock, {"x": 1}, bad, {"x": 2}) == [True, False, True]
        found = records(tmp_path)[1]
        assert (found["kind"], found["of"], found["request_id"], found["key"]) == (
            "tombstone", "request", "req-1", "甲",
        )  # fmt: skip
        assert found["why"]
        assert "秘密" not in json.dumps(found, ensure_ascii=False)
        assert verify(tmp_path) == {"files": 1, "records": 3, "head": 3, "problems": []}

    def test_text_that_the_masking_chokes_on(self, tmp_path, clock):
        def chokes(text):
            return {"fine": (text, {})}[text]

        assert write(tmp_path, clock, {"prompt": "odd"}, {"prompt": "fine"}, redact=chokes) == [False, True]
        assert [record.get("why") for record in records(tmp_path)] == ["KeyError", None]

    def test_an_answer_that_cannot_be_put_together(self, tmp_path, clock):
        assert write(tmp_path, clock, {"answer": lambda: json.loads("{")}, {"x": 1}) == [False, True]

    def test_a_bug_ends_the_writer_and_its_owner_is_told(self, tmp_path, clock):
        def broken(text):
            raise RuntimeError("a bug")

        told = []

        async def use(log):
            assert await log.submit({"prompt": "x"}) is False
            await until(lambda: told)
            assert not log.healthy

        with pytest.raises(RuntimeError, match="a bug"):
            with_log(tmp_path, clock, use, redact=broken, on_death=told.append)
        assert isinstance(told[0], RuntimeError)


@contextmanager
def files_end_at(size):
    """Let the kernel refuse every byte behind `size` in any file: a short write first, then an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestDisk:
    def test_a_short_write_and_then_a_full_disk_writes_no_record_twice(self, tmp_path, clock):
        path = tmp_path / "2026-03-01.jsonl"

        async def use(log):
            assert await log.submit({"number": 0})
            # Room for half of what comes next: three records go out in one block.
            with files_end_at(path.stat().st_size + 350):
                sent = [log.submit({"number": number, "x": "y" * 50}) for number in (1, 2, 3)]
                assert await asyncio.gather(*sent) == [False] * 3
                assert not log.healthy
            await until(lambda: log.healthy)
            assert await log.submit({"number": 4})

        with_log(tmp_path, clock, use)
        assert [record["number"] for record in records(tmp_path)] == [0, 1, 2, 3, 4]
        assert verify(tmp_path)["problems"] == []

    def test_a_process_killed_after_a_short_write_leaves_nothing_twice(self, tmp_path, clock):
        """As above, but nobody is there to write the rest: what is whole counts, the half is set aside."""
        write(tmp_path, clock, {"number": 0}, {"number": 1})
        path = tmp_path / "2026-03-01.jsonl"
        path.write_bytes(path.read_bytes()[:-10])
        (tmp_path / "head.json").unlink()
        write(tmp_path, clock, {"number": 1})
        assert [record["number"] for record in records(tmp_path)] == [0, 1]
        assert verify(tmp_path)["problems"] == []

    @pytest.mark.slow
    @pytest.mark.parametrize("days", [0, 1], ids=["the same day", "over midnight"])
    def test_a_disk_that_failed_is_healthy_again_only_when_it_has_kept_the_records(
        self, tmp_path, clock, monkeypatch, days
    ):
        ill = {"now": False}
        real = os.fdatasync

        def fdatasync(file):
            if ill["now"]:
                raise OSError(errno.EIO, "Input/output error")
            real(file)

        monkeypatch.setattr(os, "fdatasync", fdatasync)
        path = tmp_path / "2026-03-01.jsonl"

        async def use(log):
            assert await log.submit({"number": 0})
            await until(lambda: (tmp_path / "head.json").exists())
            ill["now"] = True
            assert await log.submit({"number": 1})
            await until(lambda: not log.healthy)
            for _ in range(12):
                # A try to get well lies in this time; the disk is as ill as before.
                await asyncio.sleep(0.1)
                assert not log.healthy
            # The page that was not kept is gone, as the kernel may drop it after a failed sync.
            whole = path.read_bytes()
            first = whole.index(b"\n") + 1
            path.write_bytes(whole[:first] + b"\0" * (len(whole) - first))
            clock.now += timedelta(days=days)
            ill["now"] = False
            await until(lambda: log.healthy)

        with_log(tmp_path, clock, use)
        assert [record["number"] for record in records(tmp_path)] == [0, 1]
        assert verify(tmp_path)["problems"] == []

    def test_a_disk_that_is_nearly_full_is_refused_before_it_is(self, tmp_path, clock):
        free = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize

        async def healthy(log):
            # The answers under way are still recorded.
            return log.healthy, await log.submit({"x": 1})

        assert with_log(tmp_path / "a", clock, healthy, room=Room(1 << 20, free // 2)) == (True, True)
        assert with_log(tmp_path / "b", clock, healthy, room=Room(1 << 20, 2 * free)) == (False, True)


#: Runs on a file system of 8 MiB of its own, which another file fills to the last byte again and again.
FULL_DISK = """
import asyncio, os, sys
from pathlib import Path
from tasks.serving.audit import AuditLog, verify
from tasks.serving.audit.log import Ways
from tasks.serving.audit.room import Room

folder, greedy = Path(sys.argv[1]) / "audit", Path(sys.argv[1]) / "training"

def fill():
    with greedy.open("ab", buffering=0) as stream:
        for size in (65536, 1):
            try:
                while True:
                    stream.write(b"x" * size)
            except OSError:
                pass

async def main():
    log = AuditLog(folder, Ways(lambda text: (text, {}), 30, room=Room(2 << 20)))
    await log.open()
    fill()
    taken = 0
    while await log.submit({"number": taken, "x": "y" * 4000}):
        taken += 1
        fill()
    assert not log.healthy
    greedy.unlink()
    while not log.healthy:
        await asyncio.sleep(0.05)
    assert await log.submit({"number": taken + 1})
    await log.close()
    found = verify(folder)
    assert found["problems"] == [], found
    # The record that did not fit was kept and written when there was room: none twice, none lost.
    assert found["records"] == taken + 2, (found, taken)
    print(taken)

asyncio.run(main())
"""


def test_a_disk_that_others_fill_leaves_the_log_its_reserve(tmp_path):
    """The reserve is the log's own: what filled the disk does not get it when it is given up."""
    script = tmp_path / "full.py"
    script.write_text(FULL_DISK)
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = f"mount -t tmpfs -o size=8m tmpfs {folder} && exec {sys.executable} {script} {folder}"
    namespace = ["unshare", "--user", "--map-root-user", "--mount"]
    if subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this kernel lets nobody have a mount of its own")
    done = subprocess.run([*namespace, "sh", "-c", mount], capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    # 2 MiB hold 480 records of 4.2 kB; without room of its own the log would have had none of them.
    assert int(done.stdout) > 400


def test_a_second_writer_is_refused_with_the_name_of_the_first_and_may_follow_it(tmp_path, clock):
    async def use(log):
        with pytest.raises(ConfigError, match=f"another process \\({os.getpid()}\\) writes the audit log"):
            await AuditLog(tmp_path, Ways(plain, 30), now=clock).open()
        return await log.submit({"x": 1})

    assert with_log(tmp_path, clock, use)
    assert write(tmp_path, clock, {"x": 2}) == [True]
    assert verify(tmp_path)["records"] == 2


class TestReadersBesideTheWriter:
    def test_verify_beside_a_busy_log_raises_no_alarm(self, tmp_path, clock):
        over, problems = threading.Event(), []

        def look():
            while not over.is_set():
                problems.extend(verify(tmp_path)["problems"])

        async def use(log):
            reader = threading.Thread(target=look)
            reader.start()
            for day in range(4):
                clock.now += timedelta(days=day)
                log._synced_at = 0.0  # heads are written all the time
                for number in range(40):
                    await log.submit({"number": number, "x": "核" * 3000})
            over.set()
            await asyncio.to_thread(reader.join)

        with_log(tmp_path, clock, use, retention_days=2)
        assert problems == []
        assert verify(tmp_path)["problems"] == []

    def test_half_a_record_is_being_written_and_a_removed_one_is_seen(self, tmp_path, clock):
        write(tmp_path, clock, {"x": 1}, {"x": 2})
        path = tmp_path / "2026-03-01.jsonl"
        with path.open("a") as stream:
            stream.write('{"x": 3, "seq')
        assert verify(tmp_path) == {"files": 1, "records": 2, "head": 2, "problems": []}
        path.write_text(path.read_text().splitlines(keepends=True)[0])
        assert "removed" in verify(tmp_path)["problems"][0]


class TestRetention:
    def days(self, folder, clock, count, **ways):
        for _ in range(count):
            write(folder, clock, {"x": 1}, **ways)
            clock.now += timedelta(days=1)

    @pytest.mark.parametrize("damage", ["last", "first", "whole"])
    def test_a_damaged_file_past_its_retention_prevents_no_start(self, tmp_path, clock, damage):
        self.days(tmp_path, clock, 3)
        path = tmp_path / "2026-03-01.jsonl"
        good = path.read_text()
        path.write_text({"last": good + "no record\n", "first": "no record\n" + good, "whole": "no record\n"}[damage])
        assert verify(tmp_path)["problems"]
        write(tmp_path, clock, {"x": 2}, retention_days=2)
        assert not path.exists()
        assert verify(tmp_path)["problems"] == []
        (gone,) = [record for record in records(tmp_path) if record.get("kind") == "expired"]
        assert gone["file"] == "2026-03-01.jsonl"
        assert "no audit record" in gone["problems"][0]

    def test_nor_does_it_where_it_is_the_newest(self, tmp_path, clock):
        self.days(tmp_path, clock, 2)
        path = tmp_path / "2026-03-02.jsonl"
        path.write_text(path.read_text() + "no record\n")
        with pytest.raises(DataContractError, match="no audit record"):
            write(tmp_path, clock, {"x": 2}, retention_days=30)
        clock.now += timedelta(days=100)
        write(tmp_path, clock, {"x": 2}, retention_days=30)
        assert verify(tmp_path)["problems"] == []
        assert [record["sequence"] for record in records(tmp_path)] == [3, 4, 5]

    def test_a_hold_keeps_its_days_and_the_chain_holds_around_them(self, tmp_path, clock):
        self.days(tmp_path, clock, 5)
        add_hold(tmp_path, "case-7", date(2026, 3, 2), date(2026, 3, 3), by="法务", reason="调查")
        clock.now += timedelta(days=30)
        write(tmp_path, clock, {"x": 2}, retention_days=10)
        kept = [path.name for path in sorted(tmp_path.glob("*.jsonl"))]
        assert kept == ["2026-03-02.jsonl", "2026-03-03.jsonl", "2026-04-05.jsonl"]
        assert verify(tmp_path)["problems"] == []
        # What the hold keeps is still held to the chain, on both sides of the gap.
        held = tmp_path / "2026-03-03.jsonl"
        good = held.read_text()
        held.unlink()
        assert verify(tmp_path)["problems"]
        held.write_text(good)
        assert lift_hold(tmp_path, "case-7").by == "法务"
        write(tmp_path, clock, {"x": 3}, retention_days=10)
        clock.now += timedelta(days=1)
        write(tmp_path, clock, {"x": 4}, retention_days=10)
        assert not held.exists()
        assert verify(tmp_path)["problems"] == []

    def test_mistakes_in_a_hold_are_told(self, tmp_path):
        with pytest.raises(ConfigError, match="before it begins"):
            add_hold(tmp_path, "a", date(2026, 3, 2), date(2026, 3, 1), by="x", reason="y")
        add_hold(tmp_path, "a", date(2026, 3, 1), date(2026, 3, 1), by="x", reason="y")
        with pytest.raises(ConfigError, match="there is a hold called a"):
            add_hold(tmp_path, "a", date(2026, 3, 1), date(2026, 3, 1), by="x", reason="y")
        with pytest.raises(ConfigError, match="no hold is called b"):
            lift_hold(tmp_path, "b")


class TestLongTexts:
    def test_a_long_text_is_recorded_at_once_as_its_digest_and_masked_later(self, tmp_path, clock):
        masker = Masker(("mobile",))
        long = "我的电话是13800138000。" * 1000
        near, far = {}, {}

        async def use(log):
            loop = asyncio.get_running_loop()
            begun = loop.time()
            sent = log.submit({"kind": "request", "request_id": "req-long", "key": "甲", "prompt": long})
            assert await log.submit({"kind": "request", "request_id": "req-short", "prompt": "碘片？"})
            near["s"] = loop.time() - begun
            assert await sent
            await until(lambda: any(record["kind"] == "text" for record in records(tmp_path)))
            far["s"] = loop.time() - begun

        async def run():
            ways = Ways(partial(mask_text, types=("mobile",)), 30, mask_far=masker.mask, digest_key=KEY)
            log = AuditLog(tmp_path, ways, now=clock)
            await log.open()
            try:
                await use(log)
            finally:
                await log.close()
                await masker.close()

        asyncio.run(run())
        asked, short, text = records(tmp_path)
        assert (asked["text"], "prompt" in asked) == ("follows", False)
        assert asked["prompt_digest"].startswith("hmac-sha256:")
        assert short["prompt"] == "碘片？"
        assert (text["request_id"], text["key"], text["of"]) == ("req-long", "甲", "request")
        assert text["masks"] == {"mobile": 1000}
        assert "13800138000" not in (tmp_path / "2026-03-01.jsonl").read_text()
        assert near["s"] < far["s"]
        assert verify(tmp_path)["problems"] == []

    def test_a_stop_waits_for_what_is_still_to_be_masked(self, tmp_path, clock):
        async def slow(value):
            await asyncio.sleep(0.2)
            return {"prompt": "masked"}, {}

        assert write(tmp_path, clock, {"kind": "request", "prompt": "x" * 9000}, mask_far=slow) == [True]
        assert records(tmp_path)[1]["prompt"] == "masked"

    def test_a_masking_process_that_ends_leaves_a_tombstone_and_the_next_text_gets_another(self, tmp_path, clock):
        masker = Masker(("mobile",))

        async def run():
            assert (await masker.mask("13800138000"))[1] == {"mobile": 1}
            asking = asyncio.create_task(masker.mask("13800138000 " * 100_000))
            await asyncio.sleep(0.05)
            masker._process.kill()
            with pytest.raises(MaskerLostError):
                await asking
            _, masks = await masker.mask("13800138000")
            await masker.close()
            return masks

        assert asyncio.run(run()) == {"mobile": 1}

    def test_the_digest_finds_a_text_and_only_with_the_key(self, tmp_path, clock):
        from tasks.serving.audit.record import text_digest

        messages = [{"role": "user", "content": "碘片？"}]
        write(tmp_path, clock, {"prompt": messages}, {"prompt": "碘片？"}, {"prompt": "牛奶？"}, digest_key=KEY)
        found = [record["prompt_digest"] for record in records(tmp_path)]
        assert found[0] == found[1] == text_digest("碘片？", KEY)
        assert found[2] != found[0]
        assert found[0] != text_digest("碘片？", b"another key" * 3)


class TestRefusals:
    def flood(self, folder, clock, asked, per_minute=5):
        async def use(log):
            refusals = Refusals(log, lambda: per_minute, window_s=0.3)
            for who, code in asked:
                refusals.note(who, {"status": 401, "code": code})
            await asyncio.sleep(0.4)
            refusals.note("later", {"status": 403, "code": "revoked_key"})

        with_log(folder, clock, use)
        return records(folder)

    def test_one_by_one_for_a_while_then_counted(self, tmp_path, clock):
        *single, counted, later = self.flood(tmp_path, clock, [("192.0.2.7", "unknown_key")] * 1000)
        assert [record["kind"] for record in single] == ["refusal"] * 5
        assert counted["counts"] == [{"who": "192.0.2.7", "status": 401, "code": "unknown_key", "count": 995}]
        assert later["code"] == "revoked_key"

    def test_a_flood_from_everywhere_is_bounded_too_and_nothing_is_lost_from_the_count(self, tmp_path, clock):
        found = self.flood(tmp_path, clock, [(f"k-{number}", f"code{number % 7}") for number in range(20_000)])
        assert len(found) < 60
        assert (tmp_path / "2026-03-01.jsonl").stat().st_size < 60_000
        counts = next(record for record in found if record["kind"] == "refusals")["counts"]
        assert sum(group["count"] for group in counts) == 20_000 - 50

    def test_what_callers_choose_is_masked_and_cut(self, tmp_path, clock):
        masks = partial(mask_text, types=("mobile",))
        write(tmp_path, clock, {"kind": "refusal", "message": "model '13800138000' " + "x" * 900}, redact=masks)
        (found,) = records(tmp_path)
        assert "13800138000" not in found["message"]
        assert len(found["message"]) <= 200


class TestOutbox:
    def test_what_others_left_is_recorded_in_order_and_once(self, tmp_path, clock):
        outbox = tmp_path / "outbox"
        for number in range(3):
            leave(outbox, {"kind": "key", "number": number})
        (outbox / "00000000000000000009-1.json").write_text("{")

        async def use(log):
            return await collect(outbox, log), await collect(outbox, log)

        assert with_log(tmp_path / "log", clock, use) == (4, 0)
        found = records(tmp_path / "log")
        assert [record.get("number") for record in found] == [None, 0, 1, 2]
        assert found[0]["kind"] == "tombstone"
        assert len({record["event_id"] for record in found[1:]}) == 3

    def test_it_waits_while_the_log_cannot_be_written(self, tmp_path, clock):
        outbox = tmp_path / "outbox"
        leave(outbox, {"kind": "key"})

        async def use(log):
            with files_end_at(0):
                return await collect(outbox, log)

        assert with_log(tmp_path / "log", clock, use) == 0
        assert len(list(outbox.iterdir())) == 1
