#!/usr/bin/env bash
# great-expectations 1.24.1 (pandas 3.1.1, numpy 2.4.6): a quantile expectation and a checkpoint.
#
# Behaviour: a checkpoint whose suite holds ExpectColumnQuantileValuesToBeBetween raises TypeError ("bool is not JSON
#   serializable") on a pandas column of ordinary numbers, met or not. No result comes back, neither the quantile's
#   nor those of the other expectations of the suite. The same suite on batch.validate returns results; there the
#   success of the quantile expectation is a NumPy boolean, which is what the checkpoint cannot store.
# Expected: results, as for every other expectation.
# Why it surprises: nothing about the data or the expectation is unusual, the message names the built-in `bool` (which
#   JSON has), and one expectation takes the verdicts of all others with it. Quantiles are how a drift check of
#   lengths is written ("the median stays below 512 tokens").
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
frame = pd.DataFrame({"tokens": [100, 200, 300]})


def run(name, most):
    """Return what the checkpoint says, and what the batch alone says, of a median below `most`."""
    suite = gx.ExpectationSuite(name=name, expectations=[
        gx.expectations.ExpectColumnValuesToNotBeNull(column="tokens"),
        gx.expectations.ExpectColumnQuantileValuesToBeBetween(
            column="tokens", quantile_ranges={"quantiles": [0.5], "value_ranges": [[0, most]]}),
    ])
    batches = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all")
    direct = batches.get_batch(batch_parameters={"dataframe": frame}).validate(suite)
    bound = gx.ValidationDefinition(name=name, data=batches, suite=context.suites.add(suite))
    checkpoint = gx.Checkpoint(name=name, validation_definitions=[context.validation_definitions.add(bound)])
    try:
        said = checkpoint.run(batch_parameters={"dataframe": frame}).success
    except TypeError as error:
        said = error
    print(f"median below {most}: checkpoint -> {said!r}")
    kinds = [f"{type(one.success).__module__}.{type(one.success).__name__} {one.success}" for one in direct.results]
    print("   batch.validate ->", kinds)
    return said, [one.success for one in direct.results]


met, met_directly = run("met", 512)
broken, broken_directly = run("broken", 150)
as_stated = (
    isinstance(met, TypeError) and isinstance(broken, TypeError) and "JSON" in str(met)
    and sorted(map(bool, met_directly)) == [True, True]
    and sorted(map(bool, broken_directly)) == [False, True]
    and not all(type(one) is bool for one in met_directly)
)
print("as stated" if as_stated else "CHANGED")
sys.exit(not as_stated)
PY
cd "$work"
export HOME="$work" GX_ANALYTICS_ENABLED=false DO_NOT_TRACK=1
"$work/venv/bin/python" case.py
