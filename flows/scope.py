"""Whose a work pool, a deployment or an automation is: one Prefect server serves several projects and several people.

The server's names are global. `TUNEGATE_PROJECT` is the name of a project there: it stands before the name of each of
its pools and deployments (`ward-gpu`, `stage/ward-gpu`), and is the same on all of its machines. Without it names are
plain, and belong to one checkout: each deployment carries a tag that says whose it is, and another's is never replaced.
"""

import os
import re
import secrets
from typing import Any

from tasks.core.errors import ConfigError
from tasks.core.files import write_text
from tasks.core.project import Project

VARIABLE = "TUNEGATE_PROJECT"
#: What a project may be called: a part of a pool's name, of a tag and of an address in the UI.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
TAG = "project:"


def project_name() -> str:
    """Return the project's name on its Prefect server, "" where it has none.

    Raises:
        ConfigError: it is no name.
    """
    name = os.environ.get(VARIABLE, "").strip()
    if name and not NAME.fullmatch(name):
        raise ConfigError(
            f"{VARIABLE} is {name!r}: lower case letters, digits and - between them, 32 at most",
            f"export {VARIABLE}=ward-7",
        )
    return name


def scoped(name: str) -> str:
    """Return the name of a pool or a deployment on the server."""
    project = project_name()
    return f"{project}-{name}" if project else name


def scoped_deployment(name: str) -> str:
    """Return `flow/name` on the server; a name that is the project's already stays."""
    flow, slash, deployment = name.partition("/")
    if not slash or deployment.startswith(scoped("")):
        return name
    return f"{flow}/{scoped(deployment)}"


def scoped_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return a deployment's parameters, those that name another deployment with the project's own."""
    return {
        name: scoped_deployment(value) if name.endswith("_deployment") and value else value
        for name, value in parameters.items()
    }


def owner(project: Project) -> str:
    """Return the tag of what is this project's: its name, else an id that this checkout has drawn once."""
    if name := project_name():
        return f"{TAG}{name}"
    path = project.state / "checkout-id"
    if not path.is_file():
        write_text(path, f"{secrets.token_hex(4)}\n")
    return f"{TAG}checkout-{path.read_text(encoding='utf-8').strip()}"


def require_ours(known: Any, name: str, ours: str) -> None:
    """Refuse a deployment that is another project's.

    Args:
        known: the deployment on the server, None where there is none. One without a tag is of a release before tags.
        name: `flow/name`.
        ours: our tag.

    Raises:
        ConfigError: whose it is, and how to be another project.
    """
    theirs = [tag for tag in (known.tags if known else []) if tag.startswith(TAG)]
    if theirs and ours not in theirs:
        raise ConfigError(
            f"{name} on this Prefect server is {theirs[0].removeprefix(TAG)}'s, and this is {ours.removeprefix(TAG)}",
            f"export {VARIABLE}=<a name of your own>, the same on all machines of one project, then make workers; or, "
            "where that checkout is gone: .venv/bin/python -m flows.workers --take-over",
        )
