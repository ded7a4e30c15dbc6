"""The verdict in words: what each rule found, what follows, and the page verdict.md."""

from typing import Any

#: Items a sentence names.
ITEMS_NAMED = 3
OUTCOME_ZH = {"PASS": "通过", "FAIL": "不通过", "INCONCLUSIVE": "证据不足"}
HOP_TITLES = {
    "prepared": ("training data", "训练数据"),
    "base": ("base model", "基座"),
    "adapter": ("base with adapter", "基座加适配器"),
    "merged": ("fine-tuned, merged", "微调合并"),
    "awq": ("quantized", "量化"),
}


def amount(value: float | None, rule: dict[str, Any]) -> str:
    """Return a value of a rule's metric as a person reads it: 61.5 % or 1.82 bits per byte."""
    if value is None:
        return "no number"
    return f"{value:.3f} bits per byte" if is_bits(rule) else f"{100 * value:.1f} %"


def distance(value: float | None, rule: dict[str, Any]) -> str:
    """Return a difference of a rule's metric: 2.3 points, or 0.05 bits per byte."""
    if value is None:
        return "no number"
    return f"{abs(value):.3f} bits per byte" if is_bits(rule) else f"{100 * abs(value):.1f} points"


def is_bits(rule: dict[str, Any]) -> bool:
    """Return whether the metric is in bits per byte rather than a share."""
    return str(rule["metric"]).endswith("bits_per_byte")


def claim(rule: dict[str, Any]) -> tuple[str, str]:
    """Return what the rule claims, in English and Chinese."""
    margin, (source, target) = rule["margin"], rule["hops"]
    size, size_zh = distance(margin, rule), _zh_distance(margin, rule)
    if rule["expect"] == "better":
        return f"{target} is better than {source} by more than {size}", f"{target} 比 {source} 好 {size_zh}以上"
    if rule["expect"] == "not_worse":
        return f"{target} loses less than {size} against {source}", f"{target} 相对 {source} 的损失小于 {size_zh}"
    if rule["expect"] == "groups" and source != target:
        said = f"in no group {target} loses {size} or more against {source}"
        return said, f"没有任何一组 {target} 相对 {source} 损失达 {size_zh}"
    side, side_zh = ("at most", "不高于") if rule["lower_is_better"] else ("at least", "不低于")
    each, each_zh = ("in every group ", "每一组 ") if rule["expect"] == "groups" else ("", "")
    said_zh = f"{each_zh}{target} {side_zh} {_zh_amount(margin, rule)}"
    return f"{each}{target} is {side} {amount(margin, rule)}", said_zh


def rule_words(rule: dict[str, Any], alpha: float) -> dict[str, str]:
    """Return {"words", "words_zh", "next"} of one judged rule."""
    said, said_zh = claim(rule)
    asked = f"Asked: {said}."
    if rule["value"] is None and rule["n"] < 2:
        return {
            "words": f"{asked} It was not asked: {rule['n']} item(s) of it.",
            "words_zh": f"要求：{said_zh}。没有可用的题目，未评测。",
            "next": "add items of this kind to the evaluation pack, then tunegate run",
        }
    if rule["value"] is None:
        return {
            "words": f"{asked} Nothing was measured: a value is not a number.",
            "words_zh": f"要求：{said_zh}。有的数值不是数，无法衡量。",
            "next": f"tunegate stage evaluate@{rule['hops'][1]}",
        }
    return {
        "words": f"{asked} {_found(rule)} {_conclusion(rule, alpha)}{_lost(rule)}",
        "words_zh": f"要求：{said_zh}。{_found_zh(rule)}{_conclusion_zh(rule, alpha)}",
        "next": _rule_next(rule),
    }


def _found(rule: dict[str, Any]) -> str:
    """Return what was measured."""
    source, target = rule["hops"]
    if rule.get("groups"):
        worst = rule["groups"][0]
        return (
            f"Of {rule['groups_asked']} groups with {rule['n']} items the one furthest from it is {worst['group']} "
            f"({worst['n']} items): {amount(worst['base_value'], rule)} and {amount(worst['value'], rule)}."
        )
    if rule["base_value"] is None:
        return f"On {rule['n']} items {target} has {amount(rule['value'], rule)} ({_floor_range(rule)})."
    trend = _trend(rule, ("better", "worse", "no difference"))
    moved = f"{distance(rule['difference'], rule)} {trend}" if rule["difference"] else trend
    return (
        f"On the same {rule['n']} items {source} has {amount(rule['base_value'], rule)} and {target} "
        f"{amount(rule['value'], rule)}: {moved} ({_gain_range(rule)})."
    )


