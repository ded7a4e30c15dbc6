"""Which Prefect server a command uses: the one it is given, this project's own where it answers, or a temporary one."""

import base64
import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from tasks.core.errors import TransientError
from tasks.core.project import Project
from tasks.machine.network import answer_of

log = logging.getLogger(__name__)

ANSWER_TIMEOUT_S = 5.0
PORT = 4200


def local_api() -> str:
    """Return where `make prefect-ui` answers on this machine: $PREFECT_SERVER_API_PORT moves it."""
    return f"http://127.0.0.1:{os.environ.get('PREFECT_SERVER_API_PORT', PORT)}/api"


def require_server() -> None:
    """Refuse to start without a server; one on this machine is asked where none is given.

    Raises:
        TransientError: none answers at PREFECT_API_URL.
    """
    os.environ.setdefault("PREFECT_API_URL", local_api())
    url = os.environ["PREFECT_API_URL"].rstrip("/")
    answer = answer_of(f"{url}/health")
    if answer != 200:
        said = answer if isinstance(answer, str) else f"answers {answer}"
        raise TransientError(
            f"no Prefect server at {url}: {said}", "make prefect-ui in another terminal, or correct PREFECT_API_URL"
        )


def use_own_server(project: Project) -> None:
    """Let this process use the server of `make prefect-ui` where it answers; else Prefect starts a temporary one.

    Two servers may work on one database, but only the lasting one shows a run while it goes on. A server of another
    project or version is not used. PREFECT_HOME must be set.
    """
    if os.environ.get("PREFECT_API_URL"):
        return
    url = local_api()
    if not isinstance(answer_of(f"{url}/health"), int):
        return
    if (other := _not_ours(url)) is None:
        os.environ["PREFECT_API_URL"] = url
        log.info("Prefect: the server at %s shows this run", url)
    else:
        log.info("Prefect: a temporary server for this run; the one at %s is not this project's (%s)", url, other)


@contextmanager
def server_answering(again: str) -> Iterator[None]:
    """Say in one line that the Prefect server of a run went away, or that its temporary one did not start.

    Args:
        again: the command that goes on.

    Raises:
        TransientError: the server stopped answering, or never did.
    """
    import httpx

    try:
        yield
    except httpx.TransportError as error:
        server = os.environ.get("PREFECT_API_URL", "the temporary one of this run")
        raise TransientError(f"the Prefect server ({server}) stopped answering: {error}", again) from error
    except RuntimeError as error:
        if "ephemeral Prefect API server" not in str(error):
            raise
        raise TransientError(
            "Prefect's temporary server did not start", f"{again}; or make prefect-ui first"
        ) from error


def _not_ours(url: str) -> str | None:
    """Return why a server is not this project's, None where it is."""
    try:
        version, home = _ask(f"{url}/admin/version"), _ask(f"{url}/admin/settings")["home"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    mine, own_home = metadata.version("prefect"), Path(os.environ["PREFECT_HOME"]).resolve()
    if version != mine:
        return f"version {version}, not {mine}"
    return None if Path(home).resolve() == own_home else f"its home is {home}"


def _ask(url: str) -> Any:
    """Return a JSON answer, with the login that Prefect's own client would give."""
    login = os.environ.get("PREFECT_API_AUTH_STRING")
    headers = {"Authorization": f"Basic {base64.b64encode(login.encode()).decode()}"} if login else {}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=ANSWER_TIMEOUT_S) as answer:
        return json.loads(answer.read())
