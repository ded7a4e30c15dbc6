"""Did quantization keep what it should, and if not, why: facts from the run itself, in both languages."""

from typing import Any

from tasks.core.settings import QuantizeBars
from tasks.quantization.heldout import Measured


def judge_bars(
    bars: QuantizeBars, *, before: Measured, after: Measured, rounded: Measured | None, facts: dict[str, Any]
) -> dict[str, Any]:
    """Compare the chosen model with the bars.

    Args:
        bars: what should be kept.
        before: the merged model on the held-out answers.
        after: the chosen model on them.
        rounded: the chosen candidate by rounding to nearest alone; null where nothing was screened.
        facts: parameters, compared candidates, calibration tokens, bits, method by name, smallest group (null: none).

    Returns:
        {"bits_per_byte_kept": {"bar", "measured", "held"}, "top1_agreement": {...}, "held", "why": {"en", "zh"}},
        `why` null where both hold.
    """
    table = _table(bars, before, after)
    held = bars_hold(bars, before, after)
    return {**table, "held": held, "why": None if held else _why(before, after, rounded, facts)}


def bars_hold(bars: QuantizeBars, before: Measured, after: Measured) -> bool:
    """Return whether a written model holds all bars."""
    return all(bar["held"] for bar in _table(bars, before, after).values())


def _table(bars: QuantizeBars, before: Measured, after: Measured) -> dict[str, dict[str, Any]]:
    """Return each bar with what was measured."""
    return {
        "bits_per_byte_kept": _bar(bars.bits_per_byte_kept, before.bits_per_byte / after.bits_per_byte),
        "top1_agreement": _bar(bars.top1_agreement, after.top1_agreement or 0.0),
    }


def _bar(bar: float, measured: float) -> dict[str, Any]:
    """Return one bar with what was measured."""
    return {"bar": bar, "measured": round(measured, 6), "held": measured >= bar}


def _why(before: Measured, after: Measured, rounded: Measured | None, facts: dict[str, Any]) -> dict[str, str]:
    """Return what the run shows about a bar that does not hold."""
    millions, tokens = facts["parameters"] / 1e6, facts["calibration_tokens"]
    method, bits, group = facts["method"], facts["bits"], facts["smallest_group"]
    english = [
        f"The model has {millions:.0f} million parameters: the fewer there are, the less redundancy there is to absorb "
        f"the rounding error of {bits} bits.",
        f"The chosen candidate is the best of {facts['candidates']} on held-out answers"
        + (f"; the smallest group tried is {group} channels." if group else "."),
        f"{method} was calibrated with {tokens:,} tokens.",
    ]
    chinese = [
        f"模型有 {millions:.0f} 百万参数：参数越少，越没有冗余来吸收 {bits} 位取整的误差。",
        f"所选方案是 {facts['candidates']} 个候选中在留出答案上最好的" + ("；" if group else "。"),
        f"试过的最小分组为 {group} 个通道。" if group else "",
        f"{method} 校准用了 {tokens:,} 个词元。",
    ]
    if rounded is not None and rounded.top1_agreement is not None and after.top1_agreement is not None:
        plain, kept = before.bits_per_byte / rounded.bits_per_byte, before.bits_per_byte / after.bits_per_byte
        english.append(
            f"Rounding alone keeps {plain:.1%} of the bits per byte and {rounded.top1_agreement:.1%} of the first "
            f"choices; {method} brings that to {kept:.1%} and {after.top1_agreement:.1%}."
        )
        chinese.append(
            f"仅取整保留 {plain:.1%} 的每字节比特数和 {rounded.top1_agreement:.1%} 的首选词元；"
            f"{method} 提高到 {kept:.1%} 和 {after.top1_agreement:.1%}。"
        )
    return {"en": " ".join(english), "zh": "".join(chinese)}
