"""One request to the live slot and its answer back, recorded on both ends."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import aiohttp
from aiohttp import web

from tasks.serving.admission import Admitted, Refusal, unavailable
from tasks.serving.answers import broken_off, ends, error_status, is_usage, said, spoken, usage_of
from tasks.serving.audit import AuditLog
from tasks.serving.context import refused_by_model, require_room
from tasks.serving.outcome import CALLER_LEFT_STATUS, of_status
from tasks.serving.slots import Lease

log = logging.getLogger(__name__)

#: Where a payload says what is asked; recorded as the prompt.
ASKED = frozenset({"messages", "prompt", "input", "instructions"})
EVENT_END = b"\n\n"
BROKEN_OFF = "it was stopped before the answer's end"
#: vLLM's answers that are about the request, not about vLLM; passed back as they are. No 404: path and model are ours.
CALLERS_FAULT = frozenset({400, 413, 422})
#: How long a server that broke off may take to say whether it is well.
HEALTH_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Place:
    """Where a request is asked.

    Args:
        admitted: in the form that the version there understands.
        headers: of the answer; the request id among them also goes to vLLM's log.
    """

    lease: Lease
    admitted: Admitted
    headers: dict[str, str]


#: Gives another place where the server of a lease has ended; None where it goes on, or nothing is live in time.
Another = Callable[[Lease], Awaitable[Place | None]]


async def nowhere_else(lost: Lease) -> Place | None:
    """Return no other place, where one server is all there is."""
    return None


class Lost(Exception):
    """The model server broke off or failed before the caller got anything.

    Args:
        refusal: what to answer where nobody else can be asked.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


