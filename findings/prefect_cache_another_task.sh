#!/usr/bin/env bash
# prefect 3.8.8 (fastapi 0.150.0, sqlalchemy 2.0.58): one task is handed another task's result.
#
# Behaviour: a flow with persist_result=True and the default cache policy runs two tasks that a factory made, `train`
#   and `quantize`, each with its own name, qualified name and closure. Only `train` runs; `quantize` ends Cached with
#   the result of `train`. The policy INPUTS does the same to two tasks with different bodies once they get the same
#   argument. Without persisted results both tasks of the factory run.
# Expected: a task's own name or key is part of its cache key; a task is served its own results only.
# Why it surprises: a stage is skipped in a green run. "One task for each stage, made in a loop" is the ordinary way
#   to turn a table of stages into a flow, and persisting results is a switch somebody else may turn on, for the flow
#   or for the whole server. (Upstream knows the closure half: issue 23062, open when this was written.)
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check \
    prefect==3.8.8 fastapi==0.150.0 sqlalchemy==2.0.58 || { echo "could not install"; exit 2; }
cat > "$work/case.py" <<'PY'
import sys

from prefect import flow, task
from prefect.cache_policies import INPUTS

ran = []


def stage_task(stage):
    def body():
        ran.append(stage)
        return f"made by {stage}"

    body.__name__ = body.__qualname__ = stage
    return task(name=stage)(body)


def run_both():
    ran.clear()
    states = [stage_task(stage)(return_state=True) for stage in ("train", "quantize")]
    told = [(state.name, state.result()) for state in states]
    print("   ran:", ran, "states:", told)
    return list(ran), told


@flow
def plain():
    return run_both()


@flow(persist_result=True)
def persisting():
    return run_both()


@task(cache_policy=INPUTS, persist_result=True)
def count_rows(dataset):
    return f"rows of {dataset}"


@task(cache_policy=INPUTS, persist_result=True)
def publish(dataset):
    return f"published {dataset}"


@flow
def by_inputs():
    return count_rows("set-7"), publish("set-7")


print("factory, results not persisted")
ran_plain, _ = plain()
print("factory, results persisted")
ran_persisting, told = persisting()
counted, published = by_inputs()
print("INPUTS: count_rows ->", repr(counted), "| publish ->", repr(published))
as_stated = (
    ran_plain == ["train", "quantize"]
    and ran_persisting == ["train"]
    and told == [("Completed", "made by train"), ("Cached", "made by train")]
    and counted == published == "rows of set-7"
)
print("as stated" if as_stated else "CHANGED")
sys.exit(not as_stated)
PY
cd "$work"
export HOME="$work" PREFECT_HOME="$work/prefect" PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
export PREFECT_LOGGING_LEVEL=CRITICAL
"$work/venv/bin/python" case.py
