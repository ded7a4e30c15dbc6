import asyncio
import json
import stat
from datetime import timedelta

import pytest

from tasks.core.errors import DataContractError
from tasks.serving.audit import AuditLog, verify
from tasks.serving.audit.log import Ways


def redact(text):
    return text.replace("13800138000", "<mobile>"), ({"mobile": 1} if "13800138000" in text else {})


def write(folder, clock, *records, days=30):
    async def run():
        log = AuditLog(folder, Ways(redact, days), now=clock)
        await log.open()
        results = await asyncio.gather(*[log.submit(record) for record in records])
        healthy = log.healthy
        await log.close()
        return results, healthy

    return asyncio.run(run())


def lines_of(folder, day="2026-03-01"):
    return (folder / f"{day}.jsonl").read_text().splitlines()


@pytest.fixture
def five(tmp_path, clock):
    write(tmp_path, clock, *[{"number": number, "prompt": "碘片？"} for number in range(3)])
    write(tmp_path, clock, *[{"number": number, "prompt": "隐蔽？"} for number in (3, 4)])
    return tmp_path


def test_records_are_chained_across_restarts(five):
    assert verify(five) == {"files": 1, "records": 5, "head": 5, "problems": []}
    assert [json.loads(line)["sequence"] for line in lines_of(five)] == [1, 2, 3, 4, 5]
    assert "碘片" in lines_of(five)[0]


def test_only_the_owner_may_read(five):
    assert stat.S_IMODE((five / "2026-03-01.jsonl").stat().st_mode) == 0o600


def change(lines):
    lines[1] = lines[1].replace("碘片", "牛奶")


def remove(lines):
    del lines[1]


def insert(lines):
    lines.insert(1, lines[1])


def swap(lines):
    lines[1], lines[2] = lines[2], lines[1]


def forge(lines):
    """A record with a matching hash of its own, as someone who knows the code would write it."""
    from tasks.core.digest import sha256_json

    record = json.loads(lines[1])
    del record["hash"]
    record["prompt"] = "牛奶？"
    lines[1] = json.dumps({**record, "hash": sha256_json(record)}, ensure_ascii=False, sort_keys=True)


def cut_the_end(lines):
    del lines[3:]


def garble(lines):
    lines[2] = lines[2][:20]


@pytest.mark.parametrize("tamper", [change, remove, insert, swap, forge, cut_the_end, garble])
def test_tampering_is_seen(five, tamper):
    lines = lines_of(five)
    tamper(lines)
    (five / "2026-03-01.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert verify(five)["problems"]


def test_a_removed_file_is_seen(five, clock):
    clock.now += timedelta(days=1)
    write(five, clock, {"number": 5})
    (five / "2026-03-01.jsonl").unlink()
    assert verify(five)["problems"]


def test_each_problem_is_named_once_and_with_its_place(five):
    lines = lines_of(five)
    change(lines)
    (five / "2026-03-01.jsonl").write_text("".join(f"{line}\n" for line in lines))
    assert verify(five)["problems"] == ["2026-03-01.jsonl:2: record 2 was changed"]


def test_personal_data_is_masked_and_counted_in_depth(tmp_path, clock):
    prompt = [{"role": "user", "content": [{"type": "text", "text": "电话13800138000"}]}]
    write(tmp_path, clock, {"prompt": prompt, "answer": lambda: "call 13800138000", "key": "13800138000"})
    record = json.loads(lines_of(tmp_path)[0])
    assert record["prompt"][0]["content"][0]["text"] == "电话<mobile>"
    assert record["answer"] == "call <mobile>"
    assert record["masks"] == {"mobile": 2}
    assert verify(tmp_path)["problems"] == []


def test_half_a_surrogate_pair_does_not_stop_the_log(tmp_path, clock):
    results, healthy = write(tmp_path, clock, {"answer": "\ud800 and more"})
    assert (results, healthy) == ([True], True)
    assert verify(tmp_path)["problems"] == []


def test_whole_days_past_their_retention_go_and_the_chain_still_holds(tmp_path, clock):
    for _ in range(5):
        write(tmp_path, clock, {"x": 1}, {"x": 2}, days=2)
        clock.now += timedelta(days=1)
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == [
        "2026-03-03.jsonl", "2026-03-04.jsonl", "2026-03-05.jsonl",
    ]  # fmt: skip
    # The removal of a file is a record too: on the fourth day and on the fifth.
    assert verify(tmp_path) == {"files": 3, "records": 8, "head": 12, "problems": []}


def test_a_new_day_gets_a_new_file_without_a_restart(tmp_path, clock):
    async def run():
        log = AuditLog(tmp_path, Ways(redact, 30), now=clock)
        await log.open()
        assert await log.submit({"x": 1})
        clock.now += timedelta(days=1)
        assert await log.submit({"x": 2})
        await log.close()

    asyncio.run(run())
    assert verify(tmp_path) == {"files": 2, "records": 2, "head": 2, "problems": []}


def test_half_a_record_left_by_a_kill_is_set_aside_not_taken_for_tampering(five, clock):
    with (five / "2026-03-01.jsonl").open("a") as stream:
        stream.write('{"number": 5, "pro')
    write(five, clock, {"number": 5})
    assert verify(five)["problems"] == []
    assert (five / "2026-03-01.jsonl.torn").read_text() == '{"number": 5, "pro\n'


def test_a_damaged_last_record_stops_the_start(five, clock):
    with (five / "2026-03-01.jsonl").open("a") as stream:
        stream.write("not a record\n")
    with pytest.raises(DataContractError, match="tunegate audit verify"):
        write(five, clock, {"number": 5})


def test_a_full_disk_is_told_to_the_sender(tmp_path, clock):
    # Every write to /dev/full fails with "no space left on device".
    (tmp_path / "2026-03-01.jsonl").symlink_to("/dev/full")
    results, healthy = write(tmp_path, clock, {"x": 1}, {"x": 2})
    assert results == [False, False]
    assert healthy is False


def test_the_reserve_is_given_up_for_the_answers_under_way(tmp_path, clock):
    async def run():
        log = AuditLog(tmp_path, Ways(redact, 30), now=clock)
        await log.open()
        assert (tmp_path / ".reserve").stat().st_size > 1 << 20
        full = tmp_path / "2026-03-02.jsonl"
        full.symlink_to("/dev/full")
        clock.now += timedelta(days=1)
        assert await log.submit({"x": 1}) is False
        assert not (tmp_path / ".reserve").exists()
        full.unlink()
        deadline = asyncio.get_running_loop().time() + 10
        while not log.healthy and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
        assert log.healthy
        assert (tmp_path / ".reserve").exists()
        await log.close()

    asyncio.run(run())
    # What could not be written at first was kept and written when there was room.
    assert verify(tmp_path)["records"] == 1


def test_a_bug_in_the_writer_leaves_nobody_waiting(tmp_path, clock):
    def broken(text):
        raise RuntimeError("a bug")

    async def run():
        log = AuditLog(tmp_path, Ways(broken, 30), now=clock)
        await log.open()
        assert await asyncio.wait_for(log.submit({"prompt": "x"}), 5) is False
        assert await asyncio.wait_for(log.submit({"prompt": "x"}), 5) is False
        assert not log.healthy
        with pytest.raises(RuntimeError, match="a bug"):
            await log.close()

    asyncio.run(run())
