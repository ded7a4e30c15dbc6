#!/usr/bin/env bash
# datasets 5.2.0 (pyarrow 26.0.1, pandas 3.1.1): one row of another type changes the texts of all others.
#
# Behaviour: load_dataset("json") reads a column of texts as texts. When one row of the column holds an object (or a
#   list, or a number) the column becomes `Json`, and every text in it that happens to be JSON is parsed: "007" comes
#   back as 7, "null" and "NaN" as None, "true" as True, a quoted word without its quotation marks, and a text of JSON
#   as an object. It reaches into chat messages: one message with a list of parts as content turns another message's
#   content "007" into 7. to_json writes the changed values.
# Expected: in a column of mixed types a text stays the text it was; the type of a value does not depend on other
#   rows.
# Why it surprises: answers are exactly the short texts that look like JSON. Adding one multimodal or tool-calling
#   example to a file of plain ones edits the plain ones, without a message, and only those that parse.
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
TEXTS = ["007", "null", "NaN", "true", "1e5", '"yes"', '{"unit": "m"}', "plain words"]
PARSED = [7, None, None, True, 100000.0, "yes", {"unit": "m"}, "plain words"]


def load(name, answers):
    Path(f"{name}.jsonl").write_text("".join(json.dumps({"answer": one}) + "\n" for one in answers), encoding="utf-8")
    return datasets.load_dataset("json", data_files=f"{name}.jsonl", split="train")


def same(found, wanted):
    return [(type(one), one) for one in found] == [(type(one), one) for one in wanted]


plain = load("plain", TEXTS)
mixed = load("mixed", [*TEXTS, {"parts": 2}])
others = [list(load(f"other{number}", ["007", one])["answer"])[0] for number, one in enumerate(([1], 12, True))]
print("'007' beside a list, a number, a truth value:", others)
print("texts only:", plain.features["answer"], list(plain["answer"]))
print("and one object:", mixed.features["answer"], list(mixed["answer"]))
mixed.to_json("written.jsonl")
written = [json.loads(line)["answer"] for line in Path("written.jsonl").read_text(encoding="utf-8").splitlines()]
print("written again:", written)
chat = load("chat", [[{"role": "user", "content": "Which agent?"}, {"role": "assistant", "content": "007"}],
                     [{"role": "user", "content": [{"type": "text", "text": "What is this?"}]}]])
print("chat:", chat[0]["answer"])
as_stated = (
    list(plain["answer"]) == TEXTS
    and others == [7, 7, 7]
    and same(list(mixed["answer"])[:-1], PARSED)
    and same(written[:-1], PARSED)
    and [turn["content"] for turn in chat[0]["answer"]] == ["Which agent?", 7]
)
print("as stated" if as_stated else "CHANGED")
sys.exit(not as_stated)
PY
cd "$work"
export HOME="$work" HF_HOME="$work/hf" HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1
"$work/venv/bin/python" case.py
