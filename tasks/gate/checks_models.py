"""Checks of the models themselves: numbers, identity, a lost adapter, a quantization that did nothing or too much."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

from tasks.core.errors import DataContractError
from tasks.core.files import read_json
from tasks.core.manifest import read_manifest
from tasks.core.settings import AgreementParams
from tasks.gate.agreement import agreement, read_predictions
from tasks.gate.evidence import Evidence, Fault, Report, as_number
from tasks.models.files import (
    adapter_changes_nothing,
    read_losses,
    tensor_shapes,
    tensor_types,
    weight_bytes,
)

#: Mean absolute difference, in bits per byte an item, up to which two models are the same one. Four evaluations of the
#: laptop base differed by 0.0 on all 96 items; on GPUs batching moves last digits; 4-bit rounding moves far more.
SAME_MODEL_BITS_PER_BYTE = 0.002

#: The same for the log-probability of a token of held-out text, in nats.
SAME_MODEL_NATS = 0.002
#: A log-probability is at most 0, up to the digits a server keeps.
LOGPROB_ROUNDING = 1e-4
#: Weights of a layer, as transformers names them; embeddings and the output layer are none.
LAYER = re.compile(r"\blayers\.\d+\..*\.weight$")
#: How a quantized weight's name ends and what it is stored as in the compressed-tensors format: 4 bits are packed.
QUANTIZED_KINDS = ((".weight_packed", "I32"), (".weight", "I8"), (".weight", "F8_E4M3"))
#: Weight widths that the quantize stage writes.
QUANTIZED_BITS = {4, 8}


def finite(evidence: Evidence) -> Iterator[Fault]:
    """Find values that are no numbers, in the reports and in the loss curve."""
    for hop, report in evidence.reports.items():
        if bad := list(report.not_finite()):
            yield Fault(
                hop,
                f"{len(bad)} value(s) are not numbers, first {bad[0]}.",
                "The model's weights or the server's log-probabilities overflowed.",
                f"look for nan in the weights that hop {hop} serves, then tunegate stage evaluate@{hop}",
            )
    if steps := list(_bad_losses(evidence.adapter / "loss.csv")):
        yield Fault(
            "adapter",
            f"The training loss is not a number from step {steps[0]} on.",
            "Training diverged: the learning rate is too high for this data or precision.",
            "lower train.learning_rate in params.yaml, then tunegate run",
        )


def model_identity(evidence: Evidence) -> Iterator[Fault]:
    """Find a report of another model: by lineage id, and awq reports that are the base's own answers."""
    for hop, folder in evidence.folders.items():
        expected, found = read_manifest(folder)["lineage_id"], evidence.reports[hop].results["model_lineage_id"]
        if found != expected:
            yield Fault(
                hop,
                f"The report is of model {found}, the folder holds {expected}.",
                "Another model was served under this hop's name.",
                f"tunegate stage evaluate@{hop}",
            )
    if evidence.reports["base"].results["model_lineage_id"] is not None:
        yield Fault(
            "base",
            "The base report carries the lineage of a trained model.",
            "A trained model was served as the base.",
            "tunegate stage evaluate@base",
        )
    if same_answers(evidence.reports["base"], evidence.reports["awq"]):
        yield Fault(
            "awq",
            "Item by item, awq answers exactly as the base does.",
            "The base model was served under awq's name, or neither training nor quantization changed it.",
            "tunegate stage evaluate@awq",
        )


