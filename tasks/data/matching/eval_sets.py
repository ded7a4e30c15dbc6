"""The questions of every configured evaluation set, read only to keep them out of training."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, read_jsonl
from tasks.core.project import Project
from tasks.core.settings import DomainParams, EvalSetParams, ExamParams

#: Suites of the domain pack by kind of item, as the evaluation reports call them; the others are `domain_<kind>`.
DOMAIN_SUITES = {"safety": "safety", "refuse": "safety_refuse", "unknown": "safety_unknown"}
PACK_FILE = "pack.json"
#: C-Eval's and CMMLU's name for the examples shown before a question.
FEW_SHOT = "dev"
OPTION_LETTERS = ("A", "B", "C", "D")


@dataclass(frozen=True)
class EvalItem:
    """One question of an evaluation set and, where it is multiple choice, its options."""

    eval_set: str
    item_id: str
    question: str
    options: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return the item as a line of eval_questions.jsonl."""
        return {
            "eval_set": self.eval_set,
            "item_id": self.item_id,
            "question": self.question,
            "options": list(self.options),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "EvalItem":
        """Return the item of a line of eval_questions.jsonl."""
        return cls(value["eval_set"], value["item_id"], value["question"], tuple(value["options"]))


def read_eval_sets(
    exams: Sequence[ExamParams], domain: DomainParams, root: Path, extra: Sequence[EvalSetParams] = ()
) -> list[EvalItem]:
    """Return all items of the configured sets; item limits of evaluation do not apply here.

    Args:
        exams: C-Eval, CMMLU, or a set in one of these layouts.
        domain: the domain pack.
        root: project root; local paths in the parameters start there.
        extra: further sets to keep out of training, each a folder in one of these schemas.

    Raises:
        DataContractError: a set is absent, empty or damaged.
        TransientError: a hub did not answer.
    """
    items = [item for exam in exams for item in read_exam(exam, root)]
    items += read_domain(root / domain.path)
    for one in extra:
        items += read_folder(root / one.path, one.name)
    return items


def read_folder(folder: Path, name: str) -> list[EvalItem]:
    """Return the items of a folder in the layout of C-Eval, CMMLU or a domain pack.

    Raises:
        DataContractError: the folder is absent, holds no item, or a file is damaged.
    """
    if (folder / PACK_FILE).is_file():
        return read_domain(folder, prefix=name)
    return _require_items(_read_csvs(folder, name), folder)


def read_exam(params: ExamParams, root: Path) -> list[EvalItem]:
    """Return the items of an exam's folder: every CSV under it, few-shot examples included."""
    folder = root / params.path if params.source == "local" else _fetched(params, root)
    return _require_items(_read_csvs(folder, params.name), folder)


def _fetched(params: ExamParams, root: Path) -> Path:
    """Return the folder of a hub's copy; evaluation fetches it the same way."""
    from tasks.exams.hub import fetch

    return fetch(params.source, params.path, Project(root).state / "datasets", params.name)


def read_domain(folder: Path, prefix: str | None = None) -> list[EvalItem]:
    """Return the items of a domain pack: every file that pack.json names.

    Args:
        folder: the pack.
        prefix: name of a pack that is not the project's own, put before the names of its suites.
    """
    files = read_json(folder / PACK_FILE).get("files", {})
    items = []
    for kind, name in sorted(files.items()):
        if not (folder / name).is_file():
            raise DataContractError(f"{folder / name}, named in pack.json, does not exist", "restore the pack")
        suite = DOMAIN_SUITES.get(kind, f"domain_{kind}")
        items += list(_read_pack_file(folder / name, f"{prefix}_{suite}" if prefix else suite))
    return _require_items(items, folder)


def _require_items(items: list[EvalItem], folder: Path) -> list[EvalItem]:
    """Refuse an evaluation set without items: nothing could be kept out of training."""
    if not items:
        raise DataContractError(
            f"{folder} holds no evaluation item",
            "check the paths of evaluate.exams, evaluate.domain.path and prepare.decontaminate.extra_sets",
        )
    return items


def _read_csvs(folder: Path, eval_set: str) -> list[EvalItem]:
    """Return the items of every CSV under a folder."""
    return [item for path in sorted(folder.rglob("*.csv")) for item in _read_csv(path, eval_set)]


def _read_csv(path: Path, eval_set: str) -> Iterator[EvalItem]:
    """Yield the items of one CSV with a question column and options A to D, whatever the case of the header."""
    subject = _subject(path)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            for number, cells in enumerate(csv.DictReader(stream)):
                row = {str(name).strip().casefold(): (value or "") for name, value in cells.items() if name is not None}
                question = str(row.get("question", ""))
                if not question.strip():
                    raise DataContractError(
                        f"{path}: row {number + 1} has no question", "mend the file: header id,question,A,B,C,D"
                    )
                identity = str(row.get("id") or row.get("") or number)
                options = tuple(str(row[letter.casefold()]) for letter in OPTION_LETTERS if row.get(letter.casefold()))
                yield EvalItem(eval_set, f"{subject}/{identity}", question, options)
    except (UnicodeDecodeError, csv.Error) as problem:
        raise DataContractError(f"{path} is no CSV in UTF-8: {problem}", "save it as UTF-8 CSV") from problem


def _subject(path: Path) -> str:
    """Return the subject of a CSV as items are named after it.

    C-Eval names its files `subject_val.csv` and `subject_dev.csv`; CMMLU has `subject.csv` in both dev and test.
    """
    subject = path.stem.removesuffix("_val").removesuffix("_test")
    few_shot = path.parent.name == FEW_SHOT and not subject.endswith(f"_{FEW_SHOT}")
    return f"{subject}_{FEW_SHOT}" if few_shot else subject


def _read_pack_file(path: Path, eval_set: str) -> Iterator[EvalItem]:
    """Yield the items of one JSON Lines file of a domain pack."""
    for number, row in enumerate(read_jsonl(path), start=1):
        question = row.get("question") if isinstance(row, dict) else None
        if not isinstance(question, str) or not question.strip():
            raise DataContractError(f"{path}:{number} has no `question`", "mend or remove the line, then run again")
        yield EvalItem(eval_set, str(row.get("id", number)), question, offered(row))


def offered(row: dict[str, Any]) -> tuple[str, ...]:
    """Return what an item of a domain pack shows beside its question: options, or steps to be put in order."""
    shown = row.get("choices") or row.get("steps") or {}
    return tuple(str(option) for option in (shown.values() if isinstance(shown, dict) else shown))
