"""The sequential test of a rollout, over several watched shares, and the course it gives the rollout.

Every watched share is tested twice, over blocks of requests of the same minutes (`evalues.py`):

    abort   H0: the candidate's share is not above the live one's. E >= tests / alpha ends the rollout, so that an equal
            or better model is ever aborted with probability at most alpha, over all tests together (Bonferroni).
    pass    H0: the candidate's share is above the live one's by two margins or more. It may go live only when this E
            has reached 1 / beta in every test, so that a model that lost two margins in any one share ever goes
            live with probability at most beta. No correction is needed: it has to pass there too.

Both hold at any traffic, at any number of looks, and for rates that change in the course of the day; they ask that
whether a request meets the live version or the candidate does not hang on who asks (setting `sticky`). What is
undecided at the end of the longest time is taken back.

Alternatives come from the past only: running means, the candidate's beginning at a loss of two margins (abort), the
mean of both arms (pass).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.core.params.release import RolloutParams
from tasks.serving.rollout.evalues import EDGE, Floats, log_ratio, nearest_equal, nearest_shifted

#: Share and direction. A model that refuses less has lost something too, as one that refuses more.
TESTS = (("error", 1), ("slow", 1), ("refusal", 1), ("refusal", -1), ("unknown", 1), ("unknown", -1))
METRICS = tuple(dict.fromkeys(name for name, _ in TESTS))
#: Where running means begin, and how many requests that weighs.
FIRST_SHARE, FIRST_WEIGHT = 0.05, 2.0
#: The candidate's mean under the abort test's alternative begins at two margins above the live one's.
LOSS_WEIGHT = 40.0


@dataclass(frozen=True)
class Block:
    """Requests of the same minutes.

    Args:
        n: requests of the live version and of the candidate, shape (2, rollouts).
        hits: ones by share, in the order of METRICS, shape (2, rollouts, metrics).
    """

    n: Floats
    hits: Floats


class Judge:
    """Both processes of every test, for many rollouts at once (a simulation) or for one.

    Args:
        params: margins and error rates.
        rollouts: how many.
    """

    def __init__(self, params: RolloutParams, rollouts: int = 1) -> None:
        margins = params.margins.model_dump()
        self.loss = np.array([2 * margins[name] for name, _ in TESTS])
        self.abort_at = np.log(len(TESTS) / params.alpha)
        self.pass_at = -np.log(params.beta)
        self.log_abort = np.zeros((rollouts, len(TESTS)))
        self.log_pass = np.zeros((rollouts, len(TESTS)))
        #: The highest each has been: what was reached once, stands.
        self.most_abort, self.most_pass = self.log_abort.copy(), self.log_pass.copy()
        self.n = np.zeros((2, rollouts))
        self.hits = np.zeros((2, rollouts, len(METRICS)))

    @property
    def aborted(self) -> NDArray[np.bool_]:
        """Which rollouts have to end, shape (rollouts,)."""
        return np.asarray((self.most_abort >= self.abort_at).any(axis=1))

    @property
    def passed(self) -> NDArray[np.bool_]:
        """Which rollouts may go live, shape (rollouts,)."""
        return np.asarray((self.most_pass >= self.pass_at).all(axis=1))

    def add(self, block: Block) -> None:
        """Count a block; one that has no request in either arm says nothing, but belongs to the past of the next."""
        n_live, n_canary = block.n[0][:, None], block.n[1][:, None]
        live, canary = self._worse(block.hits[0], block.n[0]), self._worse(block.hits[1], block.n[1])
        told = (n_live > 0) & (n_canary > 0)
        # Without one arm both E are 1; with 1 in its place the formulas have no 0 to divide by.
        sizes = np.where(told, n_live, 1.0), np.where(told, n_canary, 1.0)
        for log_e, most, rates, null in (
            (self.log_abort, self.most_abort, *self._abort_rates(*sizes)),
            (self.log_pass, self.most_pass, *self._pass_rates(*sizes)),
        ):
            gained = log_ratio(live, n_live, rates[0], null[0]) + log_ratio(canary, n_canary, rates[1], null[1])
            log_e += np.where(told, gained, 0.0)
            np.maximum(most, log_e, out=most)
        self.n += block.n
        self.hits += block.hits

    def _abort_rates(self, n_live: Floats, n_canary: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Return alternative and nearest null of the abort tests; the same where the alternative shows no loss."""
        live = self._mean(self._worse(self.hits[0], self.n[0]), self.n[0], self._first(), FIRST_WEIGHT)
        lost = live + self.loss
        canary = self._mean(self._worse(self.hits[1], self.n[1]), self.n[1], lost, LOSS_WEIGHT)
        # At least one margin of loss: the way back to a level E that a long quiet time has worn down is short.
        canary = np.clip(np.maximum(canary, live + self.loss / 2), EDGE, 1 - EDGE)
        worse = canary > live
        common = nearest_equal(live, canary, n_live, n_canary)
        return (live, canary), (np.where(worse, common, live), np.where(worse, common, canary))

    def _pass_rates(self, n_live: Floats, n_canary: Floats) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
        """Return alternative and nearest null of the pass tests."""
        hits, n = self.hits.sum(axis=0), self.n.sum(axis=0)
        both = self._mean(self._worse(hits, n), n, self._first(), FIRST_WEIGHT)
        null = nearest_shifted(both, both, n_live, n_canary, self.loss)
        return (both, both), (null, null + self.loss)

    def _mean(self, hits: Floats, n: Floats, first: Floats, weight: float) -> Floats:
        """Return running means, shape (rollouts, tests)."""
        mean: Floats = np.clip((hits + weight * first) / (n[:, None] + weight), EDGE, 1 - EDGE)
        return mean

    @staticmethod
    def _first() -> Floats:
        """Return where a mean begins: the share that is watched is small, its complement large."""
        return np.array([FIRST_SHARE if sign > 0 else 1 - FIRST_SHARE for _, sign in TESTS])

    @staticmethod
    def _worse(hits: Floats, n: Floats) -> Floats:
        """Return by test how many requests were worse: the ones of a share, or the zeros where less is worse."""
        columns = [hits[:, METRICS.index(name)] for name, _ in TESTS]
        worse = [column if sign > 0 else n - column for column, (_, sign) in zip(columns, TESTS, strict=True)]
        return np.stack(worse, axis=1)

    def evidence(self, rollout: int = 0) -> dict[str, Any]:
        """Return counts by arm and the E-values of one rollout, for people and for the record."""
        arms = {
            arm: {"requests": int(self.n[side, rollout])}
            | {name: int(self.hits[side, rollout, place]) for place, name in enumerate(METRICS)}
            for side, arm in enumerate(("live", "candidate"))
        }
        tests = [
            {"share": name, "direction": "up" if sign > 0 else "down",
             "abort_e": _e_value(self.most_abort[rollout, place]), "abort_at": round(float(np.exp(self.abort_at)), 1),
             "pass_e": _e_value(self.most_pass[rollout, place]), "pass_at": round(float(np.exp(self.pass_at)), 1)}
            for place, (name, sign) in enumerate(TESTS)
        ]  # fmt: skip
        return {"arms": arms, "tests": tests}