def lost_adapter(evidence: Evidence) -> Iterator[Fault]:
    """Find an adapter that is zero, was not merged, or changed no answer."""
    if adapter_changes_nothing(evidence.adapter):
        yield Fault(
            "adapter",
            "Every lora_B matrix of the adapter is zero: it changes nothing.",
            "Training took no effective step (learning rate zero, or every gradient lost).",
            "look at the loss curve in data/models/adapter/loss.csv, mend train.* in params.yaml, then tunegate run",
        )
    merge, training = read_json(evidence.merged / "merge.json"), read_json(evidence.adapter / "training.json")
    if not merge["changed"]:
        yield Fault(
            "merged",
            f"The merge changed none of the {merge['modules']} modules it covers.",
            "The adapter was not merged, or it is too small to survive rounding to 16 bits.",
            "tunegate stage merge, then tunegate run",
        )
    if same_answers(evidence.reports["base"], evidence.reports["adapter"]):
        yield Fault(
            "adapter",
            "Token by token, the base with the adapter answers exactly as the base does.",
            "The adapter was not loaded by the server, or training changed nothing.",
            "tunegate stage evaluate@adapter, then tunegate run",
        )
    if merge["base_digest"] != training["base_digest"]:
        yield Fault(
            "merged",
            f"Merged into base {merge['base_digest'][:19]}, trained on {training['base_digest'][:19]}.",
            "base_model changed between training and merging.",
            "tunegate run",
        )
    if same_answers(evidence.reports["base"], evidence.reports["merged"]):
        yield Fault(
            "merged",
            "Item by item, the merged model answers exactly as the base does.",
            "The adapter was not merged, or the base was served under merged's name.",
            "tunegate stage merge, then tunegate run",
        )


def noop_quantization(evidence: Evidence) -> Iterator[Fault]:
    """Find a quantization that left the weights as they were."""
    before, after = weight_bytes(evidence.merged), weight_bytes(evidence.awq)
    problems = []
    if after >= before:
        problems.append(f"its weights take {after:,} bytes, the merged ones {before:,}")
    if not QUANTIZED_BITS & _configured_bits(evidence.awq):
        problems.append("its config.json names no 4-bit group in quantization_config, and no 8-bit one")
    if not _quantized(evidence.awq):
        problems.append("its safetensors hold no packed weight and none in 8 bits")
    if same_answers(evidence.reports["merged"], evidence.reports["awq"]):
        problems.append("item by item it answers exactly as the merged model does")
    if problems:
        words = "; ".join(problems)
        yield Fault(
            "awq",
            f"{words[0].upper()}{words[1:]}.",
            "llm-compressor matched no layer, or the merged model was saved or served as awq.",
            "check quantize.ignore in params.yaml, then tunegate stage quantize and tunegate run",
        )


def quantized_layers(evidence: Evidence) -> Iterator[Fault]:
    """Find layers that quantization should have packed and did not."""
    before, packed = tensor_shapes(evidence.merged), _quantized(evidence.awq)
    facts = read_json(evidence.awq / "quantization.json")
    if "ignored" not in facts:
        raise DataContractError(f"{evidence.awq / 'quantization.json'} has no ignored", "tunegate stage quantize")
    ignored = facts["ignored"]
    targeted = sorted(
        name.removesuffix(".weight")
        for name, shape in before.items()
        if LAYER.search(name) and len(shape) == 2 and not _is_ignored(name.removesuffix(".weight"), ignored)
    )
    if packed and (left := [name for name in targeted if name not in packed]):
        yield Fault(
            "awq",
            f"{len(left)} of {len(targeted)} targeted layers are in neither 4 nor 8 bits: {', '.join(left[:3])}.",
            "A pattern in quantize.ignore matched more than it was meant to, or the recipe skipped layers.",
            "check quantize.ignore in params.yaml, then tunegate stage quantize and tunegate run",
        )


def adapter_merged_agreement(evidence: Evidence) -> Iterator[Fault]:
    """Find a merge that lost what the adapter does."""
    yield from _apart(
        evidence, "adapter", "merged", evidence.agreement.adapter_merged,
        "The merge lost part of the adapter, scaled it wrongly, or merged it into another base.",
        "tunegate stage merge, then tunegate run",
    )  # fmt: skip


def merged_awq_agreement(evidence: Evidence) -> Iterator[Fault]:
    """Find a quantized model that prefers other tokens than the model it was made from."""
    yield from _apart(
        evidence, "merged", "awq", evidence.agreement.merged_awq,
        "Quantization damaged the model: groups too large, or calibration rows unlike its use.",
        "add smaller groups to quantize.candidates or more quantize.calibration_rows, then tunegate run",
    )  # fmt: skip


