"""Leak search: recall by kind of edit, false positives on clean rows; Chinese and English apart.

    .venv/bin/python tests/benchmarks/leaks.py [--set NAME=FOLDER ...] [--clean FILE ...] [--items 300] [--json]

Without options it runs on the shipped packs (ceval_mini and the domain pack). `--set` adds a folder in the layout of
C-Eval, CMMLU or a domain pack; `--clean` adds instruction files (JSON or JSON Lines, Alpaca or ShareGPT) that hold no
evaluation question. Every item is searched for; so many of each set and language are leaked in each kind of edit.

A leak is found when the row would be dropped. Clean rows are the demo pack and the files given. Look-alikes are the
hardest rows to spare, questions of the same exams: half of each set is searched for, the other half should stay
(stems both halves share left out). No bar stands on them, for exams ask the same thing twice in other words. Where an
edit leaves the options out, stems that several items share or that have under ten Chinese characters (six words) are
left out too: no one can say which item they are; `left_out` counts them.
"""

import argparse
import json
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from leak_edits import EDITS, WITHOUT_OPTIONS, Messages, asked, is_chinese
from leak_forms import FORMS, FORMS_WITHOUT_OPTIONS

from tasks.core.settings import DecontaminateParams, load_settings
from tasks.data.matching.decontaminate import LeakFinder, with_unspoken
from tasks.data.matching.eval_sets import EvalItem, read_folder
from tasks.data.matching.normalization import NormalizedRow, normalized_rows

ROOT = Path(__file__).parents[2]
SHIPPED = {"ceval_mini": ROOT / "data/raw/eval/ceval_mini", "domain": ROOT / "data/raw/eval/domain"}
DEMO = ROOT / "data/raw/instructions"
RECALL_BAR, FALSE_POSITIVE_BAR = 0.95, 0.002
LEAST_HAN, LEAST_WORDS = 10, 6
SEED = 7
BATCH = 2000
ROLES = {"human": "user", "gpt": "assistant", "observation": "tool", "function_call": "assistant"}


def stem(text: str) -> str:
    """Return a question's letters and digits only, for telling equal stems."""
    return re.sub(r"[\W_]+", "", text).casefold()


def identifies_itself(item: EvalItem, uses: Counter[str]) -> bool:
    """Tell whether a question alone says which item it is."""
    if uses[stem(item.question)] > 1:
        return False
    han = sum("\u4e00" <= character <= "\u9fff" for character in item.question)
    return han >= LEAST_HAN or len(re.findall(r"[A-Za-z]+", item.question)) >= LEAST_WORDS


def searched(finder: LeakFinder, rows: Sequence[Messages]) -> Iterator[bool]:
    """Yield for each row whether it would be dropped."""
    for start in range(0, len(rows), BATCH):
        yield from (bool(hits) for hits in finder.find(searchable(rows[start : start + BATCH])))


def searchable(rows: Sequence[Messages]) -> list[NormalizedRow]:
    """Return rows as stage prepare searches them; a message of the role `rejected` is a preference row's."""
    spoken = [[message for message in row if message["role"] != "rejected"] for row in rows]
    refused = [next((one["content"] for one in row if one["role"] == "rejected"), None) for row in rows]
    return with_unspoken(normalized_rows(spoken), spoken, refused)


def leaked(
    items: list[EvalItem], uses: Counter[str], count: int
) -> tuple[list[tuple[str, str, EvalItem, Messages]], int]:
    """Return (set/language, kind, item, row) of leaked items, and how many were left out."""
    groups: dict[str, list[EvalItem]] = defaultdict(list)
    for item in items:
        groups[f"{item.eval_set} {'zh' if is_chinese(item.question) else 'en'}"].append(item)
    rows, left_out = [], 0
    for name, members in sorted(groups.items()):
        rng = random.Random(f"{SEED}/{name}")
        chosen = rng.sample(members, min(count, len(members)))
        for kind, edit in (EDITS | FORMS).items():
            alone = kind in WITHOUT_OPTIONS | FORMS_WITHOUT_OPTIONS
            fit = [item for item in chosen if not alone or identifies_itself(item, uses)]
            left_out += len(chosen) - len(fit)
            made = [(item, edit(item, random.Random(f"{SEED}/{kind}/{item.item_id}"))) for item in fit]
            rows += [(name, kind, item, row) for item, row in made if row]
    return rows, left_out


def recall(finder: LeakFinder, rows: list[tuple[str, str, EvalItem, Messages]]) -> tuple[dict[str, Any], list[str]]:
    """Return recall by kind of edit and set, and the missed rows."""
    counts: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(lambda: [0, 0]))
    missed = []
    for (name, kind, item, row), hit in zip(rows, searched(finder, [row for *_, row in rows]), strict=True):
        for column in (name, "zh" if name.endswith("zh") else "en"):
            counts[kind][column][0] += hit
            counts[kind][column][1] += 1
        if not hit:
            missed.append(f"missed {kind} {item.eval_set}/{item.item_id} {row!r}")
    table = {
        kind: {column: {"recall": round(found / all_, 4), "rows": all_} for column, (found, all_) in columns.items()}
        for kind, columns in counts.items()
    }
    return table, missed


def halves(items: list[EvalItem]) -> tuple[list[EvalItem], list[EvalItem]]:
    """Return items to search for, and items of the same sets with other stems."""
    rng = random.Random(SEED)
    known = [item for item in items if rng.random() < 0.5]
    stems, ids = {stem(item.question) for item in known}, {id(item) for item in known}
    return known, [item for item in items if id(item) not in ids and stem(item.question) not in stems]


