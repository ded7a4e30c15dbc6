"""What `prepare` costs a row here and in another checkout of this project: processor time, side by side in one run.

    git clone . /tmp/before && git -C /tmp/before checkout COMMIT
    .venv/bin/python tests/benchmarks/prepare_beside.py /tmp/before [--rows 8000] [--times 3]

Both prepare the same generated rows (million_rows.py), one process each, in turns; the time for 200 rows is taken off,
so that starting does not count. Processor time of the process and its children: other work disturbs it little.
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from million import ROOT, project
from million_rows import write

FEW = 200
COMMAND = "from tasks.cli.main import main; main()"


def seconds_of(checkout: Path, rows: Path, folder: Path) -> float:
    """Return the processor time of `prepare` over rows, by the code of a checkout."""
    project(folder)
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(checkout / name, folder / name)
    for name in ("tasks", "infra"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(checkout / name)
    shutil.copytree(rows, folder / "data/raw/instructions")
    environment = os.environ | {
        "PYTHONPATH": str(checkout), "TUNEGATE_DATA_PROCESSES": "1", "TUNEGATE_ROOT": str(folder), "DO_NOT_TRACK": "1",
    }  # fmt: skip
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", COMMAND, "stage", "prepare"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"prepare of {checkout} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print microseconds a row and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="another checkout")
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--times", type=int, default=3)
    args = parser.parse_args()
    places = {"before": args.before.resolve(), "now": ROOT}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for size in (FEW, args.rows):
            write(size, folder / f"rows-{size}")
        taken: dict[str, list[float]] = {name: [] for name in places}
        for name, place in places.items():  # the first run puts the tokenizer in place
            seconds_of(place, folder / f"rows-{FEW}", folder / name)
        for _ in range(args.times):
            for name, place in places.items():
                few, many = (seconds_of(place, folder / f"rows-{size}", folder / name) for size in (FEW, args.rows))
                taken[name].append(1e6 * (many - few) / (args.rows - FEW))
    for name, found in taken.items():
        print(f"{name:8}{statistics.median(found):8.0f} us a row   {', '.join(f'{one:.0f}' for one in found)}")
    print(f"ratio   {statistics.median(taken['now']) / statistics.median(taken['before']):8.2f}")


if __name__ == "__main__":
    main()
