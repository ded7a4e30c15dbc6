"""How often would each shipped profile's rules be wrong? 2,000 simulated runs a profile, or `--runs N`.

    .venv/bin/python tests/benchmarks/gate_simulation.py

Prints false-block and false-pass rates of every profile, then one JSON line; ends with 1 where a rate is above 5 %.
Assumed items and spreads: tasks/gate/assumptions.json.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from tasks.core.settings import load_settings
from tasks.gate.simulation import simulate_families, simulation_words

ROOT = Path(__file__).parents[2]


def main() -> int:
    """Simulate every profile; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rates = {}
    for path in sorted((ROOT / "infra/profiles").glob("*.yaml")):
        started = time.monotonic()
        found = simulate_families(load_settings(path), ROOT, reports=None, runs=asked.runs, seed=asked.seed)
        rates[path.stem] = {
            "ok": found["ok"],
            "seconds": round(time.monotonic() - started, 1),
            **{
                name: {
                    "false_block": family["false_block"],
                    "largest_false_pass": max((rule["false_pass"] for rule in family["rules"]), default=0.0),
                }
                for name, family in found["families"].items()
            },
        }
        sys.stdout.write(f"{simulation_words(found)}\n\n")
    sys.stdout.write(f"{json.dumps({'runs': asked.runs, 'profiles': rates}, sort_keys=True)}\n")
    return 0 if all(found["ok"] for found in rates.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
