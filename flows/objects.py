"""Outputs of stages to and from a DVC remote, by DVC's own hashes: what arrives whole is used, nothing else.

By DVC's library and not its command: one import for all that a stage moves, and bytes can be counted. Objects are
asked for one by one, without DVC's index of what a remote had last time: it would take a half-pushed output for whole.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import yaml

from tasks.core.errors import ConfigError, DataContractError, MissingToolError, TransientError
from tasks.core.files import write_text

MIB = 2**20
#: DVC's package for each kind of address that it cannot reach by itself.
PACKAGES = {"s3": "dvc-s3", "ssh": "dvc-ssh", "gs": "dvc-gs", "azure": "dvc-azure", "oss": "dvc-oss"}


#: Whose errors are the remote's.
CLIENTS = frozenset({"dvc_objects", "dvc_data", "dvc_s3", "dvc_ssh", "botocore", "aiobotocore", "aiohttp", "asyncssh"})


@dataclass(frozen=True)
class Moved:
    """What went over a remote.

    Args:
        objects: how many files and folder lists; what was there already is not moved.
        size: their bytes.
        seconds: how long it took, the questions what is there included.
    """

    objects: int
    size: int
    seconds: float

    def __str__(self) -> str:
        rate = f", {self.size / MIB / self.seconds:.1f} MiB/s" if self.size > MIB and self.seconds > 0 else ""
        return f"{self.objects} objects, {self.size / MIB:.1f} MiB in {self.seconds:.1f} s{rate}"


def inputs_of(repo: Any, name: str) -> tuple[dict[str, Any], list[str]]:
    """Return what a stage needs that no commit has.

    Args:
        repo: DVC's, open.
        name: of the stage.

    Returns:
        {path: output that a cache holds}, and the stages, in order, whose output is kept in no cache and is made where
        it is used; what those need is among the first.
    """
    stage = _stage(repo, name)
    cached: dict[str, Any] = {}
    made: list[str] = []
    for out in _read_by(repo, stage):
        if out.use_cache:
            cached[out.fs_path] = out
            continue
        deeper, earlier = inputs_of(repo, out.stage.name)
        cached |= deeper
        made += [one for one in (*earlier, out.stage.name) if one not in made]
    return cached, made


def _stage(repo: Any, name: str) -> Any:
    """Return a stage of dvc.yaml; DVC's own look-up goes by the directory this process is in.

    Raises:
        ConfigError: dvc.yaml has no such stage.
    """
    for stage in repo.index.stages:
        if getattr(stage, "name", None) == name:
            return stage
    raise ConfigError(
        f"{repo.root_dir} has no stage {name} in dvc.yaml", "is the commit older than this worker's code?"
    )


def _read_by(repo: Any, stage: Any) -> Iterator[Any]:
    """Yield each output of the project, a stage's or one that was added by hand, of which a stage reads any part."""
    reads = [PurePath(dep.fs_path) for dep in stage.deps if dep.protocol == "local"]
    for out in repo.index.outs:
        path = PurePath(out.fs_path)
        if any(path.is_relative_to(read) or read.is_relative_to(path) for read in reads):
            yield out


def outputs_of(repo: Any, name: str) -> list[Any]:
    """Return the outputs of a stage that a cache holds."""
    stage = _stage(repo, name)
    return [out for out in stage.outs if out.use_cache]


def remote_of(repo: Any, name: str) -> Any:
    """Return a remote of the folder's DVC settings.

    Raises:
        ConfigError: there is none of this name, or it keeps files by name and not by hash.
        MissingToolError: DVC's package for its kind of address is not installed.
    """
    from dvc.config import RemoteNotFoundError
    from dvc.fs import RemoteMissingDepsError

    try:
        remote = repo.cloud.get_remote(name)
    except RemoteNotFoundError as error:
        raise ConfigError(
            f"hand_over.remote: {repo.root_dir} has no DVC remote called {name!r}",
            f"there: dvc remote add --local {name} <address>; it must be the same place on every machine",
        ) from error
    except (RemoteMissingDepsError, ImportError) as error:
        url = str(repo.config["remote"][name.lower()]["url"])
        package = PACKAGES.get(url.partition("://")[0], "dvc's package for it")
        raise MissingToolError(
            f"hand_over.remote: {name} is at {url.partition('://')[0]}://, and {package} is not installed",
            f".venv/bin/uv pip install --python .venv/bin/python -c infra/environments/pipeline.lock {package}",
        ) from error
    if remote.fs.version_aware or remote.worktree:
        raise ConfigError(f"hand_over.remote: {name} keeps files by name", "a remote without version_aware, worktree")
    return remote


