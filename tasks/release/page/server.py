"""The page on loopback: GET shows, POST takes one signed approval. It decides nothing: `approvals.take` does."""

import asyncio
import base64
import hashlib
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
from aiohttp import web

from tasks.core.errors import ConfigError, TransientError, TunegateError
from tasks.core.settings import PromoteParams
from tasks.proof.approval import MAX_TEXT_BYTES, read_approval
from tasks.release.approvals import take
from tasks.release.page import facts
from tasks.release.page.guards import DOSSIER, guard, page_policy, require_token
from tasks.release.page.loopback import HOST, listener
from tasks.release.registry import Registry

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
#: Of a whole form: an approval in either of its two fields, and what a browser puts around them.
MAX_FORM_BYTES = 2 * MAX_TEXT_BYTES
FORM_TIMEOUT_S = 30.0
FIELDS = ("token", "pasted", "file")


class ApprovalPage:
    """The page of one version.

    Args:
        registry: where the version is.
        number: its number.
        params: environment and approvals asked for.
    """

    def __init__(self, registry: Registry, number: str, params: PromoteParams) -> None:
        self.registry, self.number, self.params = registry, number, params
        self.token = secrets.token_urlsafe(32)
        self.style = (HERE / "page.css").read_text(encoding="utf-8")
        digest = hashlib.sha256(self.style.encode()).digest()
        self.policy = page_policy(base64.b64encode(digest).decode())
        engine = jinja2.Environment(loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True,
                                    lstrip_blocks=True, undefined=jinja2.StrictUndefined)  # fmt: skip
        self.template = engine.get_template("page.html.j2")
        # Its store copies into one folder: one look at a time.
        self._lock = asyncio.Lock()

    def app(self) -> web.Application:
        """Return the application."""
        app = web.Application(middlewares=[guard], client_max_size=MAX_FORM_BYTES)
        app.router.add_get("/", self.show)
        app.router.add_get("/dossier", self.dossier)
        app.router.add_get("/record", self.record)
        app.router.add_post("/approvals", self.take)
        return app

    async def show(self, request: web.Request) -> web.Response:
        """Show the version."""
        return await self._page()

    async def dossier(self, request: web.Request) -> web.Response:
        """Show the dossier: a page that another process wrote, so it may run nothing here."""
        body = await self._looked(facts.dossier_page, self.registry, self.number, self.params)
        if isinstance(body, TunegateError):
            return await self._page(error=body)
        headers = {"Content-Security-Policy": DOSSIER}
        return web.Response(body=body, content_type="text/html", charset="utf-8", headers=headers)

    async def record(self, request: web.Request) -> web.Response:
        """Give the signed record as a file."""
        body = await self._looked(facts.record_file, self.registry, self.number)
        if isinstance(body, TunegateError):
            return await self._page(error=body)
        headers = {"Content-Disposition": f'attachment; filename="record-{self.number}.json"'}
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def take(self, request: web.Request) -> web.Response:
        """Take a signed approval, or say in words why not."""
        try:
            async with asyncio.timeout(FORM_TIMEOUT_S):
                fields = await _form(request)
            require_token(fields["token"], self.token)
            envelope = read_approval(fields["pasted"].strip() or fields["file"])
        except TunegateError as error:
            return await self._page(error=error)
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        taken = await self._looked(take, self.registry, self.number, self.params, envelope)
        if isinstance(taken, TunegateError):
            log.warning("approval page: refused: %s", taken.message)
            return await self._page(error=taken)
        log.info("approval page: version %s has %d approvals", self.number, len(taken.approvals))
        return web.Response(status=303, headers={"Location": "/#approvals"})

    async def _page(self, error: TunegateError | None = None) -> web.Response:
        """Return the page, with why something was refused."""
        found = await self._looked(facts.page_facts, self.registry, self.number, self.params)
        if isinstance(found, TunegateError):
            error, found = error or found, {"number": self.number, "model": self.registry.name}
        values: dict[str, Any] = {"error": facts.words_of(error) if error else None, "style": self.style,
                                  "token": self.token, "shown": "links" in found, **found}  # fmt: skip
        return web.Response(
            text=self.template.render(values), content_type="text/html", status=_status(error),
            headers={"Content-Security-Policy": self.policy},
        )  # fmt: skip

    async def _looked(self, function: Callable[..., Any], *given: Any) -> Any:
        """Return what a function of the registry returns, or the error it ends with."""
        async with self._lock:
            try:
                return await asyncio.to_thread(function, *given)
            except TunegateError as error:
                return error


def serve(
    registry: Registry, number: str, params: PromoteParams, port: int, *, told: Callable[[str], object]
) -> None:  # fmt: skip
    """Serve the page of a version until Ctrl-C.

    Args:
        port: 0 for a free one.
        told: called with what a person needs to know.

    Raises:
        ConfigError: there is no such version.
        MissingToolError: the port is taken.
    """
    registry.version(number)
    socket = listener(port, "tunegate approve VERSION --serve")
    told(f"http://{HOST}:{socket.getsockname()[1]}/   version {number}, until Ctrl-C; from another machine: ssh -L")
    page = ApprovalPage(registry, number, params)
    web.run_app(page.app(), sock=socket, print=None, access_log=None, handle_signals=True)


async def _form(request: web.Request) -> dict[str, str]:
    """Return the fields of the form as text.

    Raises:
        ConfigError: it is no form, or a field is no text.
        web.HTTPRequestEntityTooLarge: it is larger than any approval.
    """
    if request.content_type not in ("multipart/form-data", "application/x-www-form-urlencoded"):
        raise web.HTTPUnsupportedMediaType
    try:
        found = await request.post()
    except (ValueError, AssertionError) as error:
        raise ConfigError(f"the form cannot be read: {type(error).__name__}", "load the page again") from error
    return {name: _field(found.get(name, "")) for name in FIELDS}


def _field(value: Any) -> str:
    """Return a field's text: typed, or from a file."""
    if isinstance(value, web.FileField):
        value = value.file.read()
    if isinstance(value, (bytes, bytearray)):
        try:
            return bytes(value).decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError("the file is not UTF-8: no signed approval", "give what --out wrote") from error
    return str(value)


def _status(error: TunegateError | None) -> int:
    """Return the HTTP status of a page with an error on it."""
    if error is None:
        return 200
    return 503 if isinstance(error, TransientError) else 422
