"""10,000 requests at concurrency 16 through 20 changes of what is live, with vLLM killed three times.

Real host, gateway, audit log and vLLM slots; half of the requests stream. Changes: plain switches, rollbacks, canaries
that the tests decide, canaries and shadows that a person ends. Kills: the live server in a quiet moment, a candidate
that gets traffic, the live server's engine while a switch is under way. Every request is judged, the audit log is
checked against what the callers saw, and the time of requests is told apart: while nothing changed, while something
did, while the live server was away.

The model is one layer with random weights and the base's tokenizer (--width): what is measured is the serving plane,
and an answer is as fast as so many requests need. Run alone: python tests/benchmarks/swaps_under_load.py
"""

import argparse
import asyncio
import json
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import psutil
import yaml

from tasks.core.errors import TunegateError
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.deployment import Deployment
from tasks.models.base import materialize
from tasks.serving import control
from tasks.serving.audit.chain import day_files, verify, whole_lines
from tasks.serving.keys import KeyStore
from tasks.serving.paths import audit_folder, keys_path
from tests.benchmarks.load import Answer, Callers
from tests.proofs import proven

ROOT = Path(__file__).parents[2]
#: Seconds where it is days, and margins that a few dozen requests can show.
QUICK = {"steps_percent": [10.0, 50.0], "step_requests": 10, "least_requests": 60, "longest_s": 120.0, "block_s": 1.0,
         "margins": {"error": 0.2, "slow": 0.4, "refusal": 0.2, "unknown": 0.2}, "shadow_percent": 10.0}  # fmt: skip
#: What is changed, in turns, and which kill belongs to which change. A version that was live before is still warm, as
#: after a release: rollbacks, and most canaries and shadows, start nothing.
CHANGES = (
    "switch", "rollback", "canary", "rollback", "shadow", "rollback", "canary aborted", "switch", "rollback", "forward",
    "rollback", "canary", "rollback", "shadow", "rollback", "forward", "rollback", "canary", "canary aborted", "switch",
)  # fmt: skip
KILLS = {6: "candidate", 7: "live", 19: "engine in a switch"}
LOOK_S = 0.2
TELL_EVERY_S = 10.0
BAR = 2.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="at least so many; the changes are all made")
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--swaps", type=int, default=20, help="changes of what is live or tried")
    parser.add_argument("--kills", type=int, default=3, help="kill -9 of a vLLM")
    parser.add_argument("--tokens", type=int, nargs=2, default=(4, 16), help="least and most of an answer")
    parser.add_argument("--width", type=int, default=64, help="of the one-layer model; 0: the base model itself")
    parser.add_argument("--dtype", default="float32", help="of vLLM; bfloat16 crawls on a CPU that has none of it")
    parser.add_argument("--quiet-s", type=float, default=5.0, help="between two changes")
    parser.add_argument("--minutes", type=float, default=60.0, help="no change is begun after that")
    parser.add_argument("--port", type=int, default=8400, help="first of three free ports")
    parser.add_argument("--keep", type=Path, help="a folder for the host's and the slots' logs, and each request")
    parser.add_argument("--json", action="store_true", help="print one JSON line instead of a table")
    return parser.parse_args()


@dataclass
class Span:
    """A time in which something was done to the slots."""

    what: str
    began: float
    ended: float = float("inf")

    def holds(self, answer: Answer) -> bool:
        """Whether a request was under way in it."""
        return answer.began < self.ended and answer.ended > self.began


