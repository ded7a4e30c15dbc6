"""Marks an author put on rows and turns: what must not be learnt, and what is a bad answer."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tasks.data.problems import BadRowError
from tasks.data.reading.formats.fields import Said, is_given, list_of

#: Fields that say whether a turn is learnt: OpenAI's `weight`, ms-swift's `loss`, Axolotl's `train`, and others.
LEARN_MARKS: Final = ("weight", "loss", "train", "trainable", "training", "loss_mask", "loss_weight", "loss_scale")
#: Fields that say the opposite.
MASK_MARKS: Final = ("masked", "ignore_loss", "no_loss")
#: Verdicts about a row: KTO's rows say whether the answer is a good one.
VERDICTS: Final = ("label", "kto_tag", "kto_label")
_ALL: Final = frozenset((*LEARN_MARKS, *MASK_MARKS, *VERDICTS))
_TRUE: Final = frozenset({"true", "t", "yes", "y", "1", "1.0", "是"})
_FALSE: Final = frozenset({"false", "f", "no", "n", "0", "0.0", "否"})

_NEGATIVE: Final = re.compile(r"-\d+(?:\.\d+)?")
_BAD: Final = frozenset({"bad", "undesirable", "undesired", "rejected", "dislike", "thumbs_down", "坏", "差"})


def truth(value: Any) -> bool | None:
    """Return what a mark says; None where it is neither yes nor no."""
    if isinstance(value, str):
        word = value.strip().lower()
        return True if word in _TRUE else False if word in _FALSE else None
    if isinstance(value, (bool, int, float)):
        return bool(value) if value >= 0 else None
    return None


def is_taught(turn: Mapping[str, Any], where: str) -> bool:
    """Tell whether a turn may be learnt; no mark says it may.

    Raises:
        BadRowError: a mark is neither yes nor no: guessing would teach what was not meant.
    """
    if _ALL.isdisjoint(turn):
        return True
    taught = True
    for name in (*LEARN_MARKS, *MASK_MARKS):
        if is_given(turn, name):
            says = truth(turn[name])
            if says is None:
                raise BadRowError("unclear_mark", f"{where}`{name}` is neither yes nor no")
            taught = taught and (says if name in LEARN_MARKS else not says)
    return taught and not any(truth(turn.get(name)) is False for name in VERDICTS)


def refuse_bad_rows(row: Mapping[str, Any]) -> None:
    """Refuse a row whose answer its author calls bad, or that is not to be learnt as a whole.

    Raises:
        BadRowError: it is one; the field is named.
    """
    # A column may bear one of these names and mean something else: only a plain no (or yes) counts.
    for name, value in row.items():
        if (field := name.lower()) not in _ALL:
            continue
        says = truth(value)
        if field in VERDICTS and (says is False or _is_bad(value)):
            raise BadRowError(
                "marked_bad",
                f"`{name}` says that the answer is bad; where it is no verdict: "
                f"prepare.read.files: columns: {{{field}: null}}",
            )
        if says is not None and field not in VERDICTS and says is not (field in LEARN_MARKS):
            raise BadRowError("nothing_to_learn", f"`{name}` of the row says it is not to be learnt")


def _is_bad(value: Any) -> bool:
    """Tell whether a verdict is a bad one in another way than a no: below nought, in a word, in a list of its own."""
    if isinstance(value, str):
        return value.strip().lower() in _BAD or _NEGATIVE.fullmatch(value.strip()) is not None
    if isinstance(value, list):
        return bool(value) and all(truth(one) is False or _is_bad(one) for one in value)
    return isinstance(value, (int, float)) and value < 0


def mark_turns(row: Mapping[str, Any], said: Sequence[Said], given: int) -> None:
    """Obey a list of marks beside the turns: one a turn, or one an assistant's turn.

    Args:
        row: the raw row.
        said: the turns read from it, marked in place; those before the row's own list (a system field) come first.
        given: how many turns the row's own list has.

    Raises:
        BadRowError: the list is as long as neither, or holds what is neither yes nor no.
    """
    for name in LEARN_MARKS:
        value = row.get(name)
        if value is None or not (isinstance(value, list) or (isinstance(value, str) and value.lstrip()[:1] == "[")):
            continue
        marks = [truth(mark) for mark in list_of(row, name)]
        answers = [turn for turn in said if turn.role == "assistant"]
        marked = said[len(said) - given :] if len(marks) == given else answers
        if len(marks) != len(marked) or None in marks:
            raise BadRowError(
                "unclear_mark", f"`{name}` has {len(marks)} marks for {given} turns, or one that is neither yes nor no"
            )
        for turn, mark in zip(marked, marks, strict=True):
            turn.taught = turn.taught and bool(mark)
