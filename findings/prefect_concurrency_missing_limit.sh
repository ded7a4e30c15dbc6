#!/usr/bin/env bash
# prefect 3.8.8 (fastapi 0.150.0, sqlalchemy 2.0.58): concurrency() with a name no limit has.
#
# Behaviour: `with concurrency("gpu")` lets two tasks in one after the other while the limit `gpu` exists. With a name
#   that differs in case or has a blank more, four of four run at once; the run ends Completed, the only trace is a
#   warning in the log. In a list of names, the ones that exist are held and the unknown one is passed over.
#   `rate_limit` does the same. Only `strict=True`, which is not the default, raises; and a limit that is there but
#   not active holds nobody back, with strict=True and without a warning.
# Expected: an error, or no slot, for a limit that does not exist: the block asks for a guarantee.
# Why it surprises: the guard fails open. Two trainings on one GPU, or two writers of one cache, after a misspelt
#   name, a fresh server database or a limit made in another workspace.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check \
    prefect==3.8.8 fastapi==0.150.0 sqlalchemy==2.0.58 || { echo "could not install"; exit 2; }
cat > "$work/case.py" <<'PY'
import sys
import threading
import time
from contextlib import suppress

from prefect import flow, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.sync import concurrency, rate_limit

lock = threading.Lock()
inside, peak, together = 0, 0, threading.Barrier(1)


@task
def work(names, strict):
    global inside, peak
    with concurrency(names, strict=strict):
        with lock:
            inside += 1
            peak = max(peak, inside)
        with suppress(threading.BrokenBarrierError):  # until all are here, or one has waited in vain
            together.wait()
        with lock:
            inside -= 1


@task
def misspelt():
    with concurrency("GPU", strict=True):
        pass


def most_at_once(names, tasks, *, held=False, strict=False):
    global peak, together
    peak, together = 0, threading.Barrier(tasks, timeout=3 if held else 30)
    states = [future.wait() or future.state for future in [work.submit(names, strict) for _ in range(tasks)]]
    ends = {state.name for state in states}
    print(f"concurrency({names!r}, strict={strict}), {tasks} tasks: {peak} at once, all", ends)
    return peak, all(state.is_completed() for state in states)


@flow
def measure():
    with get_client(sync_client=True) as client:
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="gpu", limit=1))
        client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name="paused", limit=1, active=False))
    found = [
        most_at_once("gpu", 2, held=True), most_at_once(["gpu", "GPU"], 2, held=True),
        most_at_once("GPU", 4), most_at_once("gpu ", 4), most_at_once("paused", 4, strict=True),
    ]
    start = time.monotonic()
    for _ in range(3):
        rate_limit("requests")
    quick = time.monotonic() - start < 5
    print("rate_limit('requests') three times, no such limit: passed", "at once" if quick else "slowly")
    refused = misspelt(return_state=True)
    print("concurrency('GPU', strict=True) ->", refused.name)
    return found, quick, refused.is_failed()


found, quick, refused = measure()
as_stated = found == [(1, True), (1, True), (4, True), (4, True), (4, True)] and quick and refused
print("as stated" if as_stated else "CHANGED")
sys.exit(not as_stated)
PY
cd "$work"
export HOME="$work" PREFECT_HOME="$work/prefect" PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
export PREFECT_LOGGING_LEVEL=CRITICAL
"$work/venv/bin/python" case.py
