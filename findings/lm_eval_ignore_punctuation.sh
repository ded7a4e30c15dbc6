#!/usr/bin/env bash
# lm-eval 0.4.13: what `ignore_punctuation` takes away.
#
# Behaviour: with ignore_punctuation the metric exact_match removes the 32 ASCII signs and none of the Chinese ones. A
#   right Chinese answer that ends in a full stop, or stands in quotation marks, scores 0; "-5" for "5", "3.5" for
#   "35" and "<50" for ">50" score 1. The filter multi_choice_regex has an option of the same name that takes away all
#   Unicode punctuation: there the same Chinese answer is found.
# Expected: one meaning of the option in one library, Chinese punctuation included; a sign or a point that belongs to
#   a number is no punctuation.
# Why it surprises: a Chinese task written after an English one scores low for its full stops, and a task with numbers
#   counts wrong answers as right. Both look like a property of the model.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check lm-eval==0.4.13 \
    || { echo "could not install"; exit 2; }
cat > "$work/case.py" <<'PY'
import string
import sys

from lm_eval.api.metrics import exact_match_fn
from lm_eval.filters.extraction import MultiChoiceRegexFilter

RIGHT_BUT_0 = [("甲、乙。", "甲、乙"), ("“北京”", "北京"), ("《论语》", "论语"), ("B。", "B")]
RIGHT_AND_1 = [("Paris.", "Paris"), ('"B"', "B")]
WRONG_BUT_1 = [("-5", "5"), ("3.5", "35"), ("<50", ">50"), ("1/2", "12")]


def metric(said, wanted):
    return float(exact_match_fn(predictions=[said], references=[wanted], ignore_punctuation=True)["exact_match"])


def filtered(said, choices, ignore):
    chosen = MultiChoiceRegexFilter(regex_pattern="no such text", ignore_punctuation=ignore)
    return next(iter(chosen.apply([[said]], [{"choices": choices}])))[0]


as_stated = all(metric(f"B{sign}", "B") == 1 for sign in string.punctuation)
as_stated &= not any(metric(f"B{sign}", "B") for sign in "。，、；：？！“”‘’（）《》【】…—·")
print("every ASCII sign removed, none of 20 Chinese ones:", as_stated)
for pairs, score in ((RIGHT_BUT_0, 0.0), (RIGHT_AND_1, 1.0), (WRONG_BUT_1, 1.0)):
    for said, wanted in pairs:
        got = metric(said, wanted)
        print(f"exact_match: said {said}, wanted {wanted}: {got:g}")
        as_stated &= got == score
for ignore, found in ((False, "[invalid]"), (True, "(A)")):
    got = filtered("所以选“北京”。", ["《北京》", "《上海》"], ignore)
    print(f"multi_choice_regex, ignore_punctuation={ignore}: {got}")
    as_stated &= got == found
print("as stated" if as_stated else "CHANGED")
sys.exit(not as_stated)
PY
cd "$work"
export HOME="$work" HF_HOME="$work/hf" HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 DO_NOT_TRACK=1 PYTHONIOENCODING=utf-8
"$work/venv/bin/python" case.py 2> errors.txt || { code=$?; tail -n 5 errors.txt; exit "$code"; }
