"""Rows and settings of stage `train` in a folder that LLaMA-Factory, Axolotl, Unsloth or ms-swift trains from.

The rows go out tokenized, with labels: each of the four takes such rows as they are, so what is taught (turns without
loss, thoughts, calls, the token that ends a turn and nothing behind it) cannot come out otherwise there.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tasks.chat.rows import IGNORED, EncodedRows, encode_rows
from tasks.chat.tokenizer import load_tokenizer, tokenizer_sha256
from tasks.core.digest import file_digests, sha256_file, sha256_json
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import replaced_directory, write_json, write_jsonl, write_text
from tasks.core.manifest import MANIFEST, read_manifest, write_manifest
from tasks.core.settings import Settings
from tasks.models.base import BaseModel
from tasks.training.other_trainers import configs
from tasks.training.other_trainers.configs import LINES, TABLE, Setup

SCRIPTS = Path(__file__).with_name("scripts")
TEMPLATE: Final = "chat_template.jinja"
ROWS_FILE: Final = "train.jsonl"


@dataclass(frozen=True)
class Trainer:
    """How rows and settings are written for one trainer.

    Args:
        title: its name.
        checked: the version it was checked against, None where it was not run.
        command: how it is started, in the folder.
        config: name of the file of settings.
        settings: makes them.
        table: whether its rows are an Arrow table (`datasets.load_from_disk`), not lines of JSON.
        lengths: whether a row says how long it is (ms-swift compares that with its limit).
        script: a file of `scripts` that goes beside the rows, and its name there.
    """

    title: str
    checked: str | None
    command: str
    config: str
    settings: Callable[[Setup], dict[str, Any]]
    table: bool
    lengths: bool = False
    script: tuple[str, str] | None = None


TRAINERS: Final = {
    "llamafactory": Trainer(
        "LLaMA-Factory", "llamafactory 0.9.5", "llamafactory-cli train train.yaml", "train.yaml",
        configs.llamafactory, table=True,
    ),
    "axolotl": Trainer(
        "Axolotl", "axolotl 0.19.0", "axolotl train train.yaml", "train.yaml", configs.axolotl, table=False
    ),
    "unsloth": Trainer(
        "Unsloth", None, "python train.py", "settings.json", configs.unsloth, table=False,
        script=("unsloth_train.py", "train.py"),
    ),
    "swift": Trainer(
        "ms-swift", "ms-swift 4.6.0", "swift sft train.yaml", "train.yaml", configs.swift, table=True, lengths=True,
        script=("swift_tokens.py", "swift_tokens.py"),
    ),
}  # fmt: skip


def export_training(
    name: str, settings: Settings, base: BaseModel, prepared: Path, folder: Path, model: str | None = None
) -> dict[str, Any]:
    """Write the folder a trainer starts from; a folder that holds it already is left alone.

    Args:
        name: a key of TRAINERS.
        settings: of the project.
        base: the base model: its tokenizer and template make the rows.
        prepared: what stage prepare wrote.
        folder: to write; replaced whole where it is an export.
        model: what the settings call the base model (a hub's name, a folder elsewhere); None: its folder here.

    Returns:
        The manifest, and `written`: whether anything was.

    Raises:
        ConfigError: no such trainer, or the folder holds something else.
        DataContractError: nothing is prepared, or no row can be trained on.
    """
    if name not in TRAINERS:
        raise ConfigError(f"`{name}` is no trainer", f"one of: {', '.join(TRAINERS)}")
    if not (prepared / ROWS_FILE).is_file():
        raise DataContractError(f"{prepared} has no {ROWS_FILE}", "tunegate stage prepare")
    sources = _sources(name, settings, base, prepared, model)
    if there := _already(folder):
        if there["sources"] == sources and _unchanged(folder, there):
            return there | {"written": False}
        _require_nothing_else(folder, there)
    tokenizer = load_tokenizer(base.path)
    encoded = encode_rows(prepared / ROWS_FILE, tokenizer, settings.train.max_length_tokens, every_thought=True)
    setup = Setup(settings.train, model or str(base.path), len(encoded.rows), settings.hardware.gpus > 0,
                  str(tokenizer.chat_template))  # fmt: skip
    with replaced_directory(folder) as partial:
        _write(TRAINERS[name], setup, encoded, partial, sources["rows_sha256"])
        manifest = write_manifest(partial, _header(name, setup, encoded, sources))
    return manifest | {"written": True}


def _sources(name: str, settings: Settings, base: BaseModel, prepared: Path, model: str | None) -> dict[str, Any]:
    """Return what the folder is made from, as digests."""
    return {
        "trainer": name,
        "rows_sha256": sha256_file(prepared / ROWS_FILE),
        "train_sha256": sha256_json(settings.train.model_dump(mode="json")),
        "accelerated": settings.hardware.gpus > 0,
        "base_digest": base.digest,
        "tokenizer_sha256": tokenizer_sha256(base.path),
        "model": model or str(base.path),
        "scripts": file_digests(SCRIPTS),
    }


def _already(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of an export that lies there, None where nothing does.

    Raises:
        ConfigError: it holds something else, which is not ours to replace.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if (folder / MANIFEST).is_file() and "sources" in (manifest := read_manifest(folder)):
        return manifest
    raise ConfigError(f"{folder} holds something else than an export of rows", "name an empty folder: --out FOLDER")


def _unchanged(folder: Path, manifest: dict[str, Any]) -> bool:
    """Tell whether the files of an export are as they were written, whatever a training wrote beside them."""
    return all(
        (folder / file).is_file() and sha256_file(folder / file) == digest for file, digest in manifest["files"].items()
    )


def _require_nothing_else(folder: Path, manifest: dict[str, Any]) -> None:
    """Refuse to replace a folder in which somebody has trained: what is in it may be hours of a GPU.

    Raises:
        ConfigError: it holds files that were not exported.
    """
    others = sorted(file_digests(folder, skip=frozenset({MANIFEST, *manifest["files"]})))
    if others:
        raise ConfigError(
            f"rows or settings are others than in {folder}, and files lie there that were not exported: {others[0]}",
            "move them, or name another folder: --out FOLDER",
        )


def _write(trainer: Trainer, setup: Setup, encoded: EncodedRows, folder: Path, rows_sha256: str) -> None:
    """Write rows, settings, template and script."""
    rows: list[dict[str, Any]] = [
        {"input_ids": row.input_ids, "attention_mask": [1] * len(row.input_ids), "labels": row.labels}
        for row in encoded.rows
    ]
    if trainer.lengths:
        rows = [row | {"lengths": [len(row["input_ids"])]} for row in rows]
    if trainer.table:
        _write_table(rows, folder / TABLE, rows_sha256)
    else:
        write_jsonl(folder / LINES, rows)
    config = trainer.settings(setup)
    if trainer.config.endswith(".json"):
        write_json(folder / trainer.config, config)
    else:
        head = f"# {trainer.title}: {trainer.command}\n"
        write_text(folder / trainer.config, head + yaml.safe_dump(config, allow_unicode=True, sort_keys=False))
    write_text(folder / TEMPLATE, setup.template)
    if trainer.script:
        shutil.copyfile(SCRIPTS / trainer.script[0], folder / trainer.script[1])


def _write_table(rows: list[dict[str, Any]], folder: Path, rows_sha256: str) -> None:
    """Write rows as `datasets` keeps a table on disk."""
    from datasets import Dataset
    from datasets.table import InMemoryTable

    # Its own fingerprint is another one each time: the same rows shall be the same bytes.
    table = InMemoryTable(Dataset.from_list(rows).data.table)
    Dataset(table, fingerprint=rows_sha256[:16]).save_to_disk(folder)


def _header(name: str, setup: Setup, encoded: EncodedRows, sources: dict[str, Any]) -> dict[str, Any]:
    """Return what the manifest says beside the files."""
    trainer = TRAINERS[name]
    return {
        "trainer": trainer.title,
        "checked_against": trainer.checked,
        "command": trainer.command,
        "sources": sources,
        "train": setup.params.model_dump(mode="json"),
        "rows": encoded.conversations,
        "thought_samples": encoded.thought_samples,
        "tokens": sum(len(row.input_ids) for row in encoded.rows),
        "labelled_tokens": sum(label != IGNORED for row in encoded.rows for label in row.labels),
        "row_ids": [row.row_id for row in encoded.rows],
        "left_out": encoded.dropped,
        "not_carried": configs.not_carried(setup, name),
    }