def _e_value(log_e: float) -> float:
    """Return an E-value with three figures; beyond a million it is a million."""
    return float(f"{np.exp(min(log_e, np.log(1e6))):.3g}")


RUNNING, ABORTED, PROMOTED = 0, 1, 2


class Course:
    """Where rollouts stand: their step, their end. The same for a simulation and for the one that runs.

    Args:
        params: steps, least numbers of requests, and what the judge asks.
        rollouts: how many.
        judge: None makes one.
        shadow: whether answers are only mirrored: one step, at the share that is mirrored.
    """

    def __init__(self, params: RolloutParams, rollouts: int = 1, *, shadow: bool = False) -> None:
        self.params = params
        self.steps = np.array([params.shadow_percent] if shadow else params.steps_percent, dtype=np.float64)
        self.judge = Judge(params, rollouts)
        self.step = np.zeros(rollouts, dtype=np.int64)
        self.in_step = np.zeros(rollouts)
        self.outcome = np.full(rollouts, RUNNING)

    @property
    def percent(self) -> Floats:
        """The candidate's share of the traffic, shape (rollouts,)."""
        return self.steps[self.step]

    def add(self, block: Block) -> None:
        """Count a block, and go on to the next step, to the end, or back."""
        self.judge.add(block)
        self.in_step += block.n[1]
        running = self.outcome == RUNNING
        self.outcome[running & self.judge.aborted] = ABORTED
        enough = (self.outcome == RUNNING) & (self.in_step >= self.params.step_requests)
        last = self.step == len(self.steps) - 1
        done = enough & last & self.judge.passed & (self.judge.n[1] >= self.params.least_requests)
        self.outcome[done] = PROMOTED
        on = enough & ~last
        self.step[on] += 1
        self.in_step[on] = 0


def evidence_words(evidence: Mapping[str, Any]) -> str:
    """Return counts and E-values as one line: it goes into the history."""
    live, candidate = evidence["arms"]["live"], evidence["arms"]["candidate"]
    shares = ", ".join(f"{name} {live[name]} and {candidate[name]}" for name in METRICS)
    abort = max(test["abort_e"] for test in evidence["tests"])
    passed = min(test["pass_e"] for test in evidence["tests"])
    first = evidence["tests"][0]
    return (f"{live['requests']} live and {candidate['requests']} candidate requests: {shares}; "
            f"largest E of a loss {abort:g} (aborts at {first['abort_at']:g}), "
            f"least E against a loss of two margins {passed:g} (passes at {first['pass_at']:g})")  # fmt: skip
