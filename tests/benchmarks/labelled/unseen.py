"""Write the labelled sets that no rule was tuned on: tuning.jsonl and held_out.jsonl, from `templates/unseen_*.txt`.

    .venv/bin/python tests/benchmarks/labelled/unseen.py [--check]

Other templates and other values than those of `make_sets.py`, written without a look at the rules. A template is in one
half only, by a hash of its text: the rules may be mended by what `tuning.jsonl` shows, of `held_out.jsonl` only totals
are looked at. Same slots and labels as in `README.md`; all values are invented by combination.
"""

import hashlib
import random
import re
import sys
from collections.abc import Iterator
from typing import Any

import people
from unseen_numbers import NEGATIVES, STRUCTURED
from unseen_values import ADDRESSES, NAMES
from written import HERE, Sentence, as_lines, write_or_check

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


def filled(template: str, rng: random.Random) -> Sentence:
    """Return a template with values."""
    sentence, end = Sentence(), 0
    for mark in _MARK.finditer(template):
        sentence.text += template[end : mark.start()]
        end = mark.end()
        if mark[1] in NEGATIVES:
            sentence.text += NEGATIVES[mark[1]](rng)
        else:
            type_, draw, also = SLOTS[mark[1]]
            sentence.add(type_, draw(rng), mark[1], also)
    sentence.text += template[end:]
    return sentence


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
                sentence = filled(line.replace("\\n", "\n"), rng)
                if sentence.text not in seen:
                    seen.add(sentence.text)
                    yield sentence.row(group, f"{name}:{number}")


def sets() -> dict[str, str]:
    """Return the content of the files."""
    return {"tuning.jsonl": as_lines(rows(held_out=False)), "held_out.jsonl": as_lines(rows(held_out=True))}


if __name__ == "__main__":
    sys.exit(write_or_check(sets(), __doc__))
