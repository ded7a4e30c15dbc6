"""The one URL callers know: few routes, keys, caps, an audit record for every answer, streaming passed through."""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

import aiohttp
from aiohttp import web

from tasks.core.settings import GatewayParams
from tasks.engine.access import OWN, Access
from tasks.engine.deployment import Deployment
from tasks.engine.headers import LINEAGE, REQUEST_ID, VERSION
from tasks.engine.server import IDLE_CONNECTION_S
from tasks.serving.admission import Admitted, Caps, Kind, Refusal, admit, admit_embedding, fitted, unavailable
from tasks.serving.api.names import model_row, no_such_model
from tasks.serving.asker import API_KEY, RECORDED, REQUEST_ID_KEY, is_local, who_asked
from tasks.serving.audit import AuditLog
from tasks.serving.audit.refusals import Refusals
from tasks.serving.door.door import Door
from tasks.serving.door.meter import Meter
from tasks.serving.embedding import Embedding
from tasks.serving.exchange import Another, Exchange, Place, nowhere_else
from tasks.serving.grounded import Grounded, Grounding
from tasks.serving.keys import ApiKey, KeyStore
from tasks.serving.metrics import Metrics
from tasks.serving.outcome import CALLER_LEFT, CALLER_LEFT_STATUS, INTERNAL, OK, of_refusal
from tasks.serving.probe import EngineProbe
from tasks.serving.slots import Lease, Slots
from tasks.serving.tracing import OPERATIONS, Tracing, describe, upstream_headers

log = logging.getLogger(__name__)

CHAT, COMPLETIONS, MODELS = "/v1/chat/completions", "/v1/completions", "/v1/models"
RESPONSES, EMBEDDINGS = "/v1/responses", "/v1/embeddings"
ROUTES = (CHAT, COMPLETIONS, RESPONSES, EMBEDDINGS, MODELS)
#: Whether chats can be answered (of old also /healthz), and whether this process does anything at all.
READY, HEALTH, ALIVE, METRICS = "/readyz", "/healthz", "/livez", "/metrics"
CHAMPION = "champion"
#: One call of an admin's key is recorded in this time, and how many more there were: Prometheus comes every 15 seconds.
ADMIN_CALLS_S = 3600.0
#: Idle connections to vLLM are let go well before it closes them itself.
KEEPALIVE_S = IDLE_CONNECTION_S / 2
#: A machine that is gone does not refuse a connection, it says nothing.
CONNECT_S = 5.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_DEPLOYMENT = web.RequestKey("tunegate_deployment", Deployment)
_OUTCOME = web.RequestKey("tunegate_outcome", str)


@dataclass(frozen=True)
class GatewayParts:
    """What the gateway works with.

    Args:
        params: section `serve.gateway`.
        context_tokens: the model's context length; no answer can be longer.
        model_name: registered name, one of the names callers may use.
        meter: what each key may have.
        unit_of: what of a request stays with one version during a rollout; None: the live version answers.
        watched: told of every exchange of a chat at its end.
        embedding: the model behind /v1/embeddings; None where none is configured.
        embedding_tokens: longest text it takes.
        access: how slots are asked.
        loaded: whether what a first request would wait for is there.
        grounding: which chats are answered from documents.
    """

    params: GatewayParams
    context_tokens: int
    model_name: str
    keys: KeyStore
    slots: Slots
    audit: AuditLog
    probe: EngineProbe
    metrics: Metrics
    tracing: Tracing
    meter: Meter
    unit_of: Callable[[ApiKey, Admitted], str | None] = lambda key, admitted: None
    watched: Callable[[Exchange], None] = lambda exchange: None
    embedding: Embedding | None = None
    embedding_tokens: int = 1
    access: Access = OWN
    loaded: Callable[[], bool] = lambda: True
    grounding: Grounding = field(default_factory=Grounding)


