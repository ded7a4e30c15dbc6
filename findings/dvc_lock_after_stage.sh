#!/usr/bin/env bash
# dvc 3.67.1: a stage that succeeded is lost where another DVC command runs at the moment it ends.
#
# Behaviour: `dvc repro` gives its lock up while a stage's command runs, so another DVC command may start meanwhile. Where
#   that one still runs when the stage's command ends with 0, `repro` waits three seconds and fails with "Unable to
#   acquire lock"; dvc.lock does not know the stage, and the next `repro` deletes its output and runs it again. With
#   the global option `--wait-for-lock` (before the sub-command) it waits, and the stage is recorded.
# Expected: what a command needed hours for is recorded when the lock is free, or at least not deleted.
# Why it surprises: nothing is wrong with the stage, nor with a `dvc push` of yesterday's model beside it; locking is
#   advertised for the start of a command, and the option that waits is off and not mentioned in the error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check dvc==3.67.1 \
    || { echo "could not install"; exit 2; }
export PATH="$work/venv/bin:$PATH" HOME="$work" DVC_NO_ANALYTICS=1
mkdir "$work/project" && cd "$work/project"
dvc init --no-scm --quiet

# Another DVC command, as long as a large push: DVC's own library holds the lock from `begun` on, for eight seconds.
cat > other.py <<'PY'
import time
from pathlib import Path

from dvc.repo import Repo

while not Path("begun").exists():
    time.sleep(0.05)
with Repo().lock:
    Path("locked").touch()
    time.sleep(8)
PY
cat > dvc.yaml <<'YAML'
stages:
  train:
    cmd: echo run >> runs.txt && touch begun && while [ ! -e locked ]; do sleep 0.1; done && echo model > model.txt
    deps: [rows.txt]
    outs: [model.txt]
YAML
echo rows > rows.txt

repro() {  # what happens to a stage that ends while the other command runs; $@: options before the sub-command
    rm -rf begun locked dvc.lock model.txt runs.txt .dvc/cache
    python other.py & local other=$!
    local code=0
    dvc "$@" repro > said.txt 2>&1 || code=$?
    recorded=$([ -f dvc.lock ] && grep -c "path: model.txt" dvc.lock || true)
    made=$([ -f model.txt ] && echo yes || echo no)
    wait "$other"
    touch begun locked
    dvc repro > again.txt 2>&1
    runs=$(wc -l < runs.txt)
    echo "dvc $* repro: exit code $code, output made: $made, recorded: ${recorded:-0}, runs after the next repro: $runs"
    grep -o "Unable to acquire lock" said.txt || true
    result="$code $made ${recorded:-0} $runs"
}

repro
plain=$result
repro --wait-for-lock
waiting=$result
if [ "$plain" = "255 yes 0 2" ] && [ "$waiting" = "0 yes 1 1" ]; then echo "as stated"; else echo "CHANGED"; exit 1; fi
