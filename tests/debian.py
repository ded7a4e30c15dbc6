"""Programs that no package index has, from Debian's packages: unpacked into a folder, not installed."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def unpacked(what: str, packages: Sequence[str], folder: Path) -> dict[str, str]:
    """Unpack packages below a folder and return the environment their programs need; skips where none are to be had.

    Args:
        what: what they are, for the reason of a skip.
        packages: their names.
        folder: gets `usr/bin` and the like.
    """
    if not shutil.which("apt-get"):
        pytest.skip(f"neither {what} nor apt-get is here")
    got = subprocess.run(["apt-get", "download", *packages], cwd=folder, capture_output=True, check=False, timeout=300)
    files = list(folder.glob("*.deb"))
    if got.returncode or not files:
        pytest.skip(f"Debian's package of {what} cannot be had here")
    for file in files:
        subprocess.run(["dpkg-deb", "-x", file, folder], check=True)
    libraries = ":".join(str(path) for path in (folder / "usr/lib").glob("*-linux-gnu"))
    return dict(os.environ) | {"LD_LIBRARY_PATH": libraries}
