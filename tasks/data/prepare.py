"""Stage prepare: raw instruction files to chat rows for training, with the fate of every raw row on record."""

import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import write_json, write_jsonl
from tasks.core.progress import Progress
from tasks.core.settings import CevalParams, DomainParams, PrepareParams
from tasks.data.conversation import ChatRow, Message
from tasks.data.matching.decontaminate import Leak, LeakFinder
from tasks.data.matching.deduplicate import BEST_ROW_RULE, Cluster, deduplicate
from tasks.data.privacy.desensitize import find_spans, replace_spans
from tasks.data.matching.eval_sets import EvalItem, read_eval_sets
from tasks.data.reading.formats import parse
from tasks.data.ledger.ledger import Ledger
from tasks.data.problems import DROP_REASONS, QUARANTINE_REASONS, BadRowError
from tasks.data.reading.raw import INSTRUCTIONS, RawRow, read_raw
from tasks.data.split import calibration_rows, in_validation

log = logging.getLogger(__name__)

TRAIN, VALIDATION, CALIBRATION = "train", "validation", "calibration"


@dataclass(frozen=True)
class Prepared:
    """What is written: rows by split, and the evidence of what was left out."""

    splits: dict[str, list[ChatRow]]
    clusters: list[Cluster]
    leaks: list[Leak]
    items: list[EvalItem]
    unsearchable: list[EvalItem]


def prepare(
    params: PrepareParams, *, output: Path, raw: Path, evaluate_ceval: CevalParams, evaluate_domain: DomainParams
) -> dict[str, Any]:
    """Write train.jsonl, validation.jsonl, calibration.jsonl, ledger.jsonl, summary.json and evidence files.

    Args:
        params: what is masked, what counts as a duplicate or a leak, how rows are split.
        output: folder to fill.
        raw: data/raw of the project; instruction files are read from its `instructions` folder.
        evaluate_ceval: the C-Eval-shaped suite to keep out of training; a path in it is relative to the project root.
        evaluate_domain: the domain pack to keep out of training.

    Returns:
        Rows in, kept, dropped, quarantined, and rows by split.

    Raises:
        DataContractError: there is no row to train on, the ledger does not balance, an input is damaged, or a row is
            bad and `on_bad_row` is `stop`.
    """
    items = read_eval_sets(evaluate_ceval, evaluate_domain, raw.parents[1])
    ledger = Ledger()
    rows = [_masked(row, params.mask) for row in _read_rows(raw, ledger, params.on_bad_row)]
    log.info("prepare: %d rows read, %d understood", ledger.counts()["in"], len(rows))
    clusters = deduplicate(rows, params.near_duplicate)
    _settle_duplicates(ledger, clusters, params)
    finder = LeakFinder(items, params.decontaminate)
    leaks = _find_leaks(finder, clusters)
    _settle_leaks(ledger, leaks)
    leaked = {leak.row_id for leak in leaks}
    kept = [cluster for cluster in clusters if cluster.kept.row_id not in leaked]
    prepared = Prepared(_split(kept, params), clusters, leaks, items, finder.unsearchable)
    _settle_kept(ledger, kept, params)
    ledger.require_balance(row.row_id for name in (TRAIN, VALIDATION) for row in prepared.splits[name])
    _require_rows(ledger, prepared, raw)
    return _write(output, params, ledger, prepared)


def _read_rows(raw: Path, ledger: Ledger, on_bad_row: str) -> Iterable[ChatRow]:
    """Yield the rows that can be understood; settle the others in the ledger."""
    for row in read_raw(raw):
        row_id = ledger.enter(row)
        try:
            yield _chat_row(row, row_id)
        except BadRowError as problem:
            if on_bad_row == "stop":
                raise DataContractError(
                    f"{raw / row.source}:{row.line}: {problem}",
                    "mend or remove the row, or set prepare.on_bad_row: quarantine",
                ) from problem
            evidence = {"detail": problem.detail, "line": row.line}
            ledger.settle(row_id, "quarantined", problem.reason, QUARANTINE_REASONS[problem.reason], evidence)


def _chat_row(raw: RawRow, row_id: str) -> ChatRow:
    """Return a raw row as a chat row, or raise why it cannot be one."""
    if raw.problem:
        raise raw.problem
    parsed = parse(raw.value)
    return ChatRow(
        row_id, raw.source, raw.index, raw.line, parsed.format, parsed.language, parsed.concept, parsed.messages
    )


def _masked(row: ChatRow, types: list[Any]) -> ChatRow:
    """Return the row without personal data of these types, and with the record of what was replaced."""
    messages: list[Message] = []
    masks: list[dict[str, Any]] = []
    for number, message in enumerate(row.messages):
        spans = find_spans(message["content"], types)
        messages.append({**message, "content": replace_spans(message["content"], spans)})
        masks += [{"message": number, "type": span.type, "start": span.start, "end": span.end} for span in spans]
    return row.with_messages(tuple(messages), tuple(masks)) if masks else row


def _find_leaks(finder: LeakFinder, clusters: list[Cluster]) -> list[Leak]:
    """Return every hit of an evaluation item in a row that would be kept."""
    progress = Progress(log, "decontaminate", len(clusters), "rows")
    leaks = []
    for cluster in clusters:
        leaks += finder.find(cluster.kept)
        progress.advance()
    return leaks


def _settle_duplicates(ledger: Ledger, clusters: list[Cluster], params: PrepareParams) -> None:
    """Write the fate of duplicates."""
    near = params.near_duplicate
    rules = {
        "exact_duplicate": DROP_REASONS["exact_duplicate"],
        "near_duplicate": f"Jaccard of character {near.ngram_characters}-grams >= {near.jaccard}",
    }
    for cluster in clusters:
        for duplicate in cluster.duplicates:
            evidence = {
                "cluster_id": cluster.cluster_id,
                "duplicate_of": cluster.kept.row_id,
                "jaccard": round(duplicate.jaccard, 4),
                "kept_because": BEST_ROW_RULE,
            }
            ledger.settle(duplicate.row.row_id, "dropped", duplicate.reason, rules[duplicate.reason], evidence)