@dataclass
class Course:
    """The changes and kills of a run, one after the other, and when they were.

    Args:
        project: with its host running and version 1 live.
        deployment: makes the deployment of a version.
        tell: gets a line a step.
    """

    project: Project
    deployment: Callable[[int], Deployment]
    plan: list[tuple[str, str | None]]
    quiet_s: float
    longest_s: float
    tell: Callable[[str], None]
    changes: list[Span] = field(default_factory=list)
    outages: list[Span] = field(default_factory=list)
    killed: list[str] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    newest: int = 1
    live: int = 1
    other: int | None = None

    async def run(self) -> None:
        """Make all changes and kills."""
        over = time.monotonic() + self.longest_s
        await asyncio.sleep(self.quiet_s)
        for what, kill in self.plan:
            if time.monotonic() > over:
                self.tell("no time for more changes")
                return
            if kill == "live":
                await self._outage("live", "api_server")
                await asyncio.sleep(self.quiet_s)
            await self._change(what, kill)
            await asyncio.sleep(self.quiet_s)

    async def _change(self, what: str, kill: str | None) -> None:
        """Make one change, and note when it was and how it ended."""
        span = Span(what, time.monotonic())
        self.changes.append(span)
        try:
            end = await self._made(what, kill)
        except TunegateError as error:
            end, self.other = f"failed: {error.message}", None
        span.ended = time.monotonic()
        self.ends.append(f"{what}: {end}")
        self.tell(f"change {len(self.changes)}: {self.ends[-1]}, {span.ended - span.began:.1f} s")

    async def _made(self, what: str, kill: str | None) -> str:
        """Make a change and return how it ended."""
        new = self._version(what)
        if what in ("switch", "rollback", "forward"):
            beside = asyncio.create_task(self._killed_beside()) if kill == "engine in a switch" else None
            await asyncio.to_thread(control.deploy, self.project, self.deployment(new), on_progress=lambda line: None)
            if beside:
                await beside
            self.live, self.other = new, self.live
            return f"version {new}"
        strategy = "shadow" if what == "shadow" else "canary"
        await asyncio.to_thread(control.begin_rollout, self.project, self.deployment(new), strategy,
                                on_progress=lambda line: None)  # fmt: skip
        if kill == "candidate":
            await asyncio.sleep(2)
            self._kill("candidate", self._idle_slot(), "api_server")
        elif what != "canary":
            await asyncio.sleep(4)
            await asyncio.to_thread(control.end_rollout, self.project, "promote" if what == "shadow" else "abort",
                                    "benchmark")  # fmt: skip
        while (state := await asyncio.to_thread(control.last_rollout, self.project)) and state["phase"] == "running":
            await asyncio.sleep(LOOK_S)
        assert state is not None
        self.live, self.other = (new, self.live) if state["phase"] == "promoted" else (self.live, None)
        return f"version {new} {state['phase']} ({state['why']})"

    def _version(self, what: str) -> int:
        """Return the version of a change: a new one, or the one that was live before."""
        if what == "switch" or self.other is None:
            self.newest += 1
            return self.newest
        return self.other

    async def _killed_beside(self) -> None:
        """Kill the live engine while another version is being started."""
        while not (await self._status())["deploying"]:
            await asyncio.sleep(LOOK_S)
        await asyncio.sleep(3)
        await self._outage("engine in a switch", "EngineCore")

    async def _outage(self, whom: str, process: str) -> None:
        """Kill the live server and wait until something is live again."""
        span = Span(whom, time.monotonic())
        self.outages.append(span)
        slot = (await self._status())["slot"]
        self._kill(whom, slot, process)
        await asyncio.sleep(1)
        while not (status := await self._status())["healthy"] or status["recovering"]:
            await asyncio.sleep(LOOK_S)
        # What was held is let in together and has to be worked off.
        await asyncio.sleep(1)
        span.ended = time.monotonic()
        self.tell(f"killed {whom}: served again after {span.ended - span.began - 1:.1f} s")

    def _kill(self, whom: str, slot: str, process: str) -> None:
        """End a server's process, the API server or its engine, with signal 9."""
        listening = [one for one in psutil.process_iter() if _listens(one, self.project.slot_ports[slot])]
        # An engine that was forked has its parent's socket, too.
        server = next(one for one in listening if one.ppid() not in {other.pid for other in listening})
        engine = max(server.children(recursive=True), key=lambda one: one.memory_info().rss, default=server)
        victim = engine if process == "EngineCore" else server
        self.killed.append(f"{whom}: {'engine' if victim is engine else 'server'} {victim.pid}")
        victim.kill()

    def _idle_slot(self) -> str:
        """Return the name of the slot that is not live."""
        status = control.host_status(self.project)
        assert status is not None
        return next(name for name in self.project.slot_ports if name != status["slot"])

    async def _status(self) -> dict[str, Any]:
        """Return what the host says."""
        status = await asyncio.to_thread(control.host_status, self.project)
        if status is None:
            sys.exit("the host has ended")
        return status


def _listens(process: psutil.Process, port: int) -> bool:
    """Return whether a process listens at a port; one that has just ended does not."""
    try:
        found = process.net_connections("tcp4")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in found)


