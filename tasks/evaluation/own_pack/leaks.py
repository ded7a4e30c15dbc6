"""Questions of a pack that stand in training rows, by the same rules prepare keeps them out with."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError
from tasks.core.files import read_jsonl
from tasks.core.settings import PrepareParams
from tasks.data.matching.decontaminate import LeakFinder
from tasks.data.matching.eval_sets import EvalItem, offered
from tasks.data.matching.normalization import normalized_rows
from tasks.data.problems import BadRowError
from tasks.data.reading.raw import parser_of, read_chunks
from tasks.data.reading.rows import rows_of
from tasks.evaluation.own_pack.checks import ERROR, WARNING, Finding, all_items
from tasks.exams.pack.reading import Pack

#: What a model may have seen: trained on, chosen by, quantized with.
PREPARED_FILES = ("train.jsonl", "validation.jsonl", "calibration.jsonl")
ROWS_AT_ONCE = 2000

Row = tuple[str, Sequence[dict[str, str]]]


def prepared_rows(prepared: Path) -> Iterator[Row]:
    """Yield name and messages of every row a model is made with.

    Raises:
        ConfigError: nothing is prepared.
    """
    if not any((prepared / name).is_file() for name in PREPARED_FILES):
        raise ConfigError(f"{prepared} holds no prepared rows", "tunegate run, or --rows raw, or --rows none")
    for name in PREPARED_FILES:
        if (prepared / name).is_file():
            yield from ((row["row_id"], row["messages"]) for row in read_jsonl(prepared / name))


def raw_rows(raw: Path, params: PrepareParams) -> Iterator[Row]:
    """Yield place and messages of every readable raw row; prepare has yet to drop what leaks."""
    for chunk in read_chunks(raw, params.read):
        parse = parser_of(chunk.source, params.read)
        for row in rows_of(chunk, params.read):
            try:
                if row.problem:
                    raise row.problem
                messages = parse(row.value).messages
            except BadRowError:
                # Not read, so not trained on either.
                continue
            yield f"{row.source}:{row.line}", messages


def find_leaks(pack: Pack, rows: Iterator[Row], params: PrepareParams, *, trained_on: bool) -> dict[str, Any]:
    """Return how many rows were searched and each item found in one.

    Args:
        pack: whose questions are looked for.
        rows: name and messages of training rows.
        params: section `prepare`.
        trained_on: whether a model is made with these rows (a leak is an error), or prepare will drop them.
    """
    items = [_eval_item(item) for item in all_items(pack)]
    finder = LeakFinder(items, params.decontaminate)
    found: list[Finding] = []
    searched = 0
    for batch in _batches(rows):
        searched += len(batch)
        texts = normalized_rows([messages for _, messages in batch])
        for (name, _), hits in zip(batch, finder.find(texts), strict=True):
            found += [_finding(hit.item_id, hit.rule, name, trained_on) for hit in hits]
    return {"searched_rows": searched, "findings": found}


def _finding(item_id: str, rule: str, row: str, trained_on: bool) -> Finding:
    """Return a leak in words."""
    end = "" if trained_on else " (prepare drops the row)"
    return Finding(ERROR if trained_on else WARNING, "leaks", item_id, f"stands in row {row}: {rule}{end}")


def _eval_item(item: dict[str, Any]) -> EvalItem:
    """Return an item as prepare looks for it."""
    return EvalItem(item["kind"], item["id"], item["question"], offered(item))


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Yield rows some thousand at a time."""
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == ROWS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
