"""Stopping a training in order: SIGTERM or Ctrl-C ends it after the step under way, with a sealed checkpoint."""

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainerCallback

from tasks.core.errors import StoppedError

log = logging.getLogger(__name__)

#: One stop may arrive twice: from the terminal and from the process above, or from a group and from its leader.
ANOTHER_SIGNAL_S = 10.0
SAME_SIGNAL_S = 0.2


class Interruption(TrainerCallback):
    """Has the trainer write a checkpoint and stop when the process was asked to end."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.asked_s = 0.0
        self.stepping = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """From here on there is something to keep."""
        self.stepping = True

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save and stop where a stop was asked for."""
        if self._agreed(args):
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The last checkpoint is written.

        Raises:
            StoppedError: it is not the one of the last step.
        """
        self.stepping = False
        if state.global_step < state.max_steps and self._agreed(args):
            raise _stopped(self.number or signal.SIGTERM, f"training resumes at step {state.global_step + 1}")

    def signalled(self, number: int, frame: Any) -> None:
        """Note the first signal; the second one ends the process at once, as does the first where nothing is lost.

        Raises:
            StoppedError: training has not begun, or has ended.
        """
        if not self.stepping:
            raise _stopped(number, "training goes on from its last checkpoint, if there is one")
        if self.number is None:
            self.number, self.asked_s = number, time.monotonic()
            log.warning("train: stopping after the step under way, with a checkpoint; once more ends it at once")
        elif time.monotonic() - self.asked_s > (SAME_SIGNAL_S if number == self.number else ANOTHER_SIGNAL_S):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    def _agreed(self, args: Any) -> bool:
        """Return whether any process of this training was asked to stop: all must stop after the same step."""
        if args.world_size == 1:
            return self.number is not None
        asked = torch.tensor(float(self.number is not None), device=args.device)
        torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        return bool(asked.item())


@contextmanager
def stoppable() -> Iterator[Interruption]:
    """Give the callback that a trainer needs to be stopped by SIGTERM and Ctrl-C."""
    found = Interruption()
    # Only the main thread may take signals.
    numbers = (signal.SIGTERM, signal.SIGINT) if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, found.signalled) for number in numbers}
    try:
        yield found
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stopped(number: int, what: str) -> StoppedError:
    """Return the error of a stop that was asked for by a signal."""
    error = StoppedError(f"stopped by {signal.Signals(number).name}; {what}", "the same command goes on")
    error.exit_code = 128 + number
    return error
