"""A record that reaches its server late rather than never: kept in a file first, sent from there in order.

Work that takes hours does not wait for the server that keeps its record, and does not end with it. What was not sent
stays in the file for whoever opens it next.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tasks.core.errors import TransientError, TunegateError
from tasks.core.exclusive import POLL_S, locked

log = logging.getLogger(__name__)

Event = dict[str, Any]

#: What one call of the sender gets at most: a long wait is made up for in pieces, each of which is done for good.
BATCH_EVENTS = 200


class Spool:
    """Events in a file, one JSON object a line, appended; a kill at any byte costs the line under way at most.

    One process holds it at a time; the kernel lets go of it when that process ends, however it ends.

    Args:
        path: the file; made where it does not exist. A half last line is cut off.
        wait_s: how long to wait for whoever holds it.

    Raises:
        TransientError: another process holds it longer.
    """

    def __init__(self, path: Path, wait_s: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._stream = _held(path, wait_s)
        self._writing = threading.Lock()
        self.events = self._whole_lines()

    def append(self, event: Event) -> None:
        """Keep one more event."""
        line = json.dumps(event, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        with self._writing:
            self._stream.write(line)
            self._stream.flush()

    def close(self) -> None:
        """Let go of the file; its events wait there."""
        self._stream.close()

    def remove(self) -> None:
        """Delete the file, then let go of it."""
        self.path.unlink(missing_ok=True)
        self.close()

    def _whole_lines(self) -> list[Event]:
        """Return the events, and cut off what a killed process left behind the last whole line."""
        self._stream.seek(0)
        content = self._stream.read()
        whole = content.rfind(b"\n") + 1
        self._stream.truncate(whole)
        self._stream.seek(whole)
        events = []
        for number, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
            try:
                events.append(json.loads(line))
            except ValueError:
                log.warning("%s:%d is not JSON and is passed over", self.path, number)
        return events


def _held(path: Path, wait_s: float) -> IO[bytes]:
    """Return the file open and locked."""
    deadline = time.monotonic() + wait_s
    while True:
        stream = path.open("a+b")
        if locked(stream):
            if path.exists() and os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                return stream
        elif time.monotonic() > deadline:
            stream.close()
            raise TransientError(f"{path} is held by another process", "wait for it, then run the same command again")
        else:
            time.sleep(POLL_S)
        # Held by another, or deleted by it in the moment before it let go.
        stream.close()


@dataclass(frozen=True)
class Pace:
    """How often an outbox sends; times in seconds.

    Args:
        send_every_s: a round trip an event would cost more than the step of a tiny model.
        longest_wait_s: between two tries of a server that does not answer; the wait doubles up to it.
        last_tries_s: how long the end waits for such a server.
    """

    send_every_s: float = 5.0
    longest_wait_s: float = 60.0
    last_tries_s: float = 10.0


class Outbox:
    """Sends the events of a spool in order, from a thread, so that whoever adds one never waits for the server.

    Args:
        spool: where they are kept; what it holds already is sent first.
        send: sends some, and is given the same ones again after it failed. Raises TransientError where the server
            does not answer, another TunegateError where it refuses.
        server: what is sent to, for messages.
        pace: how often.
    """

    def __init__(self, spool: Spool, send: Callable[[list[Event]], None], server: str, pace: Pace) -> None:
        self.spool, self.send, self.server, self.pace = spool, send, server, pace
        self.problem: TransientError | None = None
        self.refusal: TunegateError | None = None
        self._unsent = list(spool.events)
        self._adding, self._sending = threading.Lock(), threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)

    @property
    def why(self) -> str | None:
        """Why something waits; None where nothing does."""
        error = self.refusal or self.problem
        return error.message if error else None

    def start(self) -> None:
        """Send from now on, every few seconds."""
        self._thread.start()

    def add(self, event: Event) -> None:
        """Keep an event and send it later.

        Raises:
            TunegateError: the server refused an earlier one.
        """
        if self.refusal:
            raise self.refusal
        self.spool.append(event)
        with self._adding:
            self._unsent.append(event)

    def deliver(self) -> bool:
        """Send what waits, and return whether nothing waits any more; a server that does not answer is named once."""
        with self._sending:
            return self._deliver()

    def _deliver(self) -> bool:
        """Send what waits, piece by piece."""
        try:
            while self._unsent:
                batch = self._unsent[:BATCH_EVENTS]
                self.send(batch)
                with self._adding:
                    del self._unsent[: len(batch)]
        except TransientError as error:
            if self.problem is None:
                log.warning("%s; work goes on, what it logs waits in %s", error.message, self.spool.path)
            self.problem = error
        except TunegateError as error:
            self.refusal = error
        else:
            if self.problem:
                log.info("%s answers again: it has everything now", self.server)
            self.problem = None
        return not self._unsent

    def close(self, *, wait: bool) -> bool:
        """End the thread, send the rest, and return whether all of it was taken; the file is deleted then.

        Args:
            wait: try again for a while where the server does not answer.
        """
        self._over.set()
        if self._thread.ident:
            self._thread.join()
        deadline = time.monotonic() + (self.pace.last_tries_s if wait else 0.0)
        while not (done := self.deliver()) and not self.refusal and time.monotonic() < deadline:
            time.sleep(self.pace.last_tries_s / 10)
        if done:
            self.spool.remove()
        else:
            log.error("not all of the record was taken: %s; the rest waits in %s", self.why, self.spool.path)
            self.spool.close()
        return done

    def _work(self) -> None:
        """Send again and again, ever more slowly while the server does not answer."""
        wait_s = self.pace.send_every_s
        while not self._over.wait(wait_s) and not self.refusal:
            wait_s = self.pace.send_every_s if self.deliver() else min(2 * wait_s, self.pace.longest_wait_s)
