"""What became of a commit's run, on the commit itself: GitHub waits for no runner, the worker reports back.

The worker's environment says where: `TUNEGATE_GITHUB_REPOSITORY` (owner/name) and `TUNEGATE_GITHUB_TOKEN`, a token of
that repository whose one right is to write commit statuses. Without both nothing is reported.
"""

import logging
import os
import re
from typing import Any

import httpx

from flows.outcome import GATE_FAILED

log = logging.getLogger(__name__)

REPOSITORY, TOKEN = "TUNEGATE_GITHUB_REPOSITORY", "TUNEGATE_GITHUB_TOKEN"
#: Of GitHub Enterprise Server: https://HOST/api/v3.
API = "TUNEGATE_GITHUB_API"
PUBLIC_API = "https://api.github.com"
#: What the status is called: a branch rule may require it.
CONTEXT = "tunegate/pipeline"
COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[\w.-]+/[\w.-]+")
#: GitHub refuses a longer one.
DESCRIPTION_CHARACTERS = 140
TIMEOUT_S = 20.0

#: Name of a Prefect state -> GitHub's state, and what it means.
STATES = {
    "Running": ("pending", "the pipeline runs"),
    "Completed": ("success", "passed the gate"),
    GATE_FAILED: ("failure", "did not pass the gate"),
    "Cancelled": ("error", "the run was cancelled"),
}


def hooks() -> dict[str, Any]:
    """Return the hooks of a flow whose commit is to be told; none where nobody is, for each says that it ran."""
    if not os.environ.get(REPOSITORY):
        return {}
    return {key: [report] for key in ("on_running", "on_completion", "on_failure", "on_crashed", "on_cancellation")}


def report(_flow: Any, run: Any, state: Any) -> None:
    """Write a run's state on its commit; a hook of the flow, which Prefect calls when the state is reached.

    A report that fails is said in the log and costs the run nothing.
    """
    commit = str((run.parameters or {}).get("rev") or "")
    repository, token = os.environ.get(REPOSITORY, ""), os.environ.get(TOKEN, "")
    if not (repository and token and COMMIT.fullmatch(commit)):
        return
    if not NAME.fullmatch(repository):
        log.warning("no status on commit %s: %s=%r is not owner/name", commit[:12], REPOSITORY, repository)
        return
    try:
        _post(f"/repos/{repository}/statuses/{commit}", status_of(run, state), token)
    except (httpx.HTTPError, ValueError) as error:
        log.warning("no status on commit %s: GitHub says %s", commit[:12], _words(error))


def status_of(run: Any, state: Any) -> dict[str, str]:
    """Return what GitHub is told of a run in a state."""
    from prefect.utilities.urls import url_for

    known, meaning = STATES.get(state.name, ("error", f"the run ended as {state.name}"))
    said = f"{run.name}: {meaning}"
    status = {"state": known, "context": CONTEXT, "description": said[:DESCRIPTION_CHARACTERS]}
    page = url_for(run)
    return status | ({"target_url": page} if page and page.startswith("http") else {})


def _post(path: str, status: dict[str, str], token: str) -> None:
    """Send a status; nobody is followed elsewhere with the token.

    Raises:
        httpx.HTTPError: GitHub does not answer, or refuses.
        ValueError: the address is no https address.
    """
    base = os.environ.get(API, PUBLIC_API).rstrip("/")
    if not base.startswith(("https://", "http://127.0.0.1:")):
        raise ValueError(f"{API} must begin with https://")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/vnd.github+json",
               "X-GitHub-Api-Version": "2022-11-28"}  # fmt: skip
    httpx.post(base + path, json=status, headers=headers, timeout=TIMEOUT_S).raise_for_status()
    log.info("status %s on GitHub: %s", status["state"], status["description"])


def _words(error: Exception) -> str:
    """Return why GitHub took nothing, without what was sent."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"{error.response.status_code} {error.response.reason_phrase}"
    return str(error)