class Exchange:
    """One request and its answer.

    Args:
        place: where it is asked first.
        facts: who asked, for the log.
        another: gives another place, once, where the server of the first ends before the caller got anything.
        context_tokens: the model's context.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        audit: AuditLog,
        place: Place,
        facts: dict[str, Any],
        another: Another,
        context_tokens: int,
    ) -> None:
        self.session, self.audit, self.facts, self.another = session, audit, facts, another
        self.lease, self.admitted, self.headers = place.lease, place.admitted, place.headers
        self.context_tokens = context_tokens
        #: Whether another server was asked than the one it was recorded with.
        self.moved = False
        #: Sent to vLLM beside our own: the trace that its spans belong to.
        self.upstream_headers: dict[str, str] = {}
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None
        self.status = CALLER_LEFT_STATUS
        self.started = time.perf_counter()
        #: When the first bytes of the answer came, and the last event of a stream; as `started`.
        self.first_at: float | None = None
        self.last_at: float | None = None
        self._answer: list[bytes] = []

    @property
    def outcome(self) -> str:
        """What became of it."""
        return of_status(self.status)

    @property
    def first_s(self) -> float | None:
        """Seconds to the answer's first bytes; None before they came."""
        return None if self.first_at is None else self.first_at - self.started

    @property
    def between_tokens_s(self) -> float | None:
        """The mean time between two tokens of a stream; None where there were not two."""
        if not self.first_at or not self.last_at or (self.completion_tokens or 0) < 2:
            return None
        return (self.last_at - self.first_at) / (self.completion_tokens - 1)  # type: ignore[operator]

    def used_tokens(self, reserved: int) -> int:
        """Return the tokens to charge: what vLLM counted, or the reservation where the caller left before the end."""
        if self.completion_tokens is not None:
            return (self.prompt_tokens or 0) + self.completion_tokens
        return reserved if self.status in (200, CALLER_LEFT_STATUS) else 0

    def answer_text(self) -> str:
        """Return what the caller has been told so far, without thoughts and calls; not for the event loop."""
        return spoken(self._said())

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Ask the slot and return its answer, sent already where it was streamed.

        Raises:
            Refusal: 503 where vLLM is lost, too slow or ill, or the request could not be recorded.
        """
        facts = {name: self.facts[name] for name in ("request_id", "key", "key_id")}
        recorded = self.audit.submit({
            **self.facts, "kind": "request", "time": _now(),
            "version": self.lease.deployment.version, "lineage_id": self.lease.deployment.lineage_id,
            "slot": self.lease.slot, "stream": self.admitted.stream, "prompt": self.admitted.prompt,
            **_asked_with(self.admitted.payload),
        })  # fmt: skip
        try:
            return await self._run(request, recorded)
        except Refusal as refusal:
            self.status = refusal.status
            raise
        finally:
            # No await here: this also runs when the caller has left and the task is being cancelled.
            self.audit.submit({
                **facts, **self._answered_by(), "kind": "answer", "time": _now(), "status": self.status,
                "answer": self._said,
                "prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens,
                "milliseconds": round((time.perf_counter() - self.started) * 1000),
            })  # fmt: skip

    async def _run(self, request: web.Request, recorded: "asyncio.Future[bool]") -> web.StreamResponse:
        """Ask; once more, and elsewhere, where the server ends before the caller got anything: what it had generated is
        gone with it, so nothing is done twice. Only once: a request may be what ended it.
        """
        try:
            return await self._once(request, recorded)
        except Lost as lost:
            place = await self.another(self.lease) if await self._ails() else None
            if place is None:
                raise lost.refusal from lost
        log.warning("%s: slot %s was lost; slot %s answers", self.headers["x-request-id"], self.lease.slot,
                    place.lease.slot)  # fmt: skip
        self.lease, self.admitted, self.headers, self.moved = place.lease, place.admitted, place.headers, True
        self._answer = []
        try:
            return await self._once(request, recorded)
        except Lost as lost:
            raise lost.refusal from lost

    async def _ails(self) -> bool:
        """Return whether a server that broke off does not answer or says that its engine is dead."""
        timeout = aiohttp.ClientTimeout(total=HEALTH_TIMEOUT_S)
        try:
            async with self.session.get(f"{self.lease.url}/health", timeout=timeout) as answer:
                return answer.status >= 500
        except (aiohttp.ClientError, TimeoutError):
            return True

    async def _once(self, request: web.Request, recorded: "asyncio.Future[bool]") -> web.StreamResponse:
        """Ask, wait until the request is recorded, pass the answer on.

        Raises:
            Lost: the server broke off, or failed.
            Refusal: it was too slow, or the request could not be recorded.
        """
        try:
            await require_room(self.session, self.lease, self.admitted, self.context_tokens)
            upstream = await self._begun(request.path)
            async with upstream:
                if not await recorded:
                    raise unavailable("audit_unavailable", "the request could not be recorded, so it is not answered")
                if upstream.status != 200:
                    await self._failed(upstream)
                if self.admitted.stream:
                    return await self._stream(request, upstream)
                return await self._whole(upstream)
        except (aiohttp.ClientError, TimeoutError) as error:
            log.warning("%s: slot %s: %s", self.headers["x-request-id"], self.lease.slot, error or "timed out")
            refusal = unavailable("upstream_lost", "the model server did not answer")
            if isinstance(error, TimeoutError):
                raise refusal from error
            raise Lost(refusal) from error

    async def _begun(self, path: str) -> aiohttp.ClientResponse:
        """Send the request and return its answer's beginning; in bounded time where a grammar is compiled for it.

        Raises:
            Refusal: 503, the caller's schema took too long.
        """
        try:
            async with asyncio.timeout(self.admitted.begins_within_s):
                return await self._ask(path)
        except TimeoutError as error:
            if self.admitted.begins_within_s is None:
                raise
            limit = f"{self.admitted.begins_within_s:g} s"
            message = f"an answer in this form did not begin in {limit}; ask for a simpler one"
            raise unavailable("schema_timeout", message) from error

    async def _ask(self, path: str) -> aiohttp.ClientResponse:
        """Send the request; once more where an idle connection was closed under it (nothing was generated then)."""
        payload = {"model": self.lease.deployment.lineage_id, **self.admitted.payload}
        body = json.dumps(payload, ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity",
                   "X-Request-Id": self.headers["x-request-id"], **self.upstream_headers}  # fmt: skip
        url = f"{self.lease.url}{path}"
        try:
            return await self.session.post(url, data=body, headers=headers)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            return await self.session.post(url, data=body, headers=headers)

    async def _failed(self, upstream: aiohttp.ClientResponse) -> NoReturn:
        """Refuse with what vLLM finds wrong with the request; keep vLLM's own troubles to ourselves.

        Raises:
            Refusal: always.
        """
        body = await upstream.read()
        if upstream.status not in CALLERS_FAULT:
            raise self._failure(upstream.status, body)
        self._answer = [body]
        raise refused_by_model(upstream.status, body, self.admitted.kind)

    def _failure(self, status: int, body: bytes) -> Lost:
        """Log a failure of vLLM's own and return what the caller is told."""
        log.warning("%s: slot %s: HTTP %d: %s", self.headers["x-request-id"], self.lease.slot, status,
                    body[:500])  # fmt: skip
        return Lost(unavailable("upstream_failed", "the model server failed on this request"))

    async def _whole(self, upstream: aiohttp.ClientResponse) -> web.Response:
        """Return an answer that came in one piece, byte for byte.

        Raises:
            ServerDisconnectedError: the server was stopped before it had finished, and says so in it.
        """
        body = await upstream.read()
        if broken_off(body):
            raise aiohttp.ServerDisconnectedError(BROKEN_OFF)
        self._answer, self.status, self.first_at = [body], 200, time.perf_counter()
        self._read_usage(body)
        return web.Response(body=body, content_type="application/json", headers=self.headers)

    async def _stream(self, request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        """Pass events on as they come; nothing is sent before the first is there, so that until then it can be asked
        elsewhere, or refused with a status.
        """
        events = _events(upstream.content)
        first = await anext(events, b"")
        if not first.endswith(EVENT_END) or broken_off(first):
            raise aiohttp.ServerDisconnectedError("it ended before its first event")
        if (status := error_status(first)) is not None and status not in CALLERS_FAULT:
            raise self._failure(status, first)
        response = web.StreamResponse(headers={
            **self.headers, "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache",
            "X-Accel-Buffering": "no",
        })  # fmt: skip
        await response.prepare(request)
        try:
            await self._pass_events(first, events, response)
        except (aiohttp.ClientError, TimeoutError) as error:
            if request.transport is None or request.transport.is_closing():
                return response
            # The status line is out: the error can only be an event, and the end without [DONE] says so too.
            log.warning("%s: slot %s: stream broke: %s", self.headers["x-request-id"], self.lease.slot, error)
            refusal = unavailable("upstream_lost", "the model server was lost; the answer is not complete")
            self.status = refusal.status
            await response.write(b"data: " + refusal.body() + EVENT_END)
        await response.write_eof()
        return response

    async def _pass_events(self, first: bytes, events: AsyncIterator[bytes], response: web.StreamResponse) -> None:
        """Pass every event on, but for a usage chunk nobody asked for.

        Raises:
            ClientError: the connection to either side is lost, the stream ended before its last event, or vLLM says in
                it that it failed: its own words are not passed on.
        """
        failed = False
        async for event in _after(first, events):
            if (status := error_status(event)) is not None:
                if status not in CALLERS_FAULT:
                    raise aiohttp.ClientPayloadError(f"HTTP {status} in the stream: {event[:500]!r}")
                failed, self.status = True, status
            if broken_off(event):
                raise aiohttp.ServerDisconnectedError(BROKEN_OFF)
            self._answer.append(event)
            if is_usage(event) or (ends(event) and self.admitted.kind == "responses"):
                self._read_usage(event)
            if is_usage(event) and not self.admitted.usage_asked:
                continue
            await response.write(event)
            if ends(event):
                self.status = self.status if failed else 200
                return
            self.last_at = time.perf_counter()
            self.first_at = self.first_at or self.last_at
        raise aiohttp.ServerDisconnectedError("it ended early")

    def _answered_by(self) -> dict[str, Any]:
        """Return who answered, where it is another one than was recorded with the request."""
        if not self.moved:
            return {}
        deployment = self.lease.deployment
        return {"version": deployment.version, "lineage_id": deployment.lineage_id, "slot": self.lease.slot}

    def _read_usage(self, body: bytes) -> None:
        """Take the token counts out of an answer or the event that holds them."""
        self.prompt_tokens, self.completion_tokens = usage_of(body)

    def _said(self) -> Any:
        """Return what was answered. Runs in the audit log's thread."""
        return said(self._answer)


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Yield server-sent events, each whole and with its blank line; a broken last one as it is."""
    rest = b""
    async for data in content.iter_any():
        *events, rest = (rest + data).split(EVENT_END)
        for event in events:
            yield event + EVENT_END
    if rest:
        yield rest


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield an event and those behind it."""
    yield first
    async for event in rest:
        yield event


def _asked_with(payload: dict[str, Any]) -> dict[str, Any]:
    """Return what else was asked for: settings as they are, and apart from them what is or holds text."""
    rest = {name: value for name, value in payload.items() if name not in ASKED}
    settings = {name: value for name, value in rest.items() if isinstance(value, int | float)}
    beside = {name: value for name, value in rest.items() if name not in settings}
    return {"settings": settings} | ({"beside": beside} if beside else {})


def _now() -> str:
    """Return the time for a record."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
