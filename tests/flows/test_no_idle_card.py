"""Ten queued runs on two cards: none is idle while a stage could run on it, and a release goes before an experiment.

Order, turns and the number of runs at a time are ours, as they are; stages are short waits. The queue of the gpu pool
is a stand-in that gives what is more urgent first, as Prefect's does (`test_on_a_server.py`), to workers that take one
each.
"""

import heapq
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import count, pairwise
from pathlib import Path

import pytest

from flows.deployments import runs_at_once
from flows.order import next_to_begin
from flows.turns import own_turn
from tasks.core.project import Project
from tasks.core.settings import Settings, load_settings
from tasks.stages.table import STAGES, Stage, reads

BODY_S = {"train": 0.5, "quantize": 0.2}
ELSE_S = 0.1
CARDS = 2
#: A turn is looked for every 0.2 s; the rest is what a busy machine takes to wake a thread.
IDLE_S = 1.5
TEN = [(f"实验{number}", "experiment") for number in range(5)] + [(f"发布{number}", "nightly") for number in range(5)]


@dataclass(frozen=True)
class Body:
    """One stage of one run: when it could have begun, began and ended."""

    run: str
    stage: Stage
    ready: float
    began: float
    ended: float


def longest_idle_s(bodies: list[Body], places: int) -> float:
    """Return for how long at most a place was free and a stage for it was ready, in a row."""
    times = sorted({time for body in bodies for time in (body.ready, body.began, body.ended)})
    longest = since = 0.0
    for begin, end in pairwise(times):
        busy = sum(body.began <= begin < body.ended for body in bodies)
        waits = sum(body.ready <= begin < body.began for body in bodies)
        since = since + end - begin if waits and busy < places else 0.0
        longest = max(longest, since)
    return longest


def overtaken_s(bodies: list[Body]) -> float:
    """Return for how long at most a release's stage had been ready when an experiment's began before it."""
    pairs = [(one, other) for one in bodies for other in bodies if one.run < "实" <= other.run]
    return max((other.began - one.ready for one, other in pairs if one.ready < other.began < one.began), default=0.0)


class GpuPool:
    """A queue of stages, the urgent first, then who came first, and workers that take one at a time."""

    def __init__(self, workers: int) -> None:
        self.waiting: list[tuple[bool, int, Future, object]] = []
        self.changed, self.numbers, self.open = threading.Condition(), count(), True
        self.threads = [threading.Thread(target=self._work) for _ in range(workers)]

    def __enter__(self) -> "GpuPool":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.open = False
            self.changed.notify_all()
        for thread in self.threads:
            thread.join()

    def submit(self, work, *, urgent: bool) -> Future:
        future: Future = Future()
        with self.changed:
            heapq.heappush(self.waiting, (not urgent, next(self.numbers), future, work))
            self.changed.notify()
        return future

    def _work(self) -> None:
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting or not self.open)
                if not self.waiting:
                    return
                _, _, future, work = heapq.heappop(self.waiting)
            future.set_result(work())


