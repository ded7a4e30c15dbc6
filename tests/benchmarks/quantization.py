"""What the stage chooses against llm-compressor's preset, and against auto-round, on one model and the same rows.

The preset is AWQ as llm-compressor's own example has it: scheme W4A16 (symmetric), its default grid of 20 points,
groups of 128, or the largest smaller power of two that divides every layer. Every engine sees the same calibration
rows, and every written model is read back and measured on the same held-out answers. Exits with 1 where the stage's
choice has a larger loss than the preset. Run alone on the machine, after `tunegate run` (or name folders):

    python tests/benchmarks/quantization.py [--auto-round ITERATIONS] [--merged FOLDER] [--prepared FOLDER]
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tasks.chat.tokenizer import load_tokenizer
from tasks.core.files import read_json
from tasks.core.settings import QuantizeCandidate, QuantizeParams, load_settings
from tasks.quantization.calibration import read_calibration
from tasks.quantization.heldout import Measured, logits_of, measure, read_heldout
from tasks.quantization.methods import arguments_of
from tasks.quantization.quantize import quantize
from tasks.quantization.search import Search, Tried, load, target_layers
from tasks.quantization.written import read_back

ROOT = Path(__file__).parents[2]
PRESET_GROUPS, PRESET_GRID = (128, 64, 32, 16), 20


def preset_of(merged: Path) -> QuantizeCandidate:
    """Return llm-compressor's W4A16 at the largest group that fits."""
    widths = [layer.in_features for layer in target_layers(load(merged), ["lm_head"]).values()]
    size = next(size for size in PRESET_GROUPS if all(width % size == 0 for width in widths))
    return QuantizeCandidate(scheme="W4A16", group_size=size)


def auto_round(search: Search, candidate: QuantizeCandidate, iterations: int, folder: Path) -> Measured:
    """Return the figures of auto-round's signed gradient descent (Cheng et al. 2024, arXiv:2309.05516)."""
    from compressed_tensors.quantization import QuantizationScheme
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.autoround import AutoRoundModifier

    model = load(search.merged)
    scheme = QuantizationScheme(targets=["Linear"], **arguments_of(candidate))
    rows = packed(search.calibration.token_ids, search.params.max_length_tokens)
    oneshot(
        model=model,
        tokenizer=search.tokenizer,
        dataset=Dataset.from_list([{"input_ids": ids, "attention_mask": [1] * len(ids)} for ids in rows]),
        recipe=AutoRoundModifier(
            config_groups={"group_0": scheme}, ignore=search.params.ignore, iters=iterations, enable_torch_compile=False
        ),
        num_calibration_samples=len(rows),
        max_seq_length=search.params.max_length_tokens,
        shuffle_calibration_samples=False,
    )
    model.save_pretrained(folder, save_compressed=True)
    return measure(logits_of(read_back(folder), search.heldout), search.heldout, search.reference)


def packed(token_ids: list[list[int]], length: int) -> list[list[int]]:
    """Return the conversations end to end in pieces of one length: auto-round batches rows of one length only."""
    flat = [token for ids in token_ids for token in ids]
    return [flat[first : first + length] for first in range(0, len(flat) - length + 1, length)]


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call gives, and its seconds."""
    started = time.monotonic()
    return run(), round(time.monotonic() - started, 1)


def compare(params: QuantizeParams, merged: Path, prepared: Path, iterations: int | None) -> dict[str, Any]:
    """Return the figures of each engine; `chosen` is the whole stage, screening and all."""
    with tempfile.TemporaryDirectory(dir=merged.parent) as name:
        work = Path(name)
        (work / "chosen").mkdir()
        _, seconds = timed(lambda: quantize(params, output=work / "chosen", merged=merged, prepared=prepared))
        report = read_json(work / "chosen" / "quantization.json")
        chosen = next(row for row in report["candidates"] if row["chosen"])
        results = {"chosen": {**chosen, "seconds": seconds}}
        tokenizer = load_tokenizer(merged)
        heldout = read_heldout(prepared / "validation.jsonl", tokenizer, params)
        calibration = read_calibration(prepared / "calibration.jsonl", tokenizer, params)
        grid = params.model_copy(update={"grid_points": PRESET_GRID})
        search = Search(grid, merged, tokenizer, calibration, heldout, list(logits_of(load(merged), heldout)))
        preset, seconds = timed(lambda: search.finals([Tried(preset_of(merged))], work))
        results["preset"] = {**preset[0].row(False), "seconds": seconds}
        if iterations:
            candidate = QuantizeCandidate(scheme=chosen["scheme"], group_size=chosen["group_size"])
            found, seconds = timed(lambda: auto_round(search, candidate, iterations, work / "auto_round"))
            results["auto_round"] = {**found.as_dict(), "iterations": iterations, "seconds": seconds}
    return {"before": report["before"], "bars": report["bars"], "engines": results}


def main() -> int:
    """Print one JSON line; 1 where the preset is better than what the stage chose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--auto-round", type=int, metavar="ITERATIONS", help="auto-round as well, steps a block")
    parser.add_argument("--merged", type=Path, default=ROOT / "data/models/merged")
    parser.add_argument("--prepared", type=Path, default=ROOT / "data/prepared")
    options = parser.parse_args()
    params = load_settings(ROOT / "params.yaml").quantize
    results = compare(params, options.merged, options.prepared, options.auto_round)
    sys.stdout.write(json.dumps(results, ensure_ascii=False) + "\n")
    engines = results["engines"]
    return int(engines["chosen"]["loss_nats"] > engines["preset"]["loss_nats"])


if __name__ == "__main__":
    sys.exit(main())
