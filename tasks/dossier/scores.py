"""Scores as the dossier shows them: exams by category and subject, domain items by concept, items by language."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from tasks.dossier.plots import dots, scale_of, wilson

#: The change a reader is shown: from what was taken to what would be served.
BEFORE, AFTER = "base", "awq"
#: Four options guessed blindly.
CHANCE = 0.25
CATEGORY_ZH = {"STEM": "理工", "Social Science": "社会科学", "Humanities": "人文", "Other": "其他"}
CONCEPT_ZH = {
    "plan_zones": "应急计划区", "emergency_classes": "应急状态分级", "action_levels": "行动水平",
    "ines": "国际核事件分级", "sheltering": "隐蔽", "evacuation": "撤离", "iodine_thyroid_blocking": "碘防护",
    "food_control": "食品与饮水控制",
    "dose_units": "剂量单位", "radiation_protection": "辐射防护", "monitoring": "监测", "decontamination": "去污",
    "public_communication": "公众沟通", "organisations": "组织体系", "standards": "法规标准",
    "emergency_workers": "应急人员", "medical_response": "医学救援", "recovery": "恢复", "reactor_basics": "反应堆基础",
    "radionuclides": "放射性核素",
}  # fmt: skip
#: Metrics whose item is worth 0 to 1.
SHARES = ("accuracy", "share")
BITS = "bits_per_byte"

Samples = dict[str, list[dict[str, Any]]]


def exam_facts(results: dict[str, Any]) -> list[dict[str, Any]]:
    """Return each exam with its overall score by hop, and its categories and subjects with a picture each.

    Args:
        results: results.json by hop; a hop that was not asked the exam has no entry for it.
    """
    told = {hop: {exam["suite"]: exam for exam in report["exams"]} for hop, report in results.items()}
    return [_exam({hop: exams[suite] for hop, exams in told.items() if suite in exams}) for suite in told[AFTER]]


def _exam(hops: dict[str, Any]) -> dict[str, Any]:
    """Return one exam: how it was asked, and its scores by hop."""
    after = hops[AFTER]
    return {
        **{key: after[key] for key in ("suite", "name", "stand_in", "items", "answer", "few_shot", "chat_template",
                                       "limit", "examples_dropped")},
        "hops": list(hops),
        "least": min(subject["items"] for subject in after["subjects"].values()),
        "overall": {hop: exam["weighted"] for hop, exam in hops.items()},
        "official": after["weighted"]["official"],
        "marks": {mark: {hop: exam["marks"][mark]["accuracy"] for hop, exam in hops.items() if mark in exam["marks"]}
                  for mark in after["marks"]},
        "generated": {hop: exam["generated"] for hop, exam in hops.items() if exam["generated"]},
        "groups": [_category(name, hops) for name in sorted(after["categories"], key=place_among(CATEGORY_ZH))],
    }  # fmt: skip


def place_among(known: Iterable[str]) -> Callable[[str], tuple[int, str]]:
    """Return what sorts names into the order of the known ones, unknown ones last."""
    order = list(known)
    return lambda name: (order.index(name) if name in order else len(order), name)


def _category(name: str, hops: dict[str, Any]) -> dict[str, Any]:
    """Return one category and its subjects, the best of the quantized model first."""
    found = {hop: exam["categories"][name] for hop, exam in hops.items() if name in exam["categories"]}
    subjects = [
        _scored((key.replace("_", " "), facts["name_zh"]),
                {hop: exam["subjects"][key] for hop, exam in hops.items() if key in exam["subjects"]})
        for key, facts in hops[AFTER]["subjects"].items() if facts["category"] == name
    ]  # fmt: skip
    ranked = sorted(subjects, key=lambda row: (-row["hops"][AFTER], row["words"]))
    return _scored((name, CATEGORY_ZH.get(name, "")), found) | {"subjects": ranked}


def _scored(words: tuple[str, str], facts: dict[str, Any]) -> dict[str, Any]:
    """Return a category or subject: its accuracy by hop, and the picture of the change."""
    values = {hop: found["accuracy"] for hop, found in facts.items()}
    items = facts[AFTER]["items"]
    picture = dots(values.get(BEFORE), values[AFTER], (0.0, 1.0), mark=CHANCE, interval=wilson(values[AFTER], items))
    return {"words": words, "items": items, "hops": values, "picture": picture}


def concept_facts(samples: Samples) -> dict[str, list[dict[str, Any]]]:
    """Return the domain items by concept, the weakest first: points reached, and bits per byte.

    Args:
        samples: rows of samples.jsonl by hop.

    Returns:
        {"points": [{"words", "items", "hops", "picture"}], "bits": [...]}; empty lists where no item names a concept.
    """
    return {
        "points": _by_concept(samples, _is_points, better_is_left=False),
        "bits": _by_concept(samples, lambda row: row["metric"] == BITS, better_is_left=True),
    }


def _is_points(row: dict[str, Any]) -> bool:
    """Return whether an item is worth 0 to 1 points."""
    return row["metric"] in SHARES


def _by_concept(samples: Samples, chosen: Callable[..., bool], *, better_is_left: bool) -> list[dict[str, Any]]:
    """Return the mean of the chosen items by concept."""
    means = {hop: _means(filter(chosen, samples[hop]), _concept) for hop in (BEFORE, AFTER)}
    values = [value for hop in means.values() for value, _ in hop.values()]
    scale = scale_of(values) if better_is_left else (0.0, 1.0)
    rows = []
    for name, (after, items) in means[AFTER].items():
        before = means[BEFORE].get(name, (math.nan, 0))[0]
        interval = None if better_is_left else wilson(after, items)
        rows.append({
            "words": (name.replace("_", " "), CONCEPT_ZH.get(name, "")), "items": items,
            "hops": {BEFORE: before, AFTER: after},
            "picture": dots(before, after, scale, interval=interval, better_is_left=better_is_left),
        })  # fmt: skip
    sign = -1 if better_is_left else 1
    return sorted(rows, key=lambda row: (sign * row["hops"][AFTER], row["words"]))


def _concept(row: dict[str, Any]) -> str | None:
    """Return an item's concept, None where it names none."""
    return row["detail"].get("concept")


def _means(rows: Iterable[dict[str, Any]], group_of: Callable[..., str | None]) -> dict[str, tuple[float, int]]:
    """Return (mean, number of items) by group; items of no group or without a number are left out."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        group = group_of(row)
        if group is not None and is_number(row["value"]):
            values[group].append(row["value"])
    return {name: (sum(found) / len(found), len(found)) for name, found in sorted(values.items())}


def language_facts(samples: Samples, hops: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each metric of the hop table by language: items, and the mean before and after.

    Args:
        samples: rows of samples.jsonl by hop.
        hops: the hop table of the verdict; suites with items in one language only are left out.
    """
    rows = []
    for row in hops:
        found = {hop: _means((item for item in samples[hop] if item["suite"] == row["suite"]), _language)
                 for hop in (BEFORE, AFTER)}  # fmt: skip
        if len(found[AFTER]) > 1:
            rows.append({**row, "languages": {
                name: {"items": items, "hops": {BEFORE: found[BEFORE].get(name, (None, 0))[0], AFTER: value}}
                for name, (value, items) in found[AFTER].items()
            }})  # fmt: skip
    return rows


def _language(row: dict[str, Any]) -> str | None:
    """Return an item's language, None where it names none."""
    return row["detail"].get("lang")


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)
