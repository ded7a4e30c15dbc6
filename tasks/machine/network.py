"""What the profile needs to reach: free ports, named services, and the hub of a model that is not here yet."""

import os
import urllib.error
import urllib.request
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from urllib.parse import urlsplit

from tasks.core.errors import MissingToolError, TransientError
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.engine.server import require_free_port
from tasks.machine.check import Check
from tasks.models.base import hub_folder
from tasks.serving.control import host_status
from tasks.serving.upstream.addresses import upstreams

ANSWER_TIMEOUT_S = 2.0
#: Environment variable -> (what it names, path that answers when the service is well, what happens without it).
SERVICES = {
    "PREFECT_API_URL": (
        "Prefect server",
        "/health",
        "make prefect-ui where it runs, else a temporary one",
    ),
    "MLFLOW_TRACKING_URI": ("MLflow server", "/health", "sqlite in .tunegate"),
}
HUBS = {
    "huggingface": ("HF_ENDPOINT", "https://huggingface.co"),
    "modelscope": ("MODELSCOPE_DOMAIN", "https://modelscope.cn"),
}


def check_ports(project: Project) -> list[Check]:
    """Check that the ports of gateway, slots and evaluation are free, or held by this project's own gateway."""
    try:
        host = host_status(project)
    except TransientError as error:
        return [Check("gateway", "failed", error.message, "an answer", error.hint)]
    holder = f"this project's gateway, process {host['host_pid']}" if host else None
    slots = {} if upstreams() else project.slot_ports
    return [
        _port("gateway", project.gateway_port, "TUNEGATE_GATEWAY_PORT", holder),
        *(_port(f"slot {name}", port, "TUNEGATE_SLOT_PORT", holder) for name, port in slots.items()),
        _port("evaluation", project.evaluation_port, "TUNEGATE_EVALUATION_PORT", None),
    ]


def _port(name: str, port: int, variable: str, holder: str | None) -> Check:
    """Check one loopback port."""
    title, needed = f"port {port}", f"free for {name} ({variable})"
    try:
        require_free_port(port, variable)
    except MissingToolError as error:
        if holder:
            return Check(title, "ok", f"held by {holder}", needed)
        return Check(title, "failed", "in use by another process", needed, error.hint)
    return Check(title, "ok", "free", needed)


