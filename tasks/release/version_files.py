"""The write-once place of one version: its own MLflow run, with the digest of every file, checked at every read.

A run belongs to one evidence digest. The list of digests (`contents.json`) is written last and its own digest stands
on the version: a file that is changed, missing or added afterwards is found before anybody relies on it. An upload that
was cut off is done again into the same run until it is whole.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tasks.core import tracking
from tasks.core.digest import file_digests, sha256_file
from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.core.project import Project

log = logging.getLogger(__name__)

CONTENTS = "contents.json"
#: Tag of run and version: which evidence the files are.
EVIDENCE = "tunegate.evidence"
#: Tag of a run whose files were all read back as they were written, and of its version: digest of their list.
CONTENTS_SHA256 = "tunegate.contents_sha256"
#: Made for a version after it has a number, and not part of what was evaluated.
ADDED_LATER = "comparison/"
NOT_AS_REGISTERED = "restore the artifact store from a backup, or serve another version: tunegate rollback"


def store(
    project: Project,
    client: Any,
    evidence: str,
    sources: Mapping[str, Path],
    tags: dict[str, str],
    digests: Mapping[str, str] | None = None,
) -> Any:
    """Upload a version's files into the run of its evidence, read them back, and return the run.

    Args:
        project: where the experiment is.
        client: MLflow's.
        evidence: digest of the evidence; a run with this digest is gone on with, whole or not.
        sources: artifact path -> local folder.
        tags: further tags of the run.
        digests: of what is to be stored, where they are known already.

    Raises:
        DataContractError: what the store gives back is not what it was given.
        TransientError: the store does not answer.
    """
    found = {tracking.STAGE_TAG: "register", EVIDENCE: evidence}
    run = tracking.find_run(project, client, found)
    if run and CONTENTS_SHA256 in run.data.tags:
        return run
    if run:
        _clear(client, run, tags)
    else:
        name = f"version {evidence[:12]}"
        run = client.create_run(tracking.experiment_id(client, project), run_name=name, tags=found | tags)
    run_id = run.info.run_id
    log.info("register: storing weights and reports, %.0f MiB", sum(map(folder_bytes, sources.values())) / (1 << 20))
    for path, source in sources.items():
        tracking.upload(client, run_id, source, path)
    with TemporaryDirectory() as folder:
        write_json(Path(folder) / CONTENTS, digests or _expected(sources))
        digest = sha256_file(Path(folder) / CONTENTS)
        tracking.upload(client, run_id, Path(folder) / CONTENTS, "")
        read_back(run.info.artifact_uri, Path(folder) / "back", digest)
    client.set_tag(run_id, CONTENTS_SHA256, digest)
    client.set_terminated(run_id)
    return client.get_run(run_id)


def read_back(artifact_uri: str, folder: Path, contents_sha256: str) -> None:
    """Read every file of a version and compare it with the list; a local store is read in place.

    Raises:
        DataContractError: a file is changed, missing or added.
        TransientError: the store does not answer.
    """
    root = tracking.download(artifact_uri, folder)
    expected = _contents(root / CONTENTS, contents_sha256, artifact_uri)
    found = {name: digest for name, digest in file_digests(root).items() if not name.startswith(ADDED_LATER)}
    _require_same(found, expected | {CONTENTS: contents_sha256}, artifact_uri)


def read(artifact_uri: str, path: str, folder: Path, contents_sha256: str, what: str) -> Path:
    """Return a file or folder of a version, checked against the list of its digests.

    Args:
        artifact_uri: of the version's run.
        path: below it: `model`, `reports/gate`.
        folder: where a remote store's copy goes.
        contents_sha256: digest of the list, from the version.
        what: whose files, for the message.

    Raises:
        DataContractError: a file is changed, missing or added since the version was registered.
        TransientError: the store does not answer.
    """
    listed = tracking.download(f"{artifact_uri}/{CONTENTS}", folder)
    expected = _contents(listed, contents_sha256, what)
    found = tracking.download(f"{artifact_uri}/{path}", folder)
    if found.is_file():
        _require_same({path: sha256_file(found)}, {path: expected.get(path, "")}, what)
        return found
    below = f"{path}/"
    _require_same(
        {f"{below}{name}": digest for name, digest in file_digests(found).items()},
        {name: digest for name, digest in expected.items() if name.startswith(below)},
        what,
    )
    return found


def folder_bytes(folder: Path) -> int:
    """Return the size of a folder's files; 0 where there is none."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _clear(client: Any, run: Any, tags: Mapping[str, str]) -> None:
    """Empty a run whose upload was cut off: what lies there may be of another commit, or half a file."""
    log.info("register: an earlier upload was cut off; it is done again")
    for item in client.list_artifacts(run.info.run_id):
        tracking.delete_artifacts(f"{run.info.artifact_uri}/{item.path}")
    for name, value in tags.items():
        client.set_tag(run.info.run_id, name, value)


def _expected(sources: Mapping[str, Path]) -> dict[str, str]:
    """Return {artifact path: SHA-256} of what is to be stored."""
    digests = {path: file_digests(source) for path, source in sources.items()}
    return {f"{path}/{name}": digest for path, files in digests.items() for name, digest in files.items()}


def _contents(path: Path, expected_sha256: str, where: str) -> dict[str, str]:
    """Return the list of digests, itself checked."""
    if not path.is_file() or sha256_file(path) != expected_sha256:
        raise DataContractError(f"{where}: {CONTENTS} is not the one that was registered", NOT_AS_REGISTERED)
    contents: dict[str, str] = read_json(path)
    return contents


def _require_same(found: dict[str, str], expected: dict[str, str], where: str) -> None:
    """Refuse files that differ from the list, by name."""
    if found != expected or not expected:
        names = sorted({name for name, _ in found.items() ^ expected.items()})
        raise DataContractError(
            f"{where}: not as it was registered: {', '.join(names[:5]) or 'empty'}", NOT_AS_REGISTERED
        )
