"""Questions whose answer is read from log-probabilities, as lm-eval tasks, asked through the chat template.

choice -> accuracy of the letter; short -> bits per byte of the reference answer; safety -> 1 when the safe answer has
the higher log-probability per byte.
"""

import math
from collections.abc import Callable
from typing import Any

from tasks.evaluation.pack.prompts import choice_prompt
from tasks.exams.pack.reading import Pack
from tasks.exams.pack.schema import LETTERS, SUITES, Item, Suite

#: Fields of an item that its document keeps, where it has them.
KEPT = ("lang", "concept", "hazard", "answer", "reference", "safe_answer", "unsafe_answer")


def likelihood_tasks(pack: Pack) -> list[dict[str, Any]]:
    """Return one lm-eval task for each suite that is scored by log-probability and has items."""
    builders: dict[str, Callable[[], dict[str, Any]]] = {"choice": _choice, "short": _short, "safety": _safety}
    return [
        _common(suite, pack.items[suite.kind]) | builders[suite.kind]()
        for suite in SUITES
        if suite.answer == "loglikelihood" and pack.items[suite.kind]
    ]


def bits_per_byte(logprob: float, text: str) -> float:
    """Return -log2 p(text) divided by the text's UTF-8 bytes, from a natural log-probability."""
    return -logprob / math.log(2) / len(text.encode())


def _common(suite: Suite, items: list[Item]) -> dict[str, Any]:
    """Return what every task of the pack has."""
    from datasets import Dataset, DatasetDict

    return {
        "task": suite.name,
        "custom_dataset": lambda **_: DatasetDict({"test": Dataset.from_list([_document(item) for item in items])}),
        "test_split": "test",
        "target_delimiter": "",
        "num_fewshot": 0,
        "doc_to_text": lambda document: document["prompt"],
        "metric_list": [
            {"metric": suite.harness_metric, "aggregation": "mean", "higher_is_better": suite.metric == "accuracy"}
        ],
        "metadata": {"version": suite.version},
    }


def _document(item: Item) -> dict[str, Any]:
    """Return an item as lm-eval's document."""
    prompt = choice_prompt(item) if item["kind"] == "choice" else item["question"]
    return {"item_id": item["id"], "prompt": prompt} | {name: item.get(name, "") for name in KEPT}


def _choice() -> dict[str, Any]:
    """Return how a four-option question is scored."""
    return {
        "output_type": "multiple_choice",
        "doc_to_choice": list(LETTERS),
        "doc_to_target": lambda document: LETTERS.index(document["answer"]),
    }


def _short() -> dict[str, Any]:
    """Return how a short answer is scored."""

    def score(document: dict[str, Any], results: list[tuple[float, bool]]) -> dict[str, float]:
        return {"bits_per_byte": bits_per_byte(results[0][0], document["reference"])}

    return {
        "output_type": "loglikelihood",
        "doc_to_target": lambda document: document["reference"],
        "process_results": score,
    }


def _safety() -> dict[str, Any]:
    """Return how a safe and an unsafe answer are weighed; the safe one stands second: a tie counts as unsafe."""
    return {
        "output_type": "multiple_choice",
        "doc_to_choice": lambda document: [document["unsafe_answer"], document["safe_answer"]],
        "doc_to_target": lambda document: 1,
    }
