"""infra/prefect.yaml and the schedule of params.yaml on a Prefect server: what changed is deployed, the rest stays.

The server is where a person pauses a schedule. So what a file said last is kept with the deployment (its `version`),
and a schedule is written again only when params.yaml says something new.
"""

import logging
from importlib import import_module
from typing import Any

import yaml

from flows.scope import owner, require_ours, scoped, scoped_parameters
from tasks.core.digest import sha256_json
from tasks.core.errors import ConfigError
from tasks.core.params.orchestration import ScheduleParams
from tasks.core.project import Project
from tasks.core.settings import Settings

log = logging.getLogger(__name__)

PREFECT_FILE = "infra/prefect.yaml"
#: A second run of a deployment waits for the first, where nothing else is said here.
RUNS_AT_ONCE = 1
#: Where there are cards. A pipeline has a folder of its own, and waits most of the time for a card or its turn
#: (flows/turns.py): were it alone, the cards would wait for it. A worker of the gpu pool takes one run at a time.
RUNS_WITH_CARDS: dict[str, int | None] = {"nightly": 10, "experiment": 10, "gpu": None, "later": None}
DIGEST_CHARACTERS = 12


def deploy(project: Project, settings: Settings, *, take_over: bool = False) -> list[Any]:
    """Have a deployment for each entry of infra/prefect.yaml and return their ids; its work pools must be there.

    Args:
        project: this checkout.
        settings: when they run by themselves.
        take_over: make another project's deployments of these names this one's.

    Raises:
        ConfigError: the server has one of these names for another project; nothing was written.
        httpx.HTTPError: the server does not answer, or refuses.
    """
    from prefect.client.orchestration import get_client

    file = yaml.safe_load((project.root / PREFECT_FILE).read_text(encoding="utf-8"))
    ours = owner(project)
    with get_client(sync_client=True) as client:
        known = [_read(client, _name(item)) for item in file["deployments"]]
        for item, one in zip(file["deployments"], known, strict=True):
            if not take_over:
                require_ours(one, _name(item), ours)
        for item in file["deployments"]:
            _ensure_queue(client, scoped(item["work_pool"]["name"]), item["name"], runs_at_once(item["name"], settings))
        return [_deploy(client, item, one, file["pull"], settings.schedule, ours)
                for item, one in zip(file["deployments"], known, strict=True)]  # fmt: skip


def no_deployment(name: str) -> ConfigError:
    """Return the error for a deployment that the server does not have."""
    return ConfigError(f"no deployment is called {name!r}", f"make workers deploys {PREFECT_FILE}")


def _deploy(
    client: Any, item: dict[str, Any], known: Any, pull: list[dict[str, Any]], schedule: ScheduleParams, ours: str
) -> Any:
    """Write one deployment where it is not on the server (`known`) as the files say, and return its id."""
    from prefect.client.schemas.actions import DeploymentUpdate

    flow, name = _flow(item), scoped(item["name"])
    wanted, times = _definition(flow, item, pull) | {"tags": [ours]}, _times(schedule, item["name"])
    version = ".".join(sha256_json(value)[:DIGEST_CHARACTERS] for value in (wanted, times))
    if known and known.version == version:
        return known.id
    before = (known.version or "" if known else "").partition(".")[2]
    found = _write(client, client.create_flow(flow), name, known, wanted)
    if times and before != version.partition(".")[2]:
        _write_schedule(client, found, times, ours=bool(before) or known is None)
    # Last: what is cut short is written again.
    client.update_deployment(found, DeploymentUpdate(version=version))
    log.info("deployed %s", _name(item))
    return found


def _name(item: dict[str, Any]) -> str:
    """Return `flow/name` of an entry on the server."""
    return f"{_flow(item).name}/{scoped(item['name'])}"


def _flow(item: dict[str, Any]) -> Any:
    """Return the flow of an entry of infra/prefect.yaml."""
    path, _, name = item["entrypoint"].partition(":")
    return getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)


