"""Stage `gate`: may this model go on? Paired rules and hard checks over the three hops, in numbers and in words.

Verdict: FAIL if a hard check or a blocking rule fails, else INCONCLUSIVE if a blocking rule is, else PASS. The stage
itself ends well whatever the verdict, so that the evidence is kept; `require_pass` is what stops a run.
"""

import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

from tasks.core.errors import GateFailedError
from tasks.core.files import write_json, write_text
from tasks.core.layout import HOPS
from tasks.core.manifest import read_manifest
from tasks.core.settings import BaseModelParams, EvaluateParams, GateParams
from tasks.gate.agreement import agreement
from tasks.gate.checks import Check, run_checks
from tasks.gate.evidence import METRICS, Report, asked, read_reports
from tasks.gate.findings import DECIMALS, estimate
from tasks.gate.rules import FAIL, INCONCLUSIVE, PASS, check_rules, judge_rules
from tasks.gate.words import next_step, rule_words, summary_words, verdict_page

log = logging.getLogger(__name__)

#: Profiles made for trying things out: their verdicts never carry a production PASS.
DEMO_PROFILES = frozenset({"laptop"})


def gate(
    params: GateParams,
    *,
    output: Path,
    profile: str,
    evaluate: EvaluateParams,
    base_model: BaseModelParams,
    eval_base: Path,
    eval_adapter: Path,
    eval_merged: Path,
    eval_awq: Path,
    prepared: Path,
    adapter: Path,
    merged: Path,
    awq: Path,
) -> dict[str, Any]:
    """Judge the model and write verdict.json, metrics.json (flat, for `dvc metrics diff`) and verdict.md.

    Args:
        params: rules, error rate, least agreement.
        output: directory to fill.
        profile: name of the active profile.
        evaluate: what the hops were asked (limits and stand-ins make the verdict a demo).
        base_model: which base the settings name (one without a digest makes the verdict a demo).
        eval_base: report of the base model.
        eval_adapter: report of the base model with the adapter beside it.
        eval_merged: report of the merged model.
        eval_awq: report of the quantized model.
        prepared: the data: what was kept out of training.
        adapter: the trained adapter with its tokenizer and training facts.
        merged: the merged model.
        awq: the quantized model; its lineage is the verdict's.

    Returns:
        {"verdict", "demo", "summary_words"}.

    Raises:
        ConfigError: a rule cannot be asked.
        DataContractError: a report is damaged, or the hops were not asked the same items.
    """
    check_rules(params)
    reports = read_reports({"base": eval_base, "adapter": eval_adapter, "merged": eval_merged, "awq": eval_awq})
    rules = [rule | rule_words(rule, params.alpha) for rule in judge_rules(params, reports)]
    folders = {"adapter": adapter, "merged": merged, "awq": awq, "prepared": prepared}
    checks = run_checks(reports, **folders, agreement=params.agreement)
    apart = agreements(reports)
    verdict = _verdict(rules, checks)
    fixed = read_manifest(adapter).get("rules_sha256")
    reasons = demo_reasons(profile, evaluate, base_model, reports) + changed_rules(params, fixed)
    judged = {
        "verdict": verdict,
        "demo": bool(reasons),
        "demo_reasons": reasons,
        "lineage_id": read_manifest(awq)["lineage_id"],
        "profile": profile,
        "alpha": params.alpha,
        "rules_sha256": params.digest(),
        "rules_fixed_sha256": fixed,
        "rules": rules,
        "checks": [check.plain() for check in checks],
        "hops": hop_table(params, reports),
        "agreement": apart,
        "merged_awq_agreement": (apart["merged_awq"] or {}).get("top1"),
    }
    judged |= summary_words(judged)
    write_json(output / "verdict.json", judged)
    write_json(output / "metrics.json", _metrics(judged))
    write_text(output / "verdict.md", verdict_page(judged))
    log.info("gate: %s", judged["summary_words"])
    return {"verdict": verdict, "demo": bool(reasons), "summary_words": judged["summary_words"]}


def require_pass(verdict: dict[str, Any]) -> None:
    """Stop unless the verdict is PASS.

    Args:
        verdict: verdict.json.

    Raises:
        GateFailedError: FAIL or INCONCLUSIVE; says which check or rule, at which hop, and what to do next.
    """
    if verdict["verdict"] == PASS:
        return
    stopping = [
        f"  check {check['name']}, hop {check['hop']}: {check['words']} {check['cause']}"
        for check in verdict["checks"]
        if not check["passed"]
    ]
    stopping += [
        f"  rule {rule['name']}, {' -> '.join(dict.fromkeys(rule['hops']))}: {rule['outcome']}. {rule['words']}"
        for rule in verdict["rules"]
        if rule["severity"] == "block" and rule["outcome"] != PASS
    ]
    raise GateFailedError(
        "\n".join(
            [
                f"the gate says {verdict['verdict']}; the model cannot be promoted, the evidence is kept in "
                f"data/reports/gate",
                *stopping,
            ]
        ),
        next_step(verdict),
    )


