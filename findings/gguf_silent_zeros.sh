#!/usr/bin/env bash
# gguf 0.19.0 (numpy 2.4.6): weights that quantization turns into zeros without a word.
#
# Behaviour: quants.quantize to MXFP4 makes a block of 32 weights that holds one NaN or infinity into zeros (31 sound
#   weights of the block go too), and what comes back is finite; for NaN not even NumPy warns. F16, BF16, Q8_0, Q5_1,
#   Q5_0, Q4_1 and Q4_0 of the same row stay visibly not finite. And Q8_0, the block format with the most bits, makes
#   a block whose largest weight is 0.000001 into zeros, while the 4 and 5 bit formats and MXFP4 keep it.
# Expected: a weight that is not a number is refused, or stays visible; more bits lose less.
# Why it surprises: a broken checkpoint becomes a well-formed file that passes every "is it finite" check after
#   quantization that may only answer a little worse. Looking at the quantized file is too late. And "it was fine in
#   Q4_0" says nothing about Q8_0.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --quiet --disable-pip-version-check gguf==0.19.0 numpy==2.4.6 \
    || { echo "could not install"; exit 2; }
cat > "$work/case.py" <<'PY'
import sys
import warnings

import numpy as np
from gguf import GGMLQuantizationType, quants

FORMATS = ("F16", "BF16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "MXFP4")
sound = np.full((1, 64), 0.01, dtype=np.float32)  # two blocks
with_nan, with_inf = sound.copy(), sound.copy()
with_nan[0, 3], with_inf[0, 3] = np.nan, np.inf
small = np.full((1, 64), 1e-6, dtype=np.float32)


def there_and_back(row, name):
    kind = GGMLQuantizationType[name]
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        back = quants.dequantize(quants.quantize(row, kind), kind)
    return back.ravel(), len(said)


finite, zeros, warned, small_zeros = set(), {}, {}, set()
for name in FORMATS:
    (nan, warned[name]), (inf, _), (tiny, _) = (there_and_back(row, name) for row in (with_nan, with_inf, small))
    if np.isfinite(nan).all() and np.isfinite(inf).all():
        finite.add(name)
        zeros[name] = int((nan[:32] == 0).sum()), int((inf[:32] == 0).sum()), int((nan[32:] == 0).sum())
    if not tiny.any():
        small_zeros.add(name)
    shown = "all finite" if name in finite else "not finite, visible"
    print(f"{name}: NaN, infinity -> {shown}, {warned[name]} warnings for NaN; 64 x 0.000001 -> {tiny[0]:.3g}")
print("zeros in the block with NaN, with infinity, in the sound block:", zeros)
as_stated = (
    finite == {"MXFP4"} and zeros["MXFP4"] == (32, 32, 0) and warned["MXFP4"] == 0 and small_zeros == {"Q8_0"}
)
print("as stated" if as_stated else "CHANGED")
sys.exit(not as_stated)
PY
cd "$work"
export HOME="$work"
"$work/venv/bin/python" case.py