def check_services(settings: Settings, project: Project) -> list[Check]:
    """Check what has to be reached over the network, all at once."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        services = [pool.submit(_service, variable) for variable in SERVICES]
        hubs = [pool.submit(_hub, source, what) for source, what in missing_from_hubs(settings, project).items()]
        return [*(future.result() for future in services), base_model(settings, project),
                *(future.result() for future in hubs)]  # fmt: skip


def _service(variable: str) -> Check:
    """Check one service whose address the environment may give."""
    name, path, without = SERVICES[variable]
    url = os.environ.get(variable, "")
    if not url.startswith(("http://", "https://")):
        return Check(name, "ok", f"{variable} is {_bare(url) if url else 'not set'}", f"nothing: {without}")
    status = answer_of(url.rstrip("/") + path)
    shown, needed = _bare(url), f"an answer ({variable})"
    if isinstance(status, str):
        return Check(name, "failed", f"{shown}: {status}", needed, f"start it, or unset {variable}")
    if status in (401, 403):
        return Check(name, "warning", f"{shown} answers {status}", needed, "set its credentials in the environment")
    if status >= 400:
        return Check(name, "failed", f"{shown} answers {status}", needed, f"look at its log, or correct {variable}")
    return Check(name, "ok", f"{shown} answers", needed)


def base_folder(settings: Settings, project: Project) -> Path | None:
    """Return the folder of the base model where it is on this machine already, complete or not, else None."""
    params, cache = settings.base_model, project.state / "models"
    if params.source == "packaged":
        found: Iterable[Path] = sorted(cache.glob(f"{params.id}-*"))
    elif params.source == "local":
        found = [project.root / params.id]
    else:
        found = [hub_folder(params, cache)]
    return next((folder for folder in found if (folder / "config.json").is_file()), None)


def base_model(settings: Settings, project: Project) -> Check:
    """Check that the base model is here or where it comes from."""
    params, name, needed = settings.base_model, "base model", f"{settings.base_model.id} ({settings.base_model.source})"
    if folder := base_folder(settings, project):
        return Check(name, "ok", f"in {_from(folder, project)}", needed)
    if params.source == "local":
        return Check(name, "failed", f"no model in {params.id}", needed, "correct base_model.id in params.yaml")
    if params.source == "packaged":
        try:
            return Check(name, "ok", f"package {params.id} {metadata.version(params.id)}, converted once", needed)
        except metadata.PackageNotFoundError:
            return Check(name, "failed", f"package {params.id} is not installed", needed, "make setup")
    gib = settings.hardware.parameters_billion * 2e9 / (1 << 30)
    return Check(name, "ok", f"not here yet: about {gib:.0f} GiB are fetched once", needed)


def base_pin(settings: Settings) -> list[Check]:
    """Check that settings say which bytes of a hub's model are meant: a hub's newest may be another tomorrow."""
    params = settings.base_model
    if params.source not in HUBS:
        return []
    name, needed = "base model pin", "base_model.revision and base_model.digest"
    if params.revision is None:
        command = f"git ls-remote {_bare(_hub_url(params.source))}/{params.id} HEAD"
        todo = f"{command}; in params.yaml under base_model: revision: <the commit it prints>"
        return [Check(name, "warning", "revision: null takes the newest", needed, todo)]
    if params.digest is None:
        todo = "tunegate stage prepare logs it; then in params.yaml under base_model: digest: <what it logged>"
        return [Check(name, "warning", f"revision {params.revision}, digest: null", needed, todo)]
    return [Check(name, "ok", f"revision {params.revision}, digest {params.digest}", needed)]


def missing_from_hubs(settings: Settings, project: Project) -> dict[str, list[str]]:
    """Return what is still to be fetched, by hub."""
    wanted: dict[str, list[str]] = {}
    if settings.base_model.source in HUBS and base_folder(settings, project) is None:
        wanted.setdefault(settings.base_model.source, []).append(settings.base_model.id)
    for exam in settings.evaluate.exams:
        if exam.source in HUBS and not _exam_folder(exam.source, exam.path, project).is_dir():
            wanted.setdefault(exam.source, []).append(f"{exam.name} ({exam.path})")
    return wanted


def _exam_folder(source: str, repository: str, project: Project) -> Path:
    """Return where an unpacked exam is kept."""
    return project.state / "datasets" / source / repository.replace("/", "--")


def _hub_url(source: str) -> str:
    """Return the address of a hub, without a slash at its end."""
    variable, default = HUBS[source]
    url = (os.environ.get(variable) or default).rstrip("/")
    return url if "://" in url else f"https://{url}"


def _hub(source: str, what: list[str]) -> Check:
    """Check that a hub can be reached."""
    variable, url = HUBS[source][0], _hub_url(source)
    status, needed = answer_of(url), f"to fetch {', '.join(what)}"
    if isinstance(status, str) or status >= 500:
        found = f"{_bare(url)}: {status if isinstance(status, str) else f'answers {status}'}"
        other = "modelscope" if source == "huggingface" else "huggingface"
        todo = f"check the network (HTTPS_PROXY, {variable}), or use source: {other} or local in params.yaml"
        return Check(source, "failed", found, needed, todo)
    return Check(source, "ok", f"{_bare(url)} answers", needed)


def answer_of(url: str) -> int | str:
    """Return the HTTP status a URL answers with, or why it does not."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except urllib.error.URLError as error:
        return f"no answer ({error.reason})"
    except (OSError, ValueError) as error:
        return f"no answer ({error})"


def _bare(url: str) -> str:
    """Return a URL without user name and password."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl() if parts.netloc else url


def _from(folder: Path, project: Project) -> str:
    """Return a folder from the project's root where it lies there."""
    return folder.relative_to(project.root).as_posix() if folder.is_relative_to(project.root) else str(folder)
