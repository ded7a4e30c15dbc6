"""Suites in the C-Eval schema: read, checked line by line, and handed to lm-eval with the official Chinese prompt.

Huang et al. 2023, https://arxiv.org/abs/2305.08322. The official layout is val/<subject>_val.csv and
dev/<subject>_dev.csv; the hubs carry the same files as ceval-exam.zip. Test labels are not public: `val` is scored.
"""

import csv
import logging
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from tasks.core.errors import ConfigError, DataContractError, MissingToolError, TransientError
from tasks.core.files import read_json, replaced_directory
from tasks.core.settings import ExamParams

log = logging.getLogger(__name__)

LETTERS = ("A", "B", "C", "D")
REQUIRED = ("id", "question", *LETTERS, "answer")
ARCHIVE = "ceval-exam.zip"
#: The 52 subjects of C-Eval and their Chinese names, as in the benchmark's own subject mapping.
SUBJECTS_FILE = Path(__file__).with_name("ceval_subjects.json")
#: Raise when prompt or scoring changes: results of different versions must not be compared.
TASK_VERSION = 1

HINT = "mend the file, or point evaluate.exams at another copy"


@dataclass(frozen=True)
class Question:
    """One four-option question."""

    subject: str
    question_id: str
    text: str
    options: tuple[str, str, str, str]
    answer: str

    @property
    def prompt(self) -> str:
        """The question as the official prompt writes it, up to where the letter follows."""
        options = "\n".join(f"{letter}. {option}" for letter, option in zip(LETTERS, self.options, strict=True))
        return f"{self.text}\n{options}\n答案："


@dataclass(frozen=True)
class Subject:
    """One subject: its Chinese name, scored questions, and solved examples for few-shot prompts."""

    key: str
    name: str
    questions: list[Question]
    examples: list[Question]

    @property
    def description(self) -> str:
        """First line of the official prompt."""
        return f"以下是中国关于{self.name}考试的单项选择题，请选出其中的正确答案。\n\n"


def load_subjects(params: ExamParams, root: Path, cache: Path) -> list[Subject]:
    """Return the subjects of the suite that params.yaml names, sorted by key.

    Args:
        params: one entry of evaluate.exams.
        root: relative local paths start here.
        cache: folder that keeps what was fetched from a hub.

    Raises:
        ConfigError: the local folder does not exist.
        DataContractError: a file breaks the schema; every problem is named with file and line.
        TransientError: the hub did not answer.
    """
    folder = root / params.path if params.source == "local" else fetch(params.source, params.path, cache)
    if not (folder / "val").is_dir():
        raise ConfigError(f"{folder} has no folder val/ with C-Eval-schema files", "edit evaluate.exams in params.yaml")
    subjects, problems = _read_folder(folder, require_all=params.name == "ceval", few_shot=params.few_shot)
    if problems:
        raise DataContractError(f"{params.name} is not usable:\n  " + "\n  ".join(problems), HINT)
    return subjects


def task_configs(params: ExamParams, subjects: list[Subject]) -> list[dict[str, Any]]:
    """Return one lm-eval task per subject: the harness builds the prompts and scores."""
    return [_task_config(params, subject) for subject in subjects]


def item_id(subject: str, question_id: str) -> str:
    """Return the name of a question within its suite (ids repeat across subjects)."""
    return f"{subject}/{question_id}"


def fetch(source: str, repository: str, cache: Path) -> Path:
    """Download the official archive from a hub and return the unpacked folder; a second call downloads nothing."""
    folder = cache / source / repository.replace("/", "--")
    if not folder.is_dir():
        log.info("C-Eval: fetching %s from %s", repository, source)
        download = _from_huggingface if source == "huggingface" else _from_modelscope
        archive = download(repository, cache)
        with replaced_directory(folder) as partial:
            unpack(archive, partial)
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Take the val and dev tables out of the official archive, and nothing else."""
    wanted = re.compile(r"^(?:.*/)?(val|dev)/(\w+_(?:val|dev)\.csv)$")
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.namelist():
                if found := wanted.match(PurePosixPath(member).as_posix()):
                    target = folder / found[1] / found[2]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(opened.read(member))
    except zipfile.BadZipFile as error:
        raise DataContractError(f"{archive} is not a zip archive: {error}", "remove it and run again") from error


def _from_huggingface(repository: str, cache: Path) -> Path:
    """Download the archive from the Hugging Face Hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, ARCHIVE, repo_type="dataset", local_dir=cache / "huggingface-files"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise _hub_error("huggingface", repository, error) from error


def _from_modelscope(repository: str, cache: Path) -> Path:
    """Download the archive from ModelScope."""
    try:
        from modelscope import dataset_snapshot_download
    except ImportError as error:
        raise MissingToolError("modelscope is not installed", "make setup") from error
    try:
        folder = dataset_snapshot_download(
            repository, allow_patterns=[ARCHIVE], local_dir=str(cache / "modelscope-files")
        )
    except (OSError, ValueError) as error:
        raise _hub_error("modelscope", repository, error) from error
    return Path(folder) / ARCHIVE


