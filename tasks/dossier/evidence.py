"""What stands behind the scores: tokens, served path, quantization; and what a reader should see before signing."""

from itertools import pairwise
from typing import Any

from tasks.core.layout import HOPS
from tasks.core.params.model import METHOD_NAMES, METHODS
from tasks.core.settings import Hardware, PromoteParams
from tasks.dossier.safety import OFF_BY_1000
from tasks.dossier.scores import AFTER, is_number, place_among
from tasks.gate.words import OUTCOME_ZH, claim

#: The hop that quantization starts from.
UNQUANTIZED = "merged"
SHAPES_ZH = {
    "single": "单轮", "system": "系统提示", "multi_turn": "多轮", "thinking": "思考内容", "thinking_on": "思考开启",
    "thinking_off": "思考关闭", "tools": "工具调用", "whitespace": "异常空白", "rare_characters": "罕见字符",
    "short": "极短", "long": "很长",
}  # fmt: skip

Pair = tuple[str, str]


def served_facts(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how each hop was served: server, canary, template, held-out text."""
    return [
        {
            "hop": hop,
            "server": f"{report['server']['engine']} {report['server']['version']}",
            "scope": report["scope"],
            "template": report["chat_template_sha256"],
            "canary": report["canary"],
            "heldout": report.get("heldout"),
            "calibration": report.get("calibration"),
        }
        for hop, report in results.items()
    ]


def parity_facts(results: dict[str, Any]) -> dict[str, Any]:
    """Return the checked conversations by shape and hop, and every difference.

    Args:
        results: results.json by hop.

    Returns:
        {"rows": conversations, "trained": rows recorded by training, "shapes": [{"words", "hops": {hop: (rows,
        differences)}}], "mismatches", "unsupported": [(words, reason)], "stop": {hop: facts}, "notes"}.
    """
    parity = {hop: report["parity"] for hop, report in results.items()}
    shapes = dict.fromkeys(shape for found in parity.values() for shape in found.get("shapes", {}))
    unsupported = {shape: reason for found in parity.values() for shape, reason in found.get("unsupported", {}).items()}
    return {
        "rows": max(found["rows"] for found in parity.values()),
        "trained": max(found.get("trained", 0) for found in parity.values()),
        "shapes": [
            _shape(shape, parity) for shape in sorted(shapes, key=place_among(SHAPES_ZH)) if shape not in unsupported
        ],
        "mismatches": [{"hop": hop, **fault} for hop, found in parity.items() for fault in found["mismatches"]],
        "unsupported": [(_shape_words(shape), reason) for shape, reason in unsupported.items()],
        "stop": {hop: found["stop"] for hop, found in parity.items() if found.get("stop")},
        "notes": list(dict.fromkeys(note for found in parity.values() for note in found.get("notes", ()))),
    }


def _shape_words(shape: str) -> Pair:
    """Return a shape's name in English and Chinese."""
    return shape.replace("_", " "), SHAPES_ZH.get(shape, "")


def _shape(shape: str, parity: dict[str, Any]) -> dict[str, Any]:
    """Return one shape: conversations and differences at each hop."""
    return {
        "words": _shape_words(shape),
        "hops": {
            hop: (found.get("shapes", {}).get(shape, 0), sum(one.get("shape") == shape for one in found["mismatches"]))
            for hop, found in parity.items()
        },
    }


def agreement_facts(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    """Return how far each hop is from the one before on held-out text, in the order of the hops."""
    told = verdict.get("agreement") or {}
    steps = [(f"{before}_{after}", [before, after]) for before, after in pairwise(HOPS)]
    return [{**told[name], "hops": hops} for name, hops in steps if told.get(name)]


def quantization_facts(quantization: dict[str, Any], verdict: dict[str, Any]) -> dict[str, Any]:
    """Return what quantization.json says, the methods by name, and each metric before and after.

    Args:
        quantization: quantization.json.
        verdict: verdict.json, for the hop table.
    """
    tried = [row.get("method") or METHODS[row["scheme"]][0] for row in quantization["candidates"]]
    words = {
        "method": quantization["backend"].removeprefix("llm-compressor "),
        "methods": ", ".join(METHOD_NAMES[method] for method in dict.fromkeys(tried)),
    }
    return {
        **quantization,
        **words,
        "tasks": [row for row in verdict["hops"] if {UNQUANTIZED, AFTER} <= set(row["hops"])],
    }


def before_signing(facts: dict[str, Any]) -> list[Pair]:
    """Return what the word of the verdict does not say, in English and Chinese: the first thing to read after it.

    Args:
        facts: the facts gathered so far: verdict, safety, parity, quantization.
    """
    notes = [_reported(rule) for rule in facts["verdict"]["rules"]
             if rule["severity"] == "report" and rule["outcome"] != "PASS"]  # fmt: skip
    failed, items = facts["safety"]["failed"], facts["safety"]["items"]
    if failed:
        lost = sum(item["lost"] for item in failed)
        notes.append((f"{len(failed)} of {items} safety items failed, {lost} of them right before training; each is "
                      f"shown below.",
                      f"{items} 道安全项中 {len(failed)} 道未通过，其中 {lost} 道训练前正确，下文列出。"))  # fmt: skip
    for row in facts["safety"]["numeric"]:
        if row["failure"] == OFF_BY_1000 and row["hops"].get(AFTER):
            number = row["hops"][AFTER]
            notes.append((f"{number} written numbers are wrong by a factor of 1000.", f"{number} 个数值差一千倍。"))
    if unsupported := facts["parity"]["unsupported"]:
        named, named_zh = (
            ", ".join(en for (en, _), _ in unsupported),
            "、".join(zh or en for (en, zh), _ in unsupported),
        )
        notes.append((f"The chat template has no form for: {named}.", f"对话模板不支持：{named_zh}。"))
    bars = facts["quantization"]["bars"]
    if not bars["held"]:
        kept, same = bars["bits_per_byte_kept"], bars["top1_agreement"]
        notes.append((
            "Quantization misses its bars: bits per byte kept {} % (bar {} %), same first choice {} % (bar {} %); the "
            "reason is below.".format(*_percent(kept), *_percent(same)),
            "量化未达标：比特/字节保留 {} %（目标 {} %），首选词一致 {} %（目标 {} %），原因见下文。".format(
                *_percent(kept), *_percent(same)
            ),
        ))  # fmt: skip
    return notes


def _percent(bar: dict[str, Any]) -> tuple[str, str]:
    """Return what was measured and its bar, in per cent."""
    return f"{100 * bar['measured']:.1f}", f"{100 * bar['bar']:.0f}"


def _reported(rule: dict[str, Any]) -> Pair:
    """Return a rule that does not block and is not passed."""
    said, said_zh = claim(rule)
    words = {"FAIL": "refuted", "INCONCLUSIVE": "left open"}[rule["outcome"]]
    return (f"Reported, not blocking, {words}: {said} ({rule['title'].lower()}).",
            f"仅报告，{OUTCOME_ZH[rule['outcome']]}：{said_zh}（{rule['title_zh']}）。")  # fmt: skip


def approval_facts(promote: PromoteParams | None) -> list[Pair]:
    """Return the rules of approval, in English and Chinese.

    Args:
        promote: section `promote`; None where the page was made without it.
    """
    rules = [("Only a version with verdict PASS can be approved or served.", "只有结论为 PASS 的版本才能批准或上线。")]
    if promote is None:
        return rules
    number = promote.approvals_required
    named = {0: "no named approval", 1: "1 named approval"}.get(number, f"{number} named approvals")
    rules.append((f"This deployment is {promote.environment} and asks for {named}.",
                  f"本部署环境为 {promote.environment}，需要 {number} 份具名批准。"))  # fmt: skip
    if number > 1:
        rules.append(("Whoever asked for the promotion cannot be its only approver.", "申请人不能是唯一批准人。"))
    if promote.environment == "production":
        rules.append(("A verdict marked as a demonstration is refused.", "标为演示的结论会被拒绝。"))
    return rules


def not_tested(facts: dict[str, Any], hardware: Hardware, results: dict[str, Any]) -> list[Pair]:
    """Return what this page does not show, in English and Chinese.

    Args:
        facts: the facts gathered so far.
        hardware: what the profile is meant for.
        results: results.json by hop.
    """
    suites = results[AFTER]["suites"].values()
    gaps = [_reading(suites), *_ALWAYS]
    if results["adapter"]["scope"] != "full":
        gaps.append(("The adapter by itself was asked only what shows that the merge kept it, not the exams.",
                     "单独的适配器只检验合并是否一致，没有参加各项考试。"))  # fmt: skip
    if not hardware.gpus:
        gaps.append(("No GPU was used: training, quantization and serving ran on CPU builds.",
                     "没有使用 GPU：训练、量化和服务都在 CPU 版本上运行。"))  # fmt: skip
    if any(suite["name"] == "ceval_mini" for suite in suites):
        gaps.append(("C-Eval itself was not run: ceval_mini is a small own set in the same schema.",
                     "没有运行 C-Eval 正式题库：ceval_mini 是格式相同的自编小题集。"))  # fmt: skip
    if not any(report.get("calibration") for report in results.values()):
        gaps.append(("No known score was there to hold the harness to: the exam figures are comparable with each "
                     "other only.", "没有可用于校准评测程序的已知成绩：考试分数只能相互比较。"))  # fmt: skip
    open_rules = [rule["title"] for rule in facts["verdict"]["rules"] if rule["outcome"] == "INCONCLUSIVE"]
    if open_rules:
        named = ", ".join(dict.fromkeys(open_rules))
        gaps.append((f"Too few items to decide: {named}.", f"题量不足、未能定论：{named}。"))
    return gaps


_ALWAYS: list[Pair] = [
    ("No adversarial prompting, no conversations beyond the model's context, no languages but Chinese and English.",
     "没有做对抗性提示测试，没有超出上下文长度的对话，也没有中英文以外的语言。"),
    ("The live endpoint: once it serves, tunegate eval live asks it through the gateway. Load is tested apart.",
     "线上端点：上线后由 tunegate eval live 经网关提同样的问题；负载另有测试。"),
    ("Facts outside the evaluation pack: passing here is no licence to answer without a person who decides.",
     "评测题以外的事实未作检验：通过评测不等于可以在没有人把关的情况下作答。"),
]  # fmt: skip


def _reading(suites: Any) -> Pair:
    """Return who read the answers: nobody; and how they were scored instead."""
    if any(suite.get("answer") == "generation" for suite in suites):
        return ("No person read the generated answers: they were scored by stated key points, numbers, orders and "
                "markers. A fluent wrong sentence beside the right words goes unseen.",
                "没有人工阅读生成的回答：按要点、数值、次序和标志用语计分，夹带的错误说法不会被发现。")  # fmt: skip
    return ("Free answers were not read by people: reference answers were scored by their probability, safety by which "
            "of two answers the model finds likelier.",
            "没有人工阅读模型自由生成的回答：参考答案按概率计分，安全项看模型更倾向两个答案中的哪一个。")  # fmt: skip


def heldout_row(results: dict[str, Any]) -> dict[str, Any] | None:
    """Return held-out text as a row of the hop table: the one number that every hop has; None where none has it."""
    told = {hop: results[hop].get("heldout") for hop in HOPS}
    values = {hop: found["bits_per_byte"] for hop, found in told.items() if found and is_number(found["bits_per_byte"])}
    if AFTER not in values:
        return None
    return {
        "title": "Held-out text", "title_zh": "留出文本", "n": told[AFTER]["rows"], "kind": "bits_per_byte",
        "suite": "heldout", "lower_is_better": True,
        "hops": {hop: {"value": value, "interval": [None, None]} for hop, value in values.items()},
    }  # fmt: skip
