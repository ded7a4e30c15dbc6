"""Desensitization on the labelled set: precision and recall a type, false alarms on engineering text.

    .venv/bin/python tests/benchmarks/privacy.py [--set PATH] [--names WAY] [--json] [--show TYPE] [--text FILE ...]

Spans are scored one by one (labelled/README.md says what is labelled):

* A labelled span is **found** when spans of its type cover it: every letter and digit for structured types (one left
  over is a leak), at least 80 % of them for names, addresses and organisations.
* A reported span is **right** when it overlaps a labelled span of its type and has at most four characters, or as many
  as the label, outside it: a title taken along is right, a sentence taken along is not.
* Precision counts sentences with personal data and the hard negatives. Engineering sentences count apart: false alarms
  are reported spans per 1,000 sentences; so do those in sentences that only look personal (`held_out.jsonl`). `masked`
  is recall with any type: nothing of the span would be left to read.

Public figures in general text are reported for information; no bar stands on them. `--set` scores a labelled file of
your own, or every `*.jsonl` of a folder, engineering sentences included, with the same list of organisations. `--text`
adds false alarms on JSON Lines or text files of your own, as counts by type: what is right there, nobody labelled.
"""

import argparse
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from tasks.core.settings import PrivacyParams, PrivacyPolicies
from tasks.data.privacy.desensitize import Desensitizer

LABELLED = Path(__file__).parent / "labelled"
FUZZY = {"person_name": 0.85, "address": 0.85}
#: The user's list makes organisations a look-up; its bar is that of the structured types.
COVERED = {"person_name": 0.8, "address": 0.8, "organisation": 0.8}
#: Groups of sentences that hold public people, things, sums and words, and nothing personal.
NOBODY = ("negatives", "plain")
STRUCTURED_BAR, ALARM_BAR = 0.98, 1.0
SLACK_CHARACTERS = 4

Span = tuple[int, int, str]
Names = Literal["careful", "balanced", "sparing"]


def desensitizer(names: Names = "balanced") -> Desensitizer:
    """Return the detector with every type on and the labelled set's own list of organisations."""
    kept = {"public_person": "keep"}
    policies = PrivacyPolicies.model_validate(dict.fromkeys(PrivacyPolicies.model_fields, "mask") | kept)
    params = PrivacyParams(policies=policies, names=names, organisations="templates/organisations.txt")
    return Desensitizer(params, LABELLED, None)


def found(detector: Desensitizer, text: str) -> list[Span]:
    """Return the detector's spans as plain tuples."""
    return [(span.start, span.end, span.type) for span in detector.find(text)]


def covered(label: dict[str, Any], text: str, spans: Iterable[Span]) -> float:
    """Return the share of a label's letters and digits that spans cover."""
    wanted = {place for place in range(label["start"], label["end"]) if text[place].isalnum()}
    return len(wanted & {place for start, end, _ in spans for place in range(start, end)}) / len(wanted)


def names(label: dict[str, Any]) -> set[str]:
    """Return the types under which a label may be reported."""
    return {label["type"], *label.get("also", ())}


def is_right(span: Span, labels: list[dict[str, Any]]) -> bool:
    """Tell whether a reported span hits a label of its type and little beside it."""
    start, end, type_ = span
    for label in labels:
        inside = min(end, label["end"]) - max(start, label["start"])
        slack = max(SLACK_CHARACTERS, label["end"] - label["start"])
        if type_ in names(label) and inside > 0 and end - start - inside <= slack:
            return True
    return False


