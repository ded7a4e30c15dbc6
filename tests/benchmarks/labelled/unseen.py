"""Write the labelled sets that no rule was tuned on: tuning.jsonl and held_out.jsonl, from `templates/unseen_*.txt`.

    .venv/bin/python tests/benchmarks/labelled/unseen.py [--check]

Other templates and other values than those of `make_sets.py`, written without a look at the rules. A template is in one
half only, by a hash of its text: the rules may be mended by what `tuning.jsonl` shows, of `held_out.jsonl` only totals
are looked at. Same slots and labels as in `README.md`; all values are invented by combination.
"""

import argparse
import hashlib
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import people
from unseen_numbers import NEGATIVES, STRUCTURED
from unseen_values import ADDRESSES, NAMES

HERE = Path(__file__).parent
SEED = 71_003
#: Template file -> (group of its sentences, sentences a template).
SOURCES = {
    "unseen_names_zh": ("names_zh", 8),
    "unseen_names_en": ("names_en", 10),
    "unseen_addresses": ("addresses", 16),
    "unseen_structured": ("structured", 10),
    "unseen_negatives": ("negatives", 6),
    "unseen_plain": ("plain", 1),
}
#: Slot -> (type, what draws it, types that name it rightly as well).
SLOTS: dict[str, tuple[str, people.Draw, tuple[str, ...]]] = {**NAMES, **ADDRESSES, **STRUCTURED}
_MARK = re.compile(r"\{([a-z]+\d*m?)\}")


def sentence(template: str, rng: random.Random) -> tuple[str, list[dict[str, Any]]]:
    """Return a template with values, and its labels."""
    text, spans, end = "", [], 0
    for mark in _MARK.finditer(template):
        text += template[end : mark.start()]
        end = mark.end()
        if mark[1] in NEGATIVES:
            text += NEGATIVES[mark[1]](rng)
            continue
        type_, draw, also = SLOTS[mark[1]]
        value = draw(rng)
        label = {"start": len(text), "end": len(text) + len(value), "type": type_, "variant": mark[1]}
        spans.append(label | ({"also": list(also)} if also else {}))
        text += value
    return text + template[end:], spans


def is_held_out(template: str) -> bool:
    """Tell which half a template is in."""
    return hashlib.sha256(template.encode()).digest()[0] % 2 == 0


def rows(held_out: bool) -> Iterator[dict[str, Any]]:
    """Yield the distinct sentences of one half."""
    for name, (group, repeat) in SOURCES.items():
        lines = (HERE / "templates" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, 1):
            if is_held_out(line) is not held_out:
                continue
            rng, seen = random.Random(f"{SEED}/{line}"), set()
            for _ in range(repeat):
                text, spans = sentence(line.replace("\\n", "\n"), rng)
                if text not in seen:
                    seen.add(text)
                    yield {"group": group, "template": f"{name}:{number}", "text": text, "spans": spans}


def main() -> int:
    """Write or check the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file differs")
    check, stale = parser.parse_args().check, []
    for name, held_out in (("tuning.jsonl", False), ("held_out.jsonl", True)):
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows(held_out))
        if not check:
            (HERE / name).write_text(text, encoding="utf-8")
        elif (HERE / name).read_text(encoding="utf-8") != text:
            stale.append(name)
    sys.stdout.write(json.dumps({"stale": stale}) + "\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
