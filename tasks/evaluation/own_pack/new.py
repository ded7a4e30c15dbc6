"""A pack to start from: one usable item of every kind in both languages."""

from pathlib import Path

from tasks.core.errors import ConfigError
from tasks.core.files import read_json, write_json, write_jsonl
from tasks.exams.pack.reading import PACK_FILE
from tasks.exams.pack.schema import KINDS, SCHEMA

EXAMPLES = Path(__file__).with_name("examples.json")


def new_pack(folder: Path, name: str) -> list[Path]:
    """Write a pack with examples and return its files.

    Args:
        folder: where to; must not hold anything yet.
        name: of the pack.

    Raises:
        ConfigError: something is there already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not an empty folder; nothing was written", "choose another folder")
    examples = read_json(EXAMPLES)
    about = {
        "name": name,
        "version": "0.1",
        "schema": SCHEMA,
        "languages": ["zh", "en"],
        "licence": "who may use it",
        "description": "What it asks, for whom, written from which sources.",
        "files": {kind: f"{kind}.jsonl" for kind in KINDS},
    }
    for kind in KINDS:
        write_jsonl(folder / f"{kind}.jsonl", examples[kind])
    # Last: a folder with pack.json is a whole pack.
    write_json(folder / PACK_FILE, about)
    return [folder / PACK_FILE, *(folder / f"{kind}.jsonl" for kind in KINDS)]