def conversation(value: dict[str, Any]) -> Messages:
    """Return the texts of an Alpaca, ShareGPT or messages row."""
    if listed := value.get("conversations") or value.get("messages"):
        return [
            {
                "role": ROLES.get(role := turn.get("from") or turn["role"], role),
                "content": str(turn.get("value") or turn.get("content")),
            }
            for turn in listed
        ]
    question = f"{value.get('instruction', '')}\n{value.get('input', '')}"
    return [{"role": "user", "content": question}, {"role": "assistant", "content": str(value.get("output", ""))}]


def clean_rows(path: Path) -> list[Messages]:
    """Return the rows of an instruction file."""
    text = path.read_text(encoding="utf-8")
    values = (
        json.loads(text)
        if text.lstrip().startswith("[")
        else [json.loads(line) for line in text.splitlines() if line.strip()]
    )
    return [conversation(value) for value in values]


def false_positives(finder: LeakFinder, rows: list[Messages]) -> tuple[dict[str, Any], list[str]]:
    """Return how many clean rows would be dropped, and which."""
    hits = [row for row, hit in zip(rows, searched(finder, rows), strict=True) if hit]
    report = {"rows": len(rows), "dropped": len(hits), "fraction": round(len(hits) / max(len(rows), 1), 5)}
    return report, [f"false {row[0]['content']!r}" for row in hits]


def by_language(finder: LeakFinder, rows: list[Messages]) -> tuple[dict[str, Any], list[str]]:
    """Return `false_positives` of Chinese and of English rows."""
    groups: dict[str, list[Messages]] = {"zh": [], "en": []}
    for row in rows:
        groups["zh" if is_chinese("".join(message["content"] for message in row)) else "en"].append(row)
    found = {language: false_positives(finder, group) for language, group in groups.items()}
    return {language: report for language, (report, _) in found.items()}, [
        line for _, more in found.values() for line in more
    ]


def measure(
    sets: dict[str, Path], clean: list[Path], count: int, params: DecontaminateParams
) -> tuple[dict[str, Any], list[str]]:
    """Return the report, and the rows behind its errors."""
    items = [item for name, folder in sets.items() for item in read_folder(folder, name)]
    uses = Counter(stem(item.question) for item in items)
    began = time.perf_counter()
    finder = LeakFinder(items, params)
    built = time.perf_counter() - began
    rows, left_out = leaked(items, uses, count)
    table, shown = recall(finder, rows)
    demo = [path for path in sorted(DEMO.glob("*.jsonl")) if "planted" not in path.name]
    clean_report, wrong = by_language(finder, [row for path in [*demo, *clean] for row in clean_rows(path)])
    shown += wrong
    known, unknown = halves(items)
    half_finder = LeakFinder(known, params)
    lookalikes = {}
    for name in sorted({item.eval_set for item in unknown}):
        others = [asked(item, item.question) for item in unknown if item.eval_set == name]
        lookalikes[name], wrong = false_positives(half_finder, others)
        shown += wrong
    return {
        "items": dict(Counter(item.eval_set for item in items)),
        "index_seconds": round(built, 1),
        "recall": table,
        "left_out": left_out,
        "clean": clean_report,
        "lookalikes": lookalikes,
        "broken_bars": broken(table, clean_report),
    }, shown


def broken(table: dict[str, Any], reports: dict[str, Any]) -> list[str]:
    """Return the quality bars that do not hold: recall by kind and language, false positives by language."""
    problems = [
        f"{kind} {language} recall {columns[language]['recall']} < {RECALL_BAR}"
        for kind, columns in table.items()
        for language in ("zh", "en")
        if language in columns and columns[language]["recall"] < RECALL_BAR
    ]
    wrong = [(name, one["fraction"]) for name, one in reports.items() if one["fraction"] > FALSE_POSITIVE_BAR]
    return problems + [f"false positives {name} {fraction} > {FALSE_POSITIVE_BAR}" for name, fraction in wrong]


def written(report: dict[str, Any]) -> str:
    """Return the report as text."""
    columns = sorted(
        {column for row in report["recall"].values() for column in row}, key=lambda name: (" " in name, name)
    )
    lines = ["  ".join([f"{'recall (rows)':16}", *(f"{column:>12}" for column in columns)])]
    for kind, row in report["recall"].items():
        cells = (f"{row[c]['recall']:.3f} ({row[c]['rows']})" if c in row else "-" for c in columns)
        lines.append(
            "  ".join([f"{kind:16}", *(f"{cell:>{max(12, len(c))}}" for c, cell in zip(columns, cells, strict=True))])
        )
    lines.append(f"stems that identify no item, left out where options are: {report['left_out']}")
    for title in ("clean", "lookalikes"):
        for name, one in report[title].items():
            lines.append(f"{title} {name}: {one['dropped']} of {one['rows']} dropped, {one['fraction']:.2%}")
    lines.append("all bars hold" if not report["broken_bars"] else "BROKEN: " + "; ".join(report["broken_bars"]))
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure and report; exit 1 where a bar does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--set", dest="sets", metavar="NAME=FOLDER", nargs="+", default=[], help="further evaluation sets"
    )
    parser.add_argument("--clean", type=Path, nargs="+", default=[], help="instruction files without a leak")
    parser.add_argument("--items", type=int, default=300, help="leaked items of each set and language")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    parser.add_argument("--show", action="store_true", help="list missed leaks and false positives")
    arguments = parser.parse_args()
    sets = SHIPPED | {name: Path(folder) for name, folder in (one.split("=", 1) for one in arguments.sets)}
    params = load_settings(ROOT / "params.yaml").prepare.decontaminate
    report, shown = measure(sets, arguments.clean, arguments.items, params)
    if arguments.show:
        sys.stderr.write("\n".join(shown) + "\n")
    sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n" if arguments.json else written(report))
    return 1 if report["broken_bars"] else 0


if __name__ == "__main__":
    sys.exit(main())
