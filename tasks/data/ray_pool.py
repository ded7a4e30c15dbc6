"""The chunks of `tasks.data.pool.ordered` on the nodes of a Ray cluster, by Ray Data: same results, same order.

Ray is no dependency of the project. Every node has this checkout at the same path on storage that all of them see: the
first pass writes texts beside the results (the spool), and the second reads them here.
"""

import importlib.util
import logging
import os
import pickle
import secrets
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from tasks.core.errors import MissingToolError, TransientError, TunegateError

#: Where a cluster is, in Ray's own variable; unset starts Ray on this machine for the time of the stage.
ADDRESS = "RAY_ADDRESS"
INSTALL = 'uv pip install --python .venv/bin/python "ray[data]==2.60.0", on every node'
#: Chunks that are in Ray's memory at once, some hundred KiB each; actors are started anew for each window.
WINDOW = 1024
OBJECT_STORE_BYTES = 512 << 20
#: A lost node's work is done again; Ray would do so without end where an item itself kills its actor.
TRIED_AGAIN = {"max_restarts": 1, "max_task_retries": 1}


def ordered_on_ray(
    build: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...], items: Iterable[Any], processes: int
) -> Iterator[Any]:
    """Yield `build(*arguments)(item)` for every item, in order; `build` runs once in each actor.

    Args:
        build: module-level function or class; what it returns is called with each item.
        arguments: picklable.
        items: read as they are needed, `WINDOW` ahead.
        processes: actors, over all nodes.

    Raises:
        MissingToolError: Ray is not installed.
        TransientError: the cluster, a node or an actor was lost.
        TunegateError: what an item was refused with.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingToolError("TUNEGATE_DATA_ENGINE is ray, and Ray is not installed", INSTALL)
    with _running(processes) as ray:
        try:
            for window in _windows(iter(items)):
                yield from map(_opened, _window(ray, (build, arguments), window, processes))
        except ray.exceptions.RayError as error:
            hint = "look at ray status; then run the same command again"
            raise TransientError(f"Ray lost a part of the work: {_first_line(error)}", hint) from error


class Worker:
    """What an actor holds: a batch of one numbered, pickled item in, its result out, pickled too."""

    def __init__(self, build: Callable[..., Callable[[Any], Any]], arguments: tuple[Any, ...]) -> None:
        self._work = build(*arguments)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Do the items of a batch; a refusal is a result, which keeps its kind."""
        return {"number": batch["number"], "result": [self._done(item) for item in batch["item"]]}

    def _done(self, item: bytes) -> bytes:
        """Do one item."""
        try:
            return pickle.dumps((self._work(pickle.loads(item)), None))
        except TunegateError as error:
            return pickle.dumps((None, (type(error), error.message, error.hint)))


def _windows(items: Iterator[Any]) -> Iterator[list[Any]]:
    """Yield the items, as many at once as Ray may hold."""
    while window := list(islice(items, WINDOW)):
        yield window


def _window(ray: Any, how: tuple[Any, ...], items: list[Any], processes: int) -> list[bytes]:
    """Return the results of some items, in their order."""
    rows = [{"number": number, "item": pickle.dumps(item)} for number, item in enumerate(items)]
    actors = ray.data.ActorPoolStrategy(size=min(processes, len(items)))
    blocks = ray.data.from_items(rows, override_num_blocks=len(rows))
    done = blocks.map_batches(Worker, fn_constructor_args=how, batch_size=1, compute=actors, num_cpus=1, **TRIED_AGAIN)
    found = sorted(done.iter_rows(), key=lambda row: int(row["number"]))
    return [row["result"] for row in found]


def _opened(result: bytes) -> Any:
    """Return a result, or raise what its item was refused with."""
    value, refused = pickle.loads(result)
    if refused:
        kind, message, hint = refused
        raise kind(message, hint)
    return value


@contextmanager
def _running(processes: int) -> Iterator[Any]:
    """Connect to the cluster, or start Ray on this machine's loopback; end what was started."""
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    with tempfile.TemporaryDirectory(prefix="tunegate-ray-", ignore_cleanup_errors=True) as folder:
        if os.environ.get(ADDRESS):
            where: dict[str, Any] = {"address": os.environ[ADDRESS]}
        else:
            # A token and a folder of this run's own: Ray would leave both behind, the token in the user's home. It
            # keeps the first token that a process had.
            quiet |= {"RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN") or secrets.token_hex(32), "RAY_TMPDIR": folder}
            where = {"num_cpus": processes, "include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES,
                     "_node_ip_address": "127.0.0.1"}  # fmt: skip
        os.environ.update(quiet)
        import ray
        import ray.data
        import ray.exceptions

        # Actors find our modules as this process does.
        modules = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **quiet}
        # Its own lines about each window tell a user nothing.
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        ray.init(runtime_env={"env_vars": modules}, log_to_driver=False, logging_level="WARNING", **where)
        try:
            yield ray
        finally:
            ray.shutdown()


def _first_line(error: Exception) -> str:
    """Return what an error says first; Ray's own go on for pages."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
