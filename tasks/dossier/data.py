"""The data pages of the dossier: what became of every raw row, what was taken out, what the kept rows look like."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.core.files import read_json, read_jsonl

#: Raw rows named per reason; all of them stand in the ledger.
EXAMPLES = 6
#: Names shown of a distribution with many; the rest is one line.
NAMES_SHOWN = 12

#: In the order the rules are applied.
DROPPED_ZH = {
    "personal_data": ("hold personal data that may not stay", "含须整行去除的个人信息"),
    "too_long": ("more tokens than training takes", "超出训练长度"),
    "exact_duplicate": ("exact duplicates", "完全重复"),
    "near_duplicate": ("near duplicates", "近似重复"),
    "eval_leak": ("hold an evaluation question", "含评测题"),
}
TYPES_ZH = {
    "resident_id": "身份证号", "mobile": "手机号", "landline": "固定电话", "email": "电子邮箱", "bank_card": "银行卡号",
    "imei": "手机串号", "qq": "QQ 号", "wechat": "微信号", "passport": "护照号",
    "licence_plate": "车牌号", "credit_code": "统一社会信用代码", "ip": "IP 地址",
    "coordinates": "经纬度", "person_name": "姓名", "public_person": "公众与虚构人物",
    "address": "地址", "organisation": "机构与设施",
}  # fmt: skip
POLICIES_ZH = {"mask": "遮盖", "pseudonymize": "假名", "drop": "整行去除", "keep": "保留"}
LANGUAGES_ZH = {"zh": ("Chinese", "中文"), "en": ("English", "英文")}
#: Kinds of `tasks.chat.additions`.
TEMPLATE_ZH = {
    "system_turn": ("a system turn, where a row has none", "行内无系统提示时加入系统轮"),
    "in_system_turn": ("words beside a row's own system prompt", "在行内系统提示旁加入文字"),
    "empty_thought": ("a thought without words, before an answer that has none", "回答无思考时加入空思考"),
}
#: Some system turns of templates are pages long.
TEMPLATE_SHOWN = 600
#: Cluster sizes that count together, by the largest of them.
CLUSTER_SIZES = (2, 3, 4, 5, 10, 100, 1000)


@dataclass
class _Refused:
    """Rows left out for one reason."""

    rows: int = 0
    rules: set[str] = field(default_factory=set)
    first: list[dict[str, Any]] = field(default_factory=list)

    def add(self, entry: dict[str, Any]) -> None:
        """Count a row; the first ones are named."""
        self.rows += 1
        self.rules.add(entry["rule"])
        if len(self.first) < EXAMPLES:
            self.first.append(entry)


def data_facts(prepared: Path, validation: dict[str, Any]) -> dict[str, Any]:
    """Return what the dossier says about the data.

    Args:
        prepared: output of stage prepare.
        validation: validation.json.

    Raises:
        DataContractError: ledger or summary is absent or damaged.
    """
    summary = read_json(prepared / "summary.json")
    return {
        "summary": summary,
        "waterfall": waterfall(summary),
        "refused": _refused(read_jsonl(prepared / "ledger.jsonl")),
        "masks": _masks(summary),
        "masked": summary.get("masked", {"commonest": []}),
        "clusters": _clusters(summary),
        "languages": _named(summary["languages"], LANGUAGES_ZH),
        "formats": _named({name.replace("_", " "): rows for name, rows in summary["formats"].items()}),
        "sources": _named(summary["sources"]),
        "concepts": _named(summary["concepts"]),
        "drift": validation["drift"],
        "template": template_facts(summary),
    }


def template_facts(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what the base model's chat template adds to every row that lacks it, as prepare found by asking it.

    Args:
        summary: `template` by kind of addition.
    """
    added = summary["template"]
    return [
        {"words": words, "text": added[kind][:TEMPLATE_SHOWN] + ("…" if len(added[kind]) > TEMPLATE_SHOWN else "")}
        for kind, words in TEMPLATE_ZH.items()
        if kind in added
    ]


