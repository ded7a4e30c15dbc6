#!/usr/bin/env bash
# prefect 3.8.8 (fastapi 0.150.0, sqlalchemy 2.0.58): a deployment's concurrency limit forgets who holds it.
#
# Behaviour: a run of a deployment with concurrency_limit=1 gets a lease, kept in the server's memory. When the server
#   is killed and started, the lease is "410 Gone": the run's engine cannot renew it and ends the run ("Terminating
#   execution to prevent over-allocation"). The count in the database stays at 1 for ever, so the next run waits as
#   AwaitingConcurrencySlot, and with CANCEL_NEW is cancelled, though nothing runs. With
#   PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE on the file system the lease lives through the restart and ends when its
#   holder is gone; but a server that is away for longer than a lease (the engine asks for 300 s, renewed every 225 s)
#   takes the lease of a run that lives, too.
# Expected: what holds a place is kept with the count of places, and a run outlives its server's absence.
# Why it surprises: the limit works in every test that does not restart the server. A work queue's concurrency limit
#   counts the runs that are Running or Pending instead, and has neither fault.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check \
    prefect==3.8.8 fastapi==0.150.0 sqlalchemy==2.0.58 || { echo "could not install"; exit 2; }
cat > "$work/case.py" <<'PY'
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

STORAGE = f"prefect.server.concurrency.lease_storage.{sys.argv[1]}"
TTL_S = 60
with socket.socket() as probe:
    probe.bind(("127.0.0.1", 0))
    URL = f"http://127.0.0.1:{probe.getsockname()[1]}/api"
home = tempfile.mkdtemp()
os.environ.update({
    "PREFECT_HOME": home, "PREFECT_API_URL": URL, "DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": STORAGE,
    "PREFECT_SERVER_CONCURRENCY_INITIAL_DEPLOYMENT_LEASE_DURATION": str(TTL_S),
})


def start():
    prefect = str(Path(sys.executable).with_name("prefect"))
    process = subprocess.Popen([prefect, "server", "start", "--host", "127.0.0.1", "--port", URL.split(":")[2][:-4]],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while True:
        try:
            return process if urllib.request.urlopen(f"{URL}/health", timeout=1).status == 200 else process
        except OSError:
            time.sleep(0.3)


def kill(process):
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


server = start()
try:
    from prefect.client.orchestration import get_client
    from prefect.states import Pending, Running

    with get_client(sync_client=True) as client:
        client.request("POST", "/work_pools/", json={"name": "pool", "type": "process"})
        flow = client.create_flow_from_name("night")
        deployment = client.create_deployment(flow, "nightly", work_pool_name="pool", concurrency_limit=1)
        run = client.create_flow_run_from_deployment(deployment)
        client.set_flow_run_state(run.id, Pending())
        client.set_flow_run_state(run.id, Running())
        lease = client.read_flow_run(run.id).state.state_details.deployment_concurrency_lease_id

        def slots():
            return client.read_deployment(deployment).global_concurrency_limit.active_slots

        def renew():
            try:
                client.renew_concurrency_lease(lease, 60)
                return "renewed"
            except Exception as error:
                return f"refused ({str(error).splitlines()[0][:60]})"

        held = renew()
        kill(server)
        server = start()
        after_restart = renew()
        print("   running:", held, "| server killed and started:", after_restart, "| places taken:", slots())
        if sys.argv[1] == "memory":
            second = client.create_flow_run_from_deployment(deployment)
            time.sleep(TTL_S + 20)
            client.set_flow_run_state(second.id, Pending())
            name = client.read_flow_run(second.id).state.name
            print("   long after the lease's end: places taken:", slots(), "| the next run:", name)
            as_stated = after_restart.startswith("refused") and name == "AwaitingConcurrencySlot"
        else:
            kill(server)
            time.sleep(TTL_S + 5)
            server = start()
            time.sleep(20)
            after_absence = renew()
            print(f"   server away for {TTL_S + 5} s:", after_absence, "| places taken:", slots())
            as_stated = after_restart == "renewed" and after_absence.startswith("refused")
finally:
    kill(server)
print("   as stated" if as_stated else "   CHANGED")
sys.exit(not as_stated)
PY
cd "$work"
export HOME="$work" PREFECT_LOGGING_LEVEL=CRITICAL
echo "leases in memory, the default"
"$work/venv/bin/python" case.py memory
echo "leases in the file system"
"$work/venv/bin/python" case.py filesystem
