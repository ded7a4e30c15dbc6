"""Safety in the dossier: right answers by hazard at every hop, and every item that failed, with what was answered."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from tasks.core.files import read_jsonl
from tasks.dossier.scores import AFTER, BEFORE, Samples

PAIRS, REFUSE, UNKNOWN, NUMERIC = "safety", "safety_refuse", "safety_unknown", "domain_numeric"
HAZARDS = {
    "unit_1000": ("a factor of 1000 in a unit", "单位差一千倍"),
    "action_order": ("the order of actions", "行动次序"),
    "must_refuse": ("should refuse", "应当拒绝"),
    "must_say_unknown": ("should say it is not known", "应当说明未知"),
}
#: How each kind of safety item is asked, in the order of the page.
WAYS = {
    PAIRS: ("two answers weighed", "两个答案比较"),
    REFUSE: ("answer written out", "生成回答"),
    UNKNOWN: ("answer written out", "生成回答"),
}
SUITE_HAZARD = {REFUSE: "must_refuse", UNKNOWN: "must_say_unknown"}
#: What is shown of a generated answer; the whole of it is in samples.jsonl.
SHOWN_CHARACTERS = 400
#: A wrong number is a safety matter where it is wrong by a prefix of the unit.
OFF_BY_1000 = "off_by_1000"
FAILURES = {
    "forbidden": ("says what is forbidden", "含禁止内容"),
    "no_marker": ("it does not", "未做到"),
    "empty": ("no answer", "无回答"),
    "no_number": ("no number", "无数值"),
    "no_unit": ("no unit", "无单位"),
    OFF_BY_1000: ("off by 1000", "差一千倍"),
    "wrong_unit": ("another unit", "单位错误"),
    "wrong_value": ("another value", "数值错误"),
    "two_answers": ("two answers", "给出两个答案"),
}


def safety_facts(samples: Samples, prepared: Path) -> dict[str, Any]:
    """Return safety results by hazard and way of asking, and the items the quantized model failed.

    Args:
        samples: rows of samples.jsonl by hop.
        prepared: folder with eval_questions.jsonl, where the questions stand.

    Returns:
        {"hazards": table, "failed": [item], "items": number asked, "numeric": failures of numbers by hop}; items that
        the base had right come first.
    """
    questions = {row["item_id"]: row["question"] for row in read_jsonl(prepared / "eval_questions.jsonl")
                 if not row.get("options")}  # fmt: skip
    by_hop = {hop: {(row["suite"], row["item_id"]): row for row in rows if row["suite"] in WAYS}
              for hop, rows in samples.items()}  # fmt: skip
    failed = [_failed(row, by_hop[BEFORE].get(key), questions) for key, row in by_hop[AFTER].items() if not _right(row)]
    places = list(WAYS)
    return {
        "hazards": _hazards(by_hop),
        "failed": sorted(failed, key=lambda row: (not row["lost"], places.index(row["suite"]), row["item_id"])),
        "items": len(by_hop[AFTER]),
        "numeric": _numeric(samples),
    }


def _right(row: dict[str, Any] | None) -> bool:
    """Return whether an item was answered right; what was not asked or not measured was not."""
    return row is not None and row["value"] == 1


def _hazard(row: dict[str, Any]) -> str:
    """Return an item's hazard: its own, or its suite's."""
    return str(SUITE_HAZARD.get(row["suite"]) or row["detail"].get("hazard") or "unnamed")


def _hazards(by_hop: dict[str, Any]) -> list[dict[str, Any]]:
    """Return right answers by way of asking and hazard."""
    items: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for key, row in by_hop[AFTER].items():
        items[row["suite"], _hazard(row)].append(key)
    places = list(WAYS)
    return [
        {
            "words": HAZARDS.get(hazard, (hazard.replace("_", " "), "")),
            "way": WAYS[suite],
            "items": len(keys),
            "right": {hop: sum(_right(rows.get(key)) for key in keys) for hop, rows in by_hop.items() if rows},
        }
        for (suite, hazard), keys in sorted(items.items(), key=lambda item: (places.index(item[0][0]), item[0][1]))
    ]


def _failed(row: dict[str, Any], before: dict[str, Any] | None, questions: dict[str, str]) -> dict[str, Any]:
    """Return one failed item: the question, what was answered or weighed, and whether the base had it right."""
    detail, hazard = row["detail"], _hazard(row)
    text = detail.get("text")
    safe, unsafe = detail.get("safe_logprob_per_byte"), detail.get("unsafe_logprob_per_byte")
    return {
        "suite": row["suite"],
        "item_id": row["item_id"],
        "question": questions.get(row["item_id"], ""),
        "words": HAZARDS.get(hazard, (hazard.replace("_", " "), "")),
        "lost": _right(before),
        "answer": _shown(text) if isinstance(text, str) else None,
        "preferred": None if None in (safe, unsafe) else unsafe - safe,
        "forbidden": [str(found) for found in detail.get("forbidden") or []],
        "failure": failure_words(detail["failure"]) if detail.get("failure") else None,
    }


def failure_words(failure: str) -> tuple[str, str]:
    """Return why an answer failed, in English and Chinese; a reason this page does not know stands as it is."""
    return FAILURES.get(failure, (failure.replace("_", " "), ""))


def _shown(text: str) -> str:
    """Return the beginning of an answer, and how much more there is."""
    rest = len(text) - SHOWN_CHARACTERS
    return f"{text[:SHOWN_CHARACTERS]}… (+{rest})" if rest > 0 else text


def _numeric(samples: Samples) -> list[dict[str, Any]]:
    """Return how answers with a number and a unit failed, by hop; the factor of 1000 first."""
    counts = {
        hop: Counter(str(row["detail"].get("failure") or "unnamed") for row in rows
                     if row["suite"] == NUMERIC and not _right(row))
        for hop, rows in samples.items() if any(row["suite"] == NUMERIC for row in rows)
    }  # fmt: skip
    failures = sorted({failure for found in counts.values() for failure in found})
    return [
        {"failure": failure, "words": failure_words(failure),
         "hops": {hop: found[failure] for hop, found in counts.items()}}
        for failure in sorted(failures, key=lambda failure: (failure != OFF_BY_1000, failure))
    ]  # fmt: skip
