"""Duplicates judged pair by pair: which are one row, which are two; precision and recall by kind.

    .venv/bin/python tests/benchmarks/duplicates.py [--show] [--json]

The pairs are made from the rows of `labelled/pairs.jsonl`, in Chinese and English, and the small changes named there:
the same row in other clothes (spacing, width,
script, marks, talk around it, a typing error) is a duplicate; another number, unit, denial, name, option, label or one
question more is another row. Each pair goes through prepare's own first and second pass, all rules on. Precision is the
share of joined pairs that are duplicates, recall the share of duplicates that are joined. Exit 1 where a bar breaks.
"""

import argparse
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from leak_edits import FULL_WIDTH, is_chinese

from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.data.passes.facts import Gathered
from tasks.data.passes.first import ChunkJudge, FirstPass
from tasks.data.passes.second import decide
from tasks.data.reading.rows import Chunk
from tasks.models.base import materialize

ROOT = Path(__file__).parents[2]
PAIRS = Path(__file__).parent / "labelled/pairs.jsonl"
PRECISION_BAR, RECALL_BAR = 0.99, 0.85
SEED = 11
MAX_LENGTH_TOKENS = 8192
DRAWS = 3

Row = tuple[str, str]
#: A line of pairs.jsonl: question, answer, changes (kind, what is replaced in both), further (a question, an answer).
Base = dict[str, Any]
Edit = Callable[[str, random.Random], str]

TALK_ZH = (
    ("请回答以下问题：", ""), ("问题：", ""), ("老师您好，请教一个问题：", ""),
    ("帮忙看一下这个问题：", ""), ("你好！", "谢谢！"),
    ("", "请给出详细的解答。"), ("", "麻烦尽快回复。"), ("我有一道题不会做：", ""),
    ("请认真作答：", "谢谢老师。"), ("第3题：", ""),
    ("我想咨询一下，", ""), ("请问，", ""),
)  # fmt: skip
TALK_EN = (
    ("Please answer the following question: ", ""), ("Hi! ", " Thanks!"), ("Question: ", ""),
    ("", " Thank you in advance."),
    ("Could you please help me with this? ", ""), ("Q3: ", ""), ("", " Please explain your answer."),
    ("Dear expert, ", ""),
)  # fmt: skip
REPLY_ZH = (
    ("好的，", ""), ("答：", ""), ("以下是我的回答：", ""), ("", "希望对您有帮助。"), ("", "如有疑问，欢迎继续提问！"),
    ("当然可以！", ""),
    ("您好，", ""), ("", "以上内容供参考。"),
)  # fmt: skip
REPLY_EN = (
    ("Sure! ", ""), ("Answer: ", ""), ("", " I hope this helps!"), ("Of course. ", ""), ("Here is the answer: ", ""),
    ("", " Let me know if you have any other questions."),
)  # fmt: skip
SOUNDS_ALIKE = dict(zip("应在期做的后检须度即请以型说", "因再其作地候捡需渡既清已形讲", strict=True))


def spaced(text: str, rng: random.Random) -> str:
    """Spaces and line breaks between characters, or twice between words."""
    if is_chinese(text):
        return "".join(
            c + (rng.choice((" ", "\n", "\u3000")) if rng.random() < 0.15 and not c.isascii() else "") for c in text
        )
    return re.sub(" ", lambda _: rng.choice((" ", "  ", "\n")), text)


def marks(text: str, rng: random.Random) -> str:
    """Other punctuation, none at the end, emphasis."""
    table = str.maketrans("，。；：？！", ",.;:?!")
    return f"**{text.translate(table).rstrip('.?!;')}**"


def full_width(text: str, rng: random.Random) -> str:
    """Letters, digits and marks in full-width forms."""
    return text.translate(FULL_WIDTH)


def traditional(text: str, rng: random.Random) -> str:
    """In traditional characters."""
    return str(_converter().convert(text))


@cache
def _converter() -> Any:
    """Return OpenCC's converter from simplified to traditional."""
    import opencc

    return opencc.OpenCC("s2tw")


def mistyped(text: str, rng: random.Random) -> str:
    """One typing error behind the first third: a homophone, a doubled or swapped character or letter."""
    start = len(text) // 3
    if is_chinese(text):
        alike = [at for at in range(start, len(text)) if text[at] in SOUNDS_ALIKE]
        if alike and rng.random() < 0.6:
            at = rng.choice(alike)
            return text[:at] + SOUNDS_ALIKE[text[at]] + text[at + 1 :]
        places = [at for at in range(start, len(text) - 2) if re.fullmatch(r"[\u4e00-\u9fff]{2}", text[at : at + 2])]
        at = rng.choice(places)
        return (
            text[:at]
            + (text[at] * 2 + text[at + 1] if rng.random() < 0.5 else text[at + 1] + text[at])
            + text[at + 2 :]
        )
    words = list(re.finditer(r"[a-z]{7,}", text))
    word = rng.choice([found for found in words if found.start() >= start] or words)
    at = word.start() + rng.randrange(2, 5)
    return text[:at] + rng.choice((text[at + 1] + text[at], text[at] * 2 + text[at + 1], text[at + 1])) + text[at + 2 :]


