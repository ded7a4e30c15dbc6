"""Callers that hold on: half a header, a body that trickles, a reader that stops; and many at once. Real sockets."""

import json
import socket
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest
import yaml

from tasks.serving import control
from tests.contract.conftest import ROOT, served
from tests.contract.hosts import BODY, CHAT, audit_records, until

TIMES = {"header_timeout_s": 0.5, "body_timeout_s": 0.5, "write_timeout_s": 0.5, "queue_timeout_s": 1.0,
         "max_in_flight": 5, "max_in_flight_per_key": 3, "reserved_for_emergency": 1, "max_queued": 8,
         "max_queued_per_key": 4}  # fmt: skip


@pytest.fixture(scope="module")
def door(tmp_path_factory):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())["serve"]["gateway"]["door"]
    caps = {"requests_per_minute": 100000, "tokens_per_minute": 10**9, "door": params | TIMES}
    with served(tmp_path_factory.mktemp("door") / "project", **caps) as found:
        control.ensure_host(found.project)
        found.deploy("1", token_s=0.01)
        yield found


@pytest.fixture(scope="module")
def key(door):
    return door.key("caller")


@contextmanager
def connected(door, *, receive_bytes=None):
    sock = socket.socket()
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(10)
    sock.connect((door.project.gateway_host, door.project.gateway_port))
    with sock:
        yield sock


def closed_after_s(sock) -> float:
    """Return the seconds until the other end has closed."""
    begun = time.monotonic()
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - begun


def head(key, length):
    lines = [f"POST {CHAT} HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", f"Content-Length: {length}", "", ""]
    return "\r\n".join(lines).encode()


def trickle(sock, data):
    for byte in data:
        sock.sendall(bytes([byte]))
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_half_a_header_is_let_go(door, sent):
    with connected(door) as sock:
        sock.sendall(sent)
        assert 0.2 < closed_after_s(sock) < 3


@pytest.mark.slow
def test_a_header_that_trickles_is_let_go_and_a_whole_one_is_not(door, key):
    with connected(door) as sock:
        begun = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            trickle(sock, head(key, 1) * 10)
        assert time.monotonic() - begun < 4
    with door.client(key) as client:
        for _ in range(2):
            assert client.post(CHAT, json=BODY).status_code == 200
            time.sleep(0.7)  # idle between two requests, longer than a header may take


def test_half_a_header_after_a_whole_request_is_let_go_too(door, key):
    body = json.dumps(BODY).encode()
    with connected(door) as sock:
        sock.sendall(head(key, len(body)) + body)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.sendall(b"POST /v1/chat")
        assert closed_after_s(sock) < 3


@pytest.mark.slow
def test_a_slow_body_is_answered_408_and_closed(door, key):
    with connected(door) as sock:
        sock.sendall(head(key, 1000) + b'{"model": ')
        begun = time.monotonic()
        assert sock.recv(65536).startswith(b"HTTP/1.1 408")
        assert 0.2 < time.monotonic() - begun < 3
        assert closed_after_s(sock) < 4


