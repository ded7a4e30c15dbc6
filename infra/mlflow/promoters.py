"""MLflow's basic login, and one rule that its permissions cannot say: who registers versions does not move the alias.

For MLflow 3.17, adding a version and moving an alias are both "edit" of the registered model. Here a model's aliases,
name and tags (the champion history) are changed by the accounts in TUNEGATE_MLFLOW_PROMOTERS alone; everything else
stays with MLflow's permissions. `authorization_function` in auth.ini names `authenticate`.
"""

import os

from flask import Response, make_response, request
from mlflow.server.auth import authenticate_request_basic_auth
from werkzeug.datastructures import Authorization

PROMOTERS_VARIABLE = "TUNEGATE_MLFLOW_PROMOTERS"
#: How the routes end, below /api and /ajax-api.
PROMOTING = tuple(f"/registered-models/{name}" for name in ("alias", "rename", "delete", "set-tag", "delete-tag"))
SAID = "aliases, names and tags of registered models are the promoter's to change"
READING = frozenset({"GET", "HEAD", "OPTIONS"})


def authenticate() -> Authorization | Response:
    """Return who asks, or the answer that refuses: 401 for a wrong password, 403 for a change that is not theirs."""
    found = authenticate_request_basic_auth()
    if isinstance(found, Response) or request.method in READING:
        return found
    if not request.path.rstrip("/").endswith(PROMOTING) or found.username in promoters():
        return found
    return make_response({"error_code": "PERMISSION_DENIED", "message": SAID}, 403)


def promoters() -> frozenset[str]:
    """Return the accounts that may; nobody where none is named."""
    return frozenset(name.strip() for name in os.environ.get(PROMOTERS_VARIABLE, "").split(",") if name.strip())