def _definition(flow: Any, item: dict[str, Any], pull: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is written of a deployment, but for its schedule."""
    from prefect.utilities.callables import parameter_schema

    return {
        "description": item["description"],
        "entrypoint": item["entrypoint"],
        "parameters": scoped_parameters(item.get("parameters", {})),
        "parameter_openapi_schema": parameter_schema(flow).model_dump_for_openapi(),
        "pull_steps": pull,
        "work_pool_name": scoped(item["work_pool"]["name"]),
        "work_queue_name": item["name"],
        "enforce_parameter_schema": True,
        # Releases before the queues had one, with leases.
        "concurrency_limit": None,
    }


def _times(schedule: ScheduleParams, name: str) -> dict[str, Any]:
    """Return when a deployment runs by itself, nothing for never."""
    found = getattr(schedule, name, None)
    return {"slug": name, "timezone": schedule.timezone, **found.model_dump()} if found else {}


def _read(client: Any, name: str) -> Any:
    """Return a deployment, None where the server has none of this name."""
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        return None


def _write(client: Any, flow_id: Any, name: str, known: Any, values: dict[str, Any]) -> Any:
    """Create a deployment, or change one and leave its schedules and a person's pause as they are; return its id."""
    from prefect.client.schemas.actions import DeploymentUpdate

    if known is None:
        return client.create_deployment(flow_id=flow_id, name=name, **values)
    client.update_deployment(known.id, DeploymentUpdate(**values))
    return known.id


def _write_schedule(client: Any, deployment_id: Any, times: dict[str, Any], ours: bool) -> None:
    """Give a deployment the schedule that params.yaml has now.

    Args:
        times: slug, cron, timezone, active.
        ours: what stands there was written from params.yaml; else a pause in it is a person's, and is kept.
    """
    from prefect.client.schemas.actions import DeploymentScheduleCreate
    from prefect.client.schemas.schedules import CronSchedule

    known = client.read_deployment_schedules(deployment_id)
    paused = not ours and any(not schedule.active for schedule in known)
    for schedule in known:
        client.delete_deployment_schedule(deployment_id, schedule.id)
    cron = CronSchedule(cron=times["cron"], timezone=times["timezone"])
    active = times["active"] and not paused
    new = DeploymentScheduleCreate(schedule=cron, active=active, slug=times["slug"])
    client.create_deployment_schedules(deployment_id, [new])
    said = "active" if active else "not active"
    log.info("schedule %s: %s %s, %s", times["slug"], times["cron"], times["timezone"], said)


def runs_at_once(queue: str, settings: Settings) -> int | None:
    """Return how many runs of a queue may be under way, None for any number."""
    return RUNS_WITH_CARDS.get(queue, RUNS_AT_ONCE) if settings.hardware.gpus else RUNS_AT_ONCE


def _ensure_queue(client: Any, pool: str, name: str, limit: int | None) -> None:
    """Have a queue that takes so many runs at a time; a limit that a person has set since stays.

    What was written there last stands in its description; releases before that wrote `RUNS_AT_ONCE`.
    """
    from prefect.exceptions import ObjectNotFound

    said = f"{'any number of' if limit is None else limit} runs at a time (flows/deployments.py)"
    try:
        queue = client.read_work_queue_by_name(name, work_pool_name=pool)
    except ObjectNotFound:
        client.create_work_queue(name=name, description=said, concurrency_limit=limit, work_pool_name=pool)
        return
    ours = queue.concurrency_limit in (None, RUNS_AT_ONCE, *RUNS_WITH_CARDS.values())
    if queue.description != said:
        client.update_work_queue(queue.id, description=said, **({"concurrency_limit": limit} if ours else {}))
    elif queue.concurrency_limit is None and limit is not None:
        client.update_work_queue(queue.id, concurrency_limit=limit)
