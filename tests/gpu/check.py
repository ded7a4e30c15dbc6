"""`make gpu-check`: the tests that need a GPU, on one card and within eight minutes; one line where there is none."""

import subprocess
import sys
from pathlib import Path

from tasks.core.gpus import find_gpus

FOLDER = Path(__file__).parent
LIMIT_S = 480


def main() -> int:
    """Return the exit code of pytest, 0 where there is no GPU, 124 where the time is up."""
    gpus = find_gpus()
    if not gpus:
        print("gpu-check: skipped, nvidia-smi reports no GPU on this machine")
        return 0
    names = ", ".join(f"GPU {gpu.index} {gpu.name}" for gpu in gpus)
    print(f"gpu-check: {names}; one is used, two where several train", flush=True)
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-rs", "--durations=0", str(FOLDER)]
    try:
        return subprocess.run(command, cwd=FOLDER.parents[1], timeout=LIMIT_S, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"gpu-check: not done after {LIMIT_S // 60} minutes")
        return 124


if __name__ == "__main__":
    sys.exit(main())
