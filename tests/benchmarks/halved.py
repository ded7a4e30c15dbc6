"""The whole loop here and in an earlier checkout, in turns on one machine: is the wait really shorter, for the same?

    git clone . /tmp/before && git -C /tmp/before checkout COMMIT
    .venv/bin/python tests/benchmarks/halved.py /tmp/before [--rounds 3]

Each turn is a fresh clone that uses this checkout's environments: `tunegate run` from nothing, then once more with
nothing changed. Ratios are now / before, of the same round; the median of the rounds is printed. Exits with 1 where the
two do not come to the same verdict over the same items: a speed that changes what is asked is no speed. Run alone.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tasks.core.files import read_json, read_jsonl
from tasks.core.layout import GATE, HOPS, report_of

ROOT = Path(__file__).parents[2]
CHAIN = Path(__file__).with_name("chain.py")
#: Quantity -> target ratio of the issue this script belongs to.
TARGETS = {"run": 0.5, "evaluate": 0.4, "train": 0.55, "quantize": 0.5, "prepare": 1.0, "unchanged": 0.5, "peak": 1.0}


def fresh(checkout: Path, folder: Path) -> Path:
    """Return a clone of a checkout that uses this one's environments."""
    subprocess.run(["git", "clone", "--quiet", str(checkout), str(folder)], check=True)
    for name in (".venv", ".venv-serve"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "infra/environments/serve.installed", folder / "infra/environments")
    return folder


def chain(folder: Path) -> dict[str, Any]:
    """Run the chain in a folder with its own code and return what chain.py prints."""
    environment = os.environ | {
        "PYTHONPATH": str(folder), "PREFECT_HOME": str(folder / ".tunegate/prefect"), "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PATH": f"{folder}/.venv/bin{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    command = [sys.executable, str(CHAIN), "--folder", str(folder)]
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if report["exit_code"] not in (0, 1):  # 1: the gate's FAIL, a verdict like another
        raise SystemExit(f"{folder}: tunegate run ended with {report['exit_code']}; read {log.name}")
    return report


def outcome(folder: Path) -> dict[str, Any]:
    """Return what both must have in common: the verdict, and the items of each hop."""
    items = {
        hop: sorted((row["suite"], row["item_id"]) for row in read_jsonl(folder / report_of(hop) / "samples.jsonl"))
        for hop in HOPS
    }
    return {"verdict": read_json(folder / GATE / "verdict.json")["verdict"], "items": items}


def measured(checkout: Path, folder: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Return seconds (and GiB) of one turn, and what it came to."""
    whole = chain(fresh(checkout, folder))
    again = chain(folder)
    stages = whole["stages_s"]
    seconds = {
        "run": whole["wall_s"],
        "evaluate": sum(value for name, value in stages.items() if name.startswith("evaluate")),
        **{name: stages[name] for name in ("prepare", "train", "quantize")},
        "unchanged": again["wall_s"],
        "peak": whole["peak_gib"],
    }
    return seconds, outcome(folder)


def main() -> None:
    """Measure in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="checkout of the earlier commit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="folder for the clones and their logs; a temporary one where missing")
    args = parser.parse_args()
    places, same = {"before": args.before.resolve(), "now": ROOT}, True
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in places}
    with tempfile.TemporaryDirectory() as temporary:
        work = args.keep or Path(temporary)
        for number in range(args.rounds):
            found = {}
            # In turns: who goes first finds a cooler machine, or warmer caches.
            for name, place in sorted(places.items(), reverse=number % 2 == 0):
                seconds, found[name] = measured(place, work / f"{name}-{number}")
                taken[name].append(seconds)
                print(f"round {number + 1}, {name}: {json.dumps(seconds)}", file=sys.stderr, flush=True)
            same = same and found["before"] == found["now"]
    print(f"{'':10}{'before':>9}{'now':>9}{'ratio':>7}{'target':>8}")
    for what, target in TARGETS.items():
        before, now = ([one[what] for one in taken[name]] for name in places)
        ratio = statistics.median(b / a for a, b in zip(before, now, strict=True))
        row = f"{statistics.median(before):>9.1f}{statistics.median(now):>9.1f}{ratio:>7.2f}{target:>8.2f}"
        print(f"{what:10}{row}")
    print("same verdict over the same items" if same else "NOT the same verdict over the same items")
    raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
