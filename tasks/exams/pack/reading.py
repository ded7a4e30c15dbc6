"""Read a pack: every problem of every file is found before anything is asked."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json
from tasks.exams.pack.schema import FIRST_FIELDS, KINDS, SCHEMA, Item, item_problems

PACK_FILE = "pack.json"
HINT = "tunegate eval check-pack FOLDER lists every problem; evaluate.domain.path names the folder"
#: Of pack.json in the second schema, beside `files` and `schema`.
ABOUT = ("name", "version", "languages", "licence", "description")


@dataclass(frozen=True)
class Pack:
    """A pack's name and its items by kind, in file order; a kind it does not have is empty."""

    name: str
    version: str
    items: dict[str, list[Item]]
    schema: int = SCHEMA


def load_pack(folder: Path) -> Pack:
    """Read and check a pack.

    Raises:
        ConfigError: the folder does not exist.
        DataContractError: a file or an item breaks the schema; every problem is named with file and line.
    """
    pack, problems = read_pack(folder)
    if problems:
        raise DataContractError("the domain pack is not usable:\n  " + "\n  ".join(problems), HINT)
    return pack


def read_pack(folder: Path) -> tuple[Pack, list[str]]:
    """Return the usable part of a pack, and in words what breaks the schema, each with file and line.

    Raises:
        ConfigError: the folder does not exist.
        DataContractError: pack.json is absent or is not a JSON object.
    """
    if not folder.is_dir():
        raise ConfigError(f"evaluate.domain.path: folder {folder} does not exist", "edit params.yaml")
    about = read_json(folder / PACK_FILE)
    if not isinstance(about, dict):
        raise DataContractError(f"{folder / PACK_FILE} is not a JSON object", HINT)
    schema, files, problems = _files(folder, about)
    items: dict[str, list[Item]] = {kind: [] for kind in KINDS}
    seen: dict[str, str] = {}
    for kind, name in files.items():
        items[kind] = list(_read_items(folder / name, kind, schema, seen, problems))
    if not problems and not any(items.values()):
        problems.append(f"{folder} holds no item")
    return Pack(str(about.get("name", folder.name)), str(about.get("version", "")), items, schema), problems


def _files(folder: Path, about: dict[str, Any]) -> tuple[int, dict[str, str], list[str]]:
    """Return a pack's schema, its files by kind, and what is wrong with pack.json."""
    path = folder / PACK_FILE
    schema = about.get("schema", 1)
    if schema not in range(1, SCHEMA + 1):
        return SCHEMA, {}, [f"{path}: schema {schema!r} is not known; this version reads up to {SCHEMA}"]
    missing = [name for name in (*ABOUT, "files") if not about.get(name)] if schema >= SCHEMA else []
    problems = [f"{path}: no {', '.join(missing)}"] if missing else []
    kinds = KINDS if schema >= SCHEMA else tuple(FIRST_FIELDS)
    default = {} if schema >= SCHEMA else {kind: f"{kind}.jsonl" for kind in kinds}
    files = about.get("files") or default
    if not isinstance(files, dict):
        return schema, {}, [*problems, f"{path}: files must give a file for each kind"]
    for kind, name in files.items():
        if kind not in kinds:
            problems.append(f"{path}: kind {kind!r} is not one of {', '.join(kinds)}")
        elif not isinstance(name, str) or Path(name).name != name:
            problems.append(f"{path}: the file of {kind} must be a name in this folder")
    usable = {kind: files[kind] for kind in kinds if kind in files and isinstance(files[kind], str)}
    # A file that is not named is never asked: more likely forgotten than meant.
    forgotten = sorted({one.name for one in folder.glob("*.jsonl")} - set(usable.values()))
    problems += [f"{folder / name} is not named in {PACK_FILE}" for name in forgotten if schema >= SCHEMA]
    return schema, usable, problems


def _read_items(path: Path, kind: str, schema: int, seen: dict[str, str], problems: list[str]) -> Iterator[Item]:
    """Yield the usable items of one file; what breaks the schema goes to `problems` with its line."""
    if not path.is_file():
        problems.append(f"{path} does not exist")
        return
    number = 0
    for number, item in _numbered(path, problems):
        wrong = item_problems(kind, item, schema)
        if not wrong and item["id"] in seen:
            wrong = [f"id {item['id']} stands twice (first in {seen[item['id']]})"]
        problems += [f"{path}:{number}: {one}" for one in wrong]
        if not wrong:
            seen[item["id"]] = f"{path.name}:{number}"
            yield {"kind": kind, **item}
    if not number:
        problems.append(f"{path} holds no item")


def _numbered(path: Path, problems: list[str]) -> Iterator[tuple[int, Any]]:
    """Yield line numbers and values; a line that is not JSON is a problem like any other."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        problems.append(f"{path} is not UTF-8: {error}")
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield number, json.loads(line)
        except ValueError as error:
            problems.append(f"{path}:{number} is not valid JSON: {error}")
