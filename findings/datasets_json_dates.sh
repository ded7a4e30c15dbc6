#!/usr/bin/env bash
# datasets 5.2.0 (pyarrow 26.0.1, pandas 3.1.1): a column of texts that are all dates.
#
# Behaviour: load_dataset("json") makes a column whose texts all have the form 2026-01-01 a column of time stamps. The
#   answer put into a prompt reads "2026-01-01 00:00:00", and to_json writes 1767225600000, a number. One text of
#   another kind in the column, or one impossible date (30 February), keeps all of them text: the whole file is text,
#   its first half alone is time stamps.
# Expected: JSON has no dates; a text stays a text unless the caller's features say otherwise.
# Why it surprises: whether answers are altered depends on all the other answers. A split by topic, a filter or a
#   small sample is enough: the shard of date questions trains on "00:00:00" that no source file contains.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check \
    datasets==5.2.0 pyarrow==26.0.1 pandas==3.1.1 numpy==2.4.6 || { echo "could not install"; exit 2; }
cat > "$work/case.py" <<'PY'
import json
import sys
from pathlib import Path

import datasets

datasets.disable_progress_bars()


def load(name, answers):
    lines = [json.dumps({"prompt": f"Question {number}?", "completion": one}) for number, one in enumerate(answers)]
    Path(f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = datasets.load_dataset("json", data_files=f"{name}.jsonl", split="train")
    found.to_json(f"{name}.out")
    first = json.loads(Path(f"{name}.out").read_text(encoding="utf-8").splitlines()[0])["completion"]
    shown = f"{found[0]['completion']}"
    print(f"{name} {answers}: {found.features['completion'].dtype}; first {shown!r}; written {first!r}")
    return shown, first


ANSWERS = ["2026-01-01", "2026-02-02", "2026-03-03", "in spring"]
whole, half = load("whole", ANSWERS), load("first half", ANSWERS[:2])
impossible, with_time = load("impossible", ["2026-01-01", "2026-02-30"]), load("time", ["2026-01-01 10:00"])
kept = ("2026-01-01", "2026-01-01")
as_stated = (
    whole == kept
    and half == ("2026-01-01 00:00:00", 1767225600000)
    and impossible == kept
    and with_time == ("2026-01-01 10:00:00", 1767261600000)
)
print("as stated" if as_stated else "CHANGED")
sys.exit(not as_stated)
PY
cd "$work"
export HOME="$work" HF_HOME="$work/hf" HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1 TZ=UTC
"$work/venv/bin/python" case.py
