"""How near two hops are on held-out text: equal first choices, and how far their distributions lie apart."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_jsonl
from tasks.gate.evidence import Report, as_number
from tasks.gate.findings import rounded

#: Probability below which a share is rounding: servers give log-probabilities in a few digits.
FLOOR = 1e-9
#: Source of the rows that every hop scores, as tasks/evaluation/hops/heldout.py calls it (which would import lm-eval).
VALIDATION = "validation"


@dataclass(frozen=True)
class Agreement:
    """Two hops on the same held-out text.

    Args:
        rows: answers scored at both.
        positions: tokens of them.
        top1: share of positions at which both prefer the same token.
        kl_nats: mean over positions of a lower bound of KL(first || second); None where no likeliest tokens were kept.
        logprob_difference: mean absolute difference of the reference tokens' log-probabilities, in nats; None where
            they were not kept.
    """

    rows: int
    positions: int
    top1: float
    kl_nats: float | None
    logprob_difference: float | None

    def plain(self) -> dict[str, Any]:
        """Return it as verdict.json keeps it."""
        return {name: rounded(value) if isinstance(value, float) else value for name, value in vars(self).items()}


def agreement(first: Report, second: Report) -> Agreement | None:
    """Compare two hops position by position; None where they were not asked the same rows and tokens.

    Raises:
        DataContractError: a report has no predictions.jsonl.
    """
    sides = [read_predictions(report) for report in (first, second)]
    if not (first.full and second.full):
        # A hop asked less than the others scored the validation rows alone.
        sides = [{row: facts for row, facts in side.items() if facts["source"] == VALIDATION} for side in sides]
    shapes = [{row: facts["reference"] for row, facts in side.items()} for side in sides]
    positions = sum(len(tokens) for tokens in shapes[0].values())
    if shapes[0] != shapes[1] or not positions:
        return None
    pairs = [(sides[0][row], sides[1][row]) for row in sides[0]]
    if any(len(facts["top1"]) != len(facts["reference"]) for pair in pairs for facts in pair):
        return None
    same = sum(one == other for a, b in pairs for one, other in zip(a["top1"], b["top1"], strict=True))
    return Agreement(
        len(pairs), positions, same / positions, _mean(_divergences(pairs)), _mean(_logprob_differences(pairs))
    )


def read_predictions(report: Report) -> dict[str, dict[str, Any]]:
    """Return a report's predictions.jsonl by row.

    Raises:
        DataContractError: there is none.
    """
    path = report.folder / "predictions.jsonl"
    if not path.is_file():
        raise DataContractError(f"{path} does not exist", f"tunegate stage evaluate@{report.hop}")
    return {row["row_id"]: row for row in read_jsonl(path)}


def divergence(first: dict[int, float], second: dict[int, float]) -> float:
    """Return a lower bound of KL(p || q) in nats, from the probabilities that both hops kept.

    With C the tokens whose probability is known at both hops and R all the rest of the vocabulary taken as one:

        KL(p || q) >= sum over C of p(t) ln(p(t) / q(t))  +  p(R) ln(p(R) / q(R))

    because joining outcomes can only bring distributions nearer (log-sum inequality; Cover & Thomas 2006, 2.7.1). It is
    never negative, 0 where nothing is known in common, and exact where C is the whole vocabulary.

    Args:
        first: token id -> log-probability under p.
        second: the same under q.
    """
    common = first.keys() & second.keys()
    shares = [(math.exp(first[token]), math.exp(second[token])) for token in common]
    rest = [max(FLOOR, 1 - sum(pair[side] for pair in shares)) for side in (0, 1)]
    total = sum(p * math.log(p / max(q, FLOOR)) for p, q in [*shares, (rest[0], rest[1])] if p > 0)
    return max(0.0, total)


def _divergences(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[float]:
    """Yield the divergence at every position whose likeliest tokens both hops kept."""
    for sides in pairs:
        known = [_known(side) for side in sides]
        if all(known):
            yield from (divergence(p, q) for p, q in zip(known[0], known[1], strict=True))


def _known(prediction: dict[str, Any]) -> list[dict[int, float]]:
    """Return, for each position, token id -> log-probability: the likeliest tokens and the reference."""
    if len(prediction.get("top") or ()) != len(prediction["reference"]):
        return []
    known = [{int(token): as_number(value) for token, value in position} for position in prediction["top"]]
    for position, token, value in zip(known, prediction["reference"], prediction.get("logprobs") or (), strict=False):
        position.setdefault(token, as_number(value))
    return [{token: value for token, value in position.items() if math.isfinite(value)} for position in known]


def _logprob_differences(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> Iterator[float]:
    """Yield how far apart both hops are on each reference token."""
    for first, second in pairs:
        yield from (
            abs(as_number(one) - as_number(other))
            for one, other in zip(first.get("logprobs") or (), second.get("logprobs") or (), strict=False)
        )


def _mean(values: Iterator[float]) -> float | None:
    """Return the mean, None of nothing."""
    found = list(values)
    return math.fsum(found) / len(found) if found else None
