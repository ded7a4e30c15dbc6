"""Content digests: the same bytes give the same name on every machine."""

import hashlib
import json
from pathlib import Path
from typing import Any

CHUNK_BYTES = 1 << 20


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of one file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def file_digests(root: Path, *, skip: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return {relative posix path: SHA-256} of every file under `root`, sorted, without the relative paths in `skip`.

    Bytecode caches are no content and are left out.
    """
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in skip and "__pycache__" not in path.parts:
            found[name] = sha256_file(path)
    return found


def sha256_tree(path: Path) -> str:
    """Return one digest for a file or for a folder's names and bytes."""
    return sha256_file(path) if path.is_file() else sha256_json(file_digests(path))


def sha256_json(value: Any) -> str:
    """Return the hex SHA-256 of a JSON value in canonical form (sorted keys, UTF-8, no spaces)."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()
