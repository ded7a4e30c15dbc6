"""Exams from a hub: the official archive downloaded once, its tables unpacked, nothing else."""

import logging
import re
import zipfile
from pathlib import Path, PurePosixPath

from tasks.core.errors import DataContractError, MissingToolError, TransientError
from tasks.core.files import replaced_directory
from tasks.exams.schema import STYLES, Style

log = logging.getLogger(__name__)


def fetch(source: str, repository: str, cache: Path, name: str = "ceval") -> Path:
    """Download an exam's official archive from a hub and return the unpacked folder; a second call downloads nothing.

    Args:
        source: huggingface or modelscope.
        repository: the data set's id there.
        cache: folder that keeps what was fetched.
        name: the exam; says which archive and which tables.

    Raises:
        TransientError: the hub did not answer or does not carry the archive.
        DataContractError: what came is no archive, or holds no table of the exam.
        MissingToolError: the hub's client is not installed.
    """
    folder = cache / source / repository.replace("/", "--")
    if not folder.is_dir():
        style = STYLES[name]
        log.info("%s: fetching %s from %s", name, repository, source)
        download = _from_huggingface if source == "huggingface" else _from_modelscope
        archive = download(repository, style.archive, cache)
        with replaced_directory(folder) as partial:
            unpack(archive, partial, style)
    return folder


def unpack(archive: Path, folder: Path, style: Style) -> None:
    """Take the exam's tables out of its official archive, and nothing else.

    Raises:
        DataContractError: it is no zip archive, or holds no such table.
    """
    wanted = _member_pattern(style)
    found = 0
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.namelist():
                if match := wanted.match(PurePosixPath(member).as_posix()):
                    target = folder / match["split"] / match["file"]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(opened.read(member))
                    found += 1
    except zipfile.BadZipFile as error:
        raise DataContractError(f"{archive} is not a zip archive: {error}", "remove it and run again") from error
    if not found:
        raise DataContractError(f"{archive} holds no tables {style.scored[0]}/*.csv", "check evaluate.exams in params")


def _member_pattern(style: Style) -> re.Pattern[str]:
    """Return what the name of a table looks like; the file's own name has no separators, so nothing lands elsewhere."""
    splits = "|".join(rf"(?<={folder}/)\w+{re.escape(ending)}" for folder, ending in (style.scored, style.shown))
    return re.compile(rf"^(?:.*/)?(?P<split>{style.scored[0]}|{style.shown[0]})/(?P<file>{splits})$")


def _from_huggingface(repository: str, archive: str, cache: Path) -> Path:
    """Download the archive from the Hugging Face Hub."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, archive, repo_type="dataset", local_dir=cache / "huggingface-files"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise _hub_error("huggingface", repository, archive, error) from error


def _from_modelscope(repository: str, archive: str, cache: Path) -> Path:
    """Download the archive from ModelScope."""
    try:
        from modelscope import dataset_snapshot_download
    except ImportError as error:
        raise MissingToolError("modelscope is not installed", "make setup") from error
    try:
        folder = dataset_snapshot_download(
            repository, allow_patterns=[archive], local_dir=str(cache / "modelscope-files")
        )
    except (OSError, ValueError) as error:
        raise _hub_error("modelscope", repository, archive, error) from error
    path = Path(folder) / archive
    if not path.is_file():
        missing = FileNotFoundError(f"the repository has no {archive}")
        raise _hub_error("modelscope", repository, archive, missing)
    return path


def _hub_error(source: str, repository: str, archive: str, error: Exception) -> TransientError:
    """Return one clear message for a hub that cannot be reached or does not have the archive."""
    return TransientError(
        f"could not fetch {archive} of {repository} from {source}: {type(error).__name__}: {error}",
        "check evaluate.exams in params.yaml and the network, or use source: local",
    )
