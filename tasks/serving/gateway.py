"""The one URL callers know: few routes, keys, caps, an audit record for every answer, streaming passed through."""

import ipaddress
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from tasks.core.settings import GatewayParams
from tasks.engine.deployment import Deployment
from tasks.engine.headers import LINEAGE, REQUEST_ID, VERSION
from tasks.engine.server import IDLE_CONNECTION_S
from tasks.serving.admission import Admitted, Caps, Kind, Refusal, admit, unavailable
from tasks.serving.audit import AuditLog
from tasks.serving.exchange import Exchange
from tasks.serving.keys import ApiKey, KeyStore, Role
from tasks.serving.limits import Limits
from tasks.serving.metrics import Metrics
from tasks.serving.slots import Lease, Slots

log = logging.getLogger(__name__)

CHAT, COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"
HEALTH, METRICS = "/healthz", "/metrics"
CHAMPION = "champion"
#: Idle connections to vLLM are let go well before it closes them itself.
KEEPALIVE_S = IDLE_CONNECTION_S / 2

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_REQUEST_ID = web.RequestKey("tunegate_request_id", str)
_DEPLOYMENT = web.RequestKey("tunegate_deployment", Deployment)


@dataclass(frozen=True)
class GatewayParts:
    """What the gateway works with.

    Args:
        params: section `serve.gateway`.
        context_tokens: the model's context length; no answer can be longer.
        model_name: registered name, one of the names callers may use.
        unit_of: what of a request stays with one version during a rollout; None: the live version answers.
        watched: told of every exchange at its end.
    """

    params: GatewayParams
    context_tokens: int
    model_name: str
    keys: KeyStore
    slots: Slots
    audit: AuditLog
    metrics: Metrics
    unit_of: Callable[[ApiKey, Admitted], str | None] = lambda key, admitted: None
    watched: Callable[[Exchange], None] = lambda exchange: None


