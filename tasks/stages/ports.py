"""A port of its own for each evaluation of a machine: two of one run, or of two runs, may be under way."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.core.gpu_leases import leased
from tasks.core.project import Project
from tasks.stages.table import Stage

VARIABLE = "TUNEGATE_EVALUATION_PORT"
#: The ports beside the first are the slots' and the embedding model's.
STEP = 10
MOST = 20
PORTS = 65536


@contextmanager
def evaluation_port(stage: Stage, project: Project) -> Iterator[None]:
    """Let an evaluation have the project's port for it, or one above where another evaluation has that; then as before.

    What else listens there is refused, as ever.

    Args:
        stage: one that is no evaluation needs none.
        project: names the first port.
    """
    if stage.key != "evaluate":
        yield
        return
    first, before = project.evaluation_port, os.environ.get(VARIABLE)
    ports = [port for port in range(first, first + STEP * MOST, STEP) if port < PORTS]
    called = {f"port-{port}": f"port {port}" for port in ports}
    with leased(called, 1, 1, f"{stage.name} in {project.root.name}") as (taken,):
        os.environ[VARIABLE] = taken.removeprefix("port-")
        try:
            yield
        finally:
            os.environ.pop(VARIABLE)
            os.environ.update({} if before is None else {VARIABLE: before})
