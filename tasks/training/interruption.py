"""Stopping a training in order: SIGTERM or Ctrl-C ends it after the step under way, with a sealed checkpoint."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import TrainerCallback

from tasks.core.errors import StoppedError
from tasks.core.stop import StopRequest, stops_handled

log = logging.getLogger(__name__)


class Interruption(TrainerCallback):
    """Has the trainer write a checkpoint and stop when the process was asked to end."""

    def __init__(self) -> None:
        self.request = StopRequest()
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
            raise _stopped(self.request.number or signal.SIGTERM, f"training resumes at step {state.global_step + 1}")

    def signalled(self, number: int, frame: Any) -> None:
        """Note the first signal; the second one ends the process at once, as does the first where nothing is lost.

        Raises:
            StoppedError: training has not begun, or has ended.
        """
        if not self.stepping:
            raise _stopped(number, "training goes on from its last checkpoint, if there is one")
        if self.request.note(number):
            log.warning("train: stopping after the step under way, with a checkpoint; once more ends it at once")

    def _agreed(self, args: Any) -> bool:
        """Return whether any process of this training was asked to stop: all must stop after the same step."""
        if args.world_size == 1:
            return self.request.number is not None
        asked = torch.tensor(float(self.request.number is not None), device=args.device)
        torch.distributed.all_reduce(asked, op=torch.distributed.ReduceOp.MAX)
        return bool(asked.item())


@contextmanager
def stoppable() -> Iterator[Interruption]:
    """Give the callback that a trainer needs to be stopped by SIGTERM and Ctrl-C."""
    found = Interruption()
    with stops_handled(found.signalled):
        yield found


def _stopped(number: int, what: str) -> StoppedError:
    """Return the error of a stop that was asked for by a signal."""
    error = StoppedError(f"stopped by {signal.Signals(number).name}; {what}", "the same command goes on")
    error.exit_code = 128 + number
    return error