def planned(swaps: int, kills: int) -> list[tuple[str, str | None]]:
    """Return so many changes, and the kill that belongs to each."""
    chosen = dict(list(KILLS.items())[:kills])
    return [(CHANGES[number % len(CHANGES)], chosen.get(number)) for number in range(swaps)]


async def driven(course: Course, callers: Callers, requests: int) -> None:
    """Ask and change until both are done."""
    changing = asyncio.create_task(course.run())
    asking = asyncio.create_task(callers.until(lambda: callers.asked >= requests and changing.done()))
    began = time.monotonic()
    while not asking.done():
        await asyncio.wait([asking], timeout=TELL_EVERY_S)
        fates = dict(Counter(answer.fate for answer in callers.answers))
        course.tell(f"{time.monotonic() - began:.0f} s: {callers.asked} asked, {fates}, "
                    f"{len(course.changes)} of {len(course.plan)} changes")  # fmt: skip
    await asking
    await changing


def p99(answers: list[Answer]) -> float | None:
    """Return the 99th percentile in milliseconds."""
    times = [answer.seconds * 1000 for answer in answers]
    return round(statistics.quantiles(times, n=100, method="inclusive")[-1], 1) if len(times) > 1 else None


def times_of(answers: list[Answer]) -> dict[str, Any]:
    """Return how many they are, and how long they took in milliseconds."""
    median = statistics.median([answer.seconds * 1000 for answer in answers]) if answers else None
    return {"requests": len(answers), "p50_ms": median and round(median, 1), "p99_ms": p99(answers)}


def told_apart(answers: list[Answer], course: Course) -> dict[str, Any]:
    """Return the times of whole answers by what went on, and their ratio."""
    whole = [answer for answer in answers if answer.fate == "whole"]
    away = [answer for answer in whole if any(span.holds(answer) for span in course.outages)]
    rest = [answer for answer in whole if not any(span.holds(answer) for span in course.outages)]
    changing = [answer for answer in rest if any(span.holds(answer) for span in course.changes)]
    quiet = [answer for answer in rest if not any(span.holds(answer) for span in course.changes)]
    found = {"quiet": times_of(quiet), "changing": times_of(changing), "live_lost": times_of(away),
             "changing_with_lost": times_of([*changing, *away])}  # fmt: skip
    kinds = sorted({span.what for span in course.changes})
    by_kind = {kind: times_of([answer for answer in changing
                               if any(span.what == kind and span.holds(answer) for span in course.changes)])
               for kind in kinds}  # fmt: skip
    ratio = round(p99(changing) / p99(quiet), 2) if p99(changing) and p99(quiet) else None  # type: ignore[operator]
    return {**found, "by_change": by_kind, "p99_ratio": ratio}


def audited(project: Project, answers: list[Answer]) -> dict[str, Any]:
    """Return what the audit log holds of the requests that were seen: one record each and one answer each."""
    found = verify(audit_folder(project))
    records = [json.loads(line) for path in day_files(audit_folder(project)) for _, line in whole_lines(path)]
    counts = {kind: Counter(one["request_id"] for one in records if one["kind"] == kind)
              for kind in ("request", "answer", "refused")}  # fmt: skip
    begun = {answer.request_id for answer in answers if answer.request_id}
    passed = {name for name in begun if counts["request"][name]}
    return {
        "problems": found["problems"], "records": found["records"],
        "missing": sum(answer.fate == "whole" and answer.request_id not in passed for answer in answers)
        + sum(counts["answer"][name] != 1 for name in passed),
        "double": sum(count > 1 for kind in ("request", "answer") for count in counts[kind].values()),
        "not_seen_by_a_caller": len(set(counts["request"]) - begun),
    }  # fmt: skip


def result(course: Course, answers: list[Answer]) -> dict[str, Any]:
    """Return everything that was found."""
    outside = [answer for answer in answers if answer.fate in ("error", "refused")
               and not any(span.holds(answer) for span in (*course.outages, *course.changes))]  # fmt: skip
    return {
        "requests": len(answers), "streamed": sum(answer.stream for answer in answers),
        "fates": dict(Counter(answer.fate for answer in answers)),
        "codes": dict(Counter(f"{answer.fate} {answer.code}" for answer in answers if answer.fate != "whole")),
        "errors_without_a_kill_or_change": len(outside),
        "swaps": len(course.changes), "ends": course.ends, "killed": course.killed,
        "outage_s": [round(span.ended - span.began, 1) for span in course.outages],
        "versions": len({answer.version for answer in answers if answer.version}),
        "times": told_apart(answers, course), "audit": audited(course.project, answers),
    }  # fmt: skip


