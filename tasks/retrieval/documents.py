"""The documents of a corpus, checked at the border: every problem of every file is named before anything is built."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.params.retrieval import IndexParams

#: Files that are documents; a README is about the folder.
SUFFIXES = (".md", ".txt", ".jsonl")
NOT_DOCUMENTS = ("README.md", "LICENSE.txt")
HINT = "mend or remove the files named, then: tunegate index build"
_SHOWN = 20
_MARK = "---"


class Document(BaseModel):
    """One document, its text as Markdown.

    Args:
        id: stable name; of a file that names none, the file's own.
        title: for people and for the search.
        source: where it comes from: who wrote it, or the publication it sums up.
        version: edition or date: a reader must see how old an answer is.
        text: Markdown or plain text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: str = Field(pattern=r"^[\w.-]{1,64}$")
    title: str = Field(min_length=1, max_length=200)
    source: str = Field(min_length=1, max_length=300)
    version: str = Field(min_length=1, max_length=40)
    text: str = Field(min_length=1)


@dataclass
class Corpus:
    """What was read.

    Args:
        documents: by id, in order; personal data replaced.
        masks: document id -> how many spans of each type were replaced.
    """

    documents: list[Document] = field(default_factory=list)
    masks: dict[str, dict[str, int]] = field(default_factory=dict)


#: Text in; text without personal data, the number of replaced spans by type, and the types that refuse it.
Clean = Callable[[str], tuple[str, dict[str, int], tuple[str, ...]]]


def read_corpus(folder: Path, params: IndexParams, clean: Clean) -> Corpus:
    """Read, check and clean the documents of a folder.

    Args:
        folder: of `index.corpus`.
        params: section `index`.
        clean: takes personal data out.

    Raises:
        ConfigError: the folder does not exist.
        DataContractError: it holds no document, or some that may not be used; each problem with its file.
    """
    if not folder.is_dir():
        raise ConfigError(f"index.corpus: folder {folder} does not exist", "edit params.yaml, or make the folder")
    problems: list[str] = []
    corpus, seen = Corpus(), dict[str, str]()
    for where, document in _documents(folder, params, problems):
        if document.id in seen:
            problems.append(f"{where}: id {document.id} stands twice (first in {seen[document.id]})")
            continue
        seen[document.id] = where
        text, masks, refused = clean(document.text)
        if refused:
            problems.append(f"{where}: holds personal data that refuses it (prepare.privacy): {', '.join(refused)}")
        if masks:
            corpus.masks[document.id] = masks
        corpus.documents.append(document.model_copy(update={"text": text}))
    if len(seen) > params.max_documents:
        problems.append(f"{folder}: {len(seen)} documents, index.max_documents allows {params.max_documents}")
    if not seen and not problems:
        problems.append(f"{folder} holds no document ({', '.join(SUFFIXES)})")
    if problems:
        more = [f"… {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []
        raise DataContractError("the corpus is not usable:\n  " + "\n  ".join([*problems[:_SHOWN], *more]), HINT)
    corpus.documents.sort(key=lambda document: document.id)
    return corpus


def _documents(folder: Path, params: IndexParams, problems: list[str]) -> Iterator[tuple[str, Document]]:
    """Yield the sound documents of a folder with where they stand; what is wrong goes to `problems`."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or path.name in NOT_DOCUMENTS or path.name.startswith("."):
            continue
        if (wrong := _file_problem(path, folder, params)) is not None:
            problems.append(f"{name}: {wrong}")
            continue
        text = _decoded(path, name, problems)
        if text is None:
            continue
        for where, value in _values(name, text, problems):
            try:
                yield where, Document.model_validate(value)
            except ValidationError as error:
                problems += [f"{where}: {'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]


def _file_problem(path: Path, folder: Path, params: IndexParams) -> str | None:
    """Return why a file may not be read at all, None if it may."""
    if path.suffix not in SUFFIXES:
        return f"is no document ({', '.join(SUFFIXES)})"
    if not path.resolve().is_relative_to(folder.resolve()):
        return "is a link that leads out of the corpus"
    size = path.stat().st_size
    if size > params.max_file_mib * 2**20:
        return f"has {size / 2**20:.1f} MiB, index.max_file_mib allows {params.max_file_mib:g}"
    return None


def _decoded(path: Path, name: str, problems: list[str]) -> str | None:
    """Return a file's text, or None where it is no UTF-8 text."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(f"{name}: is not UTF-8 (byte {error.start}); iconv -f GB18030 -t UTF-8 may mend it")
        return None
    if "\0" in text or "\ufffd" in text:
        problems.append(f"{name}: holds {'NUL' if chr(0) in text else 'U+FFFD'}: it was damaged before it came here")
        return None
    return text.replace("\r\n", "\n")


def _values(name: str, text: str, problems: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield the documents of one file as values, with where each stands."""
    if not name.endswith(".jsonl"):
        value = _with_front_matter(name, text, problems)
        if value is not None:
            yield name, value
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"{name}:{number}", json.loads(line)
            except ValueError as error:
                problems.append(f"{name}:{number}: is not valid JSON: {error}")


def _with_front_matter(name: str, text: str, problems: list[str]) -> dict[str, Any] | None:
    """Return a file's front matter (YAML between two lines of ---) and its text, or None where it has none."""
    head, mark, body = text.removeprefix(f"{_MARK}\n").partition(f"\n{_MARK}\n")
    if not text.startswith(f"{_MARK}\n") or not mark:
        problems.append(f"{name}: begins with no front matter: --- title, source, version ---")
        return None
    try:
        value = yaml.safe_load(head)
    except yaml.YAMLError as error:
        problems.append(f"{name}: its front matter is no YAML: {' '.join(str(error).split())[:200]}")
        return None
    if not isinstance(value, dict):
        problems.append(f"{name}: its front matter is no list of names and values")
        return None
    # YAML reads 2026-11-30 as a date and 2.0 as a number.
    about = {str(key): str(one) for key, one in value.items()}
    return {"id": Path(name).stem, **about, "text": body.strip()}
