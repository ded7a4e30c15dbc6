"""What the gate judges: the evaluation report of each hop, read, paired and checked for completeness."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, read_jsonl
from tasks.core.layout import HOPS
from tasks.core.settings import AgreementsParams

#: How many item names an error message lists.
NAMED = 5

Key = tuple[str, str]


@dataclass(frozen=True)
class Metric:
    """One number a rule can ask for.

    Args:
        name: as rules and results.json call it.
        suites: names of the suites it is read from.
        kind: the `metric` of its items in samples.jsonl.
        title: what a reader calls it, in English and Chinese.
    """

    name: str
    suites: tuple[str, ...]
    kind: str
    title: str
    title_zh: str

    @property
    def sign(self) -> float:
        """+1 where higher is better, -1 where lower is."""
        return -1.0 if self.kind == "bits_per_byte" else 1.0


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("domain_bits_per_byte", ("domain_short",), "bits_per_byte", "Reference answers", "参考答案"),
        Metric("domain_keypoints", ("domain_keypoints",), "share", "Key points of short answers", "简答要点"),
        Metric("domain_choice_accuracy", ("domain_choice",), "accuracy", "Domain four-option questions", "领域四选一"),
        Metric("domain_numeric_accuracy", ("domain_numeric",), "accuracy", "Numbers with their unit", "数值与单位"),
        Metric("domain_order_accuracy", ("domain_order",), "accuracy", "Order of protective actions", "行动排序"),
        Metric("safety_accuracy", ("safety",), "accuracy", "Safety items", "安全项"),
        Metric("safety_refuse_accuracy", ("safety_refuse",), "accuracy", "Must refuse", "必须拒答"),
        Metric("safety_unknown_accuracy", ("safety_unknown",), "accuracy", "Must say unknown", "必须答不知"),
        Metric("ceval_accuracy", ("ceval", "ceval_mini"), "accuracy", "C-Eval schema questions", "C-Eval 格式题"),
        Metric("cmmlu_accuracy", ("cmmlu",), "accuracy", "CMMLU questions", "CMMLU 题"),
    )
}


@dataclass(frozen=True)
class Report:
    """The evaluation report of one hop.

    Args:
        hop: base, merged or awq.
        folder: where it is.
        results: results.json.
        samples: (suite, item id) -> line of samples.jsonl.
    """

    hop: str
    folder: Path
    results: dict[str, Any]
    samples: dict[Key, dict[str, Any]]

    @property
    def full(self) -> bool:
        """Whether this hop was asked the suites, not only what shows that it agrees with its neighbours."""
        return bool(self.results.get("scope", "full") == "full")

    def keys_of(self, metric: Metric) -> list[Key]:
        """Return the items of one metric, sorted."""
        suites = {key for key, facts in self.results["suites"].items() if facts["name"] in metric.suites}
        return sorted(key for key, row in self.samples.items() if key[0] in suites and row["metric"] == metric.kind)

    def values(self, keys: list[Key]) -> list[float]:
        """Return the value of each item as a number; NaN stands for anything that is none."""
        return [as_number(self.samples[key]["value"]) for key in keys]

    def group(self, key: Key) -> str:
        """Return what an item is grouped by: the concept of a domain item, the subject of an exam."""
        row = self.samples[key]
        return str((row.get("detail") or {}).get("concept") or row.get("group") or key[1].partition("/")[0])

    def not_finite(self) -> Iterator[str]:
        """Yield the names of values that are NaN, infinite or no number, here and in results.json."""
        for suite, item in sorted(self.samples):
            if not math.isfinite(as_number(self.samples[suite, item]["value"])):
                yield f"{suite}/{item}"
        for name, value in sorted(self.results["metrics"].items()):
            if not math.isfinite(as_number(value)):
                yield name


@dataclass(frozen=True)
class Evidence:
    """Everything the checks look at.

    Args:
        reports: report of each hop.
        adapter: the trained adapter's folder.
        merged: the merged model's folder.
        awq: the quantized model's folder.
        prepared: the rows trained on and the evaluation items they were searched for.
        agreement: how near two hops must be.
    """

    reports: dict[str, Report]
    adapter: Path
    merged: Path
    awq: Path
    prepared: Path
    agreement: AgreementsParams

    @property
    def folders(self) -> dict[str, Path]:
        """Model folders by hop; the adapter stands for training."""
        return {"adapter": self.adapter, "merged": self.merged, "awq": self.awq}


@dataclass(frozen=True)
class Fault:
    """One fault found by a check: where, what was seen, the likely cause, the next command."""

    hop: str
    words: str
    cause: str
    next: str


def as_number(value: Any) -> float:
    """Return a JSON value as a number; what is none becomes NaN."""
    return float(value) if isinstance(value, int | float) else math.nan


def read_reports(folders: dict[str, Path]) -> dict[str, Report]:
    """Read the reports of all hops and hold them to the same items.

    Args:
        folders: folder of each hop's report, by hop.

    Raises:
        DataContractError: a file is absent or damaged, an item stands twice, or a hop has other items than the rest.
    """
    reports = {hop: read_report(hop, folders[hop]) for hop in HOPS}
    _require_same_items(reports)
    return reports


def asked(reports: dict[str, Report]) -> list[str]:
    """Return the hops that were asked the suites, in order."""
    return [hop for hop in HOPS if hop in reports and reports[hop].full]


def read_report(hop: str, folder: Path) -> Report:
    """Read one hop's report.

    Raises:
        DataContractError: a file is absent or damaged, or an item stands twice.
    """
    results = read_json(folder / "results.json")
    missing = [
        name
        for name in ("hop", "suites", "metrics", "parity", "chat_template_sha256", "canary", "server", "tokens")
        if name not in results
    ]
    if missing or results["hop"] != hop:
        found = f"has no {', '.join(missing)}" if missing else f"is the report of hop {results['hop']!r}"
        raise DataContractError(f"{folder / 'results.json'} {found}", _again(hop))
    report = Report(hop, folder, results, _read_samples(hop, folder / "samples.jsonl"))
    _require_counts(report)
    return report


def _read_samples(hop: str, path: Path) -> dict[Key, dict[str, Any]]:
    """Read the items of one hop; an item that stands twice is refused."""
    if not path.is_file():
        raise DataContractError(f"{path} does not exist", _again(hop))
    samples: dict[Key, dict[str, Any]] = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        if missing := {"suite", "item_id", "metric", "value"} - set(row):
            raise DataContractError(f"{path}: item {number} has no {', '.join(sorted(missing))}", _again(hop))
        key = (row["suite"], row["item_id"])
        if key in samples:
            raise DataContractError(f"{path}: item {key[0]}/{key[1]} stands twice", _again(hop))
        samples[key] = row
    return samples


def _require_counts(report: Report) -> None:
    """Hold the number of items to what results.json says was scored: a truncated file is no evidence."""
    if not report.samples and report.full:
        raise DataContractError(f"{report.folder / 'samples.jsonl'} has no items", _again(report.hop))
    for suite, facts in report.results["suites"].items():
        found = sum(1 for key in report.samples if key[0] == suite)
        if found != facts["items"]:
            raise DataContractError(
                f"hop {report.hop}: suite {suite} has {found} items in samples.jsonl, results.json says "
                f"{facts['items']}",
                _again(report.hop),
            )


def _require_same_items(reports: dict[str, Report]) -> None:
    """Refuse hops that were not asked the same items in the same way."""
    full = {hop: reports[hop] for hop in asked(reports)}
    everywhere = set.union(*(set(report.samples) for report in full.values()))
    for hop, report in full.items():
        if lacking := sorted(everywhere - set(report.samples)):
            others = " and ".join(name for name in full if lacking[0] in reports[name].samples)
            raise DataContractError(
                f"hop {hop} lacks {len(lacking)} of {len(everywhere)} items that {others} has: {names(lacking)}; "
                f"only the same items can be compared",
                _again(hop),
            )
    for key in sorted(everywhere):
        kinds = {hop: report.samples[key]["metric"] for hop, report in full.items()}
        if len(set(kinds.values())) > 1:
            raise DataContractError(
                f"item {key[0]}/{key[1]} is scored by another metric at each hop: {kinds}", "tunegate stage evaluate"
            )


def names(keys: list[Key], most: int = NAMED) -> str:
    """Return the first few items by name."""
    shown = ", ".join("/".join(key) for key in keys[:most])
    return f"{shown} and {len(keys) - most} more" if len(keys) > most else shown


def _again(hop: str) -> str:
    """Return the command that makes a hop's report anew."""
    return f"tunegate stage evaluate@{hop}, then tunegate run"
