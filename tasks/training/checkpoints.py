"""Checkpoints of a run: sealed when complete, and only sealed ones of ours are resumed from."""

import logging
from pathlib import Path

from tasks.core.errors import DataContractError
from tasks.core.manifest import MANIFEST, verify_manifest, write_manifest

log = logging.getLogger(__name__)

PREFIX = "checkpoint-"


def seal(folder: Path) -> None:
    """Mark a checkpoint as complete: a manifest with the digest of each file, written last."""
    write_manifest(folder, {"checkpoint": folder.name})


def last_complete(scratch: Path) -> Path | None:
    """Return the newest checkpoint whose files are all as they were written, or None.

    A checkpoint that was being written when the process was killed has no seal and is passed over, and so is one that
    was changed or put there by someone else.
    """
    found = [path for path in scratch.glob(f"{PREFIX}*") if path.name.removeprefix(PREFIX).isdigit()]
    for folder in sorted(found, key=step_of, reverse=True):
        if not (folder / MANIFEST).is_file():
            log.warning(
                "train: %s is incomplete (the run was stopped while writing it); an older one is used", folder.name
            )
            continue
        try:
            verify_manifest(folder)
        except DataContractError as error:
            log.warning("train: %s is not used: %s", folder.name, error.message)
            continue
        return folder
    return None


def step_of(folder: Path) -> int:
    """Return the step a checkpoint was written after."""
    return int(folder.name.removeprefix(PREFIX))
