"""Have MLflow's accounts and what each may do; run again after a change of passwords: `python infra/mlflow/users.py`.

Asks as the admin (MLFLOW_TRACKING_URI, MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD). Passwords of the accounts
come from the environment; an account whose variable is not set is left alone.
"""

import logging
import os
import sys
from dataclasses import dataclass
from typing import Any

import requests

from tasks.core.errors import ConfigError, TransientError
from tasks.core.guard import guarded
from tasks.core.logs import setup_logging
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.core.tracking import client, create_registered_model, experiment_id

log = logging.getLogger("mlflow.users")

USERS, PERMISSIONS = "/api/2.0/mlflow/users", "/api/3.0/mlflow/users/permissions"
TIMEOUT_S = 30
#: auth.ini: everybody's permission.
DEFAULT = "READ"


@dataclass(frozen=True)
class Account:
    """An account of MLflow.

    Args:
        password: environment variable that holds it.
        experiment: what it may do with runs and their files; READ is everybody's.
        model: what it may do with the registered model; to move its alias, promoters.py must name it, too.
    """

    name: str
    password: str
    experiment: str = DEFAULT
    model: str = DEFAULT


ACCOUNTS = (
    Account("pipeline", "MLFLOW_PIPELINE_PASSWORD", experiment="EDIT", model="EDIT"),
    # MANAGE: a tag that is no longer true is deleted.
    Account("promoter", "MLFLOW_PROMOTER_PASSWORD", experiment="EDIT", model="MANAGE"),
    Account("reader", "MLFLOW_READER_PASSWORD"),
)


def main() -> None:
    """Have experiment and registered model, which belong to the admin, and the accounts."""
    project = Project.here()
    settings = load_settings(project.root / "params.yaml")
    found, model = client(project), settings.register_.model_name
    # Who creates them manages them: so neither the pipeline nor the promoter does.
    experiment = experiment_id(found, project)
    create_registered_model(found, model)
    for account in ACCOUNTS:
        if not (password := os.environ.get(account.password)):
            log.info("%s: left alone, %s is not set", account.name, account.password)
            continue
        _have(project.mlflow_uri, account.name, password)
        grants = (("experiment", experiment, account.experiment), ("registered_model", model, account.model))
        for kind, name, permission in grants:
            _grant(project.mlflow_uri, account.name, kind, name, permission)
        log.info("%s: %s on the runs, %s on %s", account.name, account.experiment, account.model, model)


def _have(uri: str, name: str, password: str) -> None:
    """Have an account with this password."""
    if _ask(uri, "GET", f"{USERS}/get", params={"username": name}, absent=True) is None:
        _ask(uri, "POST", f"{USERS}/create", json={"username": name, "password": password})
    else:
        _ask(uri, "PATCH", f"{USERS}/update-password", json={"username": name, "password": password})


def _grant(uri: str, name: str, kind: str, resource: str, permission: str) -> None:
    """Have an account hold this permission on a resource, whatever it held before."""
    body = {"username": name, "resource_type": kind, "resource_id": resource}
    _ask(uri, "POST", f"{PERMISSIONS}/revoke", json=body, absent=True)
    if permission != DEFAULT:
        _ask(uri, "POST", f"{PERMISSIONS}/grant", json=body | {"permission": permission})


def _ask(uri: str, method: str, path: str, *, absent: bool = False, **request: Any) -> Any:
    """Return what the server's API of accounts answers; None for what is not there, where that is no error."""
    login = (os.environ.get("MLFLOW_TRACKING_USERNAME", ""), os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    try:
        answer = requests.request(method, f"{uri}{path}", auth=login, timeout=TIMEOUT_S, **request)
    except requests.RequestException as error:
        raise TransientError(f"MLflow at {uri} does not answer: {error}", "start it, then the same command") from error
    if absent and answer.status_code == requests.codes.not_found:
        return None
    if answer.status_code != requests.codes.ok:
        # The answer's text, not the request: that has a password.
        raise ConfigError(
            f"MLflow refuses {method} {path}: {answer.status_code} {answer.text[:300]}",
            "MLFLOW_TRACKING_USERNAME and _PASSWORD must be the admin's, and the server's app basic-auth",
        )
    return answer.json() if answer.content else {}


if __name__ == "__main__":
    setup_logging()
    sys.exit(guarded(main))
