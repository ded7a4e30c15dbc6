"""What the gateway costs: added latency at the median and throughput at concurrency 8, against vLLM directly.

One real vLLM with the base model of params.yaml, one real gateway in front of it, asked in turns in one run, so that
whatever else the machine does hits both alike. Run alone on the machine: python tests/benchmarks/gateway.py
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
from pathlib import Path

import aiohttp

from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.deployment import Deployment
from tasks.models.base import materialize
from tasks.serving import control
from tasks.serving.keys import KeyStore
from tasks.serving.paths import keys_path
from tests.proofs import proven

ROOT = Path(__file__).parents[2]
PROMPT = "核电厂场外应急时，公众应当怎样隐蔽？请简要说明。"
LINEAGE = "tg-benchmark"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=60, help="requests of the latency part, each way")
    parser.add_argument(
        "--latency-tokens", type=int, default=1, help="answer length there; 1 shows the gateway's share"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the throughput part, each way")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64, help="answer length of the throughput part")
    parser.add_argument("--stream", action="store_true", help="stream the answers of the throughput part")
    parser.add_argument("--port", type=int, default=8300, help="first of three free ports")
    return parser.parse_args()


class Way:
    """One way to the model: direct or through the gateway."""

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self.session, self.url = session, f"{url}/v1/chat/completions"
        self.headers = {"Authorization": f"Bearer {key}"}

    async def ask(self, number: int, tokens: int, *, stream: bool = False) -> tuple[float, int]:
        """Return seconds and completion tokens of one request; every prompt is new to the prefix cache's last block."""
        messages = [{"role": "user", "content": f"{PROMPT}（{number}）"}]
        # Nothing the gateway would refuse: the same bytes go both ways, and greedy answers are equally long.
        body = {"model": LINEAGE, "messages": messages, "max_tokens": tokens, "temperature": 0, "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        started = time.perf_counter()
        async with self.session.post(self.url, json=body, headers=self.headers) as answer:
            text = await answer.text()
        seconds = time.perf_counter() - started
        if answer.status != 200:
            sys.exit(f"{self.url}: HTTP {answer.status}: {text[:300]}")
        last = text.strip().split("\n\n")[-2].removeprefix("data: ") if stream else text
        return seconds, json.loads(last)["usage"]["completion_tokens"]


async def latency(ways: dict[str, Way], given: argparse.Namespace) -> dict[str, float]:
    """Return the median milliseconds each way and the median difference of neighbours."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(given.requests + 5):
        order = list(ways) if number % 2 else list(ways)[::-1]
        for name in order:
            took, _ = await ways[name].ask(number % 10, given.latency_tokens)
            if number >= 5:
                seconds[name].append(took)
    pairs = [gate - direct for gate, direct in zip(seconds["gateway"], seconds["direct"], strict=True)]
    return {
        "direct_ms": round(statistics.median(seconds["direct"]) * 1000, 2),
        "gateway_ms": round(statistics.median(seconds["gateway"]) * 1000, 2),
        "added_ms": round(statistics.median(pairs) * 1000, 2),
    }


async def throughput(ways: dict[str, Way], given: argparse.Namespace) -> dict[str, float]:
    """Return tokens a second each way and the median ratio of neighbours."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(given.rounds + 1):
        order = list(ways) if turn % 2 else list(ways)[::-1]
        for name in order:
            asks = [ways[name].ask(1000 * turn + number, given.tokens, stream=given.stream)
                    for number in range(given.concurrency)]  # fmt: skip
            started = time.perf_counter()
            tokens = sum(count for _, count in await asyncio.gather(*asks))
            if turn:
                rates[name].append(tokens / (time.perf_counter() - started))
    ratios = [gate / direct for gate, direct in zip(rates["gateway"], rates["direct"], strict=True)]
    return {
        "direct_tokens_per_s": round(statistics.median(rates["direct"]), 1),
        "gateway_tokens_per_s": round(statistics.median(rates["gateway"]), 1),
        "ratio": round(statistics.median(ratios), 3),
    }


async def measure(project: Project, key: str, given: argparse.Namespace) -> dict[str, object]:
    """Ask both ways in turns."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=300)) as session:
        ways = {
            "direct": Way(session, f"http://127.0.0.1:{project.slot_ports['blue']}", key),
            "gateway": Way(session, project.gateway_url, key),
        }
        found: dict[str, object] = await latency(ways, given)
        return {**found, **await throughput(ways, given)}


def main() -> None:
    """Serve the base model in a project of its own, measure, stop, print one JSON line."""
    given = arguments()
    # Stopped from outside, too, it leaves no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ |= {"TUNEGATE_GATEWAY_PORT": str(given.port), "TUNEGATE_SLOT_PORT": str(given.port + 1),
                   "TUNEGATE_SERVE_PYTHON": str(Project(ROOT).serve_python)}  # fmt: skip
    settings = load_settings(ROOT / "params.yaml")
    base = materialize(settings.base_model, Project(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        (project.root / "dvc.yaml").touch()
        text = (ROOT / "params.yaml").read_text(encoding="utf-8")
        # Only the rate limits are lifted; everything else the gateway does, it does here.
        for name in ("requests_per_minute", "tokens_per_minute"):
            limit = getattr(settings.serve.gateway, name)
            text = text.replace(f"{name}: {limit}", f"{name}: 100000000")
        (project.root / "params.yaml").write_text(text, encoding="utf-8")
        key = KeyStore(keys_path(project)).create("benchmark", "caller")
        try:
            control.ensure_host(project)
            control.deploy(
                project,
                proven(project, Deployment("1", LINEAGE, base.path)),
                on_progress=lambda line: print(line, file=sys.stderr),
            )
            found = asyncio.run(measure(project, key, given))
        finally:
            control.stop_host(project)
    settings_used = {name: value for name, value in vars(given).items() if name != "port"}
    print(json.dumps({"benchmark": "gateway", **settings_used, "load_average": os.getloadavg()[0], **found}))


if __name__ == "__main__":
    main()
