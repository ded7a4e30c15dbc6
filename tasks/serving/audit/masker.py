"""Masking of long texts, in a process of its own: a millisecond a thousand characters, and small requests wait.

A thread would not do: a pattern holds the interpreter for as long as it searches. The process ends with its owner, by
the end of its standard input. Messages are a length in eight bytes and JSON.
"""

import asyncio
import json
import os
import struct
import sys
from typing import Any, BinaryIO

from tasks.serving.audit.record import UNWRITABLE, Redact, redacted

LENGTH = struct.Struct(">Q")
#: Below the gateway and the model server where processors are few.
NICE = 10


class MaskerLostError(Exception):
    """The process ended over a text, or would not take it."""


class Masker:
    """Masks one text after the other in a process, started on first use and again where it has ended.

    Args:
        types: of personal data, as `mask_text` takes them.
    """

    def __init__(self, types: tuple[str, ...]) -> None:
        self.types = types
        self._process: asyncio.subprocess.Process | None = None

    async def mask(self, value: Any) -> tuple[Any, dict[str, int]]:
        """Return a JSON value with its texts masked, and the number of masks by type.

        Raises:
            MaskerLostError: it could not be masked.
        """
        process = await self._running()
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(_packed(value))
            await process.stdin.drain()
            length = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))[0]
            answer = json.loads(await process.stdout.readexactly(length))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError) as error:
            # Half an answer may be under way: the next text must not take it for its own.
            await self.close()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise MaskerLostError(f"the masking process ended: {type(error).__name__}") from error
        if "error" in answer:
            raise MaskerLostError(answer["error"])
        return answer["value"], answer["masks"]

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.kill()
            await process.wait()

    async def _running(self) -> asyncio.subprocess.Process:
        """Return the process, started where none runs."""
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "tasks.serving.audit.masker", *self.types,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
        return self._process


def _packed(value: Any) -> bytes:
    """Return a message."""
    body = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
    return LENGTH.pack(len(body)) + body


def answer_forever(source: BinaryIO, target: BinaryIO, redact: Redact) -> None:
    """Mask what comes in until there is no more."""
    while head := source.read(LENGTH.size):
        value = json.loads(source.read(LENGTH.unpack(head)[0]))
        masks: dict[str, int] = {}
        try:
            answer = {"value": redacted(value, redact, masks), "masks": masks}
        except UNWRITABLE as error:
            answer = {"error": type(error).__name__}
        target.write(_packed(answer))
        target.flush()


def _main() -> None:
    """Mask as `mask_text` does."""
    from functools import partial

    from tasks.data.privacy.desensitize import mask_text

    os.nice(NICE)
    answer_forever(sys.stdin.buffer, sys.stdout.buffer, partial(mask_text, types=tuple(sys.argv[1:])))


if __name__ == "__main__":
    _main()
