"""One function over many chunks, on every core, results in the order of the chunks."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any, TypeVar

from tasks.core.errors import ConfigError, TransientError

Item = TypeVar("Item")
Result = TypeVar("Result")

PROCESSES = "TUNEGATE_DATA_PROCESSES"
#: What runs the processes: `local`, this machine's own; `ray`, a Ray cluster's nodes (tasks/data/ray_pool.py).
ENGINE = "TUNEGATE_DATA_ENGINE"
ENGINES = ("local", "ray")
#: Chunks a process may have waiting: enough to keep it busy, few enough to bound the memory.
WAITING = 2

_work: Callable[[Any], Any]


def process_count(total_bytes: int, *, worth_bytes: int = 16 << 20) -> int:
    """Return how many processes to use: one for small data, else a process a core.

    Args:
        total_bytes: size of the work.
        worth_bytes: from this size starting processes pays.

    Raises:
        ConfigError: TUNEGATE_DATA_PROCESSES is no positive number.
    """
    if wanted := os.environ.get(PROCESSES):
        if not wanted.isdecimal() or int(wanted) < 1:
            raise ConfigError(f"{PROCESSES}={wanted!r} is no number of processes", f"unset {PROCESSES}, or set it to 2")
        return int(wanted)
    return len(os.sched_getaffinity(0)) if total_bytes >= worth_bytes else 1


def ordered(
    build: Callable[..., Callable[[Item], Result]], arguments: tuple[Any, ...], items: Iterable[Item], processes: int
) -> Iterator[Result]:
    """Yield `build(*arguments)(item)` for every item, in order; `build` runs once in each process.

    Args:
        build: module-level function or class; what it returns is called with each item.
        arguments: picklable.
        items: read as they are needed, a few ahead.
        processes: 1 runs everything in this process.

    Raises:
        ConfigError: TUNEGATE_DATA_ENGINE is no engine.
        TransientError: a worker process was killed (most often: out of memory), or a node of the cluster was lost.
    """
    engine = os.environ.get(ENGINE) or ENGINES[0]
    if engine not in ENGINES:
        raise ConfigError(f"{ENGINE}={engine!r} is none of {', '.join(ENGINES)}", f"unset {ENGINE}")
    if processes == 1:
        yield from map(build(*arguments), items)
        return
    if engine == "ray":
        from tasks.data.ray_pool import ordered_on_ray

        yield from ordered_on_ray(build, arguments, items, processes)
        return
    # Spawned, not forked: the parent may hold threads of Arrow or of a tokenizer.
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _start, (build, arguments))
    try:
        yield from _in_order(pool, items, WAITING * processes)
    except BrokenProcessPool as error:
        raise TransientError(
            "a worker process was killed: out of memory?", f"free memory or set {PROCESSES}=1, then run it again"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _in_order(pool: ProcessPoolExecutor, items: Iterable[Any], ahead: int) -> Iterator[Any]:
    """Yield results in order while at most `ahead` items are under way."""
    waiting: deque[Future[Any]] = deque()
    for item in items:
        waiting.append(pool.submit(_run, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _start(build: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    """Make a worker process ready."""
    global _work
    _work = build(*arguments)


def _run(item: Any) -> Any:
    """Do one item in a worker process."""
    return _work(item)
