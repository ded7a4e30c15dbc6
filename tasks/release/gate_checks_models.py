"""Checks of the models themselves: numbers, identity, a lost adapter, a quantization that did nothing or too much."""

import math
from collections.abc import Iterator
from pathlib import Path

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, read_jsonl
from tasks.core.manifest import read_manifest
from tasks.release.gate_evidence import Evidence, Fault, Report, as_number
from tasks.release.model_files import adapter_changes_nothing, read_losses, tensor_types, weight_bytes

#: Mean absolute difference, in bits per byte an item, up to which two models are the same one. Four evaluations of the
#: laptop base differed by 0.0 on all 96 items; on GPUs batching moves last digits; 4-bit rounding moves far more.
SAME_MODEL_BITS_PER_BYTE = 0.002

#: What a packed 4-bit weight is called and stored as in the compressed-tensors format.
PACKED_SUFFIX, PACKED_TYPE = ".weight_packed", "I32"


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
    for hop, folder in (("merged", evidence.merged), ("awq", evidence.awq)):
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
    if _same_answers(evidence.reports["base"], evidence.reports["awq"]):
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
    if merge["base_digest"] != training["base_digest"]:
        yield Fault(
            "merged",
            f"Merged into base {merge['base_digest'][:19]}, trained on {training['base_digest'][:19]}.",
            "base_model changed between training and merging.",
            "tunegate run",
        )
    if _same_answers(evidence.reports["base"], evidence.reports["merged"]):
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
    if 4 not in _configured_bits(evidence.awq):
        problems.append("its config.json names no 4-bit group in quantization_config")
    packed = [
        name
        for name, kind in tensor_types(evidence.awq).items()
        if name.endswith(PACKED_SUFFIX) and kind == PACKED_TYPE
    ]
    if not packed:
        problems.append("its safetensors hold no packed weight")
    if _same_answers(evidence.reports["merged"], evidence.reports["awq"]):
        problems.append("item by item it answers exactly as the merged model does")
    if problems:
        words = "; ".join(problems)
        yield Fault(
            "awq",
            f"{words[0].upper()}{words[1:]}.",
            "llm-compressor matched no layer, or the merged model was saved or served as awq.",
            "check quantize.ignore in params.yaml, then tunegate stage quantize and tunegate run",
        )


def merged_awq_agreement(evidence: Evidence) -> Iterator[Fault]:
    """Find a quantized model that prefers other tokens than the model it was made from."""
    agreement = top1_agreement(evidence.reports)
    if agreement is None:
        yield Fault(
            "awq",
            "predictions.jsonl of awq covers other rows or positions than that of merged.",
            "An evaluation was cut short or ran on other rows.",
            "tunegate stage evaluate",
        )
    elif not agreement >= evidence.min_agreement:
        yield Fault(
            "awq",
            f"Merged and awq prefer the same token at {100 * agreement:.1f} % of positions; "
            f"at least {100 * evidence.min_agreement:.1f} % is asked.",
            "Quantization damaged the model: groups too large, or calibration rows unlike its use.",
            "use smaller quantize.group_sizes or more quantize.calibration_rows, then tunegate run",
        )


def top1_agreement(reports: dict[str, Report]) -> float | None:
    """Return the share of positions at which merged and awq prefer the same token; None where they do not pair up.

    Raises:
        DataContractError: a report has no predictions.jsonl.
    """
    merged, awq = (_predictions(reports[hop]) for hop in ("merged", "awq"))
    shapes = [{row: len(tokens) for row, tokens in side.items()} for side in (merged, awq)]
    pairs = [pair for row in merged for pair in zip(merged[row], awq.get(row, ()), strict=False)]
    if shapes[0] != shapes[1] or not pairs:
        return None
    return sum(one == other for one, other in pairs) / len(pairs)


def _bad_losses(path: Path) -> Iterator[str]:
    """Yield the steps of loss.csv whose loss is no finite number."""
    for step, loss in read_losses(path):
        if not math.isfinite(loss):
            yield str(step)


def _configured_bits(folder: Path) -> set[int | None]:
    """Return the weight widths that config.json's quantization_config names."""
    groups = (read_json(folder / "config.json").get("quantization_config") or {}).get("config_groups", {})
    return {(group.get("weights") or {}).get("num_bits") for group in groups.values()}


def _same_answers(first: Report, second: Report) -> bool:
    """Return whether two reports are one model's: their continuous values agree item by item to a server's rounding."""
    keys = sorted(key for key, row in first.samples.items() if row["metric"] == "bits_per_byte")
    apart = [abs(as_number(first.samples[key]["value"]) - as_number(second.samples[key]["value"])) for key in keys]
    return bool(apart) and sum(apart) / len(apart) <= SAME_MODEL_BITS_PER_BYTE


def _predictions(report: Report) -> dict[str, list[int]]:
    """Return each row's first choice of token at every position, from a report's predictions.jsonl.

    Raises:
        DataContractError: there is none.
    """
    path = report.folder / "predictions.jsonl"
    if not path.is_file():
        raise DataContractError(f"{path} does not exist", f"tunegate stage evaluate@{report.hop}")
    return {row["row_id"]: row["top1"] for row in read_jsonl(path)}