@pytest.mark.parametrize("stream", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_reader_that_stops_is_let_go_and_its_place_is_free(door, key, stream):
    before = len(answers(door))
    messages = [{"role": "user", "content": "a long answer"}]
    body = json.dumps(BODY | {"messages": messages, "stream": stream}).encode()
    with connected(door, receive_bytes=4096) as sock:
        sock.sendall(head(key, len(body)) + body)
        until(lambda: len(answers(door)) > before, timeout_s=15)
        until(lambda: control.host_status(door.project)["in_flight"] == 0)
        time.sleep(1.0)
        # What the kernel held is all there is: the connection was ended, the answer is not complete.
        rest = b""
        with suppress(ConnectionResetError):
            while data := sock.recv(1 << 20):
                rest += data
        assert b"[DONE]" not in rest
        assert len(rest) < LONG_BYTES
    if stream:
        assert answers(door)[-1]["status"] == 499


LONG_BYTES = 24 << 20


def answers(door):
    return [record for record in audit_records(door) if record["kind"] == "answer"]


def milliseconds(client, count):
    took = []
    for _ in range(count):
        begun = time.perf_counter()
        assert client.post(CHAT, json=BODY).status_code == 200
        took.append(1000 * (time.perf_counter() - begun))
    return took


def p95(values):
    return statistics.quantiles(values, n=20)[-1]


def stop_reading(door, key, over):
    """Ask for a long answer, read none of it until the other end lets go; again and again."""
    body = json.dumps(BODY | {"messages": [{"role": "user", "content": "a long answer"}], "stream": True}).encode()
    while not over.is_set():
        with connected(door, receive_bytes=4096) as sock:
            sock.sendall(head(key, len(body)) + body)
            over.wait(2)


def hold_on(door, sent, over):
    """Send the beginning of a request and wait to be let go; again and again."""
    while not over.is_set():
        with connected(door) as sock:
            sock.sendall(sent)
            closed_after_s(sock)


@pytest.mark.slow
@pytest.mark.alone
def test_small_requests_do_not_notice_those_who_hold_on(door, key):
    """Thirty half headers, two slow bodies and two readers that stop, over and over, while another key asks."""
    over = threading.Event()
    slow, stopped = door.key("slow"), door.key("stopped")
    sent = [b"POST / HTTP/1.1\r\nX: "] * 30 + [head(slow, 1000) + b"{"] * 2
    with door.client(key) as client, ThreadPoolExecutor(len(sent) + 2) as pool:
        milliseconds(client, 5)
        quiet = p95(milliseconds(client, 40))
        holding = [pool.submit(hold_on, door, one, over) for one in sent]
        holding += [pool.submit(stop_reading, door, stopped, over) for _ in range(2)]
        time.sleep(0.5)
        beside = p95(milliseconds(client, 40))
        over.set()
        for one in holding:
            one.result()
    assert beside < 2 * quiet, (quiet, beside)


#: No short times for what trickles: on a busy machine sixteen threads take a while between connecting and asking. They
#: may wait longer than all of them take to arrive.
PLACES = {"queue_timeout_s": 5.0} | {name: count for name, count in TIMES.items() if not name.endswith("timeout_s")}


class TestPlaces:
    @pytest.fixture(scope="class")
    def places(self, tmp_path_factory):
        params = yaml.safe_load((ROOT / "params.yaml").read_text())["serve"]["gateway"]["door"]
        caps = {"requests_per_minute": 100000, "tokens_per_minute": 10**9, "door": params | PLACES}
        with served(tmp_path_factory.mktemp("places") / "project", **caps) as found:
            control.ensure_host(found.project)
            found.deploy("1")
            yield found

    @pytest.fixture
    def held(self, places):
        """The file that holds slow answers back, until it is removed."""
        path = places.root / "weights" / "1.holds"
        path.touch()
        yield path
        path.unlink(missing_ok=True)

    def under_way(self, places):
        return control.host_status(places.project)["in_flight"]

    def ask_many(self, pool, client, count):
        body = BODY | {"messages": [{"role": "user", "content": "a slow answer"}]}
        return [pool.submit(lambda: client.post(CHAT, json=body).status_code) for _ in range(count)]

    @pytest.mark.slow
    def test_a_key_over_its_places_and_its_queue_is_told_so_and_others_go_on(self, places, held):
        with (
            places.client(places.key("many")) as many, places.client(places.key("one")) as one,
            ThreadPoolExecutor(16) as pool,
        ):  # fmt: skip
            asked = self.ask_many(pool, many, 16)
            # Three at once, four wait, nine are told at once.
            until(lambda: sum(answer.done() for answer in asked) == 9)
            assert {answer.result() for answer in asked if answer.done()} == {429}
            assert one.post(CHAT, json=BODY).status_code == 200
            assert self.under_way(places) == 3
            # Who waits longer than the queue allows is told to come back.
            until(lambda: sum(answer.done() for answer in asked) == 13)
            held.unlink()
            codes = [answer.result() for answer in asked]
        assert sorted(codes) == [200] * 3 + [429] * 9 + [503] * 4

    def test_the_emergency_desk_goes_before_batch(self, places, held):
        keys = [places.key(f"batch{number}", priority="batch") for number in range(3)]
        with (
            places.client(places.key("desk", priority="emergency")) as desk, ExitStack() as clients,
            ThreadPoolExecutor(9) as pool,
        ):  # fmt: skip
            batches = [clients.enter_context(places.client(key)) for key in keys]
            asked = [answer for client in batches for answer in self.ask_many(pool, client, 3)]
            until(lambda: self.under_way(places) == 4)
            assert desk.post(CHAT, json=BODY).status_code == 200
            assert self.under_way(places) == 4
            assert not any(answer.done() and answer.result() == 200 for answer in asked)
            held.unlink()
            assert {answer.result() for answer in asked} <= {200, 429, 503}
