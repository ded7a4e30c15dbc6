"""A version in one file that proves itself anywhere: files, record, approvals and withdrawals in a tar archive.

Weights may be left out: their manifest is in it, and the record names each of them. Reading one trusts nothing in it:
only plain files under known names are taken, and none twice.
"""

import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from tasks.core.digest import sha256_file
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_json
from tasks.proof.chain import Link, Policy, Proof, examine
from tasks.proof.envelope import IN_TOTO, content
from tasks.proof.record import RECORD
from tasks.proof.stored import read_signed, write_signed
from tasks.proof.trust import Trust

MODEL, SIGNED = "model", "signed"
PARTS = ("release", "reports", "checkout", MODEL, SIGNED)
MANIFEST = "manifest.json"


def write_bundle(target: Path, parts: Mapping[str, Path], proof: Proof, *, weights: bool) -> None:
    """Write a version into one file; the same version gives the same bytes.

    Args:
        parts: first part of the files' paths -> its folder: release, reports, checkout, model.
        weights: whether the weights go with it.

    Raises:
        ConfigError: the file is there already.
    """
    if target.exists():
        raise ConfigError(f"{target} exists already", "name another file")
    partial = target.with_name(f".{target.name}.partial")
    with TemporaryDirectory() as folder, tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as archive:
        write_signed(Path(folder), proof)
        for part, place in sorted({**parts, SIGNED: Path(folder)}.items()):
            for path in sorted(place.rglob("*")):
                name = path.relative_to(place).as_posix()
                if path.is_file() and (part != MODEL or weights or name == MANIFEST):
                    _add(archive, f"{part}/{name}", path)
    partial.replace(target)


@contextmanager
def opened_bundle(path: Path) -> Iterator[tuple[Proof, dict[str, Path], bool]]:
    """Give what was signed, the folders of the files, and whether the weights are among them.

    Raises:
        DataContractError: it is no bundle, or holds something else than plain files under known names.
    """
    with TemporaryDirectory() as folder:
        root = Path(folder)
        for part in PARTS:
            (root / part).mkdir()
        _extract(path, root)
        parts = {part: root / part for part in PARTS if part != SIGNED}
        record = root / RECORD
        proof = read_signed(root / SIGNED, read_json(record) if record.is_file() else None)
        has_weights = any(one.is_file() and one.name != MANIFEST for one in parts[MODEL].rglob("*"))
        yield proof, parts, has_weights


def bundle_links(path: Path, trust: Trust, policy: Policy) -> list[Link]:
    """Return the chain of a version in a bundle."""
    try:
        with opened_bundle(path) as (proof, parts, has_weights):
            return links_of(proof, parts, trust, policy, weights=has_weights)
    except DataContractError as error:
        return [Link("bundle", False, error.message)]


def links_of(proof: Proof, parts: Mapping[str, Path], trust: Trust, policy: Policy, *, weights: bool) -> list[Link]:
    """Return the chain of an opened bundle."""
    links = examine(proof, trust, policy, parts=parts, weights=weights)
    if links[0].holds and not weights:
        links.insert(1, _left_out(proof, parts[MODEL]))
    return links


def _left_out(proof: Proof, model: Path) -> Link:
    """Return the link of weights that did not travel: their manifest did, and is the one of the record."""
    manifest = model / MANIFEST
    named = content(proof.record, IN_TOTO)["predicate"]["digests"].get("weights")
    if not manifest.is_file() or sha256_file(manifest) != named:
        return Link("weights", False, "their manifest is missing or is not the one of the record")
    return Link("weights", True, "not in the bundle; their manifest is as in the record")


def _add(archive: tarfile.TarFile, name: str, path: Path) -> None:
    """Add a file without owner, time or mode of this machine."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = path.stat().st_size, 0o644
    with path.open("rb") as stream:
        archive.addfile(entry, stream)


def _extract(path: Path, root: Path) -> None:
    """Take plain files out of an archive."""
    seen: set[str] = set()
    try:
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                _require_plain(entry, seen)
                target = root / entry.name
                target.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(entry)
                assert source is not None
                _copy(source, target)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DataContractError(f"{path} is no bundle: {error}", "tunegate bundle VERSION --to FILE") from error


def _require_plain(entry: tarfile.TarInfo, seen: set[str]) -> None:
    """Refuse an entry that is no plain file under a known name, or stands twice."""
    name = PurePosixPath(entry.name)
    plain = entry.isreg() and not name.is_absolute() and ".." not in name.parts and len(name.parts) > 1
    if not plain or name.parts[0] not in PARTS or str(name) != entry.name or entry.name in seen:
        raise DataContractError(f"it holds {entry.name[:200]!r}, which belongs to no bundle")
    seen.add(entry.name)


def _copy(source: Any, target: Path) -> None:
    """Write a stream to a file."""
    with target.open("xb") as stream:
        while piece := source.read(io.DEFAULT_BUFFER_SIZE * 128):
            stream.write(piece)
