"""Which stage of a run begins next, and how many that need a GPU work at the same time.

Where there is one card or none, stages run one after another in the table's order: two on two cores, or on one card,
would hold each other up. Where there are cards for several, each begins when what it reads is made.
"""

from collections.abc import Collection, Sequence
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import WorkerStatus
from prefect.exceptions import ObjectNotFound

from flows.scope import scoped_deployment
from tasks.core.errors import TunegateError
from tasks.core.gpus import choose_work_gpus, find_gpus
from tasks.core.settings import Settings
from tasks.stages.runner import work_gpus
from tasks.stages.table import STAGES, Stage, reads

#: The type of a pool whose workers are ours, one run each. Another kind (Kubernetes) takes as many as its cluster does.
OURS = "process"


def next_to_begin(waiting: Sequence[Stage], under_way: Collection[Stage], places: int) -> Stage | None:
    """Return the stage that begins next; None while one that is under way must end first.

    Args:
        waiting: stages that have not begun, in the table's order.
        under_way: stages that have begun and not ended.
        places: how many that need a GPU may work at the same time; with one, no two stages do.
    """
    if places < 2:
        return waiting[0] if waiting and not under_way else None
    unmade = {stage.name for stage in (*waiting, *under_way)}
    full = sum(stage.gpu for stage in under_way) >= places
    for stage in waiting:
        if not (stage.gpu and full) and not any(read.name in unmade for read in reads(stage)):
            return stage
    return None


def gpu_places(settings: Settings, gpu_deployment: str | None) -> int:
    """Return how many stages that need a GPU a run may have under way; at least one.

    Args:
        settings: of the run.
        gpu_deployment: deployment that runs them; None where they run on this machine.
    """
    return max(1, workers_of(gpu_deployment) if gpu_deployment else places_here(settings))


def places_here(settings: Settings) -> int:
    """Return for how many stages at a time this machine has cards; 0 where it has none, or too few for one.

    Each is given as many as the stage that needs most: which two meet is not known.
    """
    gpus = find_gpus()
    least = max(work_gpus(stage, settings)[0] for stage in STAGES if stage.gpu)
    try:
        return len(choose_work_gpus(gpus, least, len(gpus))) // least if gpus else 0
    except TunegateError:
        # The stage says so, in its own words.
        return 0


def workers_of(deployment: str) -> int:
    """Return how many runs of a deployment work at the same time: a worker of ours takes one, its queue a number."""
    with get_client(sync_client=True) as client:
        try:
            found = client.read_deployment_by_name(scoped_deployment(deployment))
            pool: Any = client.read_work_pool(str(found.work_pool_name))
            queue = client.read_work_queue_by_name(str(found.work_queue_name), work_pool_name=pool.name)
        except ObjectNotFound:
            # The stage says so, in its own words.
            return 0
        most = len(STAGES) if queue.concurrency_limit is None else queue.concurrency_limit
        if pool.type != OURS:
            return most
        workers = client.read_workers_for_work_pool(pool.name)
    return min(most, sum(worker.status == WorkerStatus.ONLINE for worker in workers))
