"""MLflow's registry webhook, taken so that a moved alias is seen at once instead of at the next look.

It wakes the reconciler and says nothing to it: what is live is decided by reading the alias. A lost one costs the time
to the next look; a forged one is refused, and one that got through would cost a look.

Source: mlflow/webhooks/delivery.py of MLflow 3.17 (signature over `delivery id.timestamp.body`).
"""

import base64
import hmac
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tasks.core.errors import ConfigError, MissingToolError

log = logging.getLogger(__name__)

SECRET, ADDRESS = "TUNEGATE_WEBHOOK_SECRET", "TUNEGATE_WEBHOOK_ADDRESS"
DEFAULT_ADDRESS = "127.0.0.1:8105"
SIGNATURE, TIMESTAMP, DELIVERY = "X-MLflow-Signature", "X-MLflow-Timestamp", "X-MLflow-Delivery-Id"
#: An older one is refused, whatever its signature; within it no delivery counts twice.
WINDOW_S = 300.0
MAX_BODY_BYTES = 64 << 10
READ_TIMEOUT_S = 5.0
MIN_SECRET_CHARACTERS = 16


class Deliveries:
    """Tells genuine deliveries from forged and repeated ones.

    Args:
        secret: shared with MLflow's webhook.
    """

    def __init__(self, secret: str) -> None:
        if len(secret) < MIN_SECRET_CHARACTERS:
            raise ConfigError(f"{SECRET} is too short", f"export {SECRET}=$(openssl rand -hex 32)")
        self.secret = secret.encode()
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def refusal(self, headers: Mapping[str, str], body: bytes, now: float) -> str | None:
        """Return why a delivery does not count; None where it does, once.

        Args:
            now: seconds since 1970.
        """
        signature, stamp, delivery = (headers.get(name) or "" for name in (SIGNATURE, TIMESTAMP, DELIVERY))
        signed = b".".join((delivery.encode(), stamp.encode(), body))
        expected = b"v1," + base64.b64encode(hmac.digest(self.secret, signed, "sha256"))
        if not hmac.compare_digest(signature.encode(), expected):
            return "its signature does not hold"
        # Signed from here on.
        if not stamp.isdigit() or abs(now - int(stamp)) > WINDOW_S:
            return "it is too old, or of the future"
        with self._lock:
            self._seen = {name: at for name, at in self._seen.items() if now - at <= 2 * WINDOW_S}
            if delivery in self._seen:
                return "it was delivered before"
            self._seen[delivery] = now
        return None


@contextmanager
def listening(wake: threading.Event) -> Iterator[str | None]:
    """Take webhooks for the body of the `with`, where a secret is set; gives the address.

    Args:
        wake: set by each genuine delivery.

    Raises:
        ConfigError: secret or address is not usable.
        MissingToolError: the port is taken.
    """
    secret = os.environ.get(SECRET)
    if not secret:
        yield None
        return
    host, port = _address(os.environ.get(ADDRESS, DEFAULT_ADDRESS))
    try:
        server = ThreadingHTTPServer((host, port), _handler(Deliveries(secret), wake))
    except OSError as error:
        message = f"{host}:{port} is not free for the webhook ({error.strerror})"
        raise MissingToolError(message, f"export {ADDRESS}=HOST:PORT") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="webhook", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(deliveries: Deliveries, wake: threading.Event) -> type[BaseHTTPRequestHandler]:
    """Return what answers a request."""

    class Handler(BaseHTTPRequestHandler):
        """POST wakes; everything else is refused."""

        timeout = READ_TIMEOUT_S

        def do_POST(self) -> None:
            """Take a delivery."""
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or int(length) > MAX_BODY_BYTES:
                self._end(413)
                return
            headers = {name: self.headers.get(name, "") for name in (SIGNATURE, TIMESTAMP, DELIVERY)}
            why = deliveries.refusal(headers, self.rfile.read(int(length)), time.time())
            if why is not None:
                log.warning("webhook refused: %s", why)
                self._end(401)
                return
            wake.set()
            self._end(204)

        def _end(self, status: int) -> None:
            """Answer without a body."""
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *given: object) -> None:
            """Say nothing: what is refused has its own line."""

    return Handler


def _address(text: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{ADDRESS}={text!r} is no HOST:PORT", f"export {ADDRESS}={DEFAULT_ADDRESS}")
    return host, int(port)
