"""Stands where a server's process would: asks a fork server for one, and ends as it ends.

Run as a file with the standard library alone, under a keeper: `python -I -S fork_client.py SOCKET ARGUMENT ...`. Its
environment, folder and standard output become the server's. SIGTERM is passed on; killed, it takes the server with it.
"""

import json
import os
import signal
import socket
import sys
from typing import Any

LOST = 1


def main(path: str, arguments: list[str]) -> int:
    """Ask for a server and return its exit code, 1 where the fork server is lost."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        signal.signal(signal.SIGTERM, lambda *_: _hang_up(connection))
        request = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
        socket.send_fds(connection, [json.dumps(request).encode() + b"\n"], [sys.stdout.fileno()])
        answer = connection.makefile("r").readline()
    return int(answer) if answer.strip() else LOST


def _hang_up(connection: Any) -> None:
    """Say that no server is wanted any more; its exit code still comes back."""
    connection.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
