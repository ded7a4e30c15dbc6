"""What is watched of an answer, and the blocks in which the two arms are compared.

A request belongs to the block in which it began, and a block is closed when every request of it has ended: an answer
that takes long must not drop out of the count because it takes long.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.serving.rollout.judge import METRICS, Block

#: The live version's times that tell what is slow; fewer than the least, and nothing is.
RECENT_TIMES, LEAST_TIMES = 1000, 40
SLOW_QUANTILE = 0.95
FAILED = 500


@dataclass(eq=False)
class Observation:
    """One answer of one arm.

    Args:
        candidate: whose.
        began: when the request came, by the monotonic clock.
        status: HTTP status; 499 where the caller left.
        seconds: to the first bytes of the answer, or until there was none any more.
        stream: whether it came piece by piece; such times are compared among themselves.
        text: gives what was answered; called once, in a thread.
        refusal, unknown: what it says, once it has been read.
    """

    candidate: bool
    began: float
    status: int
    seconds: float
    stream: bool
    text: Callable[[], str] | None
    refusal: bool = False
    unknown: bool = False

    def read(self) -> None:
        """Find out what the answer says, and let go of its text."""
        if self.text is not None and self.status == 200:
            self.refusal, self.unknown = said_in(self.text())
        self.text = None


def said_in(text: str) -> tuple[bool, bool]:
    """Return whether an answer refuses, and whether it says that something is not known: by the evaluation's words."""
    # A second's worth of imports: not before the first rollout.
    from tasks.evaluation.pack.keypoints import folded, stands_in
    from tasks.evaluation.pack.open_answers import markers_of

    answer = folded(text)
    refusal, unknown = (
        any(stands_in(form, answer) for lang in ("zh", "en") for form in markers_of(kind, lang))
        for kind in ("refuse", "unknown")
    )
    return refusal, unknown


def read_all(answers: Sequence[Observation]) -> None:
    """Read answers one after another; for a thread."""
    for answer in answers:
        answer.read()


class Blocks:
    """Answers on their way into blocks.

    Args:
        block_s: how long a block lasts; longer where an arm had no request yet.
        began: when the first one begins, by the monotonic clock.
    """

    def __init__(self, block_s: float, began: float) -> None:
        self.block_s, self.until = block_s, began + block_s
        self.pending: list[Observation] = []
        self._times: dict[bool, deque[float]] = {kind: deque(maxlen=RECENT_TIMES) for kind in (False, True)}

    def add(self, answers: Sequence[Observation]) -> None:
        """Take in answers that have ended and been read."""
        self.pending += answers

    def closed(self, now: float, oldest_open: float) -> list[Block]:
        """Return the blocks that are over, oldest first.

        Args:
            now: by the monotonic clock.
            oldest_open: when the oldest request that has not ended began; now where there is none.
        """
        found = []
        while min(now, oldest_open) >= self.until:
            inside = [answer for answer in self.pending if answer.began < self.until]
            if {answer.candidate for answer in inside} == {False, True}:
                self.pending = [answer for answer in self.pending if answer.began >= self.until]
                found.append(self._block(inside))
            self.until += self.block_s
        return found

    def _block(self, answers: list[Observation]) -> Block:
        """Count a block; what is slow was settled before it by the live version's times."""
        slow = {kind: _slow_from(times) for kind, times in self._times.items()}
        n, hits = np.zeros((2, 1)), np.zeros((2, 1, len(METRICS)))
        for answer in answers:
            arm = int(answer.candidate)
            n[arm] += 1
            hits[arm, 0] += [
                answer.status >= FAILED, answer.seconds > slow[answer.stream], answer.refusal, answer.unknown
            ]  # fmt: skip
            if not answer.candidate and answer.status == 200:
                self._times[answer.stream].append(answer.seconds)
        return Block(n, hits)


def _slow_from(times: Sequence[float]) -> float:
    """Return from how many seconds on an answer is slow."""
    return float(np.quantile(times, SLOW_QUANTILE)) if len(times) >= LEAST_TIMES else float("inf")
