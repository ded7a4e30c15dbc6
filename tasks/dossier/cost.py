"""What the run cost: time a stage, tokens, and energy where the machine can measure it.

Times differ from run to run and are no evidence about the model: they come from files that no stage depends on.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tasks.core.files import read_json
from tasks.core.progress import duration

JOULES_PER_WATT_HOUR = 3600


def cost_facts(
    runs: Sequence[Path], training: dict[str, Any], quantization: dict[str, Any], results: dict[str, Any]
) -> dict[str, Any]:
    """Return time and energy by stage, and the tokens that were worked through.

    Args:
        runs: `<stage>.json` of each stage before this one, in their order, with `seconds` and, where it could be read,
            `joules`; one that is not there was not timed.
        training: training.json.
        quantization: quantization.json.
        results: results.json by hop.

    Returns:
        {"stages": [{"name", "seconds", "words", "joules"}], "seconds", "words", "watt_hours" (None: not measurable),
        "tokens": [(English, Chinese, number)]}.
    """
    stages = list(_stages(runs))
    seconds = sum(stage["seconds"] for stage in stages)
    joules = [stage["joules"] for stage in stages]
    measured = bool(joules) and None not in joules
    return {
        "stages": stages,
        "seconds": seconds,
        "words": duration(seconds),
        "watt_hours": sum(joules) / JOULES_PER_WATT_HOUR if measured else None,
        "tokens": _tokens(training, quantization, results),
    }


def _stages(runs: Sequence[Path]) -> Iterable[dict[str, Any]]:
    """Yield the stages whose time is known, in their order."""
    for path in runs:
        if not path.is_file():
            continue
        run = read_json(path)
        seconds = run.get("seconds")
        if isinstance(seconds, int | float) and math.isfinite(seconds) and seconds >= 0:
            yield {"name": path.stem, "seconds": seconds, "words": duration(seconds), "joules": run.get("joules")}


def _tokens(
    training: dict[str, Any], quantization: dict[str, Any], results: dict[str, Any]
) -> list[tuple[str, str, int]]:
    """Return how much was worked through: English, Chinese, number."""
    asked = sum(facts["items"] for report in results.values() for facts in report["suites"].values())
    heldout = sum((report.get("heldout") or {}).get("tokens", 0) for report in results.values())
    return [
        ("tokens in the training rows", "训练行的词元", training["tokens"]),
        ("of them with loss", "其中计入损失", training["completion_tokens"]),
        ("calibration tokens", "量化校准词元", quantization["calibration_tokens"]),
        ("items asked at all hops", "各环节提问题数", asked),
        ("held-out tokens scored at all hops", "各环节留出文本词元", heldout),
    ]
