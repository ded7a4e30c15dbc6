"""Start the processes that train together, watch them, and end all of them when one ends badly or this one goes.

What `accelerate launch` does, with three differences: a keeper holds each process, so that none outlives this one
however it dies; their errors come back as what they are; they meet over a file, so that nothing listens for others.
"""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tasks.core.errors import TransientError, recorded_error
from tasks.core.files import read_json, write_json
from tasks.core.keeper import below, held, signal_in, signal_name
from tasks.core.project import Project
from tasks.core.settings import TrainParams
from tasks.core.stop import StopRequest, stops_handled
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
    stop = StopRequest()

    def pass_on(number: int, frame: object) -> None:
        """Have the keepers send SIGTERM: the processes agree on a last step."""
        if stop.note(number):
            _let_go(ranks)

    with stops_handled(pass_on):
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


def _watch(ranks: "Sequence[subprocess.Popen[bytes]]", stop: StopRequest) -> dict[int, int]:
    """Wait until all have ended well or one has not; return the exit codes of those that ended.

    Where a stop was asked for, each ends with its code: they are waited for.
    """
    codes = _ended(ranks)
    while len(codes) < len(ranks) and (stop.number is not None or not any(codes.values())):
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


def _let_go(ranks: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Let the keepers end their processes: SIGTERM, and SIGKILL after the grace time."""
    for process in ranks:
        if process.stdin:
            process.stdin.close()


def _end(ranks: "Sequence[subprocess.Popen[bytes]]") -> None:
    """End what still runs at once, for it waits for one that has gone, and wait until none is left."""
    for process in ranks:
        for child in below(process.pid):
            with suppress(psutil.NoSuchProcess):
                child.kill()
    _let_go(ranks)
    for process in ranks:
        process.wait()


def _error(folder: Path, codes: Mapping[int, int], processes: int, scratch: Path) -> Exception:
    """Return the cause of a bad end: one process said it, or was killed; what the others say then follows from it."""
    said = {rank: read_json(path) for rank in range(processes) if (path := failure_file(folder, rank)).is_file()}
    if refused := next((record for record in said.values() if record["kind"]), None):
        return recorded_error(refused)
    kept = last_complete(scratch)
    onward = f"it goes on after step {step_of(kept)}" if kept else "it starts anew, no checkpoint was written yet"
    for rank, code in codes.items():
        if number := signal_in(code):
            return TransientError(
                f"training process {rank} of {processes} was ended by {signal_name(number)}: all of them are ended",
                f"run the same command again: {onward}. SIGKILL that nobody sent is the kernel's, out of memory: "
                "see dmesg; smaller train.batch_rows or max_length_tokens",
            )
    if not said:
        rank, code = next((rank, code) for rank, code in codes.items() if code)
        return RankFailedError(f"training process {rank} of {processes} ended with code {code}; its words are above")
    rank, record = next(iter(said.items()))
    return RankFailedError(f"training process {rank} of {processes}: {record['message']} ({onward})")
