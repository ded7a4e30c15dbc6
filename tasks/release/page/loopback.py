"""Where our own pages are reached: from this machine alone."""

import socket
from typing import Final

from tasks.core.errors import MissingToolError

HOST: Final = "127.0.0.1"


def listener(port: int, command: str) -> socket.socket:
    """Return a socket that this machine alone can reach.

    Args:
        port: 0 for a free one.
        command: what serves the page, for the error.

    Raises:
        MissingToolError: the port is taken.
    """
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
        found.listen()
    except OSError as error:
        found.close()
        message = f"{HOST}:{port} is not free ({error.strerror})"
        raise MissingToolError(message, f"{command}, without --port: a free one") from error
    return found
