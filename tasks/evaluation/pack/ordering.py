"""The order an answer puts steps in: letters read back, right when they stand exactly so."""

import re
from typing import Any

from tasks.evaluation.pack.keypoints import folded
from tasks.evaluation.pack.prompts import STEP_LETTERS, right_order, shuffled
from tasks.exams.pack.schema import Item
from tasks.exams.pack.spelling import cleaned

#: What may stand between two letters of an order; a number before each is a list's.
_BETWEEN = r"(?:[\s>→⇒➔,，、;；:/~.。()-]|然后|再到|再|接着|最后|到|then|and|to|\d{1,2}[.)、:])*"
_LINE_START = re.compile(
    r"^\W*(?:\d{1,2}[.)、:]\s*|第[一二三四五六七八]步\W*|step \d\W*)?\(?([A-H])(?![A-Za-z])", re.I | re.M
)


def score_order(item: Item, answer: str) -> tuple[float, dict[str, Any]]:
    """Return 1 when the letters come in the right order, and what was read.

    Returns:
        Value and detail: expected (letters), given (letters, None if no complete order), failure (no_order,
        wrong_order or None).
    """
    expected = right_order(item)
    given = read_order(answer, len(expected)) or _by_texts(item, answer)
    failure = "no_order" if given is None else None if given == expected else "wrong_order"
    return float(failure is None), {"expected": expected, "given": given, "failure": failure}


def read_order(answer: str, steps: int) -> str | None:
    """Return the last complete order of letters joined in an answer, None where there is none.

    Args:
        answer: as received.
        steps: letters of a complete order: the first so many of the alphabet, each once.
    """
    text = cleaned(answer)
    letters = STEP_LETTERS[:steps]
    one = f"[{STEP_LETTERS}{STEP_LETTERS.lower()}]"
    # One behind the other, joined by nothing but signs; not inside a word.
    run = re.compile(rf"(?<![A-Za-z]){one}(?:{_BETWEEN}{one})+(?![A-Za-z])")
    complete = [found for found in (_letters(run[0]) for run in run.finditer(text)) if _is_order(found, letters)]
    return complete[-1] if complete else None


def _by_texts(item: Item, answer: str) -> str | None:
    """Return the order of the steps' own texts where all stand, else of the letters that lines start with.

    Who writes the steps out again may letter them anew: then the texts say what is meant, not the letters.
    """
    text, steps = folded(answer), [folded(step) for step in item["steps"]]
    places = [text.find(step) for step in steps]
    letters = {step: letter for letter, step in zip(STEP_LETTERS, shuffled(item), strict=False)}
    if min(places) >= 0 and len(set(places)) == len(steps):
        return "".join(letters[step] for step in sorted(range(len(steps)), key=lambda step: places[step]))
    first = "".join(found[1].upper() for found in _LINE_START.finditer(cleaned(answer)))
    return first if _is_order(first, STEP_LETTERS[: len(steps)]) else None


def _letters(text: str) -> str:
    """Return the letters of a run, without those of the words between."""
    plain = re.sub("then|and|to", " ", text)
    return "".join(character for character in plain.upper() if character in STEP_LETTERS)


def _is_order(found: str, letters: str) -> bool:
    """Tell whether every letter is there once."""
    return sorted(found) == list(letters)
