"""How alike two askings of the same items are: the live endpoint beside the evidence its version was released on."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from tasks.chat.sequences import common_prefix
from tasks.engine.fingerprint import MIN_AGREEMENT

Key = tuple[str, str]
Rows = Mapping[Key, Mapping[str, Any]]

#: Values nearer than this are one value: batches round differently.
SAME_VALUE = 0.02
#: Items named in the report, per suite.
NAMED = 10
#: The share of four-option items whose chosen letter must be the released one's. Same weights differ by rounding only.
MIN_SAME_CHOICES = 0.9


def compare(live: Iterable[Mapping[str, Any]], released: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return, suite by suite, where two askings differ.

    Args:
        live: lines of samples.jsonl of the live endpoint.
        released: those of the version's evidence.

    Returns:
        {"suites": {suite: {...}}, "choices": {"items", "same"}, "texts": {"items", "same"}, "not_asked": [suites]}.
        Of a suite: items compared, value here and there, `better` and `worse` (items right here alone, there alone),
        `same` (items with the same answer: letter, text, or value where there is neither), `differ` (ids).
    """
    here, there = _by_key(live), _by_key(released)
    by_suite: dict[str, list[Key]] = defaultdict(list)
    for key in sorted(set(here) & set(there)):
        by_suite[key[0]].append(key)
    suites = {suite: _suite(keys, here, there) for suite, keys in by_suite.items()}
    return {
        "suites": suites,
        "choices": _count(suites, "letter"),
        "texts": _count(suites, "text"),
        "not_asked": sorted({suite for suite, _ in there} - set(by_suite)),
        "items_not_asked": len(set(there) - set(here)),
        "items_without_evidence": len(set(here) - set(there)),
    }


def findings(agreement: Mapping[str, Any]) -> list[str]:
    """Return in words what says that the endpoint does not serve what was released; empty where it agrees."""
    found = []
    if agreement["fingerprint"] < MIN_AGREEMENT:
        found.append(
            f"{agreement['fingerprint']:.0%} of the fingerprint's answers agree, at least {MIN_AGREEMENT:.0%} must"
        )
    choices = agreement["choices"]
    if choices["items"] and choices["same"] < MIN_SAME_CHOICES * choices["items"]:
        found.append(f"{choices['same']} of {choices['items']} letters agree, at least {MIN_SAME_CHOICES:.0%} must")
    if not any(suite["items"] for suite in agreement["suites"].values()):
        found.append("no item was asked that the version's evidence has")
    return found


def text_agreement(found: list[str], expected: list[str]) -> float:
    """Return the share of characters up to each answer's first difference, 0 to 1; an empty answer counts as one."""
    same = total = 0
    for one, other in zip(found, expected, strict=True):
        total += max(len(other), 1)
        same += common_prefix(one, other) if other else int(not one)
    return same / total


def _by_key(rows: Iterable[Mapping[str, Any]]) -> dict[Key, Mapping[str, Any]]:
    """Return rows by suite and item."""
    return {(row["suite"], row["item_id"]): row for row in rows}


def _suite(keys: list[Key], here: Rows, there: Rows) -> dict[str, Any]:
    """Return how one suite compares."""
    form = _form(there[keys[0]])
    differ = [key[1] for key in keys if not _same(form, here[key], there[key])]
    values = [(float(here[key]["value"]), float(there[key]["value"])) for key in keys]
    return {
        "items": len(keys),
        "value": round(sum(one for one, _ in values) / len(keys), 6),
        "released_value": round(sum(other for _, other in values) / len(keys), 6),
        "better": sum(one - other > SAME_VALUE for one, other in values),
        "worse": sum(other - one > SAME_VALUE for one, other in values),
        "form": form,
        "same": len(keys) - len(differ),
        "differ": differ[:NAMED],
    }


def _form(row: Mapping[str, Any]) -> str:
    """Return by what the answers of a suite are compared: the text written, the letter chosen, or the value."""
    detail = row.get("detail") or {}
    return "text" if "text" in detail else "letter" if "chosen" in detail else "value"


def _same(form: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two answers are the same."""
    if form == "value":
        return abs(float(one["value"]) - float(other["value"])) <= SAME_VALUE
    name = {"text": "text", "letter": "chosen"}[form]
    return bool((one.get("detail") or {}).get(name) == (other.get("detail") or {}).get(name))


def _count(suites: Mapping[str, Mapping[str, Any]], form: str) -> dict[str, int]:
    """Return items and equal ones over the suites compared in one form."""
    chosen = [suite for suite in suites.values() if suite["form"] == form]
    return {"items": sum(suite["items"] for suite in chosen), "same": sum(suite["same"] for suite in chosen)}
