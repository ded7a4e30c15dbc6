"""What the processor of this machine computes well in.

bf16 without hardware for it is emulated: on a CPU with AVX2 alone a product takes 3 to 8 times as long as in fp32
(torch 2.13, 664 x 576 by 576 x 1536: 16 against 127 GFLOP/s on two cores), and so does what vLLM answers. So where the
processor has no bf16, what computes on it does so in fp32. Weights are stored in bf16 all the same: fp32 holds
every bf16 number.
"""

import os
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError

CPU_FACTS = Path("/proc/cpuinfo")
#: Flags of x86 (AVX512 extension, AMX tiles) and of ARM.
BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
#: Sets the width that CPUs compute in, whatever the processor has.
VARIABLE = "TUNEGATE_CPU_DTYPE"
KINDS = ("auto", "16-bit", "float32")


def cpu_facts() -> str:
    """Return what Linux says about the processor; empty elsewhere."""
    return CPU_FACTS.read_text(encoding="utf-8", errors="replace") if CPU_FACTS.is_file() else ""


def cpu_flags(facts: str) -> frozenset[str]:
    """Return the features that the text of /proc/cpuinfo names."""
    return next((frozenset(line.split()) for line in facts.splitlines() if line.startswith(("flags", "Features"))),
                frozenset())  # fmt: skip


def cpu_has_amx() -> bool:
    """Tell whether this CPU has matrix tiles."""
    return "amx_tile" in cpu_flags(cpu_facts())


def cpu_dtype(wanted: str = "bfloat16") -> str:
    """Return the type that models are computed in on this CPU: the 16-bit one wanted, or `float32`.

    Raises:
        ConfigError: $TUNEGATE_CPU_DTYPE names another.
    """
    chosen = os.environ.get(VARIABLE) or "auto"
    if chosen not in KINDS:
        raise ConfigError(f"{VARIABLE}={chosen!r} is no type to compute in", f"one of: {', '.join(KINDS)}")
    narrow = chosen == "16-bit" or (chosen == "auto" and not lacks_bf16(cpu_flags(cpu_facts())))
    return wanted if narrow else "float32"


def compute_dtype(*, accelerated: bool) -> Any:
    """Return torch's type that products are made in: bf16, or what this CPU computes in.

    Args:
        accelerated: whether they are made on a GPU or the like.
    """
    import torch

    return torch.bfloat16 if accelerated else getattr(torch, cpu_dtype())


def lacks_bf16(flags: frozenset[str]) -> bool:
    """Tell whether a processor is known to have no bf16; of one that says nothing that is not known."""
    return bool(flags) and not flags & BF16_FLAGS
