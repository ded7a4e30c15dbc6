"""The whole chain as one command: wall time, share of orchestration, peak memory of the process tree.

    python tests/benchmarks/chain.py --folder CLONE

Runs `tunegate run` in a clone whose environments exist (`make setup` there first). A first call measures the whole
chain, a second one the run with nothing changed. Prints one JSON line. Run alone on the machine.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import psutil

SAMPLE_EVERY_S = 0.5


def memory_bytes(root: psutil.Process) -> int:
    """Return the memory of a process and all its descendants; a page that several share counts once in all."""
    return sum(_proportional(process.pid) for process in (root, *root.children(recursive=True)))


def _proportional(pid: int) -> int:
    """Return what the kernel counts as a process's own share, 0 for one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (OSError, ValueError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def stage_seconds(folder: Path, since: float) -> dict[str, float]:
    """Return the seconds of the stage bodies that ran since a time, as the stages recorded them."""
    records = [path for path in (folder / ".tunegate" / "runs").glob("*.json") if path.stat().st_mtime >= since]
    values = [json.loads(path.read_text()) for path in records]
    return {value["stage"]: value["seconds"] for value in values if "stage" in value}  # the run has a record too


def main() -> None:
    """Run the chain once and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path.cwd(), help="the clone to run in")
    folder = parser.parse_args().folder.resolve()
    began, started, peak = time.time(), time.monotonic(), 0
    process = subprocess.Popen([str(folder / ".venv" / "bin" / "tunegate"), "run"], cwd=folder, stdout=sys.stderr)
    while process.poll() is None:
        peak = max(peak, memory_bytes(psutil.Process(process.pid)))
        time.sleep(SAMPLE_EVERY_S)
    wall_s = time.monotonic() - started
    bodies = stage_seconds(folder, began)
    report = {
        "exit_code": process.returncode,
        "wall_s": round(wall_s, 1),
        "stages_s": bodies,
        "stage_bodies_s": round(sum(bodies.values()), 1),
        "peak_gib": round(peak / 2**30, 2),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