def _hub_error(source: str, repository: str, error: Exception) -> TransientError:
    """Return one clear message for a hub that cannot be reached or does not have the archive."""
    return TransientError(
        f"could not fetch {ARCHIVE} of {repository} from {source}: {type(error).__name__}: {error}",
        "check evaluate.exams and the network, or use source: local",
    )


def _task_config(params: ExamParams, subject: Subject) -> dict[str, Any]:
    """Return the lm-eval configuration of one subject."""
    from datasets import Dataset, DatasetDict

    def dataset(**_: Any) -> DatasetDict:
        splits = {"val": subject.questions, "dev": subject.examples[: params.few_shot]}
        return DatasetDict(
            {
                name: Dataset.from_list([_document(question) for question in questions])
                for name, questions in splits.items()
                if questions
            }
        )

    return {
        "task": f"{params.name}_{subject.key}",
        "custom_dataset": dataset,
        "test_split": "val",
        "fewshot_split": "dev" if params.few_shot else None,
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": params.few_shot,
        "output_type": "multiple_choice",
        "description": subject.description,
        "doc_to_text": lambda document: document["prompt"],
        "doc_to_choice": list(LETTERS),
        "doc_to_target": lambda document: LETTERS.index(document["answer"]),
        # The prompt ends in a full-width colon: the harness's default delimiter would put a space before the letter.
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": TASK_VERSION},
    }


def _document(question: Question) -> dict[str, str]:
    """Return a question as lm-eval's document."""
    return {
        "item_id": item_id(question.subject, question.question_id),
        "prompt": question.prompt,
        "answer": question.answer,
    }


def _read_folder(folder: Path, *, require_all: bool, few_shot: int) -> tuple[list[Subject], list[str]]:
    """Return subjects and problems of a folder in the official layout."""
    official = read_json(SUBJECTS_FILE)
    names = official | _own_names(folder)
    found = {path.name.removesuffix("_val.csv"): path for path in sorted((folder / "val").glob("*_val.csv"))}
    expected = set(official) if require_all else set(_own_names(folder)) or set(found)
    problems = [f"{folder / 'val'}: subject {key} is missing" for key in sorted(expected - set(found))]
    problems += [f"{path}: subject {key} is in no mapping" for key, path in found.items() if key not in names]
    subjects = []
    for key, path in found.items():
        examples = folder / "dev" / f"{key}_dev.csv"
        subject = Subject(
            key,
            names.get(key, key),
            list(_read_table(path, key, problems)),
            list(_read_table(examples, key, problems)) if examples.is_file() else [],
        )
        if len(subject.examples) < few_shot:
            problems.append(f"{examples}: {len(subject.examples)} examples, few_shot asks for {few_shot}")
        if not subject.questions:
            problems.append(f"{path}: no questions")
        subjects.append(subject)
    return subjects, problems


def _own_names(folder: Path) -> dict[str, str]:
    """Return the Chinese names in the folder's mapping.json, in either of the two shapes in use."""
    path = folder / "mapping.json"
    if not path.is_file():
        return {}
    return {key: str(value["name"] if isinstance(value, dict) else value[1]) for key, value in read_json(path).items()}


def _read_table(path: Path, subject: str, problems: list[str]) -> Iterator[Question]:
    """Yield the questions of one file; what breaks the schema goes to `problems` with its line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            missing = [name for name in REQUIRED if name not in (reader.fieldnames or [])]
            if missing:
                problems.append(f"{path}:1: no column {', '.join(missing)}")
                return
            seen: dict[str, int] = {}
            for row in reader:
                wrong = _row_problem(row, seen)
                seen.setdefault(row["id"] or "", reader.line_num)
                if wrong:
                    problems.append(f"{path}:{reader.line_num}: {wrong}")
                else:
                    a, b, c, d = (row[letter] for letter in LETTERS)
                    yield Question(subject, row["id"], row["question"], (a, b, c, d), row["answer"])
    except (csv.Error, UnicodeDecodeError) as error:
        problems.append(f"{path}: not a CSV file in UTF-8: {error}")


def _row_problem(row: dict[Any, Any], seen: dict[str, int]) -> str | None:
    """Return what is wrong with a row, or None."""
    if None in row:
        return f"{len(row[None])} field(s) too many: quote fields that hold a comma"
    empty = [name for name in REQUIRED if not (row[name] or "").strip()]
    if empty:
        return f"empty {', '.join(empty)}"
    if row["answer"] not in LETTERS:
        return f"answer {row['answer']!r} is not one of A, B, C, D"
    if row["id"] in seen:
        return f"id {row['id']} stands already in line {seen[row['id']]}"
    return None
