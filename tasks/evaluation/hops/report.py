"""What evaluation leaves behind: one record per item, suite values, and facts about the model for the gate."""

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.chat.special_tokens import template_sha256
from tasks.core.settings import EvaluateParams
from tasks.engine.fingerprint import FINGERPRINT_PROMPTS
from tasks.engine.spans import opening_ids
from tasks.evaluation.hops.samples import DIGITS, Sample
from tasks.evaluation.multiple_choice.scores import exam_facts
from tasks.evaluation.multiple_choice.tasks import GENERATED, TASK_VERSION
from tasks.exams.pack.schema import suite_named
from tasks.exams.schema import Exam
from tasks.models.files import model_config

#: Suite -> name of its value in results.json.
METRIC_NAMES = {
    "ceval": "ceval_accuracy",
    "ceval_mini": "ceval_accuracy",
    "cmmlu": "cmmlu_accuracy",
    "domain_short": "domain_bits_per_byte",
    "domain_keypoints": "domain_keypoints",
}


@dataclass(frozen=True)
class Asked:
    """Everything a hop was asked for, and what it gave."""

    samples: list[Sample]
    exams: list[Exam]
    predictions: list[dict[str, Any]]
    heldout: dict[str, Any]
    canary: dict[str, Any]
    parity: dict[str, Any]
    fingerprint: list[list[int]]
    server_version: str


def results(
    params: EvaluateParams,
    asked: Asked,
    *,
    hop: str,
    lineage_id: str | None,
    tokenizer: Any,
    folder: Path,
    full: bool,
    judge: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return results.json; `calibration` is the base's alone and added there.

    Args:
        params: section `evaluate`.
        asked: the hop's answers.
        hop: its name.
        lineage_id: of its folder; None for the base.
        tokenizer: of its folder.
        folder: its folder.
        full: whether the suites were asked.
        judge: how a judge and the key points agree; None where there is no judge.
    """
    by_suite: dict[str, list[Sample]] = defaultdict(list)
    for sample in asked.samples:
        by_suite[sample.suite].append(sample)
    suites = {name: _suite(params, name, samples) for name, samples in sorted(by_suite.items())}
    metrics = {metric_name(name): suite["value"] for name, suite in suites.items()}
    return {
        "hop": hop,
        "scope": "full" if full else "agreement",
        "model_lineage_id": lineage_id,
        "suites": suites,
        "metrics": metrics | {"heldout_bits_per_byte": asked.heldout["bits_per_byte"]},
        "exams": [exam_facts(exam, asked.samples) for exam in asked.exams],
        "calibration": None,
        "judge": judge,
        "heldout": asked.heldout,
        "parity": asked.parity,
        "chat_template_sha256": template_sha256(tokenizer),
        "tokens": {kind: getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")},
        "canary": asked.canary,
        "server": {"engine": "vllm", "version": asked.server_version},
        "model": model_facts(folder)
        | {
            "fingerprint": asked.fingerprint,
            "fingerprint_prompts": list(FINGERPRINT_PROMPTS),
            "fingerprint_opening": opening_ids(tokenizer),
        },
        "evaluated": {name: _ids_sha256(samples) for name, samples in sorted(by_suite.items())},
    }


def metric_name(suite: str) -> str:
    """Return what rules and results.json call a suite's value."""
    return METRIC_NAMES.get(suite, f"{suite}_accuracy")


def flat_metrics(results: dict[str, Any]) -> dict[str, float]:
    """Return metrics.json for `dvc metrics`: a stand-in set keeps its own name."""
    names = {metric_name(name): f"{name}_accuracy" for name in results["suites"] if name.startswith("ceval")}
    return {names.get(name, name): value for name, value in results["metrics"].items()}


def model_facts(folder: Path) -> dict[str, Any]:
    """Return size and quantization of a model folder, read from its files without loading the model."""
    from safetensors import safe_open

    weights = sorted(folder.glob("*.safetensors"))
    names: list[str] = []
    for path in weights:
        with safe_open(path, framework="numpy") as opened:
            names += opened.keys()
    config = model_config(folder)
    quantization = config.get("quantization_config") or {}
    return {
        "size_bytes": sum(path.stat().st_size for path in weights),
        "tensors": len(names),
        "quantization": quantization.get("format") or quantization.get("quant_method"),
        # compressed-tensors and AWQ name the packed weights of each quantized layer so; 8-bit ones have a scale alone.
        "quantized_modules": sum(name.endswith((".weight_packed", ".qweight")) for name in names)
        or sum(name.endswith(".weight_scale") for name in names),
    }


def _suite(params: EvaluateParams, name: str, samples: list[Sample]) -> dict[str, Any]:
    """Return one suite's entry in results.json."""
    groups: dict[str, list[float]] = defaultdict(list)
    for sample in samples:
        groups[sample.group].append(sample.value)
    return {
        "name": name,
        "items": len(samples),
        "metric": samples[0].metric,
        "value": _mean([sample.value for sample in samples]),
        **_way_of_asking(params, name),
        "groups": {group: {"items": len(values), "value": _mean(values)} for group, values in sorted(groups.items())},
    }


def _way_of_asking(params: EvaluateParams, name: str) -> dict[str, Any]:
    """Return how a suite was asked: two values compare only where this is the same."""
    exam = next((exam for exam in params.exams if name in (exam.name, exam.name + GENERATED)), None)
    if exam is None:
        suite = suite_named(name)
        return {
            "stand_in": False,
            "limit": params.domain.limit,
            "chat_template": True,
            "few_shot": 0,
            "task_version": suite.version,
            "answer": suite.answer,
        }
    return {
        "stand_in": exam.name == "ceval_mini",
        "limit": exam.limit,
        "chat_template": exam.chat_template,
        "few_shot": exam.few_shot,
        "task_version": TASK_VERSION,
        "answer": "generation" if name.endswith(GENERATED) else "loglikelihood",
    }


def _ids_sha256(samples: list[Sample]) -> str:
    """Return the digest of the ids of the items asked."""
    return hashlib.sha256("\n".join(sorted(sample.item_id for sample in samples)).encode()).hexdigest()


def _mean(values: list[float]) -> float:
    """Return the mean, rounded."""
    return round(math.fsum(values) / len(values), DIGITS)
