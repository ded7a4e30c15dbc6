"""Instruction rows by the million for benchmarks: Chinese and English, five formats, with planted trouble.

Texts are clauses of engineering sentences put together at random, about 1 KB a row; personal sentences come from the
labelled set, leaks from the shipped evaluation packs. The same seed gives the same bytes.
"""

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
from leak_edits import EDITS, FULL_WIDTH, is_chinese

from tasks.core.files import read_jsonl
from tasks.data.matching.eval_sets import EvalItem, read_folder

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKS = {"ceval_mini": ROOT / "data/raw/eval/ceval_mini", "domain": ROOT / "data/raw/eval/domain"}
CHINESE_SHARE = 0.6
#: Share of rows of each kind; the rest is clean.
PLANTED = {"exact_duplicate": 0.025, "near_duplicate": 0.025, "personal": 0.02, "leak": 0.002, "damaged": 0.001}
FORMATS = {"alpaca": 0.3, "sharegpt": 0.25, "messages": 0.25, "thinking": 0.1, "preference": 0.1}
SENTENCES = 40_000
MEDIAN_CHARACTERS = {True: 260, False: 760}
MOST_CHARACTERS = {True: 1500, False: 1900}
REMEMBERED = 2000

Turns = list[str]


class Texts:
    """Sentences to put rows together from.

    Args:
        rng: draws everything.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        engineering = [row["text"] for row in read_jsonl(HERE / "labelled" / "engineering.jsonl")]
        personal = [row for row in read_jsonl(HERE / "labelled" / "privacy.jsonl") if row["group"] == "personal"]
        self.pools = {
            chinese: self._pool([t for t in engineering if is_chinese(t) == chinese]) for chinese in (True, False)
        }
        self.personal = {
            chinese: [row["text"] for row in personal if row["spans"] and is_chinese(row["text"]) == chinese]
            for chinese in (True, False)
        }

    def _pool(self, sentences: list[str]) -> list[str]:
        """Return many sentences put together from the clauses of some."""
        chinese = is_chinese(sentences[0])
        comma, stop = ("，", "。") if chinese else (", ", ". ")
        clauses = [
            part.strip(" .。？?") for text in sentences for part in re.split(r"[，；：;]|, ", text) if len(part) > 5
        ]
        return [comma.join(self._rng.sample(clauses, self._rng.randrange(2, 5))) + stop for _ in range(SENTENCES)]

    def turns(self) -> Turns:
        """Return a question and an answer, now and then with a second round."""
        rng, chinese = self._rng, self._rng.random() < CHINESE_SHARE
        size = min(rng.lognormvariate(0, 0.6) * MEDIAN_CHARACTERS[chinese], MOST_CHARACTERS[chinese])
        rounds = 2 if rng.random() < 0.2 else 1
        turns = []
        for _ in range(rounds):
            turns += [rng.choice(self.pools[chinese]), self._paragraph(chinese, size / rounds)]
        return turns

    def _paragraph(self, chinese: bool, characters: float) -> str:
        """Return sentences up to a length."""
        text = ""
        while len(text) < characters:
            text += self._rng.choice(self.pools[chinese])
        return text.strip()


class Rows:
    """Raw rows in the order they are written.

    Args:
        count: how many.
        seed: of everything drawn.
        packs: evaluation sets the leaks come from.
    """

    def __init__(self, count: int, seed: int = 11, packs: dict[str, Path] = PACKS) -> None:
        self._count, self._rng = count, random.Random(seed)
        self._texts = Texts(self._rng)
        self._items: list[EvalItem] = [item for name, folder in packs.items() for item in read_folder(folder, name)]
        self._edits = [
            edit
            for name, edit in EDITS.items()
            if name in ("verbatim", "full_width", "options_shuffled", "one_changed")
        ]
        self._earlier: list[tuple[str, Turns]] = []
        self.planted: Counter[str] = Counter()

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        """Yield (format, line of JSON)."""
        kinds, shares = ["clean", *PLANTED], [1 - sum(PLANTED.values()), *PLANTED.values()]
        drawn = self._rng.choices(kinds, shares, k=self._count)
        formats = self._rng.choices(list(FORMATS), list(FORMATS.values()), k=self._count)
        for kind, format_ in zip(drawn, formats, strict=True):
            kind = kind if self._earlier or "duplicate" not in kind else "clean"
            self.planted[kind] += 1
            if kind == "damaged":
                yield format_, damaged(self._texts.turns(), self._rng)
                continue
            if "duplicate" in kind:
                # A copy in another format may hold less (a preference row has one round) and be no copy.
                format_, turns = self._rng.choice(self._earlier)
                turns = self._copied(turns) if kind == "exact_duplicate" else self._edited(turns)
            else:
                turns = getattr(self, f"_{kind}")()
                if kind == "clean":
                    self._remember(format_, turns)
            yield format_, orjson.dumps(BUILDERS[format_](turns, self._rng)) + b"\n"

    def _remember(self, format_: str, turns: Turns) -> None:
        """Keep a row for later copies; a window of the last ones, for all of them would fill the memory."""
        if len(self._earlier) < REMEMBERED:
            self._earlier.append((format_, turns))
        else:
            self._earlier[self._rng.randrange(REMEMBERED)] = (format_, turns)

    def _copied(self, turns: Turns) -> Turns:
        return [text.translate(FULL_WIDTH) for text in turns] if self._rng.random() < 0.3 else turns

    def _edited(self, turns: Turns) -> Turns:
        *first, last = turns
        place = self._rng.randrange(len(last))
        return [*first, last[:place] + last[place + 1 :] + ("以上。" if is_chinese(last) else " That is all.")]

    def _clean(self) -> Turns:
        return self._texts.turns()

    def _personal(self) -> Turns:
        turns = self._texts.turns()
        sentence = self._rng.choice(self._texts.personal[is_chinese(turns[-1])])
        return [*turns[:-1], f"{sentence}\n{turns[-1]}"]

    def _leak(self) -> Turns:
        while True:
            row = self._rng.choice(self._edits)(self._rng.choice(self._items), self._rng)
            if row:
                return [row[0]["content"], row[1]["content"]]


def alpaca(turns: Turns, rng: random.Random) -> dict[str, Any]:
    """Return an Alpaca row; earlier rounds are its history."""
    pairs = list(zip(turns[::2], turns[1::2], strict=True))
    row: dict[str, Any] = {"instruction": pairs[-1][0], "input": "", "output": pairs[-1][1]}
    return row | ({"history": [list(pair) for pair in pairs[:-1]]} if len(pairs) > 1 else {})


def sharegpt(turns: Turns, rng: random.Random) -> dict[str, Any]:
    """Return a ShareGPT row."""
    return {"conversations": [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(turns)]}


def messages(turns: Turns, rng: random.Random) -> dict[str, Any]:
    """Return a row of OpenAI messages."""
    return {"messages": [{"role": ("user", "assistant")[n % 2], "content": text} for n, text in enumerate(turns)]}


def thinking(turns: Turns, rng: random.Random) -> dict[str, Any]:
    """Return a multilingual-thinking row; the answer's first sentence is its reasoning."""
    chinese = is_chinese(turns[-1])
    listed = [{"role": ("user", "assistant")[n % 2], "content": text, "thinking": None} for n, text in enumerate(turns)]
    listed[-1]["thinking"] = re.split(r"(?<=[。.])", str(turns[-1]))[0]
    return {"reasoning_language": "Chinese" if chinese else "English", "messages": listed}