def waterfall(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps from raw rows to kept rows; each one starts where the one before ended.

    Args:
        summary: `rows` by fate and `reasons` by fate.
    """
    rows = summary["rows"]
    steps = [_step("read", ("raw rows read", "读入的原始行"), 0, rows["in"])]
    level = rows["in"] - rows["quarantined"]
    steps.append(_step("lost", ("unusable as they came: quarantined", "无法使用：隔离"), level, rows["in"]))
    dropped = summary["reasons"].get("dropped", {})
    for reason in sorted(dropped, key=lambda name: (_place(name), name)):
        lost = dropped[reason]
        steps.append(_step("lost", _reason_words(reason), level - lost, level))
        level -= lost
    return [*steps, _step("kept", ("kept", "保留"), 0, rows["kept"])]


def _step(kind: str, words: tuple[str, str], start: int, end: int) -> dict[str, Any]:
    """Return one step of the waterfall: it covers the rows from `start` to `end`."""
    return {"kind": kind, "words": words, "start": start, "end": end, "rows": end - start}


def _place(reason: str) -> int:
    """Return when a rule is applied; rules this page does not know come last."""
    known = list(DROPPED_ZH)
    return known.index(reason) if reason in known else len(known)


def _reason_words(reason: str) -> tuple[str, str]:
    """Return a reason for dropping a row in English and Chinese."""
    return DROPPED_ZH.get(reason, (reason.replace("_", " "), ""))


def _refused(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what was refused by reason, with the places of a few rows; the ledger is read once and not held."""
    groups: dict[tuple[str, str], _Refused] = defaultdict(_Refused)
    for entry in entries:
        if entry["fate"] != "kept":
            groups[entry["fate"], entry["reason"]].add(entry)
    return [
        {
            "fate": fate,
            "reason": reason,
            "rows": group.rows,
            "rules": sorted(group.rules),
            "places": _places(group.first),
            "more": group.rows - len(group.first),
        }
        for (fate, reason), group in sorted(groups.items())
    ]


def _places(entries: list[dict[str, Any]]) -> list[str]:
    """Return where raw rows stand: file, then lines (items of a JSON array, rows of a table) counted from 1."""
    numbers: dict[str, list[str]] = defaultdict(list)
    for entry in entries:
        numbers[entry["source"]].append(str(entry["line"]))
    return [
        f"{source} {_unit(source)}{'s' if len(found) > 1 else ''} {', '.join(found)}"
        for source, found in numbers.items()
    ]


def _unit(source: str) -> str:
    """Return what the places of a file are counted in."""
    return "line" if ".jsonl" in source else "row"


def _masks(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each type of personal data: its policy, and how many spans were replaced in kept rows."""
    policies = summary["policy"]["privacy"]["policies"]
    return [
        {
            "words": (type_.replace("_", " "), TYPES_ZH.get(type_, "")),
            "policy": (policy, POLICIES_ZH[policy]),
            "spans": summary["masks"].get(type_),
            "in_answers": summary.get("masked", {}).get("in_answers", {}).get(type_, 0),
        }
        for type_, policy in policies.items()
    ]


def _clusters(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return duplicate clusters by size, and the largest ones."""
    sizes = {int(size): count for size, count in summary["cluster_sizes"].items()}
    counts: Counter[str] = Counter()
    for size, count in sizes.items():
        counts[_size_range(size)] += count
    names = [_size_range(size) for size in (*CLUSTER_SIZES, CLUSTER_SIZES[-1] + 1)]
    return {
        "count": sum(sizes.values()),
        "rows": sum(size * count for size, count in sizes.items()),
        "sizes": [{"name": name, "count": counts[name]} for name in names if counts[name]],
        "largest": summary["largest_clusters"],
        "rule": summary["duplicates"]["rule"],
    }


def _size_range(size: int) -> str:
    """Return the range of cluster sizes that a size belongs to."""
    below = 1
    for largest in CLUSTER_SIZES:
        if size <= largest:
            return str(largest) if largest == below + 1 else f"{below + 1}–{largest}"
        below = largest
    return f"{below + 1:,} and more"


def _named(counts: Mapping[str, int], words: Mapping[str, tuple[str, str]] | None = None) -> list[dict[str, Any]]:
    """Return rows by name, most first, with what is left counted together."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown = [{"words": (words or {}).get(name, (name, "")), "rows": n} for name, n in ranked]
    rest = ranked[NAMES_SHOWN:]
    others = [{"words": (f"{len(rest):,} others", "其他"), "rows": sum(n for _, n in rest)}] if len(rest) > 1 else []
    return [*shown[:NAMES_SHOWN], *others] if others else shown
