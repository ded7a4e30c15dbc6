"""A run killed in the middle: what was received is kept, what is left is told with its time, nothing is asked twice."""

import asyncio
import re
import subprocess
import sys
import time

import pytest

from tests.unit.fake_vllm import FakeVllm

QUERIES = 60
RUN = """
import sys
from pathlib import Path
from tasks.core import progress
from tasks.core.logs import setup_logging
from tasks.engine import client

class Often(progress.Progress):
    def __init__(self, *given, **named):
        super().__init__(*given, **named, every_s=0.1)

client.Progress = Often
setup_logging()
url, kept, count = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
with client.AnswerCache(kept) as cache:
    served = client.ServedClient(url, "m", model_digest="d", concurrency=3, cache=cache)
    read = lambda answer: answer["choices"][0]["text"]
    queries = [client.Query("/v1/completions", {"prompt": [number]}, read, f"q{number}") for number in range(count)]
    print(len(served.ask(queries, "ceval")))
"""


class SlowVllm(FakeVllm):
    """A server that takes its time, so that a kill meets requests under way."""

    async def completions(self, request):
        await asyncio.sleep(0.03)
        return await super().completions(request)


@pytest.fixture
def server(tokenizer):
    with SlowVllm(tokenizer) as started:
        yield started


def start(server, kept):
    command = [sys.executable, "-c", RUN, server.url, str(kept), str(QUERIES)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_run_asks_only_what_is_left(server, tmp_path):
    kept = tmp_path / "answers.jsonl"
    with start(server, kept) as run:
        deadline = time.monotonic() + 30
        while len(server.requests) < QUERIES // 3:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        run.kill()
        output, errors = run.communicate()
    assert output == ""
    assert re.search(r"ceval: \d+/60 requests, [\d.]+/s, .+ left", errors)
    received = kept.read_text().count('"key"')
    assert 0 < received < QUERIES
    asked = len(server.requests)
    with kept.open("a") as stream:
        stream.write('\n{"key": "cut sho')  # the half line of a kill in the middle of a write
    with start(server, kept) as run:
        output, errors = run.communicate(timeout=30)
    assert (run.returncode, output) == (0, f"{QUERIES}\n")
    assert "1 line(s) cut short" in errors
    assert len(server.requests) - asked == QUERIES - received
    # The resumed share does not count for the rate, so the time left is that of the rest.
    assert re.search(rf"ceval: 60/{QUERIES} requests, .+ done in", errors)
    assert int(re.search(r"ceval: (\d+)/60", errors)[1]) >= received


@pytest.mark.slow
def test_a_third_run_asks_nothing(server, tmp_path):
    kept = tmp_path / "answers.jsonl"
    for expected in (QUERIES, QUERIES):
        with start(server, kept) as run:
            output, _ = run.communicate(timeout=30)
        assert output == f"{QUERIES}\n"
        assert len(server.requests) == expected