def preference(turns: Turns, rng: random.Random) -> dict[str, Any]:
    """Return a preference row of the last round."""
    return {"prompt": turns[-2], "chosen": turns[-1], "rejected": turns[-1][: max(len(turns[-1]) // 2, 10)]}


BUILDERS: dict[str, Callable[[Turns, random.Random], dict[str, Any]]] = {
    "alpaca": alpaca, "sharegpt": sharegpt, "messages": messages, "thinking": thinking, "preference": preference,
}  # fmt: skip


def damaged(turns: Turns, rng: random.Random) -> bytes:
    """Return a line that no rule can make a row of."""
    line = orjson.dumps(alpaca(turns, rng))
    kinds = (
        line[: len(line) // 2].replace(b"\n", b" "),
        orjson.dumps({"instruction": turns[0], "output": ""}),
        orjson.dumps({"conversations": [{"from": "human", "value": turns[0]}, {"from": "human", "value": turns[1]}]}),
        orjson.dumps({"messages": [{"role": "user", "content": turns[0]}, {"role": "assistant", "content": None}]}),
        orjson.dumps({"instruction": turns[0], "output": f"<think>{turns[1]}"}),
        b'"' + turns[0].encode() + b'"',
    )
    return rng.choice(kinds) + b"\n"


def write(count: int, folder: Path) -> dict[str, int]:
    """Write so many rows as one JSON Lines file a format; return what was planted."""
    folder.mkdir(parents=True)
    rows = Rows(count)
    files = {name: (folder / f"{name}.jsonl").open("wb", buffering=1 << 20) for name in FORMATS}
    for format_, line in rows:
        files[format_].write(line)
    for file in files.values():
        file.close()
    return dict(rows.planted)
