"""The counts a reviewer asks for first, and the policy they came from."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from tasks.core.settings import PrepareParams
from tasks.data.ledger.ledger import FATES, fate_of
from tasks.data.matching.decontaminate import searched_questions
from tasks.data.matching.deduplicate import BEST_ROW_RULE
from tasks.data.matching.eval_sets import EvalItem
from tasks.data.passes.advice import lengths_of_too_long, notes
from tasks.data.passes.facts import FORMATS, LANGUAGE_NUMBERS, REASONS, Gathered, Integers
from tasks.data.passes.masked import masked_report
from tasks.data.passes.second import Decisions
from tasks.data.passes.third import CALIBRATION, TRAIN, VALIDATION, Outputs
from tasks.data.profile import TOKEN_EDGES, distributions, histogram
from tasks.data.tokens import UNCOUNTED, RowLengths

#: Rows whose tokens are counted for the pictures: all of a small dataset, a sample by digest of a large one.
SAMPLED_ROWS = 2000
LARGEST_CLUSTERS = 10


def summarize(
    gathered: Gathered,
    decisions: Decisions,
    outputs: Outputs,
    params: PrepareParams,
    lengths: RowLengths,
    items: Sequence[EvalItem],
) -> dict[str, Any]:
    """Return the content of summary.json.

    Args:
        gathered: facts of all rows.
        decisions: the fate of every row.
        outputs: what was written, for its counts.
        params: section `prepare`.
        lengths: counts the tokens of the sample, and knows the base model's chat template.
        items: the evaluation items that were looked for.
    """
    kept = np.flatnonzero(decisions.kept)
    found = _distributions(gathered, kept)
    sizes = outputs.cluster_sizes()
    found["lengths"]["tokens"], tokens = _tokens(gathered, decisions, kept, lengths)
    if too_long := lengths_of_too_long(gathered, decisions):
        tokens["too_long_up_to"] = too_long
    said = notes(gathered, decisions)
    return {
        **({"notes": said} if said else {}),
        **found,
        "rows": {"in": len(gathered.columns), **{fate: outputs.fates[fate] for fate in FATES}},
        "reasons": _reasons(gathered, decisions),
        "masks": _masks(gathered, decisions, params),
        "masked": masked_report([one for one in gathered.masked if decisions.kept[one.row]]),
        "leaks": _leaks(outputs, items),
        "duplicates": {"clusters": sum(sizes.values()), "rule": BEST_ROW_RULE},
        "cluster_sizes": {str(size): count for size, count in sizes.items()},
        "largest_clusters": outputs.largest_clusters(LARGEST_CLUSTERS),
        "tokens": tokens,
        "template": lengths.additions(),
        "splits": {
            TRAIN: outputs.written[TRAIN],
            VALIDATION: outputs.written[VALIDATION],
            CALIBRATION: len(decisions.calibration),
        },
        "policy": params.model_dump(mode="json"),
    }


def _distributions(gathered: Gathered, kept: Integers) -> dict[str, Any]:
    """Return languages, sources, concepts, formats and lengths of the kept rows."""
    columns = gathered.columns
    concepts = list(gathered.concepts)
    return distributions(
        languages=[LANGUAGE_NUMBERS[number] for number in columns.language[kept].tolist()],
        sources=gathered.sources_of(kept),
        concepts=[concepts[number] or None for number in columns.concept[kept].tolist()],
        formats=[FORMATS[number - 1] for number in columns.format[kept].tolist()],
        characters=columns.characters[kept],
    )


def _tokens(
    gathered: Gathered, decisions: Decisions, kept: Integers, lengths: RowLengths
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the histogram of tokens and the facts about them; counted on a sample of a large dataset."""
    columns = gathered.columns
    sample = kept[np.argsort(columns.content[kept, 0], kind="stable")[:SAMPLED_ROWS]]
    counts = np.array([_count(gathered, row, lengths) for row in sample.tolist()], dtype=np.int64)
    spoken = columns.language[sample]
    by_language = {name: spoken == LANGUAGE_NUMBERS.index(name) for name in LANGUAGE_NUMBERS if name}
    bins = {name: histogram(counts[chosen], TOKEN_EDGES) for name, chosen in by_language.items()}
    per_character = {
        name: round(float(counts[chosen].sum() / max(columns.characters[sample][chosen].sum(), 1)), 4)
        for name, chosen in by_language.items()
        if chosen.any()
    }
    facts = {
        "max_length_tokens": lengths.max_length_tokens,
        "too_long": int((decisions.fates.reason == REASONS.index("too_long")).sum()),
        "sampled_rows": len(sample),
        "per_character": per_character,
    }
    return {"edges": list(TOKEN_EDGES), **bins}, facts


def _count(gathered: Gathered, row: int, lengths: RowLengths) -> int:
    """Return the tokens of a kept row, counted in the first pass or now."""
    known = int(gathered.columns.tokens[row])
    if known != UNCOUNTED:
        return known
    value = orjson.loads(gathered.row(row))
    return lengths.count(value["messages"], value.get("tools"))


def _reasons(gathered: Gathered, decisions: Decisions) -> dict[str, dict[str, int]]:
    """Return {fate: {reason: rows}}."""
    counts = np.bincount(decisions.fates.reason, minlength=len(REASONS))
    replaced = {row for row, _, _ in gathered.masks if decisions.kept[row]}
    named = {reason: int(count) for reason, count in zip(REASONS, counts, strict=True) if reason and count}
    named |= {"personal_data_replaced": len(replaced), "clean": int(counts[0]) - len(replaced)}
    return {fate: {reason: n for reason, n in sorted(named.items()) if n and fate_of(reason) == fate} for fate in FATES}


def _masks(gathered: Gathered, decisions: Decisions, params: PrepareParams) -> dict[str, int]:
    """Return spans replaced in kept rows by type; types that are kept as they are have no entry."""
    counts: Counter[str] = Counter()
    for row, type_, spans in gathered.masks:
        if decisions.kept[row]:
            counts[type_] += spans
    policies = params.privacy.policies.model_dump()
    return {type_: counts[type_] for type_, policy in policies.items() if policy in ("mask", "pseudonymize")}


def _leaks(outputs: Outputs, items: Sequence[EvalItem]) -> dict[str, dict[str, int]]:
    """Return by evaluation set how many items were looked for, and what was found."""
    searched = Counter(item.eval_set for item in items)
    questions = searched_questions(items)
    unsearchable = Counter(item.eval_set for item, text in zip(items, questions, strict=True) if not text)
    found = {name: outputs.leaked.get(name, (set(), set())) for name in sorted(searched)}
    return {
        name: {
            "items": searched[name],
            "unsearchable": unsearchable[name],
            "leaked_items": len(leaked_items),
            "leaked_rows": len(leaked_rows),
        }
        for name, (leaked_items, leaked_rows) in found.items()
    }