class Score:
    """Counts over the labelled sentences, and the misses to look at."""

    def __init__(self) -> None:
        self.labels: Counter[str] = Counter()
        self.found: Counter[str] = Counter()
        self.masked: Counter[str] = Counter()
        self.exact: Counter[str] = Counter()
        self.reported: Counter[str] = Counter()
        self.right: Counter[str] = Counter()
        self.variants: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        self.examples: dict[str, list[str]] = defaultdict(list)

    def add(self, row: dict[str, Any], spans: list[Span]) -> None:
        """Count one sentence."""
        ignored = [label for label in row["spans"] if label["type"] == "ignore"]
        labels = [label for label in row["spans"] if label["type"] != "ignore"]
        for label in labels:
            self._add_label(label, row, spans)
        for span in spans:
            if any(span[0] < label["end"] and span[1] > label["start"] for label in ignored):
                continue
            right = is_right(span, labels)
            # A span named by an accepted other type counts where its label does.
            type_ = span[2] if not right else next(x["type"] for x in labels if is_right(span, [x]))
            self.reported[type_] += 1
            self.right[type_] += right
            if not right:
                self.examples[type_].append(
                    f"wrong {row['template']} {row['text'][span[0] : span[1]]!r} {row['text']!r}"
                )

    def _add_label(self, label: dict[str, Any], row: dict[str, Any], spans: list[Span]) -> None:
        """Count one label."""
        type_ = label["type"]
        enough = COVERED.get(type_, 1.0)
        hit = covered(label, row["text"], (span for span in spans if span[2] in names(label))) >= enough
        self.labels[type_] += 1
        self.found[type_] += hit
        self.masked[type_] += covered(label, row["text"], spans) >= enough
        self.exact[type_] += any(
            (span[0], span[1]) == (label["start"], label["end"]) and span[2] in names(label) for span in spans
        )
        counts = self.variants[type_, label["variant"]]
        counts[0] += hit
        counts[1] += 1
        if not hit:
            value = row["text"][label["start"] : label["end"]]
            self.examples[type_].append(f"missed {row['template']} {value!r} {row['text']!r} {spans}")

    def table(self) -> dict[str, dict[str, float]]:
        """Return the figures a type."""
        return {
            type_: {
                "labelled": self.labels[type_],
                "recall": ratio(self.found[type_], self.labels[type_]),
                "precision": ratio(self.right[type_], self.reported[type_]),
                "masked": ratio(self.masked[type_], self.labels[type_]),
                "exact": ratio(self.exact[type_], self.labels[type_]),
            }
            for type_ in PrivacyPolicies.model_fields
        }


def sought(row: dict[str, Any], spans: list[Span]) -> list[Span]:
    """Return the spans that a sentence has labels for: numbers stand beside names there that nobody labelled."""
    return [span for span in spans if span[2] != "person_name"] if row["group"] == "structured" else spans


def ratio(part: int, whole: int) -> float:
    """Return a share; nothing of nothing is 1."""
    return round(part / whole, 4) if whole else 1.0


def alarms(rows: list[dict[str, Any]], detector: Desensitizer) -> tuple[dict[str, Any], list[str]]:
    """Return the false alarms on sentences without personal data, and what they were."""
    hits = [(row, span) for row in rows for span in found(detector, row["text"])]
    shown = [f"alarm {row['template']} {s[2]} {row['text'][s[0] : s[1]]!r} {row['text']!r}" for row, s in hits]
    report = {
        "sentences": len(rows),
        "alarms": len(hits),
        "per_thousand": round(1000 * len(hits) / max(len(rows), 1), 2),
        "templates": len({row["template"] for row, _ in hits}),
        "types": dict(Counter(span[2] for _, span in hits)),
    }
    return report, shown


def read(path: Path) -> list[dict[str, Any]]:
    """Return the sentences of a labelled file, or of every one in a folder."""
    return [json.loads(line) for file in files(path) for line in file.read_text(encoding="utf-8").splitlines()]


def files(path: Path) -> list[Path]:
    """Return a labelled file, or every one in a folder."""
    return sorted(path.glob("*.jsonl")) if path.is_dir() else [path]