class Gateway:
    """The aiohttp application and its connection to the slots."""

    def __init__(self, parts: GatewayParts) -> None:
        self.parts = parts
        self.limits = Limits(parts.params)
        self.caps = Caps(min(parts.params.max_completion_tokens, parts.context_tokens - 1), parts.params.max_choices)
        self._session: aiohttp.ClientSession

    def app(self) -> web.Application:
        """Return the application; run it with `handler_cancellation=True`, so that a caller who leaves frees vLLM."""
        app = web.Application(middlewares=[self._frame], client_max_size=self.parts.params.max_body_bytes)
        app.router.add_get(HEALTH, self._health)
        app.router.add_get(METRICS, self._metrics)
        app.router.add_get(MODELS, self._models)
        app.router.add_post(CHAT, self._chat)
        app.router.add_post(COMPLETIONS, self._completion)
        app.cleanup_ctx.append(self._connected)
        return app

    async def _connected(self, app: web.Application):  # type: ignore[no-untyped-def]  # noqa: ANN202 - aiohttp's own
        """Keep one pool of connections to the slots."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
        timeout = aiohttp.ClientTimeout(total=None, sock_read=self.parts.params.upstream_timeout_s)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        yield
        await self._session.close()

    @web.middleware
    async def _frame(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give every answer its request id and error shape, and count it."""
        started = time.perf_counter()
        request[_REQUEST_ID] = f"req-{uuid.uuid4().hex}"
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "other"
        status = 499  # the caller left
        try:
            response = await self._answered(request, handler)
            status = response.status
        finally:
            self.parts.metrics.requests.labels(route, str(status)).inc()
            self.parts.metrics.request_s.labels(route).observe(time.perf_counter() - started)
        return response

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Return the handler's answer, or its refusal in OpenAI's shape."""
        try:
            response = await handler(request)
        except Refusal as refusal:
            response = self._refused(request, refusal)
        except web.HTTPRequestEntityTooLarge:
            cap = self.parts.params.max_body_bytes
            response = self._refused(request, Refusal(413, "body_too_large", f"the body is over {cap} bytes"))
        except web.HTTPException as error:
            # Wrong method or unknown path: both are routes this gateway does not have.
            status = 404 if error.status == 405 else error.status
            response = self._refused(
                request,
                Refusal(
                    status,
                    "no_such_route",
                    f"{request.method} {request.path}: {error.reason}; there are {CHAT}, {COMPLETIONS}, {MODELS}",
                ),
            )
        if not response.prepared:
            response.headers.update(self._headers(request))
        return response

    def _refused(self, request: web.Request, refusal: Refusal) -> web.Response:
        """Return a refusal as an answer."""
        response = web.Response(status=refusal.status, body=refusal.body(), content_type="application/json")
        if refusal.retry_after_s is not None:
            response.headers["Retry-After"] = str(refusal.retry_after_s)
        if refusal.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        log.debug("%s %s: %d %s", request[_REQUEST_ID], request.path, refusal.status, refusal.message)
        return response

    def _headers(self, request: web.Request) -> dict[str, str]:
        """Return the headers that say which request this was and what answered it."""
        live = self.parts.slots.live
        deployment = request.get(_DEPLOYMENT) or (live.deployment if live else None)
        headers = {REQUEST_ID: request[_REQUEST_ID]}
        if deployment:
            headers |= {VERSION: deployment.version, LINEAGE: deployment.lineage_id}
        return headers

    async def _health(self, request: web.Request) -> web.Response:
        """Say whether chats can be answered; the only route without a key."""
        with self.parts.slots.lease() as lease:
            served = lease is not None or self.parts.slots.holding
        healthy = served and self.parts.audit.healthy
        value = {"status": "ok" if healthy else "unavailable", "served": served, "audit": self.parts.audit.healthy}
        return web.json_response(value, status=200 if healthy else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        """Return the metrics to this machine, or to an admin."""
        if not _is_local(request):
            self._require_key(request, "admin")
        metrics, slots = self.parts.metrics, self.parts.slots
        metrics.live.clear()
        for slot in slots.slots:
            metrics.in_flight.labels(slot.name).set(slot.in_flight)
            if slot is slots.live and slot.deployment:
                metrics.live.labels(slot.name, slot.deployment.version, slot.deployment.lineage_id).set(1)
        metrics.audit_healthy.set(self.parts.audit.healthy)
        metrics.audit_pending.set(self.parts.audit.pending)
        return web.Response(body=metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _models(self, request: web.Request) -> web.Response:
        """List the names of what is served."""
        self._require_key(request, "caller")
        with self.parts.slots.lease() as lease:
            deployment = _require(lease).deployment
        names = (self.parts.model_name, CHAMPION, deployment.lineage_id)
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "tunegate"} for name in names]
        return web.json_response({"object": "list", "data": models})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        """Pass a chat on."""
        return await self._passed_on(request, "chat")

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        """Pass a completion on."""
        return await self._passed_on(request, "completion")

    async def _passed_on(self, request: web.Request, kind: Kind) -> web.StreamResponse:
        """Check a request, ask the live slot, return its answer; the audit log gets both."""
        arrived = time.perf_counter()
        key = self._require_key(request, "caller")
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise Refusal(400, "unsupported_encoding", "send the body uncompressed")
        admitted = admit(kind, await request.read(), self.caps)
        # Who asks for a version by its lineage id gets that one.
        unit = self.parts.unit_of(key, admitted) if admitted.model in (self.parts.model_name, CHAMPION) else None
        await self.parts.slots.opened()
        with self.parts.slots.lease(unit) as held:
            lease = _require(held)
            request[_DEPLOYMENT] = lease.deployment
            self._require_name(admitted.model, lease.deployment)
            if not self.parts.audit.healthy:
                raise unavailable("audit_unavailable", "the audit log cannot be written, so nothing is answered")
            reserved = self._require_room(key, admitted)
            exchange = Exchange(self._session, self.parts.audit, lease, admitted, key, self._headers(request))
            try:
                self.parts.metrics.before_upstream_s.observe(time.perf_counter() - arrived)
                return await exchange.run(request)
            finally:
                self.limits.settle(key, reserved, exchange.used_tokens(reserved))
                self._count(exchange)
                self.parts.watched(exchange)

    def _count(self, exchange: Exchange) -> None:
        """Add an answer's tokens to the metrics."""
        for kind, count in (("prompt", exchange.prompt_tokens), ("completion", exchange.completion_tokens)):
            if count:
                self.parts.metrics.tokens.labels(kind).inc(count)

    def _require_key(self, request: web.Request, role: Role) -> ApiKey:
        """Return the caller's key.

        Raises:
            Refusal: 401 where there is none or it is unknown, 403 where it is revoked or its role does not reach.
        """
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refusal(401, "missing_key", "send your key as 'Authorization: Bearer tg_...'")
        key = self.parts.keys.find(token.strip())
        if key is None:
            raise Refusal(401, "unknown_key", "this key is not known here")
        if key.revoked_at is not None:
            raise Refusal(403, "revoked_key", f"key {key.name} was revoked at {key.revoked_at}")
        if role == "admin" and key.role != "admin":
            raise Refusal(403, "role_not_allowed", f"key {key.name} is a {key.role} key, this route needs an admin key")
        return key

    def _require_name(self, name: str, deployment: Deployment) -> None:
        """Refuse a model name that is not what is served."""
        if name not in (self.parts.model_name, CHAMPION, deployment.lineage_id):
            known = f"{self.parts.model_name}, {CHAMPION}, {deployment.lineage_id}"
            raise Refusal(404, "model_not_found", f"model {name!r} is not served here; served: {known}", param="model")

    def _require_room(self, key: ApiKey, admitted: Admitted) -> int:
        """Reserve the most tokens the answer may cost and return them; 429 where the key has not that many left."""
        wait_s = self.limits.admit(key, admitted.most_tokens)
        if wait_s:
            message = f"key {key.name} is over its requests or tokens a minute; again in {wait_s} s"
            raise Refusal(429, "rate_limited", message, retry_after_s=wait_s)
        return admitted.most_tokens


def _require(lease: Lease | None) -> Lease:
    """Return the lease, or refuse with 503 where nothing is served."""
    if lease is None:
        raise unavailable("not_served", "no version is live at the moment")
    return lease


def _is_local(request: web.Request) -> bool:
    """Return whether a request comes from this machine itself, not through a proxy on it."""
    if request.remote is None or "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.remote).is_loopback
    except ValueError:
        return False
