"""What the worker of pool release starts for a run; imported once Prefect's environment is set (release_worker.py)."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.workers import process
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from flows.deployments import PREFECT_FILE
from flows.relay import behind_relay
from flows.scope import scoped
from flows.workers import RELEASE
from tasks.core.errors import ConfigError

#: By this variable a run's process takes its flow from a file here, and asks the server for none.
ENTRYPOINT = "PREFECT__FLOW_ENTRYPOINT"


def own_entrypoints(root: Path) -> dict[str, str]:
    """Return {name of a deployment: entrypoint} of pool release, as this checkout has them."""
    file = yaml.safe_load((root / PREFECT_FILE).read_text(encoding="utf-8"))
    found = {}
    for item in file["deployments"]:
        if item["work_pool"]["name"] == RELEASE:
            path, _, function = item["entrypoint"].partition(":")
            found[scoped(item["name"])] = f"{root / path}:{function}"
    return found


class ReleaseWorker(ProcessWorker):
    """Prefect's process worker, but for what it starts."""

    type = "process"
    root: Path

    async def run(self, flow_run: Any, configuration: ProcessJobConfiguration, task_status: Any = None) -> Any:
        """Run a deployment of this checkout; everything else that the server says of it is put aside.

        Raises:
            ConfigError: this checkout has no such deployment on pool release.
        """
        entrypoint = await self._entrypoint_of(flow_run)
        configuration.command = shlex.join(behind_relay([sys.executable, "-m", "prefect.engine"]))
        configuration._command_configured = True  # else Prefect follows the deployment's pull steps
        configuration.env = {**os.environ, ENTRYPOINT: entrypoint}
        configuration.working_dir = self.root
        result: ProcessWorkerResult = await super().run(flow_run, configuration, task_status)
        return result

    async def _entrypoint_of(self, flow_run: Any) -> str:
        """Return the entrypoint, here, of the deployment that a run is of."""
        known = own_entrypoints(self.root)
        found = await self.client.read_deployment(flow_run.deployment_id) if flow_run.deployment_id else None
        if found is None or found.name not in known:
            name = found.name if found else "a run without a deployment"
            raise ConfigError(f"pool {RELEASE} runs {', '.join(sorted(known))} and not {name!r}", f"see {PREFECT_FILE}")
        return known[found.name]


def use_own_hooks(root: Path) -> None:
    """Have the hooks of a run taken from this checkout, too: Prefect loads them in the worker's own process."""

    async def load(flow_run: Any, **_: Any) -> Any:
        """Return the flow of this checkout that has a run's name of a flow."""
        from prefect.client.orchestration import get_client

        async with get_client() as client:
            deployment = await client.read_deployment(flow_run.deployment_id)
        return load_flow_from_entrypoint(own_entrypoints(root)[deployment.name], use_placeholder_flow=False)

    process.load_flow_from_flow_run = load  # type: ignore[assignment]
