"""vLLM in a slot: which port, which cards, which log."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress

from tasks.core.errors import ConfigError, MissingToolError
from tasks.core.gpus import SLOT_GPUS_VARIABLE, slot_groups
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.engine.deployment import Deployment
from tasks.engine.preloaded import forked_servers
from tasks.engine.server import SPARE_CORES, VllmServer
from tasks.engine.sleeping import FLAG, VARIABLES, SleepingServer, require_sleep
from tasks.serving.paths import serving_folder
from tasks.serving.slot import Server
from tasks.serving.upstream.addresses import upstreams

SLOT_PORT_VARIABLE = "TUNEGATE_SLOT_PORT"


def start_vllm(
    project: Project,
    settings: Settings,
    slot: str,
    deployment: Deployment,
    on_progress: Callable[[str], None],
    *,
    beside: Callable[[], bool] = lambda: False,
) -> Server:
    """Start vLLM in a slot; its log is `.tunegate/serving/<slot>.log`.

    Args:
        beside: tells whether another slot answers meanwhile.

    Raises:
        DataContractError: the model folder could execute something.
        ConfigError: it is to sleep and is no CUDA build.
        MissingToolError: no serving environment, no compiler, or the slot's port is taken.
    """
    sleeps = settings.serve.swap == "sleep"
    if sleeps:
        require_sleep(project.serve_python)
    server = (SleepingServer if sleeps else VllmServer)(project.serve_python, on_progress=on_progress)
    server.start(
        deployment.model,
        project.slot_ports[slot],
        settings.serve.vllm,
        deployment.lineage_id,
        serving_folder(project) / f"{slot}.log",
        flags=[*deployment.abilities.flags(), *([FLAG] if sleeps else [])],
        port_variable=SLOT_PORT_VARIABLE,
        variables=VARIABLES if sleeps else None,
        gpus=slot_gpus(slot, list(project.slot_ports), shared=settings.serve.one_at_a_time),
        beside=beside(),
    )
    return server


@contextmanager
def forked_slots(project: Project, settings: Settings) -> Iterator[None]:
    """Keep a process that has imported vLLM, for slots to be forked from: a new or a lost version is up much sooner.

    A CUDA build starts its slots itself, and so do slots where there is no serving environment, who say so.
    """
    log_path = serving_folder(project) / "fork-server.log"
    with ExitStack() as stack:
        if not upstreams():
            with suppress(MissingToolError):
                stack.enter_context(forked_servers(project.serve_python, settings.serve.vllm, log_path, SPARE_CORES))
        yield


def slot_gpus(slot: str, slots: list[str], *, shared: bool = False) -> str | None:
    """Return the GPUs of a slot from $TUNEGATE_SLOT_GPUS, or None where it is not set.

    Args:
        shared: whether one group is every slot's, one after the other (`serve.swap: hold` or `sleep`).

    Raises:
        ConfigError: it does not name as many groups as there are slots.
    """
    groups = slot_groups()
    if not groups:
        return None
    if shared and len(groups) == 1:
        return ",".join(groups[0])
    if len(groups) != len(slots):
        raise ConfigError(f"{SLOT_GPUS_VARIABLE}={os.environ[SLOT_GPUS_VARIABLE]!r} must name {len(slots)} groups",
                          f"export {SLOT_GPUS_VARIABLE}='0|1'")  # fmt: skip
    return ",".join(groups[slots.index(slot)])
