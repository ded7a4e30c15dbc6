"""The obvious alternative to the data room: pandas, datasketch and regular expressions, row by row.

    .venv/bin/python tests/benchmarks/million_plain.py RAW_FOLDER EVAL_FOLDER... OUTPUT

What a capable engineer writes in an afternoon from the libraries' own examples: each row is read, masked by a handful
of patterns, compared by hash and by MinHash LSH (128 permutations, Jaccard 0.8, five characters or three words),
searched for evaluation questions by 8-gram overlap, and written. No ledger, no names, no addresses, no checks of
reasoning, no expectations, no evidence.

datasketch is no dependency of the project: uv pip install --python .venv/bin/python datasketch
"""

import argparse
import csv
import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from datasketch import MinHash, MinHashLSH

PATTERNS = {
    "[ID]": re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)"),
    "[MOBILE]": re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)"),
    "[LANDLINE]": re.compile(r"(?<!\d)0\d{2,3}-?\d{7,8}(?!\d)"),
    "[EMAIL]": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "[CARD]": re.compile(r"(?<!\d)\d{16,19}(?!\d)"),
    "[IP]": re.compile(r"(?<!\d)(?:\d{1,3}\.){3}\d{1,3}(?!\d)"),
    "[PLATE]": re.compile(r"[\u4e00-\u9fff][A-Z][·]?[A-Z0-9]{5,6}"),
}
PERMUTATIONS, THRESHOLD, NGRAM, WORDS, EVAL_NGRAM, OVERLAP = 128, 0.8, 5, 3, 8, 0.6
NOT_TEXT = re.compile(r"[\W_]+")


def texts(value: Any) -> list[str]:
    """Return the texts of a row of any of the five formats, or nothing where it is none."""
    if not isinstance(value, dict):
        return []
    if listed := value.get("conversations") or value.get("messages"):
        return [str(turn.get("value") or turn.get("content") or "") for turn in listed]
    found = (value.get(name) for name in ("instruction", "input", "output", "prompt", "chosen"))
    return [text for text in found if text]


def rows(folder: Path) -> Iterator[Any]:
    """Yield the values of every file."""
    for path in sorted(folder.glob("*.jsonl")):
        with path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                try:
                    yield json.loads(line)
                except ValueError:
                    yield None


def questions(folders: list[Path]) -> dict[str, set[str]]:
    """Return n-gram -> evaluation questions it stands in."""
    index: dict[str, set[str]] = {}
    for folder in folders:
        found = [
            json.loads(line).get("question", "")
            for path in folder.rglob("*.jsonl")
            for line in path.open(encoding="utf-8")
        ]
        for path in folder.rglob("*.csv"):
            with path.open(encoding="utf-8", newline="") as stream:
                found += [row["question"] for row in csv.DictReader(stream)]
        for question in found:
            text = NOT_TEXT.sub("", question).lower()
            for start in range(len(text) - EVAL_NGRAM + 1):
                index.setdefault(text[start : start + EVAL_NGRAM], set()).add(text)
    return index


def leaked(text: str, index: dict[str, set[str]]) -> bool:
    """Tell whether enough of a question's n-grams stand in a text."""
    hits: Counter[str] = Counter()
    for gram in {text[start : start + EVAL_NGRAM] for start in range(len(text) - EVAL_NGRAM + 1)}:
        hits.update(index.get(gram, ()))
    return any(count >= OVERLAP * (len(question) - EVAL_NGRAM + 1) for question, count in hits.items())


def sketch(text: str) -> MinHash:
    """Return the MinHash of a text: character n-grams of Chinese, word n-grams of English."""
    if re.search(r"[\u4e00-\u9fff]", text):
        grams = {text[start : start + NGRAM] for start in range(max(len(text) - NGRAM + 1, 1))}
    else:
        words = text.split()
        grams = {" ".join(words[start : start + WORDS]) for start in range(max(len(words) - WORDS + 1, 1))}
    minhash = MinHash(num_perm=PERMUTATIONS)
    minhash.update_batch([gram.encode() for gram in grams])
    return minhash


def main() -> None:
    """Prepare a folder and report the fates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw", type=Path)
    parser.add_argument("evaluation", type=Path, nargs="+")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    index = questions(arguments.evaluation)
    lsh, seen, fates, kept = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS), set(), Counter(), []
    frame = pd.DataFrame({"row": list(rows(arguments.raw))})
    for number, value in enumerate(frame["row"]):
        turns = texts(value)
        if len(turns) < 2 or not all(turns):
            fates["bad"] += 1
            continue
        for mask, pattern in PATTERNS.items():
            turns = [pattern.sub(mask, text) for text in turns]
        whole = " ".join(turns).lower()
        squeezed = NOT_TEXT.sub("", whole)
        digest = hashlib.sha256(squeezed.encode(errors="replace")).digest()
        if digest in seen:
            fates["exact_duplicate"] += 1
            continue
        seen.add(digest)
        minhash = sketch(squeezed if re.search(r"[\u4e00-\u9fff]", whole) else whole)
        if lsh.query(minhash):
            fates["near_duplicate"] += 1
            continue
        lsh.insert(number, minhash)
        if leaked(squeezed, index):
            fates["leak"] += 1
            continue
        kept.append(turns)
    pd.DataFrame({"turns": kept}).to_json(arguments.output, orient="records", lines=True, force_ascii=False)
    fates["kept"] = len(kept)
    sys.stdout.write(json.dumps(fates) + "\n")


if __name__ == "__main__":
    main()
