"""What keeps other sites out of the page: a browser on this machine sends it whatever any page it shows asks for.

Source: Fetch Metadata, https://www.w3.org/TR/fetch-metadata/; Origin, https://fetch.spec.whatwg.org/#origin-header
"""

import hmac
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from tasks.core.errors import ConfigError

log = logging.getLogger(__name__)

Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]
#: The names under which a browser reaches the loopback address. A name of somebody's own that resolves to it (DNS
#: rebinding) is not among them.
NAMES = frozenset({"127.0.0.1", "localhost"})
#: For every answer. `same-origin`, not `no-referrer`: with that, a form's Origin would be null.
HEADERS = {
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
#: What the dossier needs: its own styles, nothing else; it is a page without an origin, and runs nothing.
DOSSIER = f"{NOTHING}; style-src 'unsafe-inline'; sandbox"


def page_policy(style_sha256: str) -> str:
    """Return the policy of the page: its one style sheet, its one form.

    Args:
        style_sha256: digest of the style sheet, base64.
    """
    own = f"style-src 'sha256-{style_sha256}'; form-action 'self'"
    return f"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; {own}"


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what does not come from this page, and give every answer the headers."""
    if why := refusal(request):
        log.warning("page: refused: %s", why)
        answer: web.StreamResponse = web.Response(status=403, text=f"refused: {why}\n")
    else:
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            answer = web.Response(status=error.status, text=f"{error.reason}\n")
    for name, value in {"Content-Security-Policy": NOTHING, **HEADERS}.items():
        answer.headers.setdefault(name, value)
    return answer


def refusal(request: web.Request) -> str | None:
    """Return why a request is not answered, None where it is."""
    if _name(request.host) not in NAMES:
        return "the Host header is not this machine's loopback name"
    if request.method not in ("GET", "HEAD") and not _is_ours(request):
        return "the request comes from another site"
    return None


def require_token(given: str, token: str) -> None:
    """Refuse a form that this page did not make.

    Raises:
        ConfigError: its token is another.
    """
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise ConfigError("this form is of another start of the page", "load the page again and send it once more")


def _is_ours(request: web.Request) -> bool:
    """Return whether a form came from this very page: browsers say it in two headers, and no script can forge them."""
    site = request.headers.get("Sec-Fetch-Site", "same-origin")
    return site == "same-origin" and request.headers.get("Origin") == f"http://{request.host}"


def _name(host: str) -> str | None:
    """Return the name in a Host header."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None
