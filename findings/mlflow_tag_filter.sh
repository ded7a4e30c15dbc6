#!/usr/bin/env bash
# mlflow 3.17.2 (sqlalchemy 2.0.58, fastapi 0.150.0): "not this tag value" in the model registry.
#
# Behaviour: search_model_versions("tags.verdict != 'refused'") leaves out every version that has no tag `verdict`, as
#   do registered models, experiments and runs. For runs and experiments `tags.verdict IS NULL` finds the rest. For
#   model versions and registered models the same filter raises a bare ValueError about unpacking, not an
#   MlflowException, and NOT, NOT LIKE and OR are refused: versions without a tag cannot be asked for at all.
# Expected: a version without the tag is not tagged 'refused', so it is found; or the same `IS NULL` works in all four
#   searches; or the message says that it is not supported.
# Why it surprises: "all versions that were not refused" silently means "all versions somebody has judged". A cleaning
#   job, a roll-back or a report built on it never sees the new versions.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check \
    mlflow==3.17.2 sqlalchemy==2.0.58 fastapi==0.150.0 || { echo "could not install"; exit 2; }
cat > "$work/case.py" <<'PY'
import logging
import sys

from mlflow import MlflowClient

client = MlflowClient("sqlite:///store.db", "sqlite:///store.db")
logging.disable(logging.WARNING)
TAG = {"refused": {"verdict": "refused"}, "approved": {"verdict": "approved"}, "new": {}}

client.create_registered_model("classifier")
names = {}
for name, tags in TAG.items():
    names[client.create_model_version("classifier", source="weights", tags=tags).version] = name
    client.create_registered_model(name, tags=tags)
    client.create_experiment(name, tags=tags)
runs = {}
place = client.create_experiment("runs", tags={"verdict": "refused"})
for name, tags in TAG.items():
    runs[client.create_run(place, tags=tags).info.run_id] = name

SEARCHES = {
    "model versions": lambda text: [names[one.version] for one in client.search_model_versions(text)],
    "registered models": lambda text: [one.name for one in client.search_registered_models(text)],
    "experiments": lambda text: [one.name for one in client.search_experiments(filter_string=text)],
    "runs": lambda text: [runs[one.info.run_id] for one in client.search_runs([place], text)],
}


def found(search, text):
    try:
        return sorted(set(search(text)) & set(TAG))
    except Exception as error:
        return type(error).__name__, str(error)[:60]


results = {}
for text in ("tags.verdict != 'refused'", "tags.verdict IS NULL"):
    for name, search in SEARCHES.items():
        results[name, text] = found(search, text)
        print(f"{name}, {text}: {results[name, text]}")
as_stated = all(results[name, "tags.verdict != 'refused'"] == ["approved"] for name in SEARCHES) and all(
    results[name, "tags.verdict IS NULL"] == ["new"] for name in ("experiments", "runs")
) and all(results[name, "tags.verdict IS NULL"][0] == "ValueError" for name in ("model versions", "registered models"))
for text in ("NOT tags.verdict = 'refused'", "tags.verdict NOT LIKE 'refused'",
             "tags.verdict = 'approved' OR tags.verdict = 'other'"):
    refused = found(SEARCHES["model versions"], text)
    print(f"model versions, {text}: {refused}")
    as_stated &= refused[0] == "MlflowException"
print("as stated" if as_stated else "CHANGED")
sys.exit(not as_stated)
PY
cd "$work"
mkdir weights
export HOME="$work" MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true
"$work/venv/bin/python" case.py 2> errors.txt || { code=$?; tail -n 5 errors.txt; exit "$code"; }
