"""Who asks: what a request carries through the gateway, and what the log has of it."""

import ipaddress
from typing import Any

from aiohttp import web

from tasks.serving.keys import ApiKey
from tasks.serving.replica import replica

#: What is recorded of a path.
ROUTE_CHARACTERS = 200
REQUEST_ID_KEY = web.RequestKey("tunegate_request_id", str)
API_KEY = web.RequestKey("tunegate_key", ApiKey)
#: Whether the log has a record of the request itself; its refusal is then the status of its answer.
RECORDED = web.RequestKey("tunegate_recorded", bool)


def who_asked(request: web.Request, key: ApiKey | None) -> dict[str, Any]:
    """Return who asked for what, for the log: never the secret, nothing of the text."""
    known = {"key": key.name, "key_id": key.key_id, "role": key.role} if key else {}
    found = {"request_id": request[REQUEST_ID_KEY], "client": request.remote, **known, "method": request.method,
             "route": request.path[:ROUTE_CHARACTERS]}  # fmt: skip
    if name := replica():
        found["replica"] = name
    if claimed := request.headers.get("X-Forwarded-For"):
        # What a proxy, or the caller, says of where it comes from.
        found["forwarded_for"] = claimed[:ROUTE_CHARACTERS]
    return found


def is_local(request: web.Request) -> bool:
    """Return whether a request comes from this machine itself, not through a proxy on it."""
    if request.remote is None or "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.remote).is_loopback
    except ValueError:
        return False
