"""Being asked to stop, by SIGTERM or Ctrl-C: noted once, so that work ends in order; a second time ends it at once."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: One stop may arrive twice: from the terminal and from the process above, or from a group and from its leader.
ANOTHER_SIGNAL_S = 10.0
SAME_SIGNAL_S = 0.2


class StopRequest:
    """Whether this process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._asked_s = 0.0

    def note(self, number: int) -> bool:
        """Note a signal and return whether it is the first; a second stop ends this process here."""
        if self.number is None:
            self.number, self._asked_s = number, time.monotonic()
            return True
        if time.monotonic() - self._asked_s > (SAME_SIGNAL_S if number == self.number else ANOTHER_SIGNAL_S):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return False


@contextmanager
def stops_handled(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Give SIGTERM and Ctrl-C to a handler for the body of the `with`; only the main thread may take signals."""
    numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
