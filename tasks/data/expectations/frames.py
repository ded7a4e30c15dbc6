"""Prepared rows as flat columns, which is what Great Expectations can look at; no column holds a row's text."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, read_jsonl
from tasks.core.settings import DecontaminateParams
from tasks.data.conversation import ChatRow, content_key
from tasks.data.matching.decontaminate import LeakFinder
from tasks.data.privacy.desensitize import find_spans
from tasks.data.matching.eval_sets import EvalItem
from tasks.data.ledger.ledger import FATES
from tasks.data.reading.reasoning import is_well_formed

if TYPE_CHECKING:
    import pandas as pd

ROLE_LETTERS = {"system": "S", "user": "U", "assistant": "A"}


@dataclass(frozen=True)
class PreparedData:
    """What stage prepare wrote, read back from its files."""

    rows: list[tuple[str, dict[str, Any]]]
    calibration: list[dict[str, Any]]
    ledger: list[dict[str, Any]]
    items: list[EvalItem]
    summary: dict[str, Any]


def read_prepared(prepared: Path) -> PreparedData:
    """Read the files of stage prepare; rows come with the name of their split.

    Raises:
        DataContractError: a file is missing or damaged, or there is no row.
    """
    names = ("train.jsonl", "validation.jsonl", "calibration.jsonl", "ledger.jsonl", "eval_questions.jsonl")
    if missing := [name for name in names if not (prepared / name).is_file()]:
        raise DataContractError(f"{prepared} has no {', '.join(missing)}", "tunegate stage prepare")
    rows = [(split, row) for split in ("train", "validation") for row in _chat_rows(prepared / f"{split}.jsonl")]
    if not rows:
        raise DataContractError(f"{prepared} holds no row", "add instruction rows, then tunegate stage prepare")
    return PreparedData(
        rows=rows,
        calibration=list(read_jsonl(prepared / "calibration.jsonl")),
        ledger=list(read_jsonl(prepared / "ledger.jsonl")),
        items=[EvalItem.from_json(value) for value in read_jsonl(prepared / "eval_questions.jsonl")],
        summary=read_json(prepared / "summary.json"),
    )


def _chat_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a split after checking that they have the fields of a chat row."""
    for number, row in enumerate(read_jsonl(path), start=1):
        messages = row.get("messages") if isinstance(row, dict) else None
        whole = isinstance(messages, list) and set(row) >= {"row_id", "source", "language", "concept"}
        if not whole or not all(_is_message(message) for message in messages or []):
            raise DataContractError(f"{path}:{number} is no chat row", "tunegate stage prepare writes it anew")
        yield row


def _is_message(message: Any) -> bool:
    """Tell whether a value is an object with a role and a text."""
    return isinstance(message, dict) and all(isinstance(message.get(field), str) for field in ("role", "content"))


def row_frame(data: PreparedData) -> "pd.DataFrame":
    """Return one line per row of train and validation: shape, lengths, and what must not be there any more.

    Personal data and evaluation items are looked for again, with the policy prepare wrote down: rows that were
    changed or added after prepare do not slip through.
    """
    import pandas as pd

    policy = data.summary["policy"]
    finder = LeakFinder(data.items, DecontaminateParams.model_validate(policy["decontaminate"]))
    return pd.DataFrame([_row_columns(split, row, finder, policy["mask"]) for split, row in data.rows])


def _row_columns(split: str, row: dict[str, Any], finder: LeakFinder, types: list[str]) -> dict[str, Any]:
    """Return the columns of one row."""
    messages = row["messages"]
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    chat = ChatRow(row["row_id"], row["source"], 0, 0, "", row["language"], row["concept"], tuple(messages))
    leaks = finder.find(chat)
    found = Counter(span.type for message in messages for span in find_spans(message["content"], types))
    return {
        "row_id": row["row_id"],
        "source": row["source"],
        "split": split,
        "language": row["language"],
        "concept": row["concept"],
        "roles": "".join(ROLE_LETTERS.get(message["role"], "?") for message in messages),
        "turns": sum(message["role"] != "system" for message in messages),
        "empty_turns": sum(not message["content"].strip() for message in messages),
        "shortest_answer_characters": min(map(len, answers), default=0),
        "longest_answer_characters": max(map(len, answers), default=0),
        "reasoning_well_formed": all(map(is_well_formed, answers)),
        "content_sha256": hashlib.sha256(content_key(messages).encode()).hexdigest(),
        "personal_data": ", ".join(f"{count} {type_}" for type_, count in sorted(found.items())) or None,
        "eval_leak": f"{leaks[0].eval_set} {leaks[0].item_id}" if leaks else None,
    }


def totals_frame(data: PreparedData) -> "pd.DataFrame":
    """Return one line about the whole data set, counted from the files, not taken from the summary."""
    import pandas as pd

    fates = Counter(entry["fate"] for entry in data.ledger)
    rows_in = data.summary["rows"]["in"]
    train = [row for split, row in data.rows if split == "train"]
    written = Counter(row["row_id"] for _, row in data.rows)
    kept = Counter(entry["row_id"] for entry in data.ledger if entry["fate"] == "kept")
    train_ids = {row["row_id"] for row in train}
    return pd.DataFrame(
        [
            {
                "rows_in": rows_in,
                "rows_without_fate": rows_in - sum(fates[fate] for fate in FATES),
                "rows_kept_but_not_written": sum((kept - written).values()),
                "rows_written_but_not_kept": sum((written - kept).values()),
                "train_rows": len(train),
                "chinese_fraction": sum(row["language"] == "zh" for row in train) / max(len(train), 1),
                "quarantined_fraction": fates["quarantined"] / max(rows_in, 1),
                "dropped_fraction": fates["dropped"] / max(rows_in, 1),
                "calibration_rows_outside_train": sum(row["row_id"] not in train_ids for row in data.calibration),
                "eval_items_searched": len(data.items),
            }
        ]
    )