def _lost(rule: dict[str, Any]) -> str:
    """Return where and on which items a rule that is not passed lost; "" where nothing is known."""
    if rule["outcome"] == "PASS":
        return ""
    at = f" Lost at hop {rule['hop']}." if rule.get("hop") else ""
    items = [row["item"] for row in rule.get("items", ())][:ITEMS_NAMED]
    return f"{at} Items that moved most: {', '.join(items)}." if items else at


def _gain_range(rule: dict[str, Any]) -> str:
    """Return the interval of the difference as a person says it: better or worse by how much."""
    if None in rule["interval"]:
        return "no interval: too few items that differ"
    low, high = sorted(-end if rule["lower_is_better"] else end for end in rule["interval"])
    sure = f"{100 * rule['confidence']:.0f} % interval"
    if low >= 0:
        return f"{sure}: {_bare(low, rule)} to {distance(high, rule)} better"
    if high <= 0:
        return f"{sure}: {_bare(high, rule)} to {distance(low, rule)} worse"
    return f"{sure}: from {distance(low, rule)} worse to {distance(high, rule)} better"


def _floor_range(rule: dict[str, Any]) -> str:
    """Return the interval of a floor's value."""
    if None in rule["interval"]:
        return "no interval: too few items that differ"
    low, high = (end + rule["margin"] for end in rule["interval"])
    return f"{100 * rule['confidence']:.0f} % interval: {_bare(low, rule)} to {amount(high, rule)}"


def _bare(value: float, rule: dict[str, Any]) -> str:
    """Return a size without its unit."""
    return f"{abs(value):.3f}" if is_bits(rule) else f"{100 * abs(value):.1f}"


def _trend(rule: dict[str, Any], words: tuple[str, str, str]) -> str:
    """Return one of (better, worse, same) for the difference in the metric's direction."""
    gain = -rule["difference"] if rule["lower_is_better"] else rule["difference"]
    return words[0] if gain > 0 else words[1] if gain < 0 else words[2]


def _conclusion(rule: dict[str, Any], alpha: float) -> str:
    """Return what follows from the numbers."""
    if rule["outcome"] == "PASS":
        return f"This is shown ({rule['test']}, {_p(rule['p_adjusted'])})."
    if rule["outcome"] == "FAIL":
        if rule["expect"] == "floor":
            return "It is on the wrong side of the floor, and no average buys that back."
        return f"The contrary is shown ({rule['test']}, {_p(rule['p_opposite_adjusted'])})."
    needed = f"; about {rule['items_needed']} items would decide it" if rule["items_needed"] else ""
    return (
        f"Neither this nor its contrary is shown at {100 * alpha:.0f} % ({rule['test']}, "
        f"{_p(rule['p_adjusted'])}): these items see a distance of {distance(rule['minimum_detectable'], rule)} "
        f"from the line{needed}."
    )