def _apart(
    evidence: Evidence, first: str, second: str, asked: AgreementParams, cause: str, then: str
) -> Iterator[Fault]:
    """Find two hops that are farther apart on held-out text than asked."""
    found = agreement(evidence.reports[first], evidence.reports[second])
    if found is None:
        yield Fault(
            second,
            f"predictions.jsonl of {second} covers other rows or positions than that of {first}.",
            "An evaluation was cut short or ran on other rows.",
            f"tunegate stage evaluate@{second}",
        )
        return
    said = []
    if not found.top1 >= asked.min_top1:
        said.append(
            f"prefer the same token at {100 * found.top1:.1f} % of positions; "
            f"at least {100 * asked.min_top1:.1f} % is asked"
        )
    if found.kl_nats is not None and not found.kl_nats <= asked.max_kl_nats:
        said.append(f"lie {found.kl_nats:.4f} nats apart or more; at most {asked.max_kl_nats:g} is asked")
    if said:
        words = f"{first.capitalize()} and {second} {', and '.join(said)} ({found.positions} tokens of held-out text)."
        yield Fault(second, words, cause, then)


def server_scores(evidence: Evidence) -> Iterator[Fault]:
    """Find hops whose server gave no log-probabilities, or numbers that cannot be any."""
    for hop, report in evidence.reports.items():
        if words := _score_fault(report):
            yield Fault(
                hop,
                words,
                "The server returned no prompt log-probabilities, or processed ones: scores from it are chance.",
                f"read the server log of hop {hop} under .tunegate, then tunegate stage evaluate@{hop}",
            )


def _score_fault(report: Report) -> str:
    """Return what is wrong with a hop's log-probabilities; "" for nothing."""
    values: list[float] = []
    for row, facts in read_predictions(report).items():
        found = [as_number(value) for value in facts.get("logprobs") or ()]
        if len(found) != len(facts["reference"]):
            return f"Held-out row {row} has {len(facts['reference'])} tokens and {len(found)} log-probabilities."
        if not all(math.isfinite(value) and value <= LOGPROB_ROUNDING for value in found):
            return f"Held-out row {row} has a log-probability that is none."
        values += found
    if not values:
        return "No token of held-out text was scored."
    if len(set(values)) == 1:
        return f"All {len(values)} tokens of held-out text have the same log-probability, {values[0]:g}."
    chosen = [row["detail"]["logprobs"] for row in report.samples.values() if (row.get("detail") or {}).get("logprobs")]
    flat = sum(len(set(four)) == 1 for four in chosen)
    if flat * 2 > len(chosen):
        return f"At {flat} of {len(chosen)} four-option items every option has the same log-probability."
    return ""


def _is_ignored(module: str, ignored: list[str]) -> bool:
    """Tell whether a module is meant to stay as it is: by its name, or by a pattern behind `re:`."""
    return any(
        re.match(entry.removeprefix("re:"), module) if entry.startswith("re:") else module.endswith(entry)
        for entry in ignored
    )


def _bad_losses(path: Path) -> Iterator[str]:
    """Yield the steps of loss.csv whose loss is no finite number."""
    for step, loss in read_losses(path):
        if not math.isfinite(loss):
            yield str(step)


def _quantized(folder: Path) -> set[str]:
    """Return the layers whose weight is stored in 4 or 8 bits."""
    types = tensor_types(folder).items()
    return {name.removesuffix(end) for name, found in types for end, kind in QUANTIZED_KINDS
            if name.endswith(end) and found == kind}  # fmt: skip


def _configured_bits(folder: Path) -> set[int | None]:
    """Return the weight widths that config.json's quantization_config names."""
    groups = (read_json(folder / "config.json").get("quantization_config") or {}).get("config_groups", {})
    return {(group.get("weights") or {}).get("num_bits") for group in groups.values()}


def same_answers(first: Report, second: Report) -> bool:
    """Return whether two reports are one model's: their continuous values agree to a server's rounding.

    Items' bits per byte where both hops were asked them, else the log-probabilities of held-out text.
    """
    shared = sorted(key for key in first.samples.keys() & second.samples.keys())
    keys = [key for key in shared if first.samples[key]["metric"] == "bits_per_byte"]
    apart = [abs(as_number(first.samples[key]["value"]) - as_number(second.samples[key]["value"])) for key in keys]
    if apart:
        return sum(apart) / len(apart) <= SAME_MODEL_BITS_PER_BYTE
    found = agreement(first, second)
    difference = found.logprob_difference if found else None
    return difference is not None and difference <= SAME_MODEL_NATS
