"""Reading a request's body: so many bytes and so much time, and not more."""

import asyncio

from aiohttp import web

from tasks.serving.admission import Refusal


def require_size(request: web.Request, cap_bytes: int) -> None:
    """Refuse a body that says of itself that it is too long, before any of it is read.

    Raises:
        Refusal: 413; 400 for a packed body, whose length says nothing.
    """
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise Refusal(400, "unsupported_encoding", "send the body uncompressed")
    if request.content_length is not None and request.content_length > cap_bytes:
        raise too_large(cap_bytes)


async def read_body(request: web.Request, timeout_s: float, cap_bytes: int) -> bytes:
    """Return a request's body.

    Raises:
        Refusal: 413 where it is too long, 408 where it does not come in time; the connection is closed then.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await request.read()
    except TimeoutError as error:
        raise Refusal(408, "body_timeout", f"the body did not come within {timeout_s:g} s") from error
    except web.HTTPRequestEntityTooLarge as error:
        raise too_large(cap_bytes) from error


def too_large(cap_bytes: int) -> Refusal:
    """Return the refusal of a body that is too long."""
    return Refusal(413, "body_too_large", f"the body is over {cap_bytes} bytes")
