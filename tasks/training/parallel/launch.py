"""Start the processes that train together, watch them, and end all of them when one ends badly or this one goes.

What `accelerate launch` does, with three differences: a keeper holds each process, so that none outlives this one
however it dies; their errors come back as what they are; they meet over a file, so that nothing listens for others.
"""

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tasks.core.errors import TransientError, recorded_error
from tasks.core.files import read_json, write_json
from tasks.core.keeper import held, signal_in
from tasks.core.project import Project
from tasks.core.settings import TrainParams
from tasks.training.checkpoints import last_complete, step_of
from tasks.training.parallel import rank as rank_module
from tasks.training.parallel.rank import JOB, RESULT, failure_file
from tasks.training.parallel.strategies import require_deepspeed

log = logging.getLogger(__name__)

FOLDER = "ranks"
POLL_S = 0.2
#: After the first bad end: the others fail of it, and so may the one that caused it a moment later.
SETTLE_S = 2.0
#: How long the processes may take to end the step under way and write a checkpoint, when they were asked to stop.
GRACE_S = 120.0
#: One stop may arrive twice: from the terminal and from the process above.
SAME_STOP_S = 1.0
STDERR = 2


class RankFailedError(RuntimeError):
    """A process that trains ended by an exception that is not one of ours; its traceback is in the log above."""


def train_together(
    function: str,
    params: TrainParams,
    *,
    scratch: Path,
    paths: Mapping[str, Path],
    lineage_id: str,
    project: Project,
) -> dict[str, Any]:
    """Run a training function in `params.parallel.processes` processes and return what the first one returned.

    Args:
        function: `module:function`; called as `function(params, scratch=..., **paths, lineage_id, project, rank)`.
        params: the train section.
        scratch: outlives a kill; the processes leave their results there.
        paths: further keywords.
        lineage_id: handed on.
        project: handed on.

    Raises:
        MissingToolError: zero3 without DeepSpeed.
        TunegateError: what a process refused, as it was.
        TransientError: a process was ended by a signal.
        RankFailedError: a process failed of something else.
    """
    if params.parallel.strategy == "zero3":
        require_deepspeed()
    folder = scratch / FOLDER
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed: its meeting point must not be used again
    folder.mkdir(parents=True)
    places = {name: str(path.absolute()) for name, path in {"scratch": scratch, **paths}.items()}
    job = {"function": function, "params": params.model_dump(mode="json"), "paths": places}
    write_json(folder / JOB, job | {"lineage_id": lineage_id, "project": str(project.root.absolute())})
    count = params.parallel.processes
    log.info("train: %d processes, %s", count, params.parallel.strategy)
    ranks: list[subprocess.Popen[bytes]] = []
    with _stop_passed_on(ranks) as stop:
        try:
            for rank in range(count):
                ranks.append(_start(folder, rank, count))
            codes = _watch(ranks, stop)
        finally:
            _end(ranks)
    if any(codes.values()):
        raise _error(folder, codes, count, scratch)
    result: dict[str, Any] = read_json(folder / RESULT)
    shutil.rmtree(folder)
    return result


def _start(folder: Path, rank: int, processes: int) -> "subprocess.Popen[bytes]":
    """Start one process under a keeper."""
    return subprocess.Popen(
        held([sys.executable, "-m", rank_module.__name__, str(folder)], GRACE_S),
        stdin=subprocess.PIPE,
        stdout=STDERR,  # stdout belongs to the stage's result
        env=os.environ | rank_environment(rank, processes),
        start_new_session=True,
    )


def rank_environment(rank: int, processes: int) -> dict[str, str]:
    """Return what accelerate, DeepSpeed, gloo and NCCL read: which process it is, and to stay on this machine."""
    threads = max(len(os.sched_getaffinity(0)) // processes, 1)
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "OMP_NUM_THREADS": str(threads),
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }


@contextmanager
def _stop_passed_on(ranks: "Sequence[subprocess.Popen[bytes]]") -> Iterator[threading.Event]:
    """Pass SIGTERM and Ctrl-C on to the processes, which agree on a last step; once more ends this one at once."""
    asked, first_s = threading.Event(), 0.0

    def stop(number: int, frame: object) -> None:
        nonlocal first_s
        if not asked.is_set():
            first_s = time.monotonic()
            asked.set()
            _ask_to_stop(ranks)
        elif time.monotonic() - first_s > SAME_STOP_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    # Only the main thread may take signals.
    numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(ranks: "Sequence[subprocess.Popen[bytes]]", stop: threading.Event) -> dict[int, int]:
    """Wait until all have ended well or one has not; return the exit codes of those that ended.

    Where a stop was asked for, each ends with its code: they are waited for.
    """
    codes = _ended(ranks)
    while len(codes) < len(ranks) and (stop.is_set() or not any(codes.values())):
        time.sleep(POLL_S)
        codes = _ended(ranks)
    deadline = time.monotonic() + SETTLE_S
    while len(codes) < len(ranks) and time.monotonic() < deadline:
        time.sleep(POLL_S)
        codes = _ended(ranks)
    return codes


def _ended(ranks: "Sequence[subprocess.Popen[bytes]]") -> dict[int, int]:
    """Return the exit code of each process that has ended."""
    return {rank: code for rank, process in enumerate(ranks) if (code := process.poll()) is not None}


def _ask_to_stop(ranks: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Have the keepers send SIGTERM."""
    for process in ranks:
        if process.stdin:
            process.stdin.close()


def _end(ranks: "Sequence[subprocess.Popen[bytes]]") -> None:
    """End what still runs at once, for it waits for one that has gone, and wait until none is left."""
    for process in ranks:
        for child in _below(process.pid):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    _ask_to_stop(ranks)
    for process in ranks:
        process.wait()


def _below(pid: int) -> "list[psutil.Process]":
    """Return the processes below a keeper."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _error(folder: Path, codes: Mapping[int, int], processes: int, scratch: Path) -> Exception:
    """Return the cause of a bad end: one process said it, or was killed; what the others say then follows from it."""
    said = {rank: read_json(path) for rank in range(processes) if (path := failure_file(folder, rank)).is_file()}
    if refused := next((record for record in said.values() if record["kind"]), None):
        return recorded_error(refused)
    kept = last_complete(scratch)
    onward = f"it goes on after step {step_of(kept)}" if kept else "it starts anew, no checkpoint was written yet"
    for rank, code in codes.items():
        if number := signal_in(code):
            name = signal.Signals(number).name
            return TransientError(
                f"training process {rank} of {processes} was ended by {name}: all of them are ended",
                f"run the same command again: {onward}. SIGKILL that nobody sent is the kernel's, out of memory: "
                "see dmesg; smaller train.batch_rows or max_length_tokens",
            )
    if not said:
        rank, code = next((rank, code) for rank, code in codes.items() if code)
        return RankFailedError(f"training process {rank} of {processes} ended with code {code}; its words are above")
    rank, record = next(iter(said.items()))
    return RankFailedError(f"training process {rank} of {processes}: {record['message']} ({onward})")
