"""Connections that cost nothing while nothing happens on them: half a header, a reader that stops, an idle client.

aiohttp bounds none of these by itself: a connection may send half a header for an hour, and a reader that stops keeps
its handler waiting for as long as it likes.
"""

import asyncio
import logging
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler

from tasks.core.params.door import DoorParams

log = logging.getLogger(__name__)

#: Longer than clients keep idle connections themselves.
KEEPALIVE_S = 75.0
#: For what is left of a body that was refused: enough to tell the caller why.
LINGERING_S = 2.0


class GuardedRunner(web.AppRunner):
    """An application's runner whose connections have deadlines.

    Args:
        params: section `serve.gateway.door`.
    """

    __slots__ = ("_params",)

    def __init__(self, app: web.Application, params: DoorParams, **given: Any) -> None:
        super().__init__(app, keepalive_timeout=KEEPALIVE_S, lingering_time=LINGERING_S, **given)
        self._params = params

    async def _make_server(self) -> web.Server:
        """Return the server that makes guarded connections."""
        plain = await super()._make_server()
        return _GuardedServer(plain, self._params)


class _GuardedServer(web.Server):
    """aiohttp's server, with connections of ours."""

    def __init__(self, plain: web.Server, params: DoorParams) -> None:
        super().__init__(
            plain.request_handler, request_factory=plain.request_factory,
            handler_cancellation=plain.handler_cancellation, loop=plain._loop, **plain._kwargs,
        )  # fmt: skip
        self.params = params

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return _GuardedConnection(self, self.params, loop=self._loop, **self._kwargs)


class _GuardedConnection(RequestHandler):
    """One connection: a header must be whole within its time, and what is written must be read within its own."""

    __slots__ = ("_body", "_header_due", "_params", "_read_due")

    def __init__(self, manager: web.Server, params: DoorParams, **given: Any) -> None:
        super().__init__(manager, **given)
        self._params = params
        self._body: StreamReader = EMPTY_PAYLOAD
        self._header_due: asyncio.TimerHandle | None = None
        self._read_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first header."""
        super().connection_made(transport)
        self._expect_header()

    def data_received(self, data: bytes) -> None:
        """Take data in; the first bytes of a further request begin its header's time, those of a body do not."""
        known, of_body = self._request_count, not self._body.is_eof()
        super().data_received(data)
        if self._request_count != known:
            self._header_came()
            self._body = self._messages[-1][1]
        elif self._header_due is None and not of_body:
            self._expect_header()

    def pause_writing(self) -> None:
        """The reader does not keep up: from here on it has its time."""
        super().pause_writing()
        self._read_due = self._loop.call_later(self._params.write_timeout_s, self._let_go, "reads nothing")

    def resume_writing(self) -> None:
        """The reader has caught up."""
        super().resume_writing()
        self._caught_up()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Nothing is due any more."""
        self._header_came()
        self._caught_up()
        super().connection_lost(exc)

    def _expect_header(self) -> None:
        """Begin a header's time."""
        self._header_due = self._loop.call_later(self._params.header_timeout_s, self._header_is_late)

    def _header_is_late(self) -> None:
        """Let go, unless an earlier request is being answered: half of the next one behind it must not end that."""
        if self._request_in_progress or self._messages:
            self._expect_header()
        else:
            self._let_go("sends no whole header")

    def _header_came(self) -> None:
        """End a header's time."""
        if self._header_due is not None:
            self._header_due.cancel()
        self._header_due = None

    def _caught_up(self) -> None:
        """End a reader's time."""
        if self._read_due is not None:
            self._read_due.cancel()
        self._read_due = None

    def _let_go(self, why: str) -> None:
        """End the connection at once: what is not read by now is not waited for."""
        if self.transport is not None:
            log.info("gateway: let go of %s, which %s", self.transport.get_extra_info("peername"), why)
            self.transport.abort()