def push(repo: Any, remote: Any, outs: Iterable[Any]) -> Moved:
    """Send outputs to a remote: files first, then the list of their folder, so that a list means a whole folder.

    Raises:
        DataContractError: dvc.lock has no hash of one, or the cache has it only in part, and so has the remote.
        TransientError: the remote does not take them.
    """
    from dvc_data.hashfile.transfer import transfer

    began, cache, lost = time.monotonic(), repo.cache.local, set()
    wanted = _with_files(cache, _hashes(outs))
    with _reached(remote):
        done = transfer(cache, remote.odb, wanted, cache_odb=cache,
                        validate_status=lambda status: lost.update(status.missing))  # fmt: skip
    if lost:
        raise _lost(f"{_names(outs)}: {len(lost)} objects are neither in the cache nor on remote {remote.name}")
    if done.failed:
        raise _not_moved(remote, f"{_names(outs)}: {len(done.failed)} objects could not be sent")
    return Moved(len(done.transferred), _size(cache, done.transferred), time.monotonic() - began)


def fetch(repo: Any, remote: Any, outs: Iterable[Any]) -> Moved:
    """Bring outputs from a remote into the cache, each object held to its hash, and lay them out in the folder.

    What the remote has under a hash that is not its content's (cut off, or damaged) is of no use to anybody: it is
    deleted there, so that the next push sends it again.

    Raises:
        DataContractError: dvc.lock has no hash of one.
        TransientError: something is missing or damaged: nothing of it is used.
    """
    outs, began = list(outs), time.monotonic()
    moved = _bring(repo, remote, _hashes(outs), _names(outs))
    if outs:
        repo.checkout(targets=[out.fs_path for out in outs], force=True)
    return Moved(len(moved), _size(repo.cache.local, moved), time.monotonic() - began)


def fetch_recorded(repo: Any, remote: Any, name: str) -> bool:
    """Bring what the remote's run-cache has of a stage with exactly these inputs, and return whether it has it whole.

    Then DVC finds it when it is asked to run the stage: a worker that was lost after it had pushed costs nothing.
    """
    stage = _stage(repo, name)
    stage.save_deps()
    there, here = _record_folders(repo, remote, stage)
    if there is None or here.is_dir():
        return False
    with _reached(remote):
        found = list(remote.fs.find(there)) if remote.fs.exists(there) else []
        texts = {remote.fs.name(path): remote.fs.read_text(path, encoding="utf-8") for path in found}
    for entry, text in texts.items():
        try:
            _bring(repo, remote, _recorded_hashes(text), name)
        except (TransientError, yaml.YAMLError, LookupError, TypeError):
            # Half of an entry, or of what it names: DVC runs the stage.
            continue
        # Last: where DVC finds an entry, it takes what it names for there.
        write_text(here / entry, text)
        return True
    return False


def push_recorded(repo: Any, remote: Any, name: str) -> None:
    """Send the run-cache's entry of a stage as it is recorded in dvc.lock; after its outputs, which it names."""
    stage = _stage(repo, name)
    there, here = _record_folders(repo, remote, stage)
    if there is None or not here.is_dir():
        return
    with _reached(remote):
        for path in sorted(here.iterdir()):
            target = remote.fs.join(there, path.name)
            if not remote.fs.exists(target):
                remote.fs.makedirs(there)
                remote.fs.put_file(str(path), target)


def _record_folders(repo: Any, remote: Any, stage: Any) -> tuple[Any, Path]:
    """Return where the run-cache keeps a stage with its present inputs: on the remote (None: nowhere) and here."""
    # Nothing public tells the key: DVC 3.67 pushes and pulls the run-cache of all stages that ever ran.
    from dvc.stage.cache import _can_hash, _get_stage_hash

    if not _can_hash(stage) or any(not out.use_cache for out in stage.outs):
        return None, Path()
    key = _get_stage_hash(stage)
    parts = ("runs", key[:2], key)
    return remote.fs.join(remote.path, *parts), Path(repo.cache.legacy.path, *parts)


