"""How often is a rollout wrong, and after how many requests? By simulation, through the course that real ones take.

Truths: the two versions are equal; or the candidate lost two margins in one share (a watched share rises by two
margins; refusals, or answers that something is not known, fall by as much), all else equal.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tasks.core.params.release import RolloutParams
from tasks.serving.rollout.evalues import Floats
from tasks.serving.rollout.judge import ABORTED, METRICS, PROMOTED, RUNNING, TESTS, Block, Course

#: The bar for both rates.
BAR = 0.05
#: Assumed shares of a live version. Slow is 5 % by its meaning; refusals and unknowns are as frequent as a loss of two
#: margins downwards needs, which a desk that is asked about emergencies will see.
SHARES = {"error": 0.01, "slow": 0.05, "refusal": 0.12, "unknown": 0.12}


@dataclass(frozen=True)
class Ends:
    """How the simulated rollouts of one truth ended.

    Args:
        outcome: ABORTED, PROMOTED or RUNNING (undecided, taken back), shape (rollouts,).
        candidate, requests: requests of the candidate and of both versions until then, shape (rollouts,).
    """

    outcome: NDArray[np.int64]
    candidate: Floats
    requests: Floats

    def share(self, outcome: int) -> float:
        """Return the share of rollouts with this outcome."""
        return round(float((self.outcome == outcome).mean()), 4)

    def row(self, outcome: int) -> dict[str, Any]:
        """Return how many candidate requests an outcome took, and all requests; None where nobody had it."""
        rows = self.outcome == outcome
        if not rows.any():
            return {"candidate_requests": None, "requests": None}
        return {
            name: {"median": round(float(np.median(values[rows]))), "p90": round(float(np.quantile(values[rows], 0.9)))}
            for name, values in (("candidate_requests", self.candidate), ("requests", self.requests))
        }


def simulate_rollouts(
    params: RolloutParams, *, rollouts: int, seed: int, requests_per_minute: float = 60.0
) -> dict[str, Any]:
    """Return how often an equal model is aborted, and a loss of two margins caught.

    Args:
        params: section `promote.rollout`.
        rollouts: simulated for every truth.
        seed: of the generator; the same seed gives the same rates.
        requests_per_minute: of both versions together; it decides how long a rollout takes, and what the longest
            time leaves undecided.

    Returns:
        {"rollouts", "requests_per_minute", "bar", "shares", "equal": {"aborted", "promoted", "undecided", "needed"},
        "losses": [{"share", "direction", "caught", "aborted", "undecided", "promoted", "needed"}], "ok"}; caught is
        aborted or undecided, needed are requests until the promotion of an equal model, until the abort of a worse one.
    """
    generator = np.random.default_rng(seed)
    margins = params.margins.model_dump()
    equal = _rollouts(params, SHARES, rollouts, requests_per_minute, generator)
    losses = []
    for name, sign in TESTS:
        worse = SHARES | {name: max(0.0, SHARES[name] + sign * 2 * margins[name])}
        ends = _rollouts(params, worse, rollouts, requests_per_minute, generator)
        losses.append({
            "share": name, "direction": "up" if sign > 0 else "down", "from": SHARES[name], "to": round(worse[name], 6),
            "caught": round(1 - ends.share(PROMOTED), 4), **_shares(ends), "needed": ends.row(ABORTED),
        })  # fmt: skip
    return {
        "rollouts": rollouts, "requests_per_minute": requests_per_minute, "bar": BAR, "shares": SHARES,
        "equal": {**_shares(equal), "needed": equal.row(PROMOTED)}, "losses": losses,
        "ok": equal.share(ABORTED) <= BAR and all(row["caught"] >= 1 - BAR for row in losses),
    }  # fmt: skip


def _shares(ends: Ends) -> dict[str, float]:
    """Return the shares of the three outcomes."""
    return {"aborted": ends.share(ABORTED), "promoted": ends.share(PROMOTED), "undecided": ends.share(RUNNING)}


def _rollouts(
    params: RolloutParams, candidate: dict[str, float], count: int, per_minute: float, generator: np.random.Generator
) -> Ends:
    """Simulate rollouts of one truth, block by block, each to its end."""
    course = Course(params, count)
    rates = np.array([[SHARES[name] for name in METRICS], [candidate[name] for name in METRICS]])
    mean = per_minute * params.block_s / 60
    for _ in range(int(params.longest_s / params.block_s)):
        running = course.outcome == RUNNING
        if not running.any():
            break
        arrived = generator.poisson(mean, count) * running
        to_candidate = generator.binomial(arrived, course.percent / 100)
        n = np.stack([arrived - to_candidate, to_candidate])
        hits = generator.binomial(n[:, :, None], rates[:, None, :])
        course.add(Block(n.astype(np.float64), hits.astype(np.float64)))
    return Ends(course.outcome, course.judge.n[1], course.judge.n.sum(axis=0))


def rollout_words(found: dict[str, Any]) -> str:
    """Return the rates as a person reads them."""
    equal = found["equal"]
    lines = [
        f"{found['rollouts']} rollouts of each truth, {found['requests_per_minute']:g} requests a minute",
        f"equal model: aborted in {100 * equal['aborted']:.1f} % (bar {100 * found['bar']:.0f} %), promoted in "
        f"{100 * equal['promoted']:.1f} %, undecided and taken back in {100 * equal['undecided']:.1f} %"
        f"{_needed(equal['needed'], 'promoted')}",
    ]
    lines += [
        f"loss of two margins, {row['share']} {row['direction']} from {row['from']:g} to {row['to']:g}: caught in "
        f"{100 * row['caught']:.1f} % (aborted {100 * row['aborted']:.1f} %, taken back "
        f"{100 * row['undecided']:.1f} %){_needed(row['needed'], 'aborted')}"
        for row in found["losses"]
    ]
    wrong = "NOT within the bar\n  next: widen promote.rollout.margins or lower alpha and beta, then run this again"
    return "\n".join([*lines, "both rates are within the bar" if found["ok"] else wrong])


def _needed(needed: dict[str, Any], what: str) -> str:
    """Return after how many requests it was, as words."""
    if needed["candidate_requests"] is None:
        return ""
    candidate, both = needed["candidate_requests"], needed["requests"]
    return (f"; {what} after {candidate['median']} candidate requests (p90 {candidate['p90']}), "
            f"{both['median']} in all (p90 {both['p90']})")  # fmt: skip