def _p(value: float) -> str:
    """Return a p-value in words."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _zh_amount(value: float, rule: dict[str, Any]) -> str:
    """Return a value in Chinese."""
    return f"{value:.3f} 比特/字节" if is_bits(rule) else f"{100 * value:.1f} %"


def _zh_distance(value: float, rule: dict[str, Any]) -> str:
    """Return a difference in Chinese."""
    return f"{abs(value):.3f} 比特/字节" if is_bits(rule) else f"{100 * abs(value):.1f} 个百分点"


def _found_zh(rule: dict[str, Any]) -> str:
    """Return what was measured, in Chinese."""
    if rule.get("groups"):
        worst = rule["groups"][0]
        said = f"{_zh_amount(worst['base_value'], rule)} 与 {_zh_amount(worst['value'], rule)}"
        asked = f"{rule['groups_asked']} 组 {rule['n']} 题中"
        return f"{asked}，离要求最远的是 {worst['group']}（{worst['n']} 题）：{said}。"
    value = f"{rule['title_zh']}：{rule['hops'][1]} 为 {_zh_amount(rule['value'], rule)}"
    if rule["base_value"] is None:
        return f"{value}（{rule['n']} 题）。"
    moved = _trend(rule, ("好 ", "差 ", "没有差别")) + (
        _zh_distance(rule["difference"], rule) if rule["difference"] else ""
    )
    return f"{value}，{rule['hops'][0]} 为 {_zh_amount(rule['base_value'], rule)}，同样 {rule['n']} 题：{moved}。"


def _conclusion_zh(rule: dict[str, Any], alpha: float) -> str:
    """Return what follows from the numbers, in Chinese."""
    if rule["outcome"] == "PASS":
        return "要求已得到证明。"
    if rule["outcome"] == "FAIL":
        return "低于底线，其他项的平均分不能抵消。" if rule["expect"] == "floor" else "证明结果与要求相反。"
    needed = f"，约需 {rule['items_needed']} 题才能定论" if rule["items_needed"] else ""
    return f"在 {100 * alpha:.0f} % 水平上，既不能证明达到要求，也不能证明未达到{needed}。"


def _rule_next(rule: dict[str, Any]) -> str:
    """Return what to do about a rule that is not passed; empty where it is."""
    if rule["outcome"] == "PASS":
        return ""
    if rule["outcome"] == "INCONCLUSIVE":
        return "add items to the evaluation pack or raise evaluate.*.limit in params.yaml, then tunegate run"
    if tuple(rule["hops"]) == ("merged", "awq") or rule.get("hop") == "awq":
        return "add smaller groups to quantize.candidates or more quantize.calibration_rows, then tunegate run"
    if rule["metric"].startswith("safety"):
        return "read the failed safety items in the dossier, add rows that teach them to data/raw, then tunegate run"
    return "look at loss curve and data ledger in the dossier, change train.* or the data, then tunegate run"


def next_step(verdict: dict[str, Any]) -> str:
    """Return the next command for the first thing that stops the verdict."""
    for check in verdict["checks"]:
        if not check["passed"]:
            return str(check["next"])
    for outcome in ("FAIL", "INCONCLUSIVE"):
        for rule in verdict["rules"]:
            if rule["severity"] == "block" and rule["outcome"] == outcome:
                return str(rule["next"])
    return "tunegate approve VERSION --reason TEXT"


def summary_words(verdict: dict[str, Any]) -> dict[str, str]:
    """Return {"summary_words", "summary_words_zh"}: the verdict in a sentence or two."""
    failed = [check for check in verdict["checks"] if not check["passed"]]
    blocking = [rule for rule in verdict["rules"] if rule["severity"] == "block"]
    parts, parts_zh = [f"{verdict['verdict']}."], [f"{OUTCOME_ZH[verdict['verdict']]}。"]
    if failed:
        parts.append("Not met: " + "; ".join(f'"{check["title"]}" at {check["hop"]}' for check in failed) + ".")
        parts_zh.append("未满足：" + "；".join(f"“{check['title_zh']}”（{check['hop']}）" for check in failed) + "。")
    for outcome, words, words_zh in (
        ("FAIL", "Refuted", "被推翻"),
        ("INCONCLUSIVE", "Left open", "未能定论"),
        ("PASS", "Shown", "已证明"),
    ):
        named = [(rule, *claim(rule)) for rule in blocking if rule["outcome"] == outcome]
        if named:
            parts.append(f"{words}: " + "; ".join(f"{said} ({rule['title'].lower()})" for rule, said, _ in named) + ".")
            parts_zh.append(
                f"{words_zh}：" + "；".join(f"{said}（{rule['title_zh']}）" for rule, _, said in named) + "。"
            )
    if not failed:
        parts.append(f"All {len(verdict['checks'])} checks passed.")
        parts_zh.append(f"{len(verdict['checks'])} 项检查全部通过。")
    if verdict["demo"]:
        parts.append("This is a demonstration, not a verdict for production.")
        parts_zh.append("这是演示结论，不能用于生产。")
    return {"summary_words": " ".join(parts), "summary_words_zh": "".join(parts_zh)}


def verdict_page(verdict: dict[str, Any]) -> str:
    """Return verdict.md."""
    lines = [
        f"# Gate: {verdict['verdict']}{' (demonstration)' if verdict['demo'] else ''}",
        "",
        verdict["summary_words"],
        "",
        verdict["summary_words_zh"],
        "",
        f"Lineage `{verdict['lineage_id']}`, profile `{verdict['profile']}`.",
        "",
    ]
    if verdict["demo_reasons"]:
        lines += ["## Why this is a demonstration", "", *(f"- {reason}" for reason in verdict["demo_reasons"]), ""]
    lines += ["## Rules", ""]
    for rule in verdict["rules"]:
        only = "" if rule["severity"] == "block" else ", reported only"
        lines.append(f"- **{rule['outcome']}** `{rule['name']}`{only}. {rule['words']}")
    lines += ["", "## Checks", ""]
    for check in verdict["checks"]:
        more = "" if check["passed"] else f" {check['cause']} Next: {check['next']}."
        lines.append(
            f"- **{'passed' if check['passed'] else 'FAILED'}** `{check['name']}`{_at(check)}. {check['words']}{more}"
        )
    lines += ["", f"Next: {next_step(verdict)}"]
    return "\n".join(lines) + "\n"


def _at(check: dict[str, Any]) -> str:
    """Return the hop of a check as an aside."""
    return f" (hop {check['hop']})" if check["hop"] else ""
