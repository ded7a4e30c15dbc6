"""What stage prepare wrote, read back from its files as frames that Great Expectations can look at."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, read_jsonl
from tasks.core.progress import Progress
from tasks.core.settings import DecontaminateParams, PrivacyParams
from tasks.data.expectations.columns import TEXT_COLUMNS, Columns, Lines, RowColumns, read_lines
from tasks.data.expectations.ledger_counts import (
    DAMAGED_FILE,
    LedgerCounts,
    count_ledger,
    surplus,
    written_ids,
)
from tasks.data.ledger.ledger import FATES
from tasks.data.matching.eval_sets import EvalItem
from tasks.data.pool import ordered, process_count
from tasks.data.profile import distributions, profile_of

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

SPLITS: Final = ("train", "validation")
CALIBRATION: Final = "calibration"
#: From so many expected rows none at all is no chance any more (less than one time in a hundred).
EXPECTED_ROWS: Final = 5


@dataclass
class PreparedData:
    """What stage prepare wrote, in columns and counts.

    Args:
        rows: one line a row of train and validation; no column holds text of a row.
        ledger: the ledger in numbers.
        calibration: digests of the ids of the calibration rows.
        items: how many evaluation items were looked for.
        summary: summary.json.
    """

    rows: "pd.DataFrame"
    ledger: LedgerCounts
    calibration: npt.NDArray[np.uint64]
    items: int
    summary: dict[str, Any]

    @property
    def train(self) -> "pd.DataFrame":
        """The rows of train."""
        return self.rows[self.rows["split"] == "train"]

    def profile(self) -> dict[str, Any]:
        """Return the distributions of the rows, measured here; token counts are prepare's, which has the tokenizer."""
        columns = {
            name: self.rows[name].astype(object).tolist() for name in ("language", "source", "concept", "format")
        }
        measured = distributions(
            languages=columns["language"],
            sources=columns["source"],
            concepts=[concept if isinstance(concept, str) else None for concept in columns["concept"]],
            formats=[name if isinstance(name, str) else None for name in columns["format"]],
            characters=self.rows["characters"].to_numpy(),
        )
        tokens = self.summary.get("lengths", {}).get("tokens")
        measured["lengths"] |= {"tokens": tokens} if tokens else {}
        return profile_of({"rows": len(self.rows), **measured})


def read_prepared(prepared: Path, raw: Path) -> PreparedData:
    """Read the files of stage prepare.

    Args:
        prepared: output of stage prepare.
        raw: data/raw of the project; the list of organisations lies there.

    Raises:
        DataContractError: a file is missing or damaged, or there is no row.
    """
    names = (*(f"{split}.jsonl" for split in SPLITS), "calibration.jsonl", "ledger.jsonl", "eval_questions.jsonl")
    if missing := [name for name in (*names, "summary.json") if not (prepared / name).is_file()]:
        raise DataContractError(f"{prepared} has no {', '.join(missing)}", "tunegate stage prepare")
    summary = read_json(prepared / "summary.json")
    items = [EvalItem.from_json(value) for value in read_jsonl(prepared / "eval_questions.jsonl")]
    processes = process_count(sum((prepared / name).stat().st_size for name in names))
    rows = _read_rows(prepared, raw, summary, items, processes)
    ledger = count_ledger(prepared / "ledger.jsonl", processes)
    rows["format"] = _categories(ledger.format_of(rows["row_digest"].to_numpy()))
    calibration = np.fromiter(written_ids([prepared / "calibration.jsonl"]), dtype=np.uint64)
    return PreparedData(rows, ledger, calibration, len(items), summary)


def _read_rows(
    prepared: Path, raw: Path, summary: Mapping[str, Any], items: list[EvalItem], processes: int
) -> "pd.DataFrame":
    """Return one line a row of train and validation: shape, lengths, and what must not be there any more.

    Raises:
        DataContractError: a row is damaged, or there is none.
    """
    policy = summary["policy"]
    privacy = PrivacyParams.model_validate(policy["privacy"])
    arguments = (privacy, DecontaminateParams.model_validate(policy["decontaminate"]), items, raw)
    table = _Table()
    progress = Progress(log, "validate", summary["rows"]["kept"], "rows")
    for columns in ordered(RowColumns, arguments, _row_lines(prepared), processes):
        if columns:
            table.add(columns)
            progress.advance(len(columns["row_id"]))
    if not table.rows:
        raise DataContractError(f"{prepared} holds no row", "add instruction rows, then tunegate stage prepare")
    return table.frame()


