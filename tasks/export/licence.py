"""Licence and notice of the base a model was made from: its own files where they are, and what is known in any case."""

import importlib.metadata
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

from tasks.core.files import write_text
from tasks.core.settings import BaseModelParams
from tasks.models.catalogue import load_catalogue
from tasks.models.packaged import PACKAGES

NOTICE = "NOTICE.tunegate.txt"
_NAMES = re.compile(r"(licen[cs]e|notice|copying|use[-_]?policy)", re.IGNORECASE)


def keep_licence(base: BaseModelParams, lineage_id: str, folders: Sequence[Path], target: Path) -> list[str]:
    """Copy the licence files of a base, write our notice, and return the names of what was copied.

    Args:
        base: section `base_model`.
        lineage_id: of the model that is exported.
        folders: where such files may lie: the model's own folder, the base's.
        target: folder that gets them.
    """
    packaged = _packaged(base.id) if base.source == "packaged" else []
    found = {path.name: path for path in (*packaged, *_in(folders))}
    for name, path in sorted(found.items()):
        shutil.copyfile(path, target / name)
    lines = [
        f"This model ({lineage_id}) was made by Tunegate from {base.id}: fine-tuned, its weights changed.",
        f"Licence of the base: {_named(base)}. It binds what is made from it.",
        f"Its files: {', '.join(sorted(found))}." if found else "The base came without a licence file: add it.",
    ]
    write_text(target / NOTICE, "\n".join(lines) + "\n")
    return sorted(found)


def _in(folders: Iterable[Path]) -> list[Path]:
    """Return the licence files of folders."""
    return [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())
            if path.is_file() and path.suffix in ("", ".txt", ".md") and _NAMES.match(path.name)]  # fmt: skip


def _packaged(package: str) -> list[Path]:
    """Return the licence files that come with a package."""
    if package not in PACKAGES:
        return []
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [Path(str(item.locate())) for item in files if _NAMES.match(item.name) and "dist-info" in str(item)]


def _named(base: BaseModelParams) -> str:
    """Return the name of a base's licence, as the catalogue has it."""
    if base.source == "packaged":
        return "apache-2.0"
    known = {model.id: model.licence for model in load_catalogue().models}
    return known.get(base.id, "not in the catalogue; read its model card")
