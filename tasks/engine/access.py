"""How a model server is asked: one of our own on loopback, or one at an address, with a token, and never elsewhere."""

from dataclasses import dataclass, field
from typing import Any

import aiohttp

REDIRECTS = range(300, 400)


class RedirectRefusedError(aiohttp.ClientError):
    """A model server sent us elsewhere: what it was asked holds what callers said, and our token."""


@dataclass(frozen=True)
class Access:
    """What every question to a model server has in common.

    Certificates are always verified, by the machine's list of authorities or `SSL_CERT_FILE`; no proxy is used.

    Args:
        token: sent as a bearer token; None for none.
        remote: whether the server is somebody else's: it may serve other models beside ours.
        engines: (base URL, name of its driver) of servers that are no vLLM.
    """

    token: str | None = field(default=None, repr=False)
    remote: bool = False
    engines: tuple[tuple[str, str], ...] = ()

    def engine(self, url: str) -> str:
        """Return the name of the driver of the server at a URL."""
        return dict(self.engines).get(url, "vllm")

    def session(self, **options: Any) -> aiohttp.ClientSession:
        """Return a session for questions to model servers and to nobody else; a redirect is an error in it.

        Args:
            options: of aiohttp's session.
        """
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return aiohttp.ClientSession(headers=headers, middlewares=[_stay], **options)


#: To a server of our own on loopback.
OWN = Access()


async def _stay(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Refuse an answer that sends us elsewhere."""
    answer = await handler(request)
    if answer.status in REDIRECTS:
        answer.close()
        where = answer.headers.get("Location", "nowhere")
        raise RedirectRefusedError(f"{request.url.origin()} redirects to {where[:200]}; redirects are not followed")
    return answer
