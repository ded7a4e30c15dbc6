"""What a hand-over of all stages that need a GPU takes on one host: inputs there, outputs back, over a folder.

    .venv/bin/python tests/benchmarks/hand_over.py [--mib 134]

Two clones of the project of all stages in little (`tests/flows/clones.py`), their outputs filled up to the demo's size
with random bytes, and a folder as the remote. What moves them is the pipeline's own code, integrity checks included;
Prefect's word that an output is there is left out. Prints one JSON line. Exit code 1 above BAR_S.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.objects import fetch, inputs_of, outputs_of, push, push_recorded, remote_of
from flows.repo import opened, read_lock, write_lock
from tasks.core.project import Project
from tasks.stages.table import STAGES, Stage
from tests.flows.clones import REMOTE, STAGE, clone, environment_of, git_environment, make_origin

BAR_S = 15.0
MIB = 2**20
#: How the demo's bytes are divided: the packed model has most of them, the rows are many small files.
FILLED = """
import os
share = {{"quantize": 0.85, "train": 0.1, "prepare": 0.05}}.get(stage.name, 0.0)
many = 200 if stage.name == "prepare" else 2
for number in range(many if share else 0):
    (out / f"{{number}}.bin").write_bytes(os.urandom(int({mib} * 2**20 * share / many)))
"""
BEFORE_MANIFEST = "write_manifest(out, header)\n"


def main() -> int:
    """Make the clones, hand over, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=134, help="of all outputs that are filled")
    mib = parser.parse_args().mib
    os.environ.update(git_environment())
    with TemporaryDirectory() as folder:
        first, second = _clones(Path(folder), mib)
        seconds, size = {}, 0
        for stage in (stage for stage in STAGES if stage.gpu):
            seconds[stage.name], moved = _handed_over(stage, first, second)
            size += moved
    whole = sum(seconds.values())
    each = {name: round(value, 2) for name, value in seconds.items()}
    sys.stdout.write(json.dumps({"seconds": round(whole, 2), "mib": round(size / MIB, 1), "stages_s": each}) + "\n")
    return int(whole > BAR_S)


def _clones(folder: Path, mib: int) -> tuple[Project, Project]:
    """Return a clone in which every stage has run, and one that has nothing."""
    stage = STAGE.replace(BEFORE_MANIFEST, FILLED.format(mib=mib) + BEFORE_MANIFEST)
    origin, remote = make_origin(folder / "项目", REMOTE, stage), folder / "远端"
    first, second = clone(origin, folder / "一", remote), clone(origin, folder / "二", remote)
    subprocess.run(["dvc", "repro", "--quiet"], cwd=first.root, env=environment_of(first), check=True)
    return first, second


def _handed_over(stage: Stage, first: Project, second: Project) -> tuple[float, int]:
    """Send what a stage reads and made, and bring both; return the seconds, and the bytes that arrived."""
    began = time.monotonic()
    _push(first, lambda repo: list(inputs_of(repo, stage.name)[0].values()))
    with opened(second):
        write_lock(second, read_lock(first))
    size = _fetch(second, lambda repo: list(inputs_of(repo, stage.name)[0].values()))
    _push(first, lambda repo: outputs_of(repo, stage.name), stage.name)
    size += _fetch(second, lambda repo: outputs_of(repo, stage.name))
    return time.monotonic() - began, size


def _push(project: Project, chosen: Callable[..., list], recorded: str | None = None) -> None:
    """Send outputs, and the run-cache of the stage that made them."""
    with opened(project) as repo:
        place = remote_of(repo, REMOTE)
        push(repo, place, chosen(repo))
        if recorded:
            push_recorded(repo, place, recorded)


def _fetch(project: Project, chosen: Callable[..., list]) -> int:
    """Bring outputs and return their bytes."""
    with opened(project) as repo:
        return fetch(repo, remote_of(repo, REMOTE), chosen(repo)).size


if __name__ == "__main__":
    sys.exit(main())
