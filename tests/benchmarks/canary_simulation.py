"""How often is a rollout wrong? 2,000 simulated rollouts of every truth in every shipped profile, or `--runs N`.

    .venv/bin/python tests/benchmarks/canary_simulation.py

Prints how often an equal model is aborted, how often a loss of two margins is caught, and after how many requests, then
one JSON line; ends with 1 where an equal model is aborted in more than 5 % or a loss caught in less than 95 %.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from tasks.core.settings import load_settings
from tasks.serving.rollout.simulation import rollout_words, simulate_rollouts

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Simulate every profile; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--requests-per-minute", type=float, default=60.0)
    asked = parser.parse_args()
    found = {}
    for path in sorted((ROOT / "infra/profiles").glob("*.yaml")):
        started = time.monotonic()
        rates = simulate_rollouts(load_settings(path).promote.rollout, rollouts=asked.runs, seed=asked.seed,
                                  requests_per_minute=asked.requests_per_minute)  # fmt: skip
        seconds = round(time.monotonic() - started, 1)
        sys.stdout.write(f"profile {path.stem}, {seconds} s\n{rollout_words(rates)}\n\n")
        found[path.stem] = {"ok": rates["ok"], "seconds": seconds, "equal": rates["equal"],
                            "least_caught": min(row["caught"] for row in rates["losses"])}  # fmt: skip
    sys.stdout.write(f"{json.dumps({'runs': asked.runs, 'profiles': found}, sort_keys=True)}\n")
    return 0 if all(rates["ok"] for rates in found.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