class Gateway:
    """The aiohttp application and its connection to the slots."""

    def __init__(self, parts: GatewayParts) -> None:
        self.parts = parts
        self.door = Door(parts.params, parts.context_tokens, parts.keys, parts.audit, parts.meter)
        self.refusals = Refusals(parts.audit, lambda: self.parts.params.audit.refusals_per_minute)
        self.admin_calls = Refusals(parts.audit, lambda: 1, ADMIN_CALLS_S, kinds=("admin", "admin_calls"))
        self.caps = Caps.of(parts.params, parts.context_tokens)
        self._session: aiohttp.ClientSession
        self._beside: aiohttp.ClientSession

    def app(self) -> web.Application:
        """Return the application; run it with `handler_cancellation=True`, so that a caller who leaves frees vLLM."""
        app = web.Application(middlewares=[self._frame], client_max_size=self.door.body_cap)
        app.router.add_get(ALIVE, self._alive)
        app.router.add_get(READY, self._ready)
        app.router.add_get(HEALTH, self._ready)
        app.router.add_get(METRICS, self._metrics)
        app.router.add_get(MODELS, self._models)
        app.router.add_post(CHAT, self._chat)
        app.router.add_post(COMPLETIONS, self._completion)
        app.router.add_post(RESPONSES, self._response)
        app.router.add_post(EMBEDDINGS, self._embeddings)
        app.router.add_get(f"{MODELS}/{{name}}", self._model)
        app.cleanup_ctx.append(self._connected)
        return app

    def follow(self, params: GatewayParams) -> None:
        """Go by other limits from the next request on; those under way and what was used stay counted."""
        self.parts = replace(self.parts, params=params)
        self.caps = Caps.of(params, self.parts.context_tokens)
        self.door.follow(params)

    async def _connected(self, app: web.Application):  # type: ignore[no-untyped-def]  # noqa: ANN202 - aiohttp's own
        """Keep one pool of connections to the slots."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
        read_s = self.parts.params.upstream_timeout_s
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=min(CONNECT_S, read_s), sock_read=read_s)
        self._session = self.parts.access.session(connector=connector, timeout=timeout, auto_decompress=False)
        # The embedding model is a process of ours: what slots are asked with is not for it.
        beside = OWN.session(timeout=timeout, auto_decompress=False) if self.parts.embedding else self._session
        self._beside = beside
        keeping = asyncio.create_task(self.door.meter.keep())
        yield
        self.refusals.flush()
        self.admin_calls.flush()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await self._beside.close()
        await self._session.close()

    @web.middleware
    async def _frame(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give every answer its request id and error shape, and count it."""
        started = time.perf_counter()
        request[REQUEST_ID_KEY] = f"req-{uuid.uuid4().hex}"
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "other"
        status, outcome = CALLER_LEFT_STATUS, CALLER_LEFT
        try:
            response = await self._answered(request, handler)
            status, outcome = response.status, request.get(_OUTCOME, OK)
        finally:
            self.parts.metrics.requests.labels(route, str(status), outcome).inc()
            self.parts.metrics.request_s.labels(route).observe(time.perf_counter() - started)
        return response

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Return the handler's answer, or its refusal in OpenAI's shape."""
        try:
            response = await handler(request)
        except Refusal as refusal:
            response = self._refused(request, refusal)
        except web.HTTPException as error:
            # Wrong method or unknown path: both are routes this gateway does not have.
            status = 404 if error.status == 405 else error.status
            response = self._refused(
                request,
                Refusal(
                    status,
                    "no_such_route",
                    f"{request.method} {request.path}: {error.reason}; there are {', '.join(ROUTES)}",
                ),
            )
        except ConnectionError:
            # The caller left while the answer was written.
            raise
        except Exception:
            # The border: whatever it was, the caller gets an answer to quote and the log the whole of it.
            log.exception("%s %s: an error nobody foresaw", request[REQUEST_ID_KEY], request.path)
            self.parts.metrics.internal_errors.inc()
            if request.writer.output_size:
                # An answer has begun: a second one inside it would be worse than the end of the connection.
                raise
            message = f"an error of the gateway's own; its log has it under {request[REQUEST_ID_KEY]}"
            response = self._refused(request, Refusal(500, INTERNAL, message))
        if not response.prepared:
            response.headers.update(self._headers(request))
        return response

    def _refused(self, request: web.Request, refusal: Refusal) -> web.Response:
        """Return a refusal as an answer."""
        request[_OUTCOME] = of_refusal(refusal.code)
        response = web.Response(status=refusal.status, body=refusal.body(), content_type="application/json")
        if refusal.retry_after_s is not None:
            response.headers["Retry-After"] = str(refusal.retry_after_s)
        if refusal.status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        if refusal.status == 408:
            response.force_close()
        log.debug("%s %s: %d %s", request[REQUEST_ID_KEY], request.path, refusal.status, refusal.message)
        if not request.get(RECORDED):
            key = request.get(API_KEY)
            what = {"status": refusal.status, "code": refusal.code, "message": refusal.message, "param": refusal.param}
            self.refusals.note(key.key_id if key else str(request.remote), who_asked(request, key) | what)
        return response

    def _headers(self, request: web.Request) -> dict[str, str]:
        """Return the headers that say which request this was and what answered it."""
        live = self.parts.slots.live
        deployment = request.get(_DEPLOYMENT) or (live.deployment if live else None)
        headers = {REQUEST_ID: request[REQUEST_ID_KEY]}
        if deployment:
            headers |= {VERSION: deployment.version, LINEAGE: deployment.lineage_id}
        return headers

    async def _alive(self, request: web.Request) -> web.Response:
        """Say that this process answers, whatever it serves: it is not to be ended for want of a champion."""
        return web.json_response({"status": "ok"})

    async def _ready(self, request: web.Request) -> web.Response:
        """Say whether chats can be answered. Like `_alive`, it needs no key."""
        with self.parts.slots.lease() as lease:
            served = lease is not None or self.parts.slots.holding
        written = self.parts.audit.healthy
        found = {"served": served, "engine": self.parts.probe.works, "audit": written, "loaded": self.parts.loaded()}
        ready = all(found.values())
        return web.json_response({"status": "ok" if ready else "unavailable"} | found, status=200 if ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        """Return the metrics to this machine, or to an admin; a key's calls are recorded, many of them as a count."""
        if not is_local(request):
            key = self.door.require_key(request, "admin")
            what = {"status": 200, "code": "metrics", "action": "metrics"}
            self.admin_calls.note(key.key_id, who_asked(request, key) | what)
        parts = self.parts
        parts.metrics.show(parts.slots, parts.probe.works, parts.audit, parts.embedding)
        parts.metrics.limits_hold.set(parts.meter.works)
        return web.Response(body=parts.metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _models(self, request: web.Request) -> web.Response:
        """List the names of what is served."""
        self.door.require_key(request, "caller")
        return web.json_response({"object": "list", "data": [model_row(name) for name in self._names()]})

    async def _model(self, request: web.Request) -> web.Response:
        """Describe one name of what is served."""
        self.door.require_key(request, "caller")
        name = request.match_info["name"]
        if name not in (names := self._names()):
            raise no_such_model(name, names)
        return web.json_response(model_row(name))

    def _names(self) -> tuple[str, ...]:
        """Return the names of what is served; the embedding model's stand there while it is down, too."""
        others = self.parts.embedding.names if self.parts.embedding else ()
        with self.parts.slots.lease() as lease:
            if lease is None and others:
                return others
            names = self._names_of(_require(lease).deployment)
            return (*names, *self.parts.grounding.names_of(names), *others)

    def _names_of(self, deployment: Deployment) -> tuple[str, ...]:
        """Return the names a deployment is served under."""
        return self.parts.model_name, CHAMPION, deployment.lineage_id

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        """Pass a chat on."""
        return await self._passed_on(request, "chat")

    async def _completion(self, request: web.Request) -> web.StreamResponse:
        """Pass a completion on."""
        if not self.parts.params.completions:
            self.door.require_key(request, "caller")
            message = f"{COMPLETIONS} is switched off here (serve.gateway.completions): it has no template; use {CHAT}"
            raise Refusal(404, "completions_off", message)
        return await self._passed_on(request, "completion")

    async def _response(self, request: web.Request) -> web.StreamResponse:
        """Pass a response on."""
        return await self._passed_on(request, "responses")

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        """Return vectors of texts, where an embedding model is configured."""
        key = self.door.require_key(request, "caller")
        embedding = self.parts.embedding
        if embedding is None:
            raise Refusal(404, "no_embedding_model", f"no embedding model is configured here; there is {CHAT}")
        async with self.door.entered(request, key):
            arrived = time.perf_counter()
            admitted = admit_embedding(await self.door.body(request), self.caps)
            if admitted.model not in embedding.names:
                raise no_such_model(admitted.model, embedding.names)
            with embedding.lease() as lease:
                if lease is None:
                    raise unavailable("embedding_not_served", "the embedding model is not up at the moment")
                request[_DEPLOYMENT] = lease.deployment
                place = Place(lease, admitted, self._headers(request))
                return await self._asked(request, key, place, nowhere_else, arrived)

    async def _passed_on(self, request: web.Request, kind: Kind) -> web.StreamResponse:
        """Check a request, ask the live slot, return its answer; the audit log gets both."""
        key = self.door.require_key(request, "caller")
        queued = time.perf_counter()
        async with self.door.entered(request, key):
            arrived = time.perf_counter()
            self.parts.metrics.queue_s.labels(key.priority).observe(arrived - queued)
            body = await self.door.body(request)
            admitted, grounded = await self.parts.grounding.of(request, key, admit(kind, body, self.caps))
            # Who asks for a version by its lineage id gets that one.
            unit = self.parts.unit_of(key, admitted) if admitted.model in (self.parts.model_name, CHAMPION) else None
            await self.parts.slots.opened()
            with ExitStack() as leases:
                place = self._place(request, admitted, leases, unit)
                another = partial(self._another, request, admitted, leases)
                return await self._asked(request, key, place, another, arrived, grounded)

    def _place(self, request: web.Request, admitted: Admitted, leases: ExitStack, unit: str | None) -> Place:
        """Take a lease and return where, and in which form, a request is asked.

        Raises:
            Refusal: nothing is live, or not under the name asked for, or it cannot be asked in that form.
        """
        lease = _require(leases.enter_context(self.parts.slots.lease(unit)))
        request[_DEPLOYMENT] = lease.deployment
        self._require_name(admitted.model, lease.deployment)
        return Place(lease, fitted(admitted, lease.deployment.abilities), self._headers(request))

    async def _another(self, request: web.Request, admitted: Admitted, leases: ExitStack, lost: Lease) -> Place | None:
        """Return the place of the live version where the server of a lease has ended; None where none can be had."""
        leases.close()
        if not await self.parts.slots.ended(lost):
            return None
        await self.parts.slots.opened()
        try:
            return self._place(request, admitted, leases, None)
        except Refusal:
            return None

    async def _asked(
        self,
        request: web.Request,
        key: ApiKey,
        place: Place,
        another: Another,
        arrived: float,
        grounded: Grounded | None = None,
    ) -> web.StreamResponse:
        """Ask at a place and return its answer; what it cost is settled, counted and watched.

        Args:
            another: gives another place where the server of the first ends.
            arrived: when the request had its place at the door, by time.perf_counter().
            grounded: the passages that its answer is held to; None where it is to none.
        """
        admitted = place.admitted
        is_chat = admitted.kind != "embedding"
        texts = len(admitted.prompt) * self.parts.embedding_tokens
        reserved = await self.door.reserve(key, admitted, None if is_chat else texts)
        request[RECORDED] = True
        facts = who_asked(request, key) | {"user": admitted.user}
        session = self._session if is_chat else self._beside
        asked = (session, self.parts.audit, place, facts, another, self.parts.context_tokens)
        exchange = grounded.exchange(*asked) if grounded else Exchange(*asked)
        try:
            self.parts.metrics.before_upstream_s.observe(time.perf_counter() - arrived)
            return await self._traced(exchange, request, admitted.kind)
        finally:
            used = exchange.used_tokens(reserved)
            self.door.settle(key, admitted, reserved, used, exchange.prompt_tokens)
            request[_OUTCOME] = exchange.outcome
            self.parts.metrics.answered(exchange, arrived)
            if is_chat and not exchange.moved:
                # What two servers were asked says nothing about either.
                self.parts.watched(exchange)

    async def _traced(self, exchange: Exchange, request: web.Request, kind: Kind) -> web.StreamResponse:
        """Run an exchange inside a span of the caller's trace."""
        operation = OPERATIONS[kind]
        with self.parts.tracing.request(request.headers, operation) as span:
            exchange.upstream_headers = upstream_headers()
            try:
                return await exchange.run(request)
            finally:
                describe(span, operation, exchange)

    def _require_name(self, name: str, deployment: Deployment) -> None:
        """Refuse a model name that is not what is served."""
        if name not in (names := self._names_of(deployment)):
            raise no_such_model(name, names)


def _require(lease: Lease | None) -> Lease:
    """Return the lease, or refuse with 503 where nothing is served."""
    if lease is None:
        raise unavailable("not_served", "no version is live at the moment")
    return lease
