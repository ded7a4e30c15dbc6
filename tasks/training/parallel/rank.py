"""One of the processes that train together: launch.py starts it, with the variables that torchrun sets."""

import logging
import os
import sys
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks.core.errors import MissingToolError, TunegateError, error_record
from tasks.core.files import read_json, write_json
from tasks.core.logs import setup_logging
from tasks.core.project import Project
from tasks.core.settings import TrainParams

JOB, RESULT, STORE = "job.json", "result.json", "store"
#: How long a process waits for the others: the first loading of a large base takes minutes, and not the same for all.
TIMEOUT = timedelta(minutes=30)


def main(folder: Path) -> int:
    """Do this process's part of the job in `folder`; what went wrong is left there for the one that watches.

    Returns:
        The exit code of our errors; any other exception keeps its traceback.
    """
    rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    setup_logging()
    if rank:
        logging.getLogger().setLevel(logging.WARNING)  # the first one speaks for all
    try:
        summary = _work(read_json(folder / JOB), folder, rank, processes)
    except TunegateError as error:
        write_json(failure_file(folder, rank), error_record(error))
        return error.exit_code
    except BaseException as error:
        write_json(failure_file(folder, rank), {"kind": "", "message": f"{type(error).__name__}: {error}", "hint": ""})
        raise
    if rank == 0:
        write_json(folder / RESULT, summary)
    return 0


def failure_file(folder: Path, rank: int) -> Path:
    """Return where a process says why it failed."""
    return folder / f"failure-{rank}.json"


def _work(job: dict[str, Any], folder: Path, rank: int, processes: int) -> dict[str, Any]:
    """Meet the others, train, part."""
    import torch

    params = TrainParams.model_validate(job["params"])
    _join(folder / STORE, rank, processes, params.parallel.strategy)
    module, _, name = job["function"].partition(":")
    paths = {key: Path(value) for key, value in job["paths"].items()}
    summary: dict[str, Any] = getattr(import_module(module), name)(
        params, **paths, lineage_id=job["lineage_id"], project=Project(Path(job["project"])), rank=rank
    )
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    return summary


def _join(store: Path, rank: int, processes: int, strategy: str) -> None:
    """Meet the other processes over a file: no port is opened for it.

    Raises:
        MissingToolError: there are GPUs, but not one for each process.
    """
    import torch

    cuda = torch.cuda.is_available()
    if cuda and torch.cuda.device_count() < processes:
        raise MissingToolError(
            f"train.parallel.processes is {processes}, and this process sees {torch.cuda.device_count()} GPU(s)",
            "lower train.parallel.processes, or name more in TUNEGATE_WORK_GPUS",
        )
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group(
        # Checkpoints gather states in memory, over gloo.
        "cuda:nccl,cpu:gloo" if cuda else "gloo",
        init_method=store.absolute().as_uri(),
        rank=rank,
        world_size=processes,
        timeout=TIMEOUT,
    )
    if strategy == "zero3":
        import deepspeed

        deepspeed.init_distributed(auto_mpi_discovery=False)  # it takes the group that is there


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