class Site:
    """A checkout with runs queued in it.

    Args:
        project: whose turns are taken.
        settings: say how many runs of a queue are under way.
    """

    def __init__(self, project: Project, settings: Settings) -> None:
        self.project, self.settings = project, settings
        self.spans: dict[tuple[str, str], tuple[float, float]] = {}
        self.queued = 0.0

    def all_run(self, names: list[tuple[str, str]]) -> None:
        """Have runs queued, (name, queue), and return when all have ended."""
        self.queued = time.monotonic()
        places = {queue: threading.Semaphore(runs_at_once(queue, self.settings)) for _, queue in names}
        with GpuPool(CARDS) as cards, ThreadPoolExecutor(99) as threads:
            runs = [threads.submit(self._run, name, queue, places[queue], cards, threads) for name, queue in names]
            for run in runs:
                run.result()

    def _run(self, name: str, queue: str, place, cards: GpuPool, threads: ThreadPoolExecutor) -> None:
        urgent = queue == "nightly"
        with place:
            waiting, under_way = list(STAGES), {}
            while waiting or under_way:
                if stage := next_to_begin(waiting, list(under_way.values()), CARDS):
                    waiting.remove(stage)
                    future = (cards.submit(lambda stage=stage: self._body(name, stage), urgent=urgent) if stage.gpu
                              else threads.submit(self._in_turn, name, stage, urgent))  # fmt: skip
                    under_way[future] = stage
                    continue
                for ended in wait(under_way, return_when=FIRST_COMPLETED).done:
                    ended.result()
                    del under_way[ended]

    def _in_turn(self, name: str, stage: Stage, urgent: bool) -> None:
        with own_turn(self.project, f"{stage.name} in {name}", urgent=urgent, say=lambda _: None, look=lambda: None):
            self._body(name, stage)

    def _body(self, name: str, stage: Stage) -> None:
        began = time.monotonic()
        time.sleep(BODY_S.get(stage.name, ELSE_S))
        self.spans[name, stage.name] = (began, time.monotonic())

    def bodies(self, *, gpu: bool) -> list[Body]:
        """Return the bodies on the cards, or those on the processor."""
        found = []
        for name in dict.fromkeys(run for run, _ in self.spans):
            for stage in (stage for stage in STAGES if stage.gpu is gpu):
                ready = max([self.queued, *(self.spans[name, read.name][1] for read in reads(stage))])
                found.append(Body(name, stage, ready, *self.spans[name, stage.name]))
        return found


@pytest.fixture
def site(tmp_path):
    """Return a checkout by how many cards its settings name."""

    def make(gpus: int) -> Site:
        settings = load_settings(Path(__file__).parents[2] / "params.yaml")
        hardware = settings.hardware.model_copy(update={"gpus": gpus})
        return Site(Project(tmp_path), settings.model_copy(update={"hardware": hardware}))

    return make


@pytest.mark.slow
def test_ten_runs_leave_no_card_idle_and_a_release_goes_first(site):
    found = site(gpus=CARDS)
    found.all_run(TEN)
    on_cards, on_processor = found.bodies(gpu=True), found.bodies(gpu=False)
    assert len(on_cards) + len(on_processor) == len(TEN) * len(STAGES)
    assert longest_idle_s(on_cards, CARDS) < IDLE_S
    assert longest_idle_s(on_processor, 1) < IDLE_S
    assert max(overtaken_s(on_cards), overtaken_s(on_processor)) < IDLE_S
    # One at a time on the processor, one a card: planted, were there one more of either.
    assert longest_idle_s(on_processor, 2) > IDLE_S
    assert longest_idle_s(on_cards, CARDS + 1) > IDLE_S


@pytest.mark.slow
def test_runs_one_at_a_time_are_seen_to_leave_the_processor_idle(site, monkeypatch):
    """Planted: a queue that takes one run at a time, as without cards; what the next could prepare is not prepared."""
    monkeypatch.setitem(BODY_S, "train", 2 * IDLE_S)
    found = site(gpus=0)
    found.all_run(TEN[-2:])
    assert longest_idle_s(found.bodies(gpu=False), 1) > IDLE_S


@pytest.mark.parametrize(
    ("spans", "places", "idle"),
    [([(0, 0, 5), (0, 5, 9)], 1, 0.0), ([(0, 0, 5), (0, 7, 9)], 1, 2.0), ([(0, 0, 5), (0, 5, 9)], 2, 5.0),
     ([(0, 0, 5), (6, 6, 9)], 1, 0.0), ([(0, 0, 5), (6, 6.5, 9)], 1, 0.5)],
)  # fmt: skip
def test_what_idle_means(spans, places, idle):
    assert longest_idle_s([Body("发布", STAGES[0], *span) for span in spans], places) == idle


def test_what_overtaking_means():
    first, later = Body("实验1", STAGES[1], 0, 4, 5), Body("发布1", STAGES[1], 1, 5, 6)
    assert overtaken_s([first, later]) == 3
    assert overtaken_s([later, Body("实验1", STAGES[1], 0, 6, 7)]) == 0