def _row_lines(prepared: Path) -> Iterator[Lines]:
    """Yield the lines of train and validation."""
    for split in SPLITS:
        yield from read_lines(prepared / f"{split}.jsonl")


@dataclass
class _Table:
    """Columns put together from chunks; texts that repeat are kept as numbers."""

    rows: int = 0
    parts: dict[str, list[Any]] = field(default_factory=dict)
    names: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in TEXT_COLUMNS})

    def add(self, columns: Columns) -> None:
        """Take in the columns of one chunk."""
        self.rows += len(columns["row_id"])
        for name, values in columns.items():
            part = _codes(list(values), self.names[name]) if name in self.names else values
            self.parts.setdefault(name, []).append(part)

    def frame(self) -> "pd.DataFrame":
        """Return the whole table."""
        import pandas as pd

        return pd.DataFrame({name: self._column(name, parts) for name, parts in self.parts.items()})

    def _column(self, name: str, parts: list[Any]) -> Any:
        """Return one column."""
        import pandas as pd

        if name in self.names:
            return pd.Categorical.from_codes(np.concatenate(parts), pd.Index(list(self.names[name]), dtype="str"))
        if name == "row_id":
            return pd.array([row_id for part in parts for row_id in part], dtype="str")
        return np.concatenate(parts)


def _codes(values: list[str | None], names: dict[str, int]) -> npt.NDArray[np.int32]:
    """Return texts as numbers, -1 for none; new ones are numbered in `names`."""
    numbers = (-1 if value is None else names.setdefault(value, len(names)) for value in values)
    return np.fromiter(numbers, dtype=np.int32, count=len(values))


def _categories(values: list[str | None]) -> Any:
    """Return repeated texts as a column of codes."""
    import pandas as pd

    names: dict[str, int] = {}
    codes = _codes(values, names)
    return pd.Categorical.from_codes(codes, pd.Index(list(names), dtype="str"))


def _split_languages(data: PreparedData) -> dict[str, list[Any]]:
    """Return the languages of the rows of each split; calibration rows are rows of train."""
    languages = {name: data.rows.loc[data.rows["split"] == name, "language"].astype(object).tolist() for name in SPLITS}
    calibrating = np.isin(data.rows["row_digest"], data.calibration)
    return languages | {CALIBRATION: data.rows.loc[calibrating, "language"].astype(object).tolist()}


def _expected(data: PreparedData) -> dict[str, float]:
    """Return how many rows each split should have by the policy prepare wrote down."""
    policy, rows = data.summary["policy"], len(data.rows)
    fraction = float(policy["validation_fraction"])
    train = rows * (1 - fraction)
    return {"train": train, "validation": rows * fraction, CALIBRATION: min(float(policy["calibration_rows"]), train)}


def totals_frame(data: PreparedData) -> "pd.DataFrame":
    """Return one line about the whole data set, counted from the files, not taken from the summary."""
    import pandas as pd

    fates = {fate: data.ledger.rows(fate=fate) for fate in FATES}
    rows_in = data.summary["rows"]["in"]
    written = data.rows["row_digest"].to_numpy()
    train = data.train
    splits = _split_languages(data)
    chinese = float((data.rows["language"] == "zh").mean())
    damaged = {key.source for key in data.ledger.fates if key.reason == DAMAGED_FILE}
    return pd.DataFrame(
        [
            {
                "rows_in": rows_in,
                "rows_without_fate": rows_in - sum(fates.values()),
                "rows_kept_but_not_written": surplus(data.ledger.kept, written),
                "rows_written_but_not_kept": surplus(written, data.ledger.kept),
                "train_rows": len(train),
                "empty_splits": sum(
                    not len(splits[name]) and expected >= EXPECTED_ROWS for name, expected in _expected(data).items()
                ),
                "splits_without_chinese": sum(
                    "zh" not in set(languages) and len(languages) * chinese >= EXPECTED_ROWS
                    for languages in splits.values()
                ),
                "chinese_fraction": float((train["language"] == "zh").sum()) / max(len(train), 1),
                "quarantined_fraction": fates["quarantined"] / max(rows_in, 1),
                "dropped_fraction": fates["dropped"] / max(rows_in, 1),
                "too_long_fraction": data.ledger.rows(reason="too_long") / max(rows_in, 1),
                "damaged_files": len(damaged),
                "calibration_rows_outside_train": int((~np.isin(data.calibration, train["row_digest"])).sum()),
                "eval_items_searched": data.items,
            }
        ]
    )