def _recorded_hashes(text: str) -> set[Any]:
    """Return the hashes of the outputs in an entry of the run-cache."""
    from dvc_data.hashfile.hash_info import HashInfo

    return {HashInfo("md5", out["md5"]) for out in yaml.safe_load(text)["outs"]}


def _hashes(outs: Iterable[Any]) -> set[Any]:
    """Return the hashes of outputs by dvc.lock.

    Raises:
        DataContractError: one has none.
    """
    outs = list(outs)
    for out in outs:
        if not out.hash_info:
            raise DataContractError(f"{_names([out])}: dvc.lock has no entry of it", "run the stages before it first")
    return {out.hash_info for out in outs}


def _bring(repo: Any, remote: Any, wanted: set[Any], what: str) -> set[Any]:
    """Bring objects into the cache and return those that were moved; folders' lists first, they name the files.

    Raises:
        TransientError: not all of it is there, and as its hash says.
    """
    cache = repo.cache.local
    moved = _bring_some(cache, remote, {one for one in wanted if one.isdir}, what)
    return moved | _bring_some(cache, remote, _with_files(cache, wanted), what)


def _bring_some(cache: Any, remote: Any, wanted: set[Any], what: str) -> set[Any]:
    """Bring objects that the cache has not, hold each to its hash, and return those.

    Raises:
        TransientError: one cannot be had, or is not what its hash says.
    """
    lacking = {one.value for one in wanted} - set(cache.oids_exist([one.value for one in wanted]))
    if not lacking:
        return set()
    oids, failed = sorted(lacking), dict[str, BaseException]()
    paths = [remote.odb.oid_to_path(oid) for oid in oids]
    # Not DVC's `transfer`: it looks into a folder's list before anybody has checked that.
    with _reached(remote):
        cache.add(paths, remote.odb.fs, oids, verify=True, check_exists=False, batch_size=remote.odb.fs.jobs,
                  on_error=failed.__setitem__)  # fmt: skip
    # DVC drops what does not keep its hash, without a word.
    damaged = lacking - set(cache.oids_exist(oids)) - set(failed)
    for oid in damaged:
        remote.odb.delete(oid)
    if failed or damaged:
        why = f" ({next(iter(failed.values()))})" if failed else ""
        raise _not_moved(
            remote,
            f"{what}: of {len(oids)} objects {len(failed)} could not be read{why}, {len(damaged)} were cut off or "
            "damaged (deleted there); nothing of it is used",
        )
    return {one for one in wanted if one.value in lacking}


@contextmanager
def _reached(remote: Any) -> Iterator[None]:
    """Turn what DVC, its file systems and their clients raise into one kind of error.

    Raises:
        TransientError: the remote cannot be reached, or refuses.
    """
    from dvc.exceptions import DvcException

    try:
        yield
    except Exception as error:
        package = type(error).__module__.partition(".")[0]
        if not (isinstance(error, OSError | DvcException) or package in CLIENTS):
            raise
        raise _not_moved(remote, f"{type(error).__name__}: {error}") from error


def _with_files(cache: Any, hashes: set[Any]) -> set[Any]:
    """Return hashes with those of the files in each folder, by its list in the cache.

    Raises:
        DataContractError: a list is not there, or no list.
    """
    from dvc_data.hashfile.tree import Tree
    from dvc_objects.errors import ObjectFormatError

    found = set(hashes)
    for one in hashes:
        if one.isdir:
            try:
                found |= {file for _, _, file in Tree.load(cache, one)}
            except (FileNotFoundError, ObjectFormatError) as error:
                raise _lost(f"the list of folder {one.value} is not in the cache") from error
    return found


def _size(cache: Any, hashes: Iterable[Any]) -> int:
    """Return how many bytes objects of a cache have."""
    return sum(Path(cache.oid_to_path(one.value)).stat().st_size for one in hashes)


def _names(outs: Iterable[Any]) -> str:
    """Return outputs by their paths in the project."""
    return ", ".join(str(out.def_path) for out in outs)


def _lost(said: str) -> DataContractError:
    """Return the error for an output that dvc.lock names and no cache has."""
    return DataContractError(said, "make it again: dvc repro --force --single-item <the stage that writes it>")


def _not_moved(remote: Any, said: str) -> TransientError:
    """Return the error for objects that did not go over a remote."""
    return TransientError(f"DVC remote {remote.name}: {said}", f"the next try sends them again; dvc status --cloud "
                          f"--remote {remote.name} compares")  # fmt: skip
