"""What a model answers greedily to a few fixed prompts: enough to tell which model stands behind a name.

Asked at every hop (two hops that should differ but answer alike token by token are one model), and again of a slot
before it goes live: one that serves other weights, another template or the base under the new name answers otherwise.
Imports nothing heavy: the serving host reads this file too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.chat.sequences import common_prefix
from tasks.core.errors import DataContractError

FINGERPRINT_PROMPTS = (
    "什么是应急计划区？",
    "碘片什么时候服用？",
    "隐蔽时应注意什么？",
    "1 mSv 等于多少 μSv？",
    "What is a general emergency?",
    "When should stable iodine be taken?",
    "What does sheltering mean?",
    "How many microsieverts are in 1 mSv?",
)
FINGERPRINT_TOKENS = 16
#: The hop whose weights are served.
SERVED_HOP = "awq"
#: The share of the fingerprint's tokens (up to each answer's first difference) a slot must repeat. Measured on the
#: laptop model: the same weights, batched otherwise, 0.92 to 1.00; merged under the name of awq 0.63; the base 0.28.
MIN_AGREEMENT = 0.75

Answers = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Fingerprint:
    """What the evaluation of a version got, by hop.

    Args:
        prompts: what was asked, each as the only message of a chat.
        answers: hop -> the greedy token ids after each prompt; has the served hop at least.
        opening: token ids between a rendered prompt and the answer: an empty thought where the template has one.
    """

    prompts: tuple[str, ...]
    answers: dict[str, list[list[int]]]
    opening: tuple[int, ...] = ()

    @property
    def served(self) -> list[list[int]]:
        """What a slot with the right weights answers."""
        return self.answers[SERVED_HOP]

    def row(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"prompts": list(self.prompts), "answers": self.answers, "opening": list(self.opening)}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Fingerprint":
        """Return the fingerprint in a JSON value.

        Raises:
            DataContractError: a prompt has no answer, or an answer is empty: nothing could be compared.
        """
        answers = {hop: [list(one) for one in ids] for hop, ids in row["answers"].items()}
        # Evidence from before openings were kept has none: its answers begin at the prompt's end.
        found = cls(tuple(row["prompts"]), answers, tuple(row.get("opening") or ()))
        for hop in (SERVED_HOP, *found.answers):
            kept = found.answers.get(hop) or []
            if len(kept) != len(found.prompts) or not all(kept):
                raise DataContractError(
                    f"the evidence has no fingerprint of hop {hop} for these {len(found.prompts)} prompts",
                    "tunegate run makes and registers it anew",
                )
        return found


def fingerprint(client: Any, tokenizer: Any) -> list[list[int]]:
    """Return the greedy token ids of the answer to each fixed prompt, [prompts, FINGERPRINT_TOKENS].

    They begin where training puts the answer, behind an empty thought where the template has one: a thought that every
    model opens and closes alike would tell none from another.

    Args:
        client: a `ServedClient`.
        tokenizer: of the model's own folder.
    """
    from tasks.chat.template import render
    from tasks.engine.queries import greedy_query
    from tasks.engine.spans import opening_ids

    opening = opening_ids(tokenizer)
    prompts = [render(tokenizer, [{"role": "user", "content": text}], True) + opening for text in FINGERPRINT_PROMPTS]
    queries = [greedy_query(prompt, FINGERPRINT_TOKENS, "fingerprint") for prompt in prompts]
    return list(client.ask(queries, "fingerprint"))


def agreement(found: Answers, expected: Answers) -> float:
    """Return the share of tokens up to each answer's first difference, 0 to 1.

    After the first difference two greedy answers are about different texts, so what follows says nothing.
    """
    total = sum(len(answer) for answer in expected)
    return sum(common_prefix(one, other) for one, other in zip(found, expected, strict=True)) / total


def likest(found: Answers, by_hop: Mapping[str, Answers]) -> tuple[str, float]:
    """Return the hop whose answers are most like these, and how like they are."""
    shares = {hop: agreement(found, answers) for hop, answers in by_hop.items()}
    hop = max(shares, key=lambda name: shares[name])
    return hop, shares[hop]
