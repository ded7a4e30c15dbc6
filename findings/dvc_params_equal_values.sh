#!/usr/bin/env bash
# dvc 3.67.1: when a changed value in params.yaml runs a stage again.
#
# Behaviour: `dvc repro` calls the pipeline up to date, and keeps the old output, when a parameter goes from 1 to
#   true, 0 to false, 100 to 100.0, [1, 0] to [true, false], or a mapping's keys change places. dvc.lock keeps the old
#   value. 1 to "1" does run. A parameter that is .nan counts as modified for ever: `dvc status` says so straight
#   after a repro. The same .nan inside a list is up to date.
# Expected: a parameter of another type is another parameter: the program sees other text, other types, and may do
#   something else (`layers: 1` against `layers: true`). And the same file twice is no change.
# Why it surprises: values are compared as Python compares them, so what is in the lock file need not be what is in
#   params.yaml, and a result is on record as made with a setting it was not made with.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check dvc==3.67.1 \
    || { echo "could not install"; exit 2; }
export HOME="$work" DVC_NO_ANALYTICS=1 DVC_SITE_CACHE_DIR="$work/site" PATH="$work/venv/bin:$PATH"
mkdir "$work/project"
cd "$work/project"
dvc init --quiet --no-scm
cat > dvc.yaml <<'YAML'
stages:
  train:
    cmd: cp params.yaml used.yaml
    params: [value]
    outs: [used.yaml]
YAML
changed=0
repro() { # VALUE: run the pipeline with it, without DVC's store of earlier runs
    echo "value: $1" > params.yaml
    said=$(dvc repro --no-run-cache 2>&1)
    if grep -q "Running stage" <<< "$said"; then ran=ran; else ran=kept; fi
}
case_of() { # EXPECTED OLD NEW
    repro "$2"
    repro "$3"
    echo "$2 -> $3: $ran; params.yaml '$(cat params.yaml)', made with '$(cat used.yaml)'"
    [ "$ran" = "$1" ] || changed=1
}
case_of kept 1 true
case_of kept 0 false
case_of kept 100 100.0
case_of kept "[1, 0]" "[true, false]"
case_of kept "{a: 1, b: 2}" "{b: 2, a: 1}"
case_of ran 1 '"1"'
repro 1
repro true
locked=$(grep "value:" dvc.lock | tr -d ' ')
echo "params.yaml says true, dvc.lock says $locked"
[ "$locked" = "value:1" ] || changed=1
case_of ran .nan .nan
status=$(dvc status --json)
echo "status straight after that: $status"
grep -q modified <<< "$status" || changed=1
case_of kept "[.nan]" "[.nan]"
if [ "$changed" = 0 ]; then echo "as stated"; else echo "CHANGED"; fi
exit "$changed"