def _settle_leaks(ledger: Ledger, leaks: list[Leak]) -> None:
    """Write the fate of rows with evaluation items in them; the best match is the evidence."""
    hits = Counter(leak.row_id for leak in leaks)
    for leak in {leak.row_id: leak for leak in reversed(leaks)}.values():
        evidence = {
            "eval_set": leak.eval_set,
            "item_id": leak.item_id,
            "containment": leak.containment,
            "items": hits[leak.row_id],
        }
        ledger.settle(leak.row_id, "dropped", "eval_leak", leak.rule, evidence)


def _settle_kept(ledger: Ledger, clusters: list[Cluster], params: PrepareParams) -> None:
    """Write the fate of the rows that stay: where they went, what was masked, what they stand for."""
    for cluster in clusters:
        row = cluster.kept
        evidence: dict[str, Any] = {"split": _split_of(row, params), "format": row.format}
        if cluster.duplicates:
            evidence["cluster_id"] = cluster.cluster_id
        if row.masks:
            evidence |= {"masks": dict(Counter(mask["type"] for mask in row.masks)), "spans": list(row.masks)}
        reason = "personal_data_masked" if row.masks else "clean"
        rule = f"mask: {', '.join(params.mask)}" if row.masks else "no rule matched"
        ledger.settle(row.row_id, "kept", reason, rule, evidence)


def _split_of(row: ChatRow, params: PrepareParams) -> str:
    """Return the split a kept row belongs to."""
    return VALIDATION if in_validation(row, params.validation_fraction) else TRAIN


def _split(clusters: list[Cluster], params: PrepareParams) -> dict[str, list[ChatRow]]:
    """Return the kept rows by split; calibration is part of train."""
    splits: dict[str, list[ChatRow]] = {TRAIN: [], VALIDATION: []}
    for cluster in clusters:
        splits[_split_of(cluster.kept, params)].append(cluster.kept)
    return splits | {CALIBRATION: calibration_rows(splits[TRAIN], params.calibration_rows)}


def _require_rows(ledger: Ledger, prepared: Prepared, raw: Path) -> None:
    """Refuse a result nothing can be trained on."""
    if prepared.splits[TRAIN]:
        return
    counts = ledger.counts()
    reasons = ledger.reasons()
    left_out = [(n, reason) for fate in ("quarantined", "dropped") for reason, n in reasons[fate].items()]
    why = f" ({', '.join(f'{n} {reason}' for n, reason in left_out)})" if left_out else ""
    raise DataContractError(
        f"no row to train on: {counts['in']} rows in {raw / INSTRUCTIONS}, {counts['kept']} kept{why}",
        "add instruction rows (Alpaca, ShareGPT or multilingual-thinking), or look at prepare in params.yaml",
    )


def _write(output: Path, params: PrepareParams, ledger: Ledger, prepared: Prepared) -> dict[str, Any]:
    """Write every file of the stage and return its counts."""
    for name, rows in prepared.splits.items():
        write_jsonl(output / f"{name}.jsonl", (row.as_json() for row in rows))
    write_jsonl(output / "ledger.jsonl", ledger.as_json())
    write_jsonl(output / "clusters.jsonl", (cluster.as_json() for cluster in prepared.clusters if cluster.duplicates))
    write_jsonl(output / "leaks.jsonl", (leak.as_json() for leak in prepared.leaks))
    write_jsonl(output / "eval_questions.jsonl", (item.as_json() for item in prepared.items))
    summary = _summary(params, ledger, prepared)
    write_json(output / "summary.json", summary)
    log.info("prepare: %s", ", ".join(f"{n} {name}" for name, n in summary["rows"].items()))
    return {"rows": summary["rows"], "splits": summary["splits"]}


def _summary(params: PrepareParams, ledger: Ledger, prepared: Prepared) -> dict[str, Any]:
    """Return the counts a reviewer asks for first, and the policy they came from."""
    kept = prepared.splits[TRAIN] + prepared.splits[VALIDATION]
    masks = Counter(mask["type"] for row in kept for mask in row.masks)
    sets = sorted({item.eval_set for item in prepared.items})
    return {
        "rows": ledger.counts(),
        "reasons": ledger.reasons(),
        "masks": {type_: masks[type_] for type_ in params.mask},
        "leaks": {name: _set_report(name, prepared) for name in sets},
        "duplicates": {
            "clusters": sum(bool(cluster.duplicates) for cluster in prepared.clusters),
            "rule": BEST_ROW_RULE,
        },
        "languages": dict(Counter(row.language for row in kept)),
        "formats": dict(Counter(row.format for row in kept)),
        "concepts": dict(Counter(row.concept or "unnamed" for row in kept)),
        "sources": dict(Counter(entry.source for entry in ledger.entries())),
        "splits": {name: len(rows) for name, rows in prepared.splits.items()},
        "policy": params.model_dump(mode="json"),
    }


def _set_report(name: str, prepared: Prepared) -> dict[str, int]:
    """Return how many items of an evaluation set were looked for, and what was found."""
    hits = [leak for leak in prepared.leaks if leak.eval_set == name]
    return {
        "items": sum(item.eval_set == name for item in prepared.items),
        "unsearchable": sum(item.eval_set == name for item in prepared.unsearchable),
        "leaked_items": len({leak.item_id for leak in hits}),
        "leaked_rows": len({leak.row_id for leak in hits}),
    }
