"""Prepared rows out, for LLaMA-Factory, Axolotl or anything else that reads the common formats."""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json, read_jsonl, write_json
from tasks.data.writing.containers import write_rows
from tasks.data.writing.round_trip import SOURCE, fields_lost
from tasks.data.writing.rows_out import WRITERS, NoRoomError, Row, further

log = logging.getLogger(__name__)

SPLITS: Final = ("train", "validation")
CONTAINERS: Final = ("json", "jsonl", "parquet", "csv")

_SHAREGPT_TAGS: Final = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
_MESSAGES_TAGS: Final = {
    "role_tag": "role",
    "content_tag": "content",
    "user_tag": "user",
    "assistant_tag": "assistant",
    "observation_tag": "tool",
    "function_tag": "function_call",
    "system_tag": "system",
}
#: Source: LLaMA-Factory, data/README.md and src/llamafactory/data/parser.py. `multilingual_thinking` is not here: it
#: would train on the answers without their reasoning; `messages` carries both in the text.
_LLAMA_FACTORY: Final[dict[str, dict[str, Any]]] = {
    "alpaca": {
        "formatting": "alpaca",
        "columns": {
            "prompt": "instruction",
            "query": "input",
            "response": "output",
            "system": "system",
            "tools": "tools",
            "history": "history",
        },
    },
    "sharegpt": {
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "tools": "tools"},
        "tags": _SHAREGPT_TAGS,
    },
    "messages": {
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "tools": "tools"},
        "tags": _MESSAGES_TAGS,
    },
    "preference": {
        "formatting": "sharegpt",
        "ranking": True,
        "columns": {"messages": "conversations", "chosen": "chosen", "rejected": "rejected", "tools": "tools"},
        "tags": _SHAREGPT_TAGS,
    },
}


def export(prepared: Path, folder: Path, format: str, container: str, gzip: bool) -> dict[str, Any]:
    """Write train and validation rows in a format, and LLaMA-Factory's `dataset_info.json` beside them.

    Args:
        prepared: what stage prepare wrote.
        folder: where to write `train.<container>[.gz]`, `validation.<container>[.gz]`; same names are replaced.
        format: alpaca, sharegpt, messages, multilingual_thinking or preference.
        container: json, jsonl, parquet or csv.
        gzip: gzip the files.

    Returns:
        `files` {split: name}, `rows` {split: n}, `left_out` {split: n} rows the format has no room for and
        `no_room_for` {what: rows}, `lost` {field: rows written without it}, `dataset_info`: name, or None with
        `why_none`.

    Raises:
        ConfigError: no such format or container.
        DataContractError: nothing is prepared, or no row has room in the format.
    """
    for given, known, what in ((format, tuple(WRITERS), "format"), (container, CONTAINERS, "container")):
        if given not in known:
            raise ConfigError(f"`{given}` is no {what}", f"one of: {', '.join(known)}")
    if not (prepared / "train.jsonl").is_file():
        raise DataContractError(f"{prepared} has no train.jsonl", "tunegate stage prepare")
    fields = _further_fields(prepared, format)
    counts = {split: _Count(fields) for split in SPLITS if (prepared / f"{split}.jsonl").is_file()}
    files = {split: f"{split}.{container}{'.gz' if gzip else ''}" for split in counts}
    for split, count in counts.items():
        rows = count.written(prepared / f"{split}.jsonl", format)
        write_rows(folder / files[split], rows, container, packed=gzip)
        if not count.rows:
            (folder / files.pop(split)).unlink()
    if not files:
        raise DataContractError(f"no prepared row has room in `{format}`", "tunegate data summary names the formats")
    no_room = sum((count.no_room for count in counts.values()), Counter[str]())
    lost = sum((count.lost for count in counts.values()), Counter[str]())
    for what, rows_without in no_room.most_common():
        log.warning("export: %d rows are left out: %s has no room for %s", rows_without, format, what)
    for field, rows_without in lost.most_common():
        if field != SOURCE:
            log.warning("export: %d rows in %s do not bring back: %s", rows_without, format, field)
    if "loss_mask" in fields:
        log.warning("export: some answers are marked not to be learnt: loss_mask says which, and LLaMA-Factory and "
                    "Axolotl do not read it")  # fmt: skip
    why_none = _why_no_info(format, container, gzip)
    _write_info(folder / "dataset_info.json", {} if why_none else _dataset_info(files, format))
    return {
        "files": files,
        "rows": {split: count.rows for split, count in counts.items()},
        "left_out": {split: count.no_room.total() for split, count in counts.items()},
        "no_room_for": dict(no_room),
        "lost": dict(lost),
        "dataset_info": None if why_none else "dataset_info.json",
        "why_none": why_none,
    }


class _Count:
    """Rows of a split, counted as they pass.

    Args:
        fields: further ones that a row of the export has.
    """

    def __init__(self, fields: frozenset[str]) -> None:
        self.fields = fields
        self.rows = 0
        self.no_room: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def written(self, path: Path, format: str) -> Iterator[Row]:
        """Yield the rows of a prepared file in a format."""
        for row in read_jsonl(path):
            try:
                written = further(row, WRITERS[format](row), self.fields)
            except NoRoomError as problem:
                self.no_room[str(problem)] += 1
                continue
            self.rows += 1
            self.lost.update(fields_lost(row, written))
            yield written


def _further_fields(prepared: Path, format: str) -> frozenset[str]:
    """Return the fields that some rows have and every format keeps: a refused answer, marks of turns."""
    found = set()
    for split in SPLITS:
        path = prepared / f"{split}.jsonl"
        for row in read_jsonl(path) if path.is_file() else ():
            found |= {name for name in ("rejected", "untaught") if row.get(name)}
    marks = {"loss_mask"} if "untaught" in found and format not in ("alpaca", "preference") else set()
    return frozenset(found & {"rejected"} | marks)


def _dataset_info(files: dict[str, str], format: str) -> dict[str, Any]:
    """Return LLaMA-Factory's table of data sets."""
    return {_entry_name(split): {"file_name": name, **_LLAMA_FACTORY[format]} for split, name in files.items()}


def _write_info(path: Path, ours: dict[str, Any]) -> None:
    """Write our entries into the table; entries of other data sets in the folder are not ours to lose."""
    there = read_json(path) if path.is_file() else {}
    if not isinstance(there, dict):
        raise DataContractError(f"{path} is no table of data sets", "mend it, or export to another folder")
    others = {name: entry for name, entry in there.items() if name not in map(_entry_name, SPLITS)}
    if others or ours:
        write_json(path, others | ours)
    else:
        path.unlink(missing_ok=True)


def _entry_name(split: str) -> str:
    """Return what LLaMA-Factory calls a split (`dataset: tunegate_train`)."""
    return f"tunegate_{split}"


def _why_no_info(format: str, container: str, gzip: bool) -> str | None:
    """Return why LLaMA-Factory could not read the files, None where it can."""
    if gzip:
        return "LLaMA-Factory tells files by their suffix and knows no .gz"
    if container == "csv":
        return "LLaMA-Factory reads no lists from CSV cells"
    if format not in _LLAMA_FACTORY:
        return f"LLaMA-Factory has no columns for the reasoning of {format}: export as messages"
    return None
