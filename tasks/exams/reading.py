"""Exam files in the official layouts, read and checked line by line before anything is asked."""

import csv
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json
from tasks.core.settings import ExamParams
from tasks.exams.hub import fetch
from tasks.exams.schema import LETTERS, STYLES, Exam, Question, Subject, subject_table

REQUIRED = ("question", *LETTERS, "answer")
HINT = "mend the file, or point evaluate.exams at another copy"
#: What spreadsheets and data frames write for a missing value; as an option beside numbers it is data, as one of
#: the letters or a question it is a hole.
HOLES = frozenset({"nan", "none", "null", "n/a", "#n/a"})


def load_exam(params: ExamParams, root: Path, cache: Path) -> Exam:
    """Return the exam that an entry of evaluate.exams names.

    Args:
        params: the entry.
        root: relative local paths start here.
        cache: folder that keeps what was fetched from a hub.

    Raises:
        ConfigError: the local folder does not exist or has another layout.
        DataContractError: a file breaks the schema; every problem is named with file and line.
        TransientError: the hub did not answer.
    """
    local = params.source == "local"
    folder = root / params.path if local else fetch(params.source, params.path, cache, params.name)
    split = STYLES[params.name].scored[0]
    if not (folder / split).is_dir():
        raise ConfigError(
            f"{folder} has no folder {split}/ with the tables of {params.name}", "edit evaluate.exams in params.yaml"
        )
    subjects, problems = read_folder(folder, params)
    if problems:
        raise DataContractError(f"{params.name} is not usable:\n  " + "\n  ".join(problems), HINT)
    return Exam(params, subjects)


def read_folder(folder: Path, params: ExamParams) -> tuple[list[Subject], list[str]]:
    """Return the subjects of a folder, sorted by key, and everything that is wrong with it."""
    (split, ending), own = STYLES[params.name].scored, _own_mapping(folder)
    known = subject_table(params.name) | own
    found = {path.name.removesuffix(ending): path for path in sorted((folder / split).glob(f"*{ending}"))}
    # The exam proper is whole or it is not the exam; a stand-in has the subjects that its mapping names.
    expected = (set(own) or set(found)) if params.name == "ceval_mini" else set(subject_table(params.name))
    problems = [f"{folder / split}: subject {key} is missing" for key in sorted(expected - set(found))]
    problems += [f"{path}: subject {key} is in no mapping" for key, path in found.items() if key not in known]
    subjects = [_read_subject(path, key, known.get(key, {}), params, problems) for key, path in found.items()]
    if not found:
        problems.append(f"{folder / split}: no file *{ending}")
    return subjects, problems


def _read_subject(path: Path, key: str, facts: dict[str, Any], params: ExamParams, problems: list[str]) -> Subject:
    """Return one subject; what is wrong with its two files goes to `problems`."""
    shown, ending = STYLES[params.name].shown
    examples = path.parents[1] / shown / f"{key}{ending}"
    subject = Subject(
        key,
        facts.get("name", key),
        list(_read_table(path, key, problems)),
        list(_read_table(examples, key, problems)) if examples.is_file() else [],
        facts.get("category", "Other"),
        tuple(facts.get("marks", ())),
    )
    if len(subject.examples) < params.few_shot:
        problems.append(f"{examples}: {len(subject.examples)} examples, few_shot asks for {params.few_shot}")
    if not subject.questions:
        problems.append(f"{path}: no questions")
    return subject


def _own_mapping(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the names and categories of the folder's mapping.json, in either of the two shapes in use."""
    path = folder / "mapping.json"
    if not path.is_file():
        return {}
    official = subject_table("ceval")
    mapping = {}
    for key, value in read_json(path).items():
        name, category = (value["name"], value.get("category")) if isinstance(value, dict) else value[1:3]
        known = official.get(key, {"category": str(category or "Other").replace("Sciences", "Science"), "marks": []})
        mapping[key] = known | {"name": str(name)}
    return mapping


def _read_table(path: Path, subject: str, problems: list[str]) -> Iterator[Question]:
    """Yield the questions of one file; what breaks the schema goes to `problems` with its line.

    C-Eval's header is `id,question,A,B,C,D,answer[,explanation]`, CMMLU's `,Question,A,B,C,D,Answer`.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            reader.fieldnames = [_column(name) for name in reader.fieldnames or []]
            missing = [name for name in ("id", *REQUIRED) if name not in reader.fieldnames]
            if missing:
                problems.append(f"{path}:1: no column {', '.join(missing)}")
                return
            seen: dict[str, int] = {}
            for row in reader:
                if wrong := _row_problem(row, seen):
                    problems.append(f"{path}:{reader.line_num}: {wrong}")
                else:
                    a, b, c, d = (row[letter] for letter in LETTERS)
                    yield Question(subject, row["id"], row["question"], (a, b, c, d), row["answer"])
                seen.setdefault(row["id"] or "", reader.line_num)
    except (csv.Error, UnicodeDecodeError) as error:
        problems.append(f"{path}: not a CSV file in UTF-8: {error}")


def _column(name: str) -> str:
    """Return a column's name as C-Eval writes it."""
    plain = name.strip()
    return {"": "id"}.get(plain, plain if plain in LETTERS else plain.casefold())


def _row_problem(row: dict[Any, Any], seen: dict[str, int]) -> str | None:
    """Return what is wrong with a row, or None."""
    if None in row:
        return f"{len(row[None])} field(s) too many: quote fields that hold a comma"
    empty = [name for name in ("id", *REQUIRED) if not (row[name] or "").strip()]
    if empty:
        return f"empty {', '.join(empty)}"
    if row["answer"] not in LETTERS:
        return f"answer {row['answer']!r} is not one of A, B, C, D"
    if row["id"] in seen:
        return f"id {row['id']} stands already in line {seen[row['id']]}"
    return _hole(row)


def _hole(row: dict[str, str]) -> str | None:
    """Return which field is a missing value that some tool wrote out as a word, or None."""
    if row["question"].strip().casefold() in HOLES or _is_nan(row["id"]):
        return f"question or id is {row['question']!r}: a missing value"
    # One option "None" can be an answer; two holes in a question are a broken export.
    holes = [letter for letter in LETTERS if row[letter].strip().casefold() in HOLES]
    return f"options {', '.join(holes)} are missing values" if len(holes) > 1 else None


def _is_nan(text: str) -> bool:
    """Return whether a number's text is NaN."""
    try:
        return math.isnan(float(text))
    except ValueError:
        return False
