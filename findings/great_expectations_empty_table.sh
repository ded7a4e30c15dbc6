#!/usr/bin/env bash
# great-expectations 1.24.1 (pandas 3.1.1, numpy 2.4.6): what a table of 0 rows passes.
#
# Behaviour: on 0 rows a checkpoint of eight expectations that say what rows must be - not null, in a set, unique, a
#   pattern, a length, the set of distinct values, their number, the sum - reports success and 100 percent. On the
#   same 0 rows max, min, mean and proportion of unique values fail.
# Expected: one answer for "there was nothing to look at": all fail, or all are marked as not evaluated. The project's
#   stated rule (issue 2726: row by row passes, aggregates fail) would already make three of the eight fail: sum,
#   distinct values and number of distinct values are aggregates.
# Why it surprises: an empty training file is a common result of a broken filter upstream, and whether the data gate
#   stops it depends on which kind of expectation somebody happened to write.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check \
    great-expectations==1.24.1 pandas==3.1.1 numpy==2.4.6 || { echo "could not install"; exit 2; }
cat > "$work/case.py" <<'PY'
import sys
import warnings

import great_expectations as gx
import pandas as pd
from great_expectations.data_context.types.base import ProgressBarsConfig

warnings.filterwarnings("ignore")
context = gx.get_context(mode="ephemeral")
context.variables.progress_bars = ProgressBarsConfig(globally=False)
source = context.data_sources.add_pandas("frames")
expect = gx.expectations


def check(name, frame, expectations):
    batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=expectations))
    bound = context.validation_definitions.add(gx.ValidationDefinition(name=name, data=batch, suite=suite))
    result = gx.Checkpoint(name=name, validation_definitions=[bound]).run(batch_parameters={"dataframe": frame})
    return result.success, next(iter(result.run_results.values()))


def passing():
    return [
        expect.ExpectColumnValuesToNotBeNull(column="language"),
        expect.ExpectColumnValuesToBeInSet(column="language", value_set=["zh", "en"]),
        expect.ExpectColumnValuesToBeUnique(column="language"),
        expect.ExpectColumnValuesToMatchRegex(column="language", regex="^(zh|en)$"),
        expect.ExpectColumnValueLengthsToBeBetween(column="language", min_value=2, max_value=2),
        expect.ExpectColumnDistinctValuesToBeInSet(column="language", value_set=["zh", "en"]),
        expect.ExpectColumnUniqueValueCountToBeBetween(column="language", max_value=2),
        expect.ExpectColumnSumToBeBetween(column="tokens", max_value=100),
    ]


def failing():
    return [
        expect.ExpectColumnMaxToBeBetween(column="tokens", max_value=100),
        expect.ExpectColumnMinToBeBetween(column="tokens", min_value=0),
        expect.ExpectColumnMeanToBeBetween(column="tokens", max_value=100),
        expect.ExpectColumnProportionOfUniqueValuesToBeBetween(column="language", min_value=0.1, max_value=1),
    ]


rows = pd.DataFrame({"language": ["zh", "en"], "tokens": [10.0, 20.0]})
bad_rows = pd.DataFrame({"language": ["fra", "fra", "deu", "ita", None], "tokens": [90.0, 90.0, 90.0, 1.0, 1.0]})
ok_good, _ = check("good", rows, passing() + failing())
ok_bad, bad = check("bad", bad_rows, passing())
ok_empty, empty = check("empty", rows[:0], passing())
ok_aggregates, aggregates = check("aggregates", rows[:0], failing())

print("2 good rows, all 12 expectations: success", ok_good)
print("5 bad rows, the 8:", bad.statistics["unsuccessful_expectations"], "fail")
print("0 rows, the 8: success", ok_empty, "at", empty.statistics["success_percent"], "percent")
for one in empty.results + aggregates.results:
    print("   0 rows:", one.expectation_config.type, "->", one.success)
as_stated = (
    ok_good
    and not any(one.success for one in bad.results)
    and ok_empty
    and empty.statistics["success_percent"] == 100
    and not any(one.success for one in aggregates.results)
)
print("as stated" if as_stated else "CHANGED")
sys.exit(not as_stated)
PY
cd "$work"
export HOME="$work" GX_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
"$work/venv/bin/python" case.py
