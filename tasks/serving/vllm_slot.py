"""vLLM in a slot: which port, which cards, which log."""

import os
from collections.abc import Callable

from tasks.core.errors import ConfigError
from tasks.core.gpus import SLOT_GPUS_VARIABLE, slot_groups
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.engine.deployment import Deployment
from tasks.engine.server import VllmServer
from tasks.serving.paths import serving_folder
from tasks.serving.slot import Server

SLOT_PORT_VARIABLE = "TUNEGATE_SLOT_PORT"


def start_vllm(
    project: Project, settings: Settings, slot: str, deployment: Deployment, on_progress: Callable[[str], None]
) -> Server:
    """Start vLLM in a slot; its log is `.tunegate/serving/<slot>.log`.

    Raises:
        DataContractError: the model folder could execute something.
        MissingToolError: no serving environment, no compiler, or the slot's port is taken.
    """
    server = VllmServer(project.serve_python, on_progress=on_progress)
    server.start(
        deployment.model,
        project.slot_ports[slot],
        settings.serve.vllm,
        deployment.lineage_id,
        serving_folder(project) / f"{slot}.log",
        flags=deployment.abilities.flags(),
        port_variable=SLOT_PORT_VARIABLE,
        gpus=slot_gpus(slot, list(project.slot_ports), shared=settings.serve.swap == "hold"),
    )
    return server


def slot_gpus(slot: str, slots: list[str], *, shared: bool = False) -> str | None:
    """Return the GPUs of a slot from $TUNEGATE_SLOT_GPUS, or None where it is not set.

    Args:
        shared: whether one group is every slot's, one after the other (`serve.swap: hold`).

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