def _verdict(rules: list[dict[str, Any]], checks: list[Check]) -> str:
    """Return the whole verdict from its parts."""
    blocking = [rule["outcome"] for rule in rules if rule["severity"] == "block"]
    if FAIL in blocking or not all(check.passed for check in checks):
        return FAIL
    return INCONCLUSIVE if INCONCLUSIVE in blocking else PASS


def demo_reasons(
    profile: str, evaluate: EvaluateParams, base_model: BaseModelParams, reports: dict[str, Report]
) -> list[str]:
    """Return why the verdict is a demonstration; an empty list means it may carry a production PASS."""
    reasons = []
    if profile in DEMO_PROFILES:
        reasons.append(f"the profile is {profile}: made for trying the pipeline, not for a model people rely on")
    if base_model.digest is None:
        reasons.append("base_model.digest was null: whatever came under the base model's name would have been trained")
    suites = [(hop, key, facts) for hop in HOPS for key, facts in sorted(reports[hop].results["suites"].items())]
    for name in sorted({facts["name"] for _, _, facts in suites if facts["stand_in"]}):
        reasons.append(f"{name} is a stand-in set: its numbers are not those of the benchmark it stands in for")
    limits = {facts["name"]: facts["limit"] for _, _, facts in suites if facts["limit"] is not None}
    limits |= {
        name: limit
        for name, limit in (
            *((exam.name, exam.limit) for exam in evaluate.exams),
            ("the domain pack", evaluate.domain.limit),
        )
        if limit is not None
    }
    reasons += [f"{name} was cut to {limit} items by a limit" for name, limit in sorted(limits.items())]
    if len({report.results["chat_template_sha256"] for report in reports.values()}) > 1:
        reasons.append("the hops were asked through different chat templates")
    uses: dict[str, set[bool]] = {}
    for _, _, facts in suites:
        uses.setdefault(facts["name"], set()).add(bool(facts["chat_template"]))
    reasons += [
        f"{name} was asked with a chat template at one hop and without at another"
        for name, flags in sorted(uses.items())
        if len(flags) > 1
    ]
    return reasons


def changed_rules(params: GateParams, fixed: str | None) -> list[str]:
    """Return why rules that were not those of the training's beginning make a demonstration of a verdict.

    Args:
        fixed: digest that the adapter names; None where an older release trained it.
    """
    if fixed in (None, params.digest()):
        return []
    return ["the rules were changed after training began: who has seen a model can fit the rules to it"]


def hop_table(params: GateParams, reports: dict[str, Report]) -> list[dict[str, Any]]:
    """Return every metric at every hop with its own interval: what the reader compares by eye, not what is judged."""
    rows = []
    for metric in METRICS.values():
        keys = reports["awq"].keys_of(metric)
        if keys:
            cells = {hop: estimate(metric, params, reports[hop].values(keys)) for hop in asked(reports)}
            rows.append(
                {
                    "metric": metric.name,
                    "suite": reports["awq"].results["suites"][keys[0][0]]["name"],
                    "title": metric.title,
                    "title_zh": metric.title_zh,
                    "n": len(keys),
                    "kind": metric.kind,
                    "lower_is_better": metric.sign < 0,
                    "hops": cells,
                }
            )
    return rows


def agreements(reports: dict[str, Report]) -> dict[str, Any]:
    """Return how near each hop is to the one before it on held-out text; null where they do not pair up."""
    found = {f"{first}_{second}": agreement(reports[first], reports[second]) for first, second in pairwise(HOPS)}
    return {name: value.plain() if value else None for name, value in found.items()}


def _metrics(judged: dict[str, Any]) -> dict[str, float]:
    """Return flat numbers: the value of every metric at every hop, every rule's difference, and the verdict as 0/1."""
    numbers: dict[str, Any] = {"gate_pass": float(judged["verdict"] == PASS)}
    numbers["checks_failed"] = float(sum(not check["passed"] for check in judged["checks"]))
    numbers |= {f"{hop}_{row['metric']}": row["hops"][hop]["value"] for row in judged["hops"] for hop in row["hops"]}
    numbers |= {f"rule_{rule['name']}_difference": rule["difference"] for rule in judged["rules"]}
    numbers["merged_awq_agreement"] = judged["merged_awq_agreement"]
    return {name: round(value, DECIMALS) for name, value in numbers.items() if value is not None}