def own_text(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file as sentences without labels."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [{"template": path.name, "text": line} for line in lines]


def broken(table: dict[str, dict[str, float]], engineering: dict[str, Any]) -> list[str]:
    """Return the quality bars that do not hold."""
    problems = []
    for type_, figures in table.items():
        bar = FUZZY.get(type_, STRUCTURED_BAR)
        problems += [
            f"{type_} {name} {figures[name]} < {bar}" for name in ("recall", "precision") if figures[name] < bar
        ]
    if engineering["per_thousand"] > ALARM_BAR:
        problems.append(f"{engineering['per_thousand']} false alarms per 1,000 engineering sentences > {ALARM_BAR}")
    return problems


def measure(
    own: list[Path], labelled: list[Path] | None = None, names: Names = "balanced"
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return the report on labelled files, or on the first set, and the examples behind it."""
    detector, score = desensitizer(names), Score()
    paths = labelled or [LABELLED / "privacy.jsonl", LABELLED / "engineering.jsonl"]
    rows = [row for path in paths for row in read(path)]
    engineering_rows = [row for row in rows if row["group"] == "engineering"]
    nobody_rows = [row for row in rows if row["group"] in NOBODY]
    began = time.perf_counter()
    for row in rows:
        if row["group"] not in ("public_figure", "engineering", *NOBODY):
            score.add(row, sought(row, found(detector, row["text"])))
    nobody, score.examples["nobody"] = alarms(nobody_rows, detector)
    engineering, score.examples["engineering"] = alarms(engineering_rows, detector)
    seconds = time.perf_counter() - began
    public = [row for row in rows if row["group"] == "public_figure"]
    public_report, score.examples["public_figure"] = alarms(public, detector)
    table = score.table()
    report = {
        "types": table,
        "variants": {" ".join(key): ratio(*counts) for key, counts in sorted(score.variants.items())},
        "engineering": engineering,
        "nobody": nobody,
        "public_figures": public_report,
        "microseconds_a_sentence": round(1e6 * seconds / max(len(rows), 1), 1),
        "broken_bars": broken(table, engineering),
    }
    if own:
        report["own_text"] = {str(path.name): alarms(own_text(path), detector)[0] for path in own}
    return report, score.examples


def written(report: dict[str, Any]) -> str:
    """Return the report as text."""
    lines = [f"{'type':16}{'labelled':>9}{'recall':>9}{'precision':>11}{'masked':>9}{'exact':>9}"]
    for type_, row in report["types"].items():
        lines.append(
            f"{type_:16}{row['labelled']:>9}{row['recall']:>9.3f}{row['precision']:>11.3f}{row['masked']:>9.3f}{row['exact']:>9.3f}"
        )
    fuzzy = {name: one for name, one in report["variants"].items() if name.split()[0] in FUZZY}
    lines.append(f"recall by how they came about: {fuzzy}")
    engineering = report["engineering"]
    lines.append(
        f"false alarms: {engineering['alarms']} in {engineering['sentences']} engineering sentences, "
        f"{engineering['per_thousand']} per 1,000, in {engineering['templates']} templates {engineering['types']}"
    )
    nobody = report["nobody"]
    if nobody["sentences"]:
        lines.append(f"wrong masks: {nobody['alarms']} in {nobody['sentences']} sentences of nobody {nobody['types']}")
    lines.append(f"public figures (no bar): {report['public_figures']}")
    lines += [f"{name}: {value}" for name, value in report.get("own_text", {}).items()]
    lines.append(f"{report['microseconds_a_sentence']} us a sentence")
    lines.append("all bars hold" if not report["broken_bars"] else "BROKEN: " + "; ".join(report["broken_bars"]))
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and report; exit 1 where a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--set", type=Path, metavar="PATH", help="another labelled file or folder: labelled/third.jsonl"
    )
    parser.add_argument("--names", choices=("careful", "balanced", "sparing"), default="balanced")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--show", metavar="TYPE", help="list misses and false alarms of a type, engineering, or all")
    parser.add_argument("--text", type=Path, nargs="+", default=[], help="files of your own, counted by type")
    arguments = parser.parse_args()
    chosen = arguments.set
    if chosen and not (chosen.exists() and read(chosen)):
        parser.error(f"{chosen}: no labelled sentences (*.jsonl) there")
    report, examples = measure(arguments.text, [chosen] if chosen else None, arguments.names)
    for type_, lines in examples.items():
        if arguments.show in (type_, "all"):
            sys.stderr.write("\n".join(lines) + "\n")
    sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n" if arguments.json else written(report))
    return 1 if report["broken_bars"] else 0


if __name__ == "__main__":
    sys.exit(main())
