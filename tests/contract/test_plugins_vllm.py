"""What we add to vLLM's CPU build by its own entry point: a kernel for 4-bit weights, leave to use matrix tiles."""

import subprocess
from pathlib import Path

import pytest

from tasks.core.processor import cpu_has_amx
from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.engine.server import server_environment

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
#: Makes a layer as vLLM's loader does, with and without zero points, and multiplies by it.
ASKS = """
import torch
from vllm.plugins import load_general_plugins
load_general_plugins()
load_general_plugins()
from vllm.model_executor.kernels import linear
from vllm.model_executor.kernels.linear.mixed_precision.MPLinearKernel import MPLinearLayerConfig
from vllm.platforms import current_platform
from vllm.scalar_type import scalar_types
OUT, IN, GROUP = 64, 96, 32
def parameter(values, **where):
    made = torch.nn.Parameter(values, requires_grad=False)
    for name, value in where.items():
        setattr(made, name, value)
    return made
def packed(values, dim):
    parts = values.movedim(dim, -1).reshape(*values.movedim(dim, -1).shape[:-1], -1, 8).long()
    words = (parts << torch.arange(0, 32, 4)).sum(-1)
    return (words - (words >= 2**31) * 2**32).to(torch.int32).movedim(-1, dim).contiguous()
current_platform.import_kernels()
torch.manual_seed(0)
for kind in (scalar_types.uint4, scalar_types.uint4b8):
    asymmetric = kind == scalar_types.uint4
    config = MPLinearLayerConfig((IN, OUT), (IN, OUT), kind, torch.float32, GROUP, asymmetric)
    chosen = linear.choose_mp_linear_kernel(config)
    values, zeros = torch.randint(0, 16, (OUT, IN)), torch.randint(0, 16, (OUT, IN // GROUP))
    scales, x, bias = torch.rand(OUT, IN // GROUP), torch.rand(5, IN), torch.rand(OUT)
    layer = torch.nn.Module()
    layer.q = parameter(packed(values, 1), input_dim=1, output_dim=0, packed_dim=1)
    layer.s = parameter(scales, input_dim=1, output_dim=0)
    if asymmetric:
        layer.z = parameter(packed(zeros, 0), input_dim=1, output_dim=0, packed_dim=0)
    kernel = chosen(config, "q", "s", "z")
    kernel.process_weights_after_loading(layer)
    offset = zeros if asymmetric else torch.full_like(zeros, 8)
    weights = (values - offset.repeat_interleave(GROUP, 1)) * scales.repeat_interleave(GROUP, 1)
    torch.testing.assert_close(kernel.apply_weights(layer, x, bias), x @ weights.t() + bias)
    print(chosen.__name__)
names = [one.__name__ for one in linear._POSSIBLE_KERNELS[current_platform._enum]]
print(names.count("PlainInt4LinearKernel"))
config.act_type = torch.bfloat16
has = hasattr(torch.ops._C, "cpu_gemm_wna16")
print(linear.choose_mp_linear_kernel(config).__name__ == ("CPUWNA16LinearKernel" if has else "PlainInt4LinearKernel"))
"""

#: Prints which of the processor's states this process may use (arch_prctl ARCH_GET_XCOMP_PERM), before and after.
ALLOWED = """
import ctypes, os
def allowed():
    mask = ctypes.c_uint64()
    assert ctypes.CDLL(None, use_errno=True).syscall(158, 0x1022, ctypes.byref(mask)) == 0
    return bool(mask.value >> 18 & 1)
import torch, vllm.platforms
from vllm.plugins import load_general_plugins
before = allowed()
load_general_plugins()
forked = os.fork()
if not forked:
    os._exit(allowed())
print(before, allowed(), os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]))
"""


def said_by(code: str) -> list[str]:
    """Return the lines that Python code prints in a server's environment."""
    python = Project(ROOT).serve_python
    environment = server_environment(python, load_settings(ROOT / "params.yaml").serve.vllm, cuda=False)
    done = subprocess.run(
        [python, "-c", code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def test_unpacked_weights_multiply_as_the_packed_ones_say():
    assert [line for line in said_by(ASKS) if " " not in line] == [
        "PlainInt4LinearKernel", "PlainInt4LinearKernel", "1", "True",
    ]  # fmt: skip


@pytest.mark.skipif(not cpu_has_amx(), reason="this CPU has no matrix tiles")
def test_vllm_asks_for_the_matrix_tiles_that_it_uses():
    """Without it the first request of a small model ends the engine; `False` first: vLLM does not ask by itself."""
    assert said_by(ALLOWED)[-1] == "False True 1"
