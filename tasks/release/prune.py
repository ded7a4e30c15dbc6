"""Old versions' weights deleted to free disk; what was found out about them stays."""

import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.core import tracking
from tasks.core.errors import DataContractError
from tasks.core.project import Project
from tasks.release.checkout import LOCK
from tasks.release.history import champions_before, read_history
from tasks.release.kept import drop_unnamed
from tasks.release.registry import CHECKOUT, MODEL, Registry, Version
from tasks.release.version_files import folder_bytes
from tasks.serving import control

log = logging.getLogger(__name__)


@tracking.answering()
def prune(project: Project, registry: Registry, *, keep: int, dry_run: bool = False) -> dict[str, Any]:
    """Delete the weights of old versions: in the artifact store, in local copies, in the kept objects.

    Never touched: champion, every version a rollback can go back to, what the host serves or tries, the newest `keep`.
    Reports, verdict, approvals and history of a pruned version stay; it can be restored and made again.

    Args:
        project: where the local copies are.
        registry: where the versions are.
        keep: how many of the newest versions keep their weights whatever they are.
        dry_run: only say what would be deleted.

    Returns:
        {"pruned": [numbers], "kept": {number: why}, "freed_bytes", "dry_run"}.

    Raises:
        DataContractError: the history is damaged: which version a rollback needs is not known.
        TransientError: MLflow, its artifact store or the host does not answer.
    """
    versions = registry.versions()
    needed = _needed(project, registry, versions, keep)
    old = [version for version in versions if version.number not in needed and not version.pruned]
    freed = 0
    sources = {version.source for version in versions if version.number in needed}
    for version in old:
        freed += _forget(project, registry, version, shared=version.source in sources, dry_run=dry_run)
    if old and not dry_run:
        remaining = [version for version in versions if version.number in needed]
        freed += drop_unnamed(project, [*_locks(project, registry, remaining), project.root / LOCK])
    return {"pruned": [version.number for version in old], "kept": needed, "freed_bytes": freed, "dry_run": dry_run}


def pruned_words(found: dict[str, Any]) -> str:
    """Return what was deleted as text for a person."""
    what = "would delete" if found["dry_run"] else "deleted"
    numbers = ", ".join(found["pruned"]) or "none"
    lines = [f"{what} the weights of versions: {numbers} ({found['freed_bytes'] / (1 << 20):.0f} MiB)"]
    lines += [f"  version {number} stays: {why}" for number, why in found["kept"].items()]
    return "\n".join(lines)


def _needed(project: Project, registry: Registry, versions: list[Version], keep: int) -> dict[str, str]:
    """Return the versions that must keep their weights, and why."""
    needed = dict.fromkeys((version.number for version in versions[-keep:]), f"one of the newest {keep}")
    needed |= dict.fromkeys(champions_before(read_history(registry)), "a rollback can go back to it")
    if (host := control.host_status(project)) and host["version"]:
        needed[str(host["version"])] = "it is being served"
    if host and host["rollout"]:
        needed[str(host["rollout"]["version"])] = "it is being tried"
    if champion := registry.champion():
        needed[champion.number] = "it is the champion"
    known = {version.number for version in versions}
    return {number: why for number, why in sorted(needed.items(), key=lambda item: int(item[0])) if number in known}


def _forget(project: Project, registry: Registry, version: Version, *, shared: bool, dry_run: bool) -> int:
    """Delete one version's weights and local copies, and return their size in bytes."""
    places = [project.state / "serving" / kind / version.number for kind in ("models", "evidence")]
    root = registry.client.get_run(version.run_id).info.artifact_uri if version.run_id else None
    own = root if root and version.contents_sha256 and not shared else None
    size = sum(folder_bytes(place) for place in places)
    size += sum(_listed(registry, version, MODEL)) if own else 0
    if dry_run:
        return size
    # The mark first: a version without weights must never look as if it had them.
    registry.tag(version.number, "pruned", datetime.now(UTC).isoformat(timespec="seconds"))
    for place in places:
        shutil.rmtree(place, ignore_errors=True)
    if own:
        tracking.delete_artifacts(f"{own}/{MODEL}")
    else:
        # An older release's versions share their place, and so do copies made in MLflow: one may be the champion.
        log.warning("version %s shares its place with others: its weights stay in the artifact store", version.number)
    return size


def _listed(registry: Registry, version: Version, path: str) -> list[int]:
    """Return the sizes of a version's files below a path of its run."""
    items = registry.client.list_artifacts(version.run_id, path)
    return [size for item in items for size in
            (_listed(registry, version, item.path) if item.is_dir else [item.file_size or 0])]  # fmt: skip


def _locks(project: Project, registry: Registry, versions: list[Version]) -> list[Path]:
    """Return where the dvc.lock of each version is, if it has one."""
    found = []
    for version in versions:
        if version.contents_sha256:
            place = project.state / "serving" / "evidence" / version.number
            try:
                found.append(registry.files(version, CHECKOUT, place) / LOCK)
            except DataContractError as error:
                message = f"what versions were made from was left whole: {error.message}"
                raise DataContractError(message, error.hint) from error
    return found