def wrapped(text: str, around: tuple[str, str]) -> str:
    """Return a text with talk around it."""
    return f"{around[0]}{text}{around[1]}"


def same(base: Base) -> Iterator[tuple[str, Row]]:
    """Yield (kind, the same row in other clothes)."""
    question, answer = base["question"], base["answer"]
    chinese = is_chinese(question)
    clothes: dict[str, Edit] = {"spacing": spaced, "marks": marks, "full width": full_width}
    clothes |= {"script": traditional} if chinese else {"case": lambda text, rng: text.lower()}
    for kind, edit in clothes.items():
        for draw in range(DRAWS if kind == "spacing" else 1):
            rng = random.Random(f"{SEED}/{kind}/{draw}/{question}")
            yield kind, (edit(question, rng), edit(answer, rng))
    for around in TALK_ZH if chinese else TALK_EN:
        yield "talk around the question", (wrapped(question, around), answer)
    for around in REPLY_ZH if is_chinese(answer) else REPLY_EN:
        if len(answer) > 20:
            yield "talk around the answer", (question, wrapped(answer, around))
    for draw in range(DRAWS):
        rng = random.Random(f"{SEED}/typo/{draw}/{question}")
        yield "typing error in the question", (mistyped(question, rng), answer)
        if len(answer) > 20:
            yield "typing error in the answer", (question, mistyped(answer, rng))


def other(base: Base) -> Iterator[tuple[str, Row]]:
    """Yield (kind, another row made by a small change)."""
    for change in base["changes"]:
        made = []
        for field in ("question", "answer"):
            old, new = change[field]
            assert old in base[field], old
            made.append(base[field].replace(old, new) if old else base[field])
        yield change["kind"], (made[0], made[1])
    question, answer = base["further"]
    gap = "" if is_chinese(base["question"]) else " "
    yield "one question more", (f"{base['question']}{gap}{question}", f"{base['answer']}{gap}{answer}")


def pairs() -> Iterator[tuple[str, bool, Row, Row]]:
    """Yield (kind, whether the two are one, row, row)."""
    for line in PAIRS.read_text(encoding="utf-8").splitlines():
        base: Base = json.loads(line)
        row = (base["question"], base["answer"])
        yield from ((kind, True, row, made) for kind, made in same(base) if made != row)
        for kind, made in other(base):
            yield kind, False, row, made
            # In other clothes two rows are two all the same.
            for edit in (marks, full_width):
                rng = random.Random(SEED)
                yield kind, False, row, (edit(made[0], rng), edit(made[1], rng))


class Pairs:
    """Prepare's passes, made ready for pairs.

    Args:
        folder: for what the passes keep on disk.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        settings = load_settings(ROOT / "params.yaml")
        self._params = settings.prepare
        base = materialize(settings.base_model, Project(ROOT)).path
        setup = FirstPass(self._params, ROOT / "data/raw", base, MAX_LENGTH_TOKENS, [], None, folder)
        self._judge = ChunkJudge(setup)

    def joined(self, left: Row, right: Row) -> bool:
        """Tell whether one of two rows is dropped for the other.

        Raises:
            ValueError: a row was refused: nothing was compared.
        """
        values = [
            {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
            for q, a in (left, right)
        ]
        with Gathered(self._folder) as gathered:
            gathered.add(self._judge((0, Chunk("pairs.jsonl", 1, "values", values))))
            gathered.finish()
            if gathered.columns.reason.any():
                raise ValueError(f"refused: {left} {right}")
            return int(decide(gathered, self._params).kept.sum()) == 1


def measure() -> tuple[dict[str, Any], list[str]]:
    """Return counts by kind with precision and recall, and the pairs judged wrongly."""
    found: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    joined: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    wrong = []
    with tempfile.TemporaryDirectory(prefix="tunegate-pairs-") as folder:
        judge = Pairs(Path(folder))
        for kind, one, left, right in pairs():
            verdict = judge.joined(left, right)
            found[one][kind] += 1
            joined[one][kind] += verdict
            if verdict != one:
                wrong.append(f"{'joined' if verdict else 'missed'} {kind}: {left} / {right}")
    right, false = sum(joined[True].values()), sum(joined[False].values())
    return {
        "pairs": {"one row": sum(found[True].values()), "two rows": sum(found[False].values())},
        "recall": round(right / sum(found[True].values()), 4),
        "precision": round(right / max(right + false, 1), 4),
        "joined of one row": {kind: f"{joined[True][kind]} of {n}" for kind, n in found[True].items()},
        "joined of two rows": {kind: f"{joined[False][kind]} of {n}" for kind, n in found[False].items()},
    }, wrong


def main() -> int:
    """Measure and report; exit 1 where a bar breaks."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--show", action="store_true", help="list the pairs judged wrongly")
    parser.add_argument("--json", action="store_true", help="one line of JSON")
    arguments = parser.parse_args()
    report, wrong = measure()
    if arguments.show:
        sys.stderr.write("\n".join(wrong) + "\n")
    sys.stdout.write(json.dumps(report, ensure_ascii=False, indent=None if arguments.json else 2) + "\n")
    return int(report["precision"] < PRECISION_BAR or report["recall"] < RECALL_BAR)


if __name__ == "__main__":
    sys.exit(main())
