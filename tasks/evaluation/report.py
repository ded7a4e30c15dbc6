"""What evaluation leaves behind: one record per item, suite values, and facts about the model for the gate."""

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.files import read_json
from tasks.core.manifest import read_manifest
from tasks.core.settings import EvaluateParams
from tasks.evaluation import ceval, domain
from tasks.evaluation.parity import template_sha256

#: Digits kept of log-probabilities: a server's batching moves those behind.
DIGITS = 6

#: Suite -> name of its value in results.json.
METRIC_NAMES = {
    "ceval": "ceval_accuracy",
    "ceval_mini": "ceval_accuracy",
    "domain_choice": "domain_choice_accuracy",
    "domain_short": "domain_bits_per_byte",
    "safety": "safety_accuracy",
}


@dataclass(frozen=True)
class Sample:
    """One scored item, as samples.jsonl keeps it; `group` is what values are broken down by."""

    suite: str
    item_id: str
    metric: str
    value: float
    group: str
    detail: dict[str, Any]

    def row(self) -> dict[str, Any]:
        """Return the line of samples.jsonl."""
        return {
            "suite": self.suite,
            "item_id": self.item_id,
            "metric": self.metric,
            "value": self.value,
            "detail": self.detail,
        }


@dataclass(frozen=True)
class Outcome:
    """Everything the server was asked for."""

    samples: list[Sample]
    predictions: list[dict[str, Any]]
    canary: dict[str, Any]
    parity_rows: int
    mismatches: list[dict[str, Any]]
    fingerprint: list[list[int]]
    tokenizer: Any
    server_version: str
    folder: Path


def exam_sample(suite: str, record: dict[str, Any]) -> Sample:
    """Return a C-Eval-schema item from the harness's record."""
    document = record["doc"]
    subject = document["item_id"].partition("/")[0]
    return Sample(
        suite,
        document["item_id"],
        "accuracy",
        float(record["acc"]),
        subject,
        _letters(record, ceval.LETTERS, document["answer"]),
    )


def pack_sample(record: dict[str, Any], scored: dict[tuple[str, str], Any]) -> Sample:
    """Return a domain item from the harness's record."""
    document, suite = record["doc"], record["suite"]
    kind = next(kind for kind in domain.KINDS if kind.suite == suite)
    detail: dict[str, Any] = {"lang": document["lang"]}
    if kind.key == "choice":
        detail |= _letters(record, domain.LETTERS, document["answer"])
    elif kind.key == "short":
        logprob, size = _logprobs(record)[0], len(document["reference"].encode())
        detail |= {"logprob": _rounded(logprob), "bytes": size, "tokens": len(_scored(record, scored).token_ids)}
    else:
        answers = (document["unsafe_answer"], document["safe_answer"])
        unsafe, safe = (logprob / len(text.encode()) for logprob, text in zip(_logprobs(record), answers, strict=True))
        detail |= {
            "hazard": document["hazard"],
            "safe_logprob_per_byte": _rounded(safe),
            "unsafe_logprob_per_byte": _rounded(unsafe),
        }
    value = _rounded(float(record[kind.harness_metric]))
    return Sample(suite, document["item_id"], kind.metric, value, detail.get("hazard", document["lang"]), detail)


def prediction(record: dict[str, Any], scored: dict[tuple[str, str], Any]) -> dict[str, Any]:
    """Return the model's first choice at each token of a reference answer, the true tokens before it given."""
    found = _scored(record, scored)
    return {"row_id": record["doc"]["item_id"], "reference": found.token_ids, "top1": found.top_ids}


def results(
    params: EvaluateParams, subjects: list[ceval.Subject], outcome: Outcome, *, hop: str, model: Path | None
) -> dict[str, Any]:
    """Return results.json."""
    suites = {
        name: _suite(params, name, [sample for sample in outcome.samples if sample.suite == name])
        for name in sorted({sample.suite for sample in outcome.samples})
    }
    return {
        "hop": hop,
        "model_lineage_id": read_manifest(model)["lineage_id"] if model else None,
        "suites": suites,
        "metrics": {METRIC_NAMES[name]: suite["value"] for name, suite in suites.items()},
        "subjects": len(subjects),
        "parity": {"rows": outcome.parity_rows, "mismatches": outcome.mismatches},
        "chat_template_sha256": template_sha256(outcome.tokenizer),
        "tokens": {kind: getattr(outcome.tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")},
        "canary": outcome.canary,
        "server": {"engine": "vllm", "version": outcome.server_version},
        "model": model_facts(outcome.folder) | {"fingerprint": outcome.fingerprint},
    }


def flat_metrics(params: EvaluateParams, results: dict[str, Any]) -> dict[str, float]:
    """Return metrics.json for `dvc metrics`: a stand-in set keeps its own name."""
    return {name.replace("ceval_", f"{params.ceval.name}_"): value for name, value in results["metrics"].items()}


def model_facts(folder: Path) -> dict[str, Any]:
    """Return size and quantization of a model folder, read from its files without loading the model."""
    from safetensors import safe_open

    weights = sorted(folder.glob("*.safetensors"))
    names: list[str] = []
    for path in weights:
        with safe_open(path, framework="numpy") as opened:
            names += opened.keys()
    quantization = read_json(folder / "config.json").get("quantization_config") or {}
    return {
        "size_bytes": sum(path.stat().st_size for path in weights),
        "tensors": len(names),
        "quantization": quantization.get("format") or quantization.get("quant_method"),
        # compressed-tensors and AWQ name the packed weights of each quantized layer so.
        "quantized_modules": sum(name.endswith((".weight_packed", ".qweight")) for name in names),
    }


def _suite(params: EvaluateParams, name: str, samples: list[Sample]) -> dict[str, Any]:
    """Return one suite's entry in results.json."""
    exam = name == params.ceval.name
    groups: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        groups[sample.group].append(sample.value)
    return {
        "name": name,
        "items": len(samples),
        "metric": samples[0].metric,
        "value": _mean([sample.value for sample in samples]),
        "stand_in": name == "ceval_mini",
        "limit": params.ceval.limit if exam else params.domain.limit,
        "chat_template": params.ceval.chat_template if exam else True,
        "few_shot": params.ceval.few_shot if exam else 0,
        "task_version": ceval.TASK_VERSION if exam else domain.TASK_VERSION,
        "groups": {group: {"items": len(values), "value": _mean(values)} for group, values in sorted(groups.items())},
    }


def _letters(record: dict[str, Any], letters: tuple[str, ...], answer: str) -> dict[str, Any]:
    """Return what was chosen of the letters and how likely each was."""
    logprobs = _logprobs(record)
    return {
        "answer": answer,
        "chosen": letters[logprobs.index(max(logprobs))],
        "logprobs": [_rounded(value) for value in logprobs],
    }


def _logprobs(record: dict[str, Any]) -> list[float]:
    """Return the log-probability of each continuation of an item, in the order asked."""
    return [float(answer[0]) for answer in record["filtered_resps"]]


def _scored(record: dict[str, Any], scored: dict[tuple[str, str], Any]) -> Any:
    """Return the token-level answer for an item with one continuation."""
    context, continuation = record["arguments"][0]
    return scored[context, continuation]


def _mean(values: list[float]) -> float:
    """Return the mean, rounded."""
    return _rounded(math.fsum(values) / len(values))


def _rounded(value: float) -> float:
    """Return a number without the digits that batching moves."""
    return round(value, DIGITS)
