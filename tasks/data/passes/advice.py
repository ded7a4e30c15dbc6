"""What helps where rows were left out, by the reason most of them have; what the base's template does to rows."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from tasks.data.passes.facts import REASON_NUMBER, Gathered
from tasks.data.passes.second import Decisions

ADD_ROWS: Final = (
    "add instruction rows (docs/formats.md shows the shapes that are read), or look at prepare in params.yaml"
)
#: Longest row in tokens of each line of the table that is shown with rows that are too long.
LENGTHS: Final = (512, 1024, 2048, 4096, 8192, 16384, 32768)
#: From this share of all rows on, one reason is worth a hint.
WORTH_A_HINT = 0.1

_MAPPING: Final = "tell what the columns are, under prepare.read.files in params.yaml (docs/formats.md): "
_HINTS: Final[dict[str, str]] = {
    **dict.fromkeys(("unknown_format", "missing_field", "unknown_role"), _MAPPING + "{first}"),
    "malformed_json": "one JSON value a line, or one array: {first}",
    "wrong_role_order": "{first}",
    "media": "this pipeline teaches text: give it rows without images, sound and video ({first})",
    "marked_bad": "rows marked bad are never learnt as good; pairs of a chosen and a rejected answer are kept as such",
    "nothing_to_learn": "every answer of these rows is marked not to be learnt ({first})",
    "template_refuses": "another base_model, whose chat template takes these rows ({first})",
    "special_token": "take the special tokens of base_model out of the rows",
    "personal_data": "prepare.privacy.policies: mask instead of drop",
    "eval_leak": "these rows hold questions of the evaluation sets; leaks.jsonl names them",
    "near_duplicate": "prepare.near_duplicate.jaccard; clusters.jsonl shows what was taken for one row",
    "exact_duplicate": "these rows stand in the files more than once; clusters.jsonl names them",
}
_EFFECTS: Final = {
    "answers_without_loss": "have answers that carry no loss with this base model's chat template (ledger: notes)",
    "thoughts_alone": "have earlier answers whose thought the base model's chat template drops: each is taught in a "
    "sample of its own, where it is the last turn (ledger: notes)",
    "encoded_apart": "have no reasoning, and the base model's chat template opens a thought whose line end its "
    "tokenizer would join with the answer: prompt and answer are encoded apart, as a server sends and samples them",
    "tools_never_shown": "offer tools that the base model's chat template never shows: calls are learnt without "
    "knowing what may be called",
}


def notes(gathered: Gathered, decisions: Decisions) -> list[str]:
    """Return what a reader must know of the kept rows, a sentence each."""
    counts = Counter(effect for row, effect in gathered.effects if decisions.kept[row])
    marked = int((gathered.columns.untaught[decisions.kept] > 0).sum())
    said = [f"{counts[effect]} rows {words}" for effect, words in _EFFECTS.items() if counts[effect]]
    return [*said, *([f"{marked} rows have answers marked not to be learnt: they carry no loss"] if marked else [])]


def lengths_of_too_long(gathered: Gathered, decisions: Decisions) -> dict[str, int]:
    """Return how many of the rows that are too long would fit at each length, by that length."""
    chosen = decisions.fates.reason == REASON_NUMBER["too_long"]
    tokens = gathered.columns.tokens[chosen]
    return {str(length): int(np.count_nonzero(tokens <= length)) for length in LENGTHS} if len(tokens) else {}


def why_left_out(summary: Mapping[str, Any], first: Mapping[str, str]) -> tuple[str, str]:
    """Return the reasons for which rows were left out, in one line, and what helps against the commonest.

    Args:
        summary: of the run.
        first: reason -> place and detail of the first row that has it.
    """
    reasons = Counter(
        {reason: n for fate in ("quarantined", "dropped") for reason, n in summary["reasons"][fate].items()}
    )
    if not reasons:
        return "", ADD_ROWS
    words = ", ".join(f"{n} {reason}" for reason, n in reasons.most_common())
    return words, _hint(reasons.most_common(1)[0][0], summary, first)


def _hint(reason: str, summary: Mapping[str, Any], first: Mapping[str, str]) -> str:
    """Return what helps against a reason."""
    if reason == "too_long":
        tokens = summary["tokens"]
        fitting = {n: length for length, n in reversed(tokens.get("too_long_up_to", {}).items()) if n}
        table = ", ".join(f"{n} fit in {fitting[n]}" for n in sorted(fitting))
        of_these = f"of these rows {table}" if table else "none of these rows fits in 32768"
        return f"raise train.max_length_tokens (now {tokens['max_length_tokens']}): {of_these}"
    return _HINTS.get(reason, ADD_ROWS if reason not in first else "{first}").format(first=first.get(reason, reason))
