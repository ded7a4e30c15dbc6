import logging
import time

import pytest

from tasks.core.errors import ConfigError, TransientError
from tasks.core.outbox import Outbox, Pace, Spool

QUICK = Pace(send_every_s=0.01, longest_wait_s=0.02, last_tries_s=0.2)


class Server:
    """Takes events, or does not answer, or refuses."""

    def __init__(self) -> None:
        self.taken, self.calls, self.error = [], 0, None

    def send(self, events) -> None:
        self.calls += 1
        if self.error:
            raise self.error
        self.taken += events


def outbox_on(path, server) -> Outbox:
    return Outbox(Spool(path, 0.0), server.send, "the server", QUICK)


def until(condition) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_kill_at_any_byte_leaves_every_whole_line_and_a_file_to_go_on_with(tmp_path):
    path = tmp_path / "spool.jsonl"
    events = [{"step": 1, "note": "第一步"}, {"step": 2}, {"step": 3}]
    spool = Spool(path, 0.0)
    for event in events:
        spool.append(event)
    spool.close()
    content = path.read_bytes()
    for size in range(len(content) + 1):
        path.write_bytes(content[:size])
        whole = content[:size].count(b"\n")
        spool = Spool(path, 0.0)
        assert spool.events == events[:whole]
        spool.append({"step": 4})
        spool.close()
        again = Spool(path, 0.0)
        assert again.events == [*events[:whole], {"step": 4}]
        again.close()


def test_a_damaged_line_costs_itself_alone(tmp_path, caplog):
    path = tmp_path / "spool.jsonl"
    path.write_bytes(b'{"step": 1}\n\0\0\0\n{"step": 2}\n')
    spool = Spool(path, 0.0)
    assert spool.events == [{"step": 1}, {"step": 2}]
    spool.close()
    assert f"{path}:2" in caplog.text


def test_one_holds_a_spool_and_a_removed_one_is_made_anew(tmp_path):
    path = tmp_path / "spool.jsonl"
    spool = Spool(path, 0.0)
    spool.append({"step": 1})
    with pytest.raises(TransientError, match="held by another"):
        Spool(path, 0.0)
    spool.remove()
    anew = Spool(path, 0.0)
    assert anew.events == []
    anew.close()


def test_a_server_that_is_away_gets_everything_once_in_order_and_is_named_once(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path, server = tmp_path / "spool.jsonl", Server()
    outbox = outbox_on(path, server)
    server.error = TransientError("the server does not answer")
    outbox.start()
    for step in range(500):
        outbox.add({"step": step})
    until(lambda: server.calls > 3)
    server.error = None
    until(lambda: len(server.taken) == 500)
    outbox.add({"step": 500})
    assert outbox.close(wait=False)
    assert [event["step"] for event in server.taken] == list(range(501))
    assert not path.exists()
    assert caplog.text.count("does not answer") == 1
    assert caplog.text.count("answers again") == 1


def test_what_was_not_sent_is_sent_by_the_next_one(tmp_path, caplog):
    path, server = tmp_path / "spool.jsonl", Server()
    first = outbox_on(path, server)
    server.error = TransientError("the server does not answer")
    first.add({"step": 1})
    started = time.monotonic()
    assert not first.close(wait=True)
    assert QUICK.last_tries_s <= time.monotonic() - started < 5
    assert str(path) in caplog.text
    server.error = None
    second = outbox_on(path, server)
    second.add({"step": 2})
    assert second.close(wait=False)
    assert [event["step"] for event in server.taken] == [1, 2]


def test_a_refusal_ends_the_work_at_its_next_event_and_is_not_repeated(tmp_path):
    path, server = tmp_path / "spool.jsonl", Server()
    outbox = outbox_on(path, server)
    server.error = ConfigError("the value is too long")
    outbox.add({"step": 1})
    outbox.start()
    until(lambda: outbox.refusal)
    with pytest.raises(ConfigError, match="too long"):
        outbox.add({"step": 2})
    calls = server.calls
    time.sleep(0.1)
    assert server.calls == calls
    assert not outbox.close(wait=True)
    assert path.exists()
