"""One scored item, as samples.jsonl keeps it, made from what the harness or the server gave."""

from dataclasses import asdict, dataclass
from typing import Any

from tasks.engine.queries import LOOPED
from tasks.evaluation.multiple_choice.tasks import exam_item
from tasks.evaluation.pack.generation import GenerationItem, score
from tasks.evaluation.pack.likelihood import bits_per_byte
from tasks.exams.pack.schema import LETTERS, suite_named

#: Digits kept of values: a server's batching moves those behind.
DIGITS = 6


@dataclass(frozen=True)
class Sample:
    """One scored item; `group` is what values are broken down by: subject, hazard or concept."""

    suite: str
    item_id: str
    metric: str
    value: float
    group: str
    detail: dict[str, Any]

    def row(self) -> dict[str, Any]:
        """Return the line of samples.jsonl."""
        return asdict(self)


def exam_sample(record: dict[str, Any]) -> Sample:
    """Return an exam's item from the harness's record."""
    return Sample(metric="accuracy", **exam_item(record))


def weighed_sample(record: dict[str, Any]) -> Sample:
    """Return an item of the pack whose answers were weighed by log-probability, from the harness's record."""
    document, suite = record["doc"], suite_named(record["suite"])
    logprobs = [float(answer[0]) for answer in record["filtered_resps"]]
    detail = {name: document[name] for name in ("lang", "concept", "hazard") if document.get(name)}
    value = float(record[suite.harness_metric])
    if suite.kind == "choice":
        chosen = LETTERS[logprobs.index(max(logprobs))]
        detail |= {"answer": document["answer"], "chosen": chosen, "logprobs": [_rounded(one) for one in logprobs]}
    elif suite.kind == "short":
        size = len(document["reference"].encode())
        value = bits_per_byte(logprobs[0], document["reference"])
        detail |= {"logprob": _rounded(logprobs[0]), "bytes": size}
    else:
        sizes = (len(document["unsafe_answer"].encode()), len(document["safe_answer"].encode()))
        unsafe, safe = (logprob / size for logprob, size in zip(logprobs, sizes, strict=True))
        detail |= {"safe_logprob_per_byte": _rounded(safe), "unsafe_logprob_per_byte": _rounded(unsafe)}
    group = str(document.get("hazard") or document.get("concept") or document["lang"])
    return Sample(suite.name, document["item_id"], suite.metric, _rounded(value), group, detail)


def written_sample(item: GenerationItem, answer: dict[str, Any], *, thinking_opened: bool) -> Sample:
    """Return an item of the pack whose answer was written out.

    Args:
        item: what was asked.
        answer: {"text", "finish_reason"} as the server gave it.
        thinking_opened: whether the prompt itself ended in the opening of a thought.
    """
    value, detail = score(item, answer["text"], thinking_opened=thinking_opened)
    # An answer that was ended is scored as it stands, and says why it ends there.
    detail |= {"cut": answer["finish_reason"] == "length", "looped": answer["finish_reason"] == LOOPED}
    group = str(detail.get("concept") or item.lang)
    return Sample(item.suite, item.item_id, suite_named(item.suite).metric, _rounded(value), group, detail)


def _rounded(value: float) -> float:
    """Return a number without the digits that batching moves."""
    return round(value, DIGITS)
