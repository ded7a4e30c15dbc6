"""quantization.json: what was tried, what was chosen by which figures, and whether the bars hold."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.core.params.model import METHOD_NAMES
from tasks.quantization.bars import judge_bars
from tasks.quantization.heldout import Measured
from tasks.quantization.search import Search, Tried
from tasks.quantization.written import weight_bytes

BACKEND = "llm-compressor {}"


def report_of(
    search: Search, tried: Sequence[Tried], best: Tried, before: Measured, *, layers: int, parameters: int, output: Path
) -> dict[str, Any]:
    """Return what quantization.json says; content only, no clocks: the same inputs give the same bytes.

    Args:
        search: its parameters and texts.
        tried: every candidate that fits, in the order of params.yaml.
        best: the chosen one.
        before: the merged model's figures on the held-out answers.
        layers: number of quantized layers.
        parameters: number of the model's weights.
        output: folder with the chosen model's files.
    """
    if best.measured is None:
        raise ValueError("only a measured candidate can be chosen")
    params, calibration, heldout = search.params, search.calibration.facts, search.heldout
    facts = {
        "parameters": parameters,
        "candidates": len(tried),
        "smallest_group": min((one.candidate.group_size for one in tried if one.candidate.group_size), default=None),
        "method": METHOD_NAMES[best.candidate.method],
        "bits": best.candidate.bits,
        "calibration_tokens": calibration["tokens"],
    }
    return {
        "backend": BACKEND.format(METHOD_NAMES[best.candidate.method]),
        "scheme": best.candidate.scheme,
        "group_size": best.candidate.group_size,
        "layers": layers,
        "parameters": parameters,
        "ignored": params.ignore,
        "calibration_rows": calibration["rows"],
        "calibration_tokens": calibration["tokens"],
        "calibration": calibration,
        "heldout": {"rows": len(heldout.rows), "tokens": heldout.tokens, "bytes": heldout.bytes, "split": "validation"},
        "budget": {"candidates": len(tried), "finalists": sum(one.measured is not None for one in tried)},
        "candidates": [one.row(one is best) for one in tried],
        "before": before.as_dict(),
        "after": best.measured.as_dict(),
        "bars": judge_bars(params.bars, before=before, after=best.measured, rounded=best.screened, facts=facts),
        "bytes_before": weight_bytes(search.merged),
        "bytes_after": weight_bytes(output),
    }
