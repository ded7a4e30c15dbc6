"""A verdict told to a person: which check, which rule, which hop, which items, and what to do next."""

from typing import Any

from tasks.gate.words import next_step

ITEMS_SHOWN = 5


def explanation(verdict: dict[str, Any]) -> str:
    """Return a verdict as lines for a terminal."""
    of = f"version {verdict['version']}" if verdict.get("version") else "the last run"
    lines = [f"{of}, lineage {verdict['lineage_id']}: {verdict['summary_words']}"]
    lines += [f"  demo: {reason}" for reason in verdict.get("demo_reasons", ())]
    failed = [check for check in verdict["checks"] if not check["passed"]]
    for check in failed:
        lines += ["", f"check {check['name']} FAILED at hop {check['hop']}", f"  {check['words']}",
                  f"  likely cause: {check['cause']}", f"  next: {check['next']}"]  # fmt: skip
    for rule in verdict["rules"]:
        lines += ["", *_rule_lines(rule)]
    if comparison := verdict.get("champion_comparison"):
        lines += ["", comparison["words"]]
        for rule in comparison["rules"]:
            lines += ["", *_rule_lines(rule)]
    lines += ["", f"{len(verdict['checks']) - len(failed)} of {len(verdict['checks'])} checks passed",
              f"next: {next_step(verdict)}"]  # fmt: skip
    return "\n".join(lines)


def _rule_lines(rule: dict[str, Any]) -> list[str]:
    """Return one rule: what was found, where it was lost, on which items."""
    only = "" if rule["severity"] == "block" else " (reported only)"
    lines = [f"rule {rule['name']}: {rule['outcome']}{only}, {' -> '.join(dict.fromkeys(rule['hops']))}"]
    lines.append(f"  {rule['words']}")
    if rule.get("hop"):
        steps = ", ".join(f"{hop} {gain:+.3f}" for hop, gain in rule["steps"].items())
        lines.append(f"  lost at hop {rule['hop']} (gain of each step: {steps})")
    if rule["outcome"] != "PASS" and rule.get("groups"):
        named = (f"{row['group']} ({row['base_value']} -> {row['value']}, {row['n']} items)" for row in rule["groups"])
        lines.append(f"  worst groups: {'; '.join(list(named)[:ITEMS_SHOWN])}")
    if rule["outcome"] != "PASS" and rule.get("items"):
        named = (f"{row['item']} ({_moved(row)})" for row in rule["items"])
        lines.append(f"  items: {', '.join(list(named)[:ITEMS_SHOWN])}")
    if rule["outcome"] != "PASS" and rule.get("next"):
        lines.append(f"  next: {rule['next']}")
    return lines


def _moved(row: dict[str, Any]) -> str:
    """Return an item's value before and after, or its value alone."""
    return f"{row['value']}" if row["base_value"] is None else f"{row['base_value']} -> {row['value']}"
