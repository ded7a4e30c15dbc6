#!/usr/bin/env bash
# prefect 3.8.8 (fastapi 0.150.0, sqlalchemy 2.0.58): a process that goes on to another server loses its task runs there.
#
# Behaviour: a flow of two tasks runs against one server and then, in the same process under `temporary_settings`, against
#   another one; both servers live. The second server has the second flow run, Completed, and none of its task runs; the
#   first has none of them either. The log says that EventsWorker failed to process items. Where the first server has ended
#   meanwhile, each event waits for it more than a second more, and so does whoever drains them at the end.
# Expected: what belongs to a flow run goes to the server that has the flow run.
# Why it surprises: flow runs are reported by requests, which follow the settings; task runs by events, from one thread a
#   process that keeps the server of its first event. The run is green, its page has no tasks.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check \
    prefect==3.8.8 fastapi==0.150.0 sqlalchemy==2.0.58 \
    || { echo "could not install"; exit 2; }
cat > "$work/case.py" <<'PY'
import os
import sys
import time

os.environ["PREFECT_HOME"] = sys.argv[1]
os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"

from prefect import flow, get_client, task
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL, PREFECT_API_URL, temporary_settings


@task
def step(number):
    return number


@flow
def both_steps():
    from prefect.runtime import flow_run

    return [flow_run.id, step(1), step(2)][0]


def started(name):
    """Return a server with a database of its own."""
    database = f"sqlite+aiosqlite:///{sys.argv[1]}/{name}.db"
    os.environ["PREFECT_API_DATABASE_CONNECTION_URL"] = database
    with temporary_settings({PREFECT_API_DATABASE_CONNECTION_URL: database}):
        server = SubprocessASGIServer()
        SubprocessASGIServer._instances.clear()
        server.start(timeout=120)
    return server


def on(server, run):
    """Return how many flow runs of an id, and how many of its task runs, a server has."""
    which = FlowRunFilter(id=FlowRunFilterId(any_=[run]))
    with temporary_settings({PREFECT_API_URL: server.api_url}), get_client(sync_client=True) as client:
        known = client.read_task_runs()
        return len(client.read_flow_runs(flow_run_filter=which)), sum(str(one.flow_run_id) == run for one in known)


servers = started("first"), started("second")
try:
    runs = []
    for server in servers:
        with temporary_settings({PREFECT_API_URL: server.api_url}):
            runs.append(str(both_steps()))
            time.sleep(8)
    found = {(run, server): on(servers[server], runs[run]) for run in (0, 1) for server in (0, 1)}
finally:
    for server in servers:
        server.stop()
for (run, server), (flows, tasks) in found.items():
    print(f"run {run + 1}, server {server + 1}: {flows} flow run, {tasks} task runs")
as_stated = found == {(0, 0): (1, 2), (0, 1): (0, 0), (1, 0): (0, 0), (1, 1): (1, 0)}
print("as stated" if as_stated else "CHANGED")
sys.exit(not as_stated)
PY
mkdir "$work/home"
"$work/venv/bin/python" "$work/case.py" "$work/home" 2> "$work/log" || { code=$?; tail -5 "$work/log"; exit "$code"; }
