"""The order an answer puts steps in: letters read back, right when they stand exactly so."""

import re
from typing import Any

from tasks.evaluation.pack.normalization import cleaned
from tasks.evaluation.pack.prompts import STEP_LETTERS, right_order
from tasks.evaluation.pack.schema import Item

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
    given = read_order(answer, len(expected))
    failure = "no_order" if given is None else None if given == expected else "wrong_order"
    return float(failure is None), {"expected": expected, "given": given, "failure": failure}


def read_order(answer: str, steps: int) -> str | None:
    """Return the last complete order of letters in an answer, None where there is none.

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
    if complete:
        return complete[-1]
    first = "".join(found[1].upper() for found in _LINE_START.finditer(text))
    return first if _is_order(first, letters) else None


def _letters(text: str) -> str:
    """Return the letters of a run, without those of the words between."""
    plain = re.sub("then|and|to", " ", text)
    return "".join(character for character in plain.upper() if character in STEP_LETTERS)


def _is_order(found: str, letters: str) -> bool:
    """Tell whether every letter is there once."""
    return sorted(found) == list(letters)