def held(found: dict[str, Any], swaps: int, kills: int, concurrency: int) -> list[str]:
    """Return the bars that do not hold, in words."""
    fates, audit = found["fates"], found["audit"]
    broken = [f"{fates[fate]} answers {fate}" for fate in ("cut", "lost") if fates.get(fate)]
    ended = fates.get("error", 0) + fates.get("refused", 0)
    if found["errors_without_a_kill_or_change"] or ended > kills * concurrency:
        broken.append(f"{ended} errors where {kills} kills explain {kills * concurrency}")
    if len(found["ends"]) < swaps or len(found["killed"]) < kills:
        broken.append(f"{len(found['ends'])} of {swaps} changes and {len(found['killed'])} of {kills} kills were made")
    broken += [f"a change failed: {end}" for end in found["ends"] if "failed" in end]
    if audit["problems"] or audit["missing"] or audit["double"]:
        broken.append(f"audit log: {audit}")
    ratio = found["times"]["p99_ratio"]
    return broken + ([f"p99 while changing is {ratio} times the quiet one"] if ratio and ratio > BAR else [])


def small_model(tokenizer: Path, target: Path, width: int) -> Path:
    """Write a Llama of one layer with random weights and the base's tokenizer; return its folder.

    Args:
        width: of its hidden state; a multiple of 64.
    """
    import torch
    from safetensors.torch import save_file

    shutil.copytree(tokenizer, target, ignore=shutil.ignore_patterns("*.safetensors", "manifest.json", "origin.json"))
    config = json.loads((target / "config.json").read_text("utf-8"))
    heads = width // 64
    config |= {"num_hidden_layers": 1, "hidden_size": width, "intermediate_size": 2 * width, "head_dim": 64,
               "num_attention_heads": heads, "num_key_value_heads": heads, "tie_word_embeddings": False}  # fmt: skip
    (target / "config.json").write_text(json.dumps(config), "utf-8")
    dice, layer = torch.Generator().manual_seed(20261129), "model.layers.0"
    shapes = {f"{layer}.self_attn.{name}_proj.weight": (width, width) for name in "qkvo"}
    shapes |= {f"{layer}.mlp.{name}_proj.weight": (2 * width, width) for name in ("gate", "up")}
    shapes |= {f"{layer}.mlp.down_proj.weight": (width, 2 * width)}
    shapes |= dict.fromkeys(("model.embed_tokens.weight", "lm_head.weight"), (config["vocab_size"], width))
    tensors = {name: torch.randn(shape, generator=dice) * 0.05 for name, shape in shapes.items()}
    norms = ("model.norm", f"{layer}.input_layernorm", f"{layer}.post_attention_layernorm")
    tensors |= {f"{name}.weight": torch.ones(width) for name in norms}
    save_file({name: tensor.bfloat16() for name, tensor in tensors.items()}, target / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    return target


#: The fork server, whose forks get one flag more; the last of two equal ones counts.
FORKS = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("fork_server", sys.argv[1])
server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(server)
become = server._become
def with_dtype(request, *others):
    request["arguments"].append("--dtype=DTYPE")
    become(request, *others)
server._become = with_dtype
server.main(sys.argv[2])
"""


def interpreter(folder: Path, dtype: str) -> Path:
    """Write and return a serving interpreter that starts vLLM with another dtype than the settings can name."""
    path, forks = folder / "serving-python", folder / "forks.py"
    forks.write_text(FORKS.replace("DTYPE", dtype))
    path.write_text(f'#!/bin/sh\ncase "$2" in vllm.*) set -- "$@" --dtype={dtype};; esac\n'
                    f'case "$1" in *fork_server.py) set -- "{forks}" "$@";; esac\n'
                    f'exec "{Project(ROOT).serve_python}" "$@"\n')  # fmt: skip
    path.chmod(0o755)
    return path


def prepare(project: Project) -> None:
    """Write the shipped settings but for rate limits, patience, a warm old version, and rollouts that decide soon."""
    (project.root / "dvc.yaml").touch()
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    params["serve"]["gateway"] |= {"requests_per_minute": 10**8, "tokens_per_minute": 10**9}
    # A machine that is asked so much loads slowly, and what waits is to be answered.
    params["serve"]["hold_s"] = 280.0
    params["promote"] |= {"soak_s": 600.0, "rollout": params["promote"]["rollout"] | QUICK}
    (project.root / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), "utf-8")


@contextmanager
def served(given: argparse.Namespace) -> Iterator[tuple[Project, Callable[[int], Deployment]]]:
    """Serve version 1 of the model with the real vLLM in a project of its own."""
    os.environ |= {"TUNEGATE_GATEWAY_PORT": str(given.port), "TUNEGATE_SLOT_PORT": str(given.port + 1)}
    base = materialize(load_settings(ROOT / "params.yaml").base_model, Project(ROOT)).path
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        os.environ["TUNEGATE_ROOT"] = folder
        model = small_model(base, Path(folder) / "model", given.width) if given.width else base
        os.environ["TUNEGATE_SERVE_PYTHON"] = str(interpreter(Path(folder), given.dtype))
        prepare(project)

        def deployment(version: int) -> Deployment:
            """Return a version: all have the same weights."""
            wanted = Deployment(str(version), f"tg-{version}", model, by="benchmark", reason="swaps under load")
            return proven(project, wanted)

        try:
            control.ensure_host(project)
            control.deploy(project, deployment(1), on_progress=lambda line: None)
            yield project, deployment
        finally:
            control.stop_host(project)
            if given.keep:
                shutil.copytree(project.state / "serving", given.keep / "serving", dirs_exist_ok=True,
                                ignore=shutil.ignore_patterns("*.sock"))  # fmt: skip


def table(found: dict[str, Any]) -> str:
    """Return what was found, for people."""
    times = found["times"]
    rows = [f"{name:<22}{row['requests']:>8}{row['p50_ms'] or 0:>10.0f}{row['p99_ms'] or 0:>10.0f}"
            for name, row in {**{name: times[name] for name in ("quiet", "changing", "live_lost")},
                              **times["by_change"]}.items()]  # fmt: skip
    return "\n".join([
        f"{found['requests']} requests, {found['streamed']} streamed: {found['fates']} {found['codes']}",
        f"{found['swaps']} changes, killed: {'; '.join(found['killed']) or 'nobody'}; away {found['outage_s']} s",
        f"audit log: {found['audit']}", "", f"{'':<22}{'requests':>8}{'p50 ms':>10}{'p99 ms':>10}", *rows, "",
        f"p99 while changing: {times['p99_ratio']} times quiet (bar {BAR:g})",
        *(f"does not hold: {one}" for one in found["broken"]),
    ])  # fmt: skip


def stopped(course: Course, callers: Callers, *_: object) -> NoReturn:
    """Say what was found so far, without the audit log, and end."""
    fates = Counter(f"{answer.fate} {answer.code}".strip() for answer in callers.answers)
    print(json.dumps({"stopped": True, "fates": fates, "ends": course.ends, "killed": course.killed,
                      "times": told_apart(callers.answers, course)}), flush=True)  # fmt: skip
    sys.exit(143)


def main() -> int:
    """Serve, ask, change, kill, judge; 1 where a bar does not hold."""
    given = arguments()
    # Stopped from outside, too, it leaves no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with served(given) as (project, deployment):
        key = KeyStore(keys_path(project)).create("benchmark", "caller")
        course = Course(project, deployment, planned(given.swaps, given.kills), given.quiet_s,
                        given.minutes * 60, lambda line: print(line, file=sys.stderr, flush=True))  # fmt: skip
        callers = Callers(project.gateway_url, key, given.concurrency, tuple(given.tokens))
        signal.signal(signal.SIGTERM, partial(stopped, course, callers))
        asyncio.run(driven(course, callers, given.requests))
        control.stop_host(project)
        found = result(course, callers.answers)
    found["broken"] = held(found, given.swaps, given.kills, given.concurrency)
    if given.keep:
        rows = [asdict(answer) for answer in callers.answers]
        spans = {
            "changes": [asdict(span) for span in course.changes],
            "outages": [asdict(one) for one in course.outages],
        }
        (given.keep / "requests.json").write_text(json.dumps({"answers": rows, **spans}), "utf-8")
    used = {name: value for name, value in vars(given).items() if name not in ("port", "keep", "json", "requests")}
    print(json.dumps({"benchmark": "swaps_under_load", **used, "load_average": os.getloadavg()[0], **found})
          if given.json else table(found))  # fmt: skip
    return 1 if found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
