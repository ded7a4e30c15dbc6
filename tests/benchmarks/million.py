"""The data room at size: time, rate and peak memory of prepare and validate, and of the obvious alternative.

    .venv/bin/python tests/benchmarks/million.py [--rows 100000 1000000] [--folder FOLDER] [--json]

Rows of about 1 KB, mixed languages and formats, 5 % duplicates, 2 % with personal data, leaks, damage: million_rows.py.
`tunegate stage prepare` and `tunegate stage validate` run as they are, in a project folder made for it, all rules on,
on every core; a run over few rows before puts the base model's tokenizer in place, once a machine. The alternative
(million_plain.py: pandas, datasketch, regular expressions, one process) gets the rows of our smallest run. Memory is
the resident memory of the process tree, sampled; pages that processes share count once for each. Run alone on the
machine. datasketch is no dependency of the project: uv pip install --python .venv/bin/python datasketch
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml
from chain import memory_bytes
from million_rows import PACKS, write

ROOT = Path(__file__).parents[2]
SAMPLE_EVERY_S = 0.25
WARM_UP_ROWS = 300


def project(folder: Path) -> Path:
    """Return a project folder: the settings of this one but for limits that invented rows would break."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    (folder / "data" / "raw").mkdir(parents=True)
    shutil.copytree(ROOT / "data/raw/eval", folder / "data/raw/eval")
    shutil.copy(ROOT / "dvc.yaml", folder)
    # A stage refuses to start without the code that decides its output.
    for name in ("tasks", "infra"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(ROOT / name)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    # The laptop model has three tokens a Chinese character: at its 512 tokens half the rows would leave early.
    params["train"]["max_length_tokens"] = 8192
    params["validate"] |= {"min_train_rows": 100, "max_dropped_fraction": 0.2, "max_quarantined_fraction": 0.2,
                           "answer_characters": [1, 20000]}  # fmt: skip
    (folder / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), encoding="utf-8")
    return folder


def measured(command: list[str], folder: Path) -> dict[str, Any]:
    """Run a command; return its wall time, peak memory, exit code and last line of output."""
    started, peak = time.monotonic(), 0
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, env=os.environ | {"DO_NOT_TRACK": "1"})
        while process.poll() is None:
            peak = max(peak, memory_now(process.pid))
            time.sleep(SAMPLE_EVERY_S)
        seconds = time.monotonic() - started
        output.seek(0)
        lines = output.read().decode().splitlines()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode} in {folder}; its messages are above")
    return {"seconds": round(seconds, 1), "peak_gib": round(peak / 2**30, 2), "result": json.loads(lines[-1])}


def memory_now(process: int) -> int:
    """Return the memory of a process tree, 0 where it has just ended."""
    try:
        return memory_bytes(psutil.Process(process))
    except psutil.NoSuchProcess:
        return 0


def ours(folder: Path, rows: int) -> dict[str, Any]:
    """Return the figures of prepare and validate over so many rows."""
    project(folder)
    planted = write(rows, folder / "data/raw/instructions")
    size = sum(path.stat().st_size for path in (folder / "data/raw/instructions").iterdir())
    tunegate = [str(Path(sys.executable).parent / "tunegate"), "stage"]
    stages = {name: measured([*tunegate, name], folder) for name in ("prepare", "validate")}
    seconds = sum(stage["seconds"] for stage in stages.values())
    summary = json.loads((folder / "data/prepared/summary.json").read_text(encoding="utf-8"))
    return {
        "rows": rows,
        "mib": round(size / 2**20),
        "seconds": round(seconds, 1),
        "rows_a_second": round(rows / seconds),
        "peak_gib": max(stage["peak_gib"] for stage in stages.values()),
        "stages": {name: {"seconds": one["seconds"], "peak_gib": one["peak_gib"]} for name, one in stages.items()},
        "planted": planted,
        "reasons": summary["reasons"],
    }


def plain(folder: Path, rows: int) -> dict[str, Any]:
    """Return the figures of the alternative over the rows that lie in a project folder."""
    script = str(Path(__file__).with_name("million_plain.py"))
    packs = [str(path) for path in PACKS.values()]
    figures = measured([sys.executable, script, "data/raw/instructions", *packs, "plain.jsonl"], folder)
    return {
        "rows": rows,
        "seconds": figures["seconds"],
        "rows_a_second": round(rows / figures["seconds"]),
        "peak_gib": figures["peak_gib"],
        "fates": figures["result"],
    }


def measure(sizes: list[int], beside: bool, folder: Path) -> dict[str, Any]:
    """Return the figures of every size, and those of the alternative over the rows of the smallest."""
    ours(folder, WARM_UP_ROWS)
    report: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "runs": []}
    for rows in sorted(sizes):
        report["runs"].append(ours(folder, rows))
        if beside and rows == min(sizes):
            report["plain"] = plain(folder, rows)
            report["times_faster"] = round(report["plain"]["seconds"] / report["runs"][0]["seconds"], 2)
    for small, large in zip(report["runs"], report["runs"][1:], strict=False):
        large["times_the_rows"] = round(large["rows"] / small["rows"], 2)
        large["times_the_seconds"] = round(large["seconds"] / small["seconds"], 2)
    return report


def written(report: dict[str, Any]) -> str:
    """Return the report as text."""
    lines = [f"{'':12}{'rows':>10}{'MiB':>8}{'seconds':>10}{'rows/s':>9}{'peak GiB':>10}   stages"]

    def line(name: str, one: dict[str, Any]) -> str:
        stages = ", ".join(f"{stage} {figures['seconds']} s" for stage, figures in one.get("stages", {}).items())
        return (
            f"{name:12}{one['rows']:>10,}{one.get('mib', ''):>8}{one['seconds']:>10}{one['rows_a_second']:>9,}"
            f"{one['peak_gib']:>10}   {stages}"
        )

    if alternative := report.get("plain"):
        lines.append(line("alternative", alternative))
        lines.append(
            f"the alternative takes {report['times_faster']} times as long over the same rows; {alternative['fates']}"
        )
    for one in report["runs"]:
        lines.append(line("ours", one))
        if "times_the_rows" in one:
            lines.append(f"{one['times_the_rows']} times the rows, {one['times_the_seconds']} times the time")
        lines += [f"  planted {one['planted']}", f"  found {one['reasons']}"]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="sizes of our runs")
    parser.add_argument("--no-plain", action="store_true", help="leave the alternative out")
    parser.add_argument("--folder", type=Path, help="where the rows go (some 6 GB for a million); kept if given")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunegate-million-") as scratch:
        folder = (arguments.folder or Path(scratch)).resolve()
        report = measure(arguments.rows, not arguments.no_plain, folder)
    sys.stdout.write(json.dumps(report, ensure_ascii=False) + "\n" if arguments.json else written(report))


if __name__ == "__main__":
    main()
