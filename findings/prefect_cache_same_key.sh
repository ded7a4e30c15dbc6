#!/usr/bin/env bash
# prefect 3.8.8 (fastapi 0.150.0, sqlalchemy 2.0.58, pandas 3.1.1): different inputs, one cache key.
#
# Behaviour: a task with persisted results and the cache policy TASK_SOURCE + INPUTS is called with a value and then
#   with another one, and the second call returns the first one's result without running, for a list and a tuple of
#   the same items, a named tuple and a list, a table and the same table with its columns in another order, and two
#   time stamps that differ in nanoseconds. True and 1, 2 and 2.0, reordered rows and other dtypes are told apart.
# Expected: either equal values share a key (2 and 2.0 would) or different ones do not; a tuple never equals a list,
#   and DataFrame.equals is False for reordered columns.
# Why it surprises: the key is made of JSON with sorted keys, so what JSON cannot say is lost, while small differences
#   that hardly matter are kept. A step that writes a CSV or a feature matrix in column order hands on the old order.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check \
    prefect==3.8.8 fastapi==0.150.0 sqlalchemy==2.0.58 pandas==3.1.1 numpy==2.4.6 \
    || { echo "could not install"; exit 2; }
cat > "$work/case.py" <<'PY'
import sys
from collections import namedtuple

import pandas as pd
from prefect import flow, task
from prefect.cache_policies import INPUTS, TASK_SOURCE

Split = namedtuple("Split", "train test")
calls = 0


@task(cache_policy=TASK_SOURCE + INPUTS, persist_result=True)
def describe(value):
    global calls
    calls += 1
    return value.to_csv(index=False) if isinstance(value, pd.DataFrame) else f"{type(value).__name__} {value}"


table = pd.DataFrame({"prompt": ["a", "b"], "answer": ["c", "d"]})
SAME = {
    "list, tuple": ([1, 2], (1, 2)),
    "named tuple, list": (Split(8, 2), [8, 2]),
    "columns reordered": (table, table[["answer", "prompt"]]),
    "nanoseconds": (pd.Timestamp("2026-01-01 00:00:00.000000001"), pd.Timestamp("2026-01-01 00:00:00")),
}
DIFFERENT = {
    "1, True": (1, True),
    "2, 2.0": (2, 2.0),
    "rows reordered": (pd.DataFrame({"n": [1, 2]}), pd.DataFrame({"n": [2, 1]})),
    "dtypes": (pd.DataFrame({"n": [3]}), pd.DataFrame({"n": [3.0]})),
}


def ran(pair):
    """Return how many of two calls ran, and what the second one returned."""
    before = calls
    describe(pair[0])
    second = describe(pair[1])
    return calls - before, second


@flow
def measure():
    found = {name: ran(pair) for name, pair in (SAME | DIFFERENT).items()}
    for name, (runs, second) in found.items():
        print(f"{name}: {runs} of 2 ran; the second returned {second!r}")
    return all(found[name][0] == 1 for name in SAME) and all(found[name][0] == 2 for name in DIFFERENT)


as_stated = measure()
print("as stated" if as_stated else "CHANGED")
sys.exit(not as_stated)
PY
cd "$work"
export HOME="$work" PREFECT_HOME="$work/prefect" PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
export PREFECT_LOGGING_LEVEL=CRITICAL
"$work/venv/bin/python" case.py
