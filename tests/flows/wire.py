"""A network that can be cut: a process that carries TCP to a port of this machine, killed and started again.

Run as a file: `python -I wire.py FROM TO` carries from one port on loopback to another one.
"""

import asyncio
import socket
import subprocess
import sys
import time
from contextlib import suppress

CHUNK_BYTES = 65536
HOST = "127.0.0.1"


class Wire:
    """A way to a port: cut, its connections end and new ones are refused.

    Args:
        port: where it begins; a free one.
        target: where it leads.
    """

    def __init__(self, port: int, target: int) -> None:
        self.port, self.target = port, target
        self._process: subprocess.Popen[bytes] | None = None
        self.mend()

    def cut(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def mend(self) -> None:
        """Carry (again)."""
        if self._process is None:
            command = [sys.executable, "-I", __file__, str(self.port), str(self.target)]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
            deadline = time.monotonic() + 60
            while not self._listens():
                assert self._process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, self.port)) == 0


async def _serve(port: int, target: int) -> None:
    """Carry until this process is killed."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            there, back = await asyncio.open_connection(HOST, target)
            await asyncio.gather(_pour(reader, back), _pour(there, writer))
            back.close()
        writer.close()

    async with await asyncio.start_server(carry, HOST, port) as server:
        await server.serve_forever()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Carry one direction until either end is gone."""
    with suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    with suppress(OSError, RuntimeError):
        writer.write_eof()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
