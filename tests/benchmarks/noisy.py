"""What one caller can do to another: a small request's time alone, beside ten long prompts, and beside a noisy key.

The host, gateway and audit log are real; a small HTTP server stands in vLLM's place, so that all that is measured is
the gateway's. Quiet and loud phases take turns, so that whatever else the machine does hits both alike. The noisy key
asks at 20 times its limit of requests a minute, on a clock of its own, whatever is answered. Run alone on the machine:
python tests/benchmarks/noisy.py
"""

import argparse
import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tasks.serving import control
from tests.contract.conftest import ServedProject

CHAT = "/v1/chat/completions"
SMALL = "碘片什么时候服用？"
LONG = "核电厂场外应急时，公众应当怎样隐蔽？我的电话是13800138000。"
TIMES_ITS_LIMIT = 20

Load = Callable[[aiohttp.ClientSession], Awaitable[None]]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=6, help="pairs of a quiet and a loud phase, each load")
    parser.add_argument("--requests", type=int, default=60, help="small requests in a phase")
    parser.add_argument("--pause-ms", type=float, default=20.0, help="between small requests")
    parser.add_argument("--long-kib", type=int, default=250, help="of each of the ten long prompts")
    parser.add_argument("--token-ms", type=float, default=10.0, help="of the model server, for each of five words")
    parser.add_argument("--limit", type=int, default=60, help="requests a minute of the noisy key")
    return parser.parse_args()


class Caller:
    """Asks with one key."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.headers = f"{url}{CHAT}", {"Authorization": f"Bearer {key}"}
        self.codes: Counter[int] = Counter()

    async def ask(self, session: aiohttp.ClientSession, text: str) -> float:
        """Return the milliseconds of one request."""
        body = {"model": "champion", "messages": [{"role": "user", "content": text}], "max_tokens": 8}
        began = time.perf_counter()
        async with session.post(self.url, json=body, headers=self.headers) as answer:
            await answer.read()
        self.codes[answer.status] += 1
        return 1000 * (time.perf_counter() - began)

    async def often(self, session: aiohttp.ClientSession, given: argparse.Namespace) -> list[float]:
        """Return the milliseconds of a phase's requests, one after the other."""
        took = []
        for _ in range(given.requests):
            took.append(await self.ask(session, SMALL))
            await asyncio.sleep(given.pause_ms / 1000)
        return took


async def on_a_clock(caller: Caller, session: aiohttp.ClientSession, limit: int) -> None:
    """Ask at so many times the limit, whatever is answered."""
    every_s = 60 / (limit * TIMES_ITS_LIMIT)
    async with asyncio.TaskGroup() as asking:
        while True:
            asking.create_task(caller.ask(session, SMALL))
            await asyncio.sleep(every_s)


async def ten_at_a_time(caller: Caller, session: aiohttp.ClientSession, text: str) -> None:
    """Ask ten long prompts, and again when they are answered."""
    while True:
        await asyncio.gather(*(caller.ask(session, text) for _ in range(10)))


@asynccontextmanager
async def beside(load: Awaitable[None]):  # type: ignore[no-untyped-def]
    """Run a load for the body of the `async with`."""
    task = asyncio.ensure_future(load)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def compared(small: Caller, load: Load, given: argparse.Namespace) -> dict[str, float]:
    """Return the small request's p50 and p95 without and with a load."""
    quiet: list[float] = []
    loud: list[float] = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session, aiohttp.ClientSession(
        connector=connector
    ) as other:  # fmt: skip
        await small.often(session, given)
        for _ in range(given.rounds):
            quiet += await small.often(session, given)
            async with beside(load(other)):
                await asyncio.sleep(0.2)
                loud += await small.often(session, given)
            await asyncio.sleep(0.5)
    found = {
        "quiet_p50_ms": statistics.median(quiet),
        "quiet_p95_ms": statistics.quantiles(quiet, n=20)[-1],
        "beside_p50_ms": statistics.median(loud),
        "beside_p95_ms": statistics.quantiles(loud, n=20)[-1],
    }
    return {**{name: round(value, 1) for name, value in found.items()},
            "p95_ratio": round(found["beside_p95_ms"] / found["quiet_p95_ms"], 2)}  # fmt: skip


async def measure(project: ServedProject, given: argparse.Namespace) -> dict[str, object]:
    """Measure beside both loads."""
    url = project.project.gateway_url
    small = Caller(url, project.key("small"))
    noisy = Caller(url, project.key("noisy", requests_per_minute=given.limit))
    long = Caller(url, project.key("long", priority="batch"))
    text = (LONG * (1 + given.long_kib * 1024 // len(LONG.encode())))[: given.long_kib * 1024 // 3]
    ten = await compared(small, lambda session: ten_at_a_time(long, session, text), given)
    await asyncio.sleep(5)
    noise = await compared(small, lambda session: on_a_clock(noisy, session, given.limit), given)
    return {
        "ten_long_prompts": {**ten, "answers": dict(long.codes)},
        "noisy_key": {**noise, "answers": dict(noisy.codes)},
        "small_answers": dict(small.codes),
    }


def main() -> None:
    """Serve a stand-in in a project of its own, measure, stop, print one JSON line."""
    given = arguments()
    # Stopped from outside, too, it leaves no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        limits = {"requests_per_minute": 10**8, "tokens_per_minute": 10**9, "max_body_bytes": 1 << 20}
        project = ServedProject(Path(folder) / "project", **limits)
        path = project.root / "params.yaml"
        # Long prompts need a long context; nothing else of the settings is changed.
        path.write_text(path.read_text().replace("max_model_length_tokens: 1024", "max_model_length_tokens: 131072"))
        for name, value in project.environment.items():
            patch.setenv(name, value)
        try:
            control.ensure_host(project.project)
            project.deploy("1", token_s=given.token_ms / 1000)
            found = asyncio.run(measure(project, given))
        finally:
            control.stop_host(project.project)
    print(json.dumps({"benchmark": "noisy", **vars(given), "load_average": os.getloadavg()[0], **found}))


if __name__ == "__main__":
    sys.exit(main())
