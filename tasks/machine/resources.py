"""What the machine has: memory, disk, processor, GPUs; against what the profile asks for."""

import os
import shutil
from pathlib import Path

from tasks.core.gpus import Gpu
from tasks.core.processor import BF16_FLAGS, cpu_flags
from tasks.core.project import Project
from tasks.core.settings import Hardware
from tasks.machine.check import Check

GIB = 1 << 30
#: A card reports up to a tenth less than its name: a 24 GB L4 has 22.5 GiB, a 48 GB L20 with ECC 45.
CARD_TOLERANCE = 0.9
#: From this share of the stated disk on, a project that holds its environments and models already may go on.
HELD_DISK_SHARE = 0.25
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def check_memory(need: Hardware, total_gib: float, available_gib: float) -> Check:
    """Check the memory of the machine (or of its container)."""
    found = f"{available_gib:.1f} GiB available of {total_gib:.1f}"
    needed = f"{need.cpu_memory_gib:g} GiB"
    if total_gib < need.cpu_memory_gib * CARD_TOLERANCE:
        return Check("memory", "failed", found, needed, "use a larger machine, or tunegate profile list")
    if available_gib < need.cpu_memory_gib:
        return Check("memory", "warning", found, needed, "close other programs before a run, or expect swapping")
    return Check("memory", "ok", found, needed)


def memory_gib() -> tuple[float, float]:
    """Return total and available memory in GiB; a container's limit counts where it is lower."""
    import psutil

    memory = psutil.virtual_memory()
    total, available = memory.total, memory.available
    limit = CGROUP_LIMIT.read_text().strip() if CGROUP_LIMIT.is_file() else "max"
    if limit.isdigit() and int(limit) < total:
        used = int(CGROUP_LIMIT.with_name("memory.current").read_text())
        total, available = int(limit), min(available, int(limit) - used)
    return total / GIB, available / GIB


def check_disk(need: Hardware, project: Project, free_gib: float) -> Check:
    """Check the free disk where the project lies; what the project holds already is part of what is needed."""
    found, needed = f"{free_gib:.0f} GiB free", f"{need.disk_gib:g} GiB for environments, models and caches"
    if free_gib >= need.disk_gib:
        return Check("disk", "ok", found, needed)
    todo = f"free {need.disk_gib - free_gib:.0f} GiB; tunegate versions prune deletes old versions' weights, "
    todo += "dvc gc -w every cached output that is not in the present dvc.lock (registered versions keep theirs)"
    held = (project.root / ".venv").is_dir() and project.state.is_dir()
    enough = held and free_gib >= need.disk_gib * HELD_DISK_SHARE
    return Check("disk", "warning" if enough else "failed", found, needed, todo)


def free_disk_gib(project: Project) -> float:
    """Return the free disk where the project lies, in GiB."""
    return shutil.disk_usage(project.root).free / GIB


def check_cpu(facts: str, gpus: int) -> Check:
    """Note the processor features that decide the speed of a profile without a GPU.

    Args:
        facts: text of /proc/cpuinfo.
        gpus: GPUs the profile asks for.
    """
    cores = os.cpu_count() or 1
    flags = cpu_flags(facts)
    names = {"avx2": "AVX2", "avx512f": "AVX512", "avx512_bf16": "AVX512_BF16", "amx_bf16": "AMX", "bf16": "BF16"}
    found = f"{cores} cores, " + (
        ", ".join(name for flag, name in names.items() if flag in flags) or "features unknown"
    )
    if gpus:
        return Check("processor", "ok", found, "any: the GPU does the work")
    needed = "bf16 in hardware (AVX512_BF16, AMX)"
    if flags & BF16_FLAGS:
        return Check("processor", "ok", found, needed)
    return Check("processor", "warning", found, needed, "it works without, in fp32: expect to wait longer")


def check_gpus(need: Hardware, gpus: list[Gpu]) -> Check:
    """Check number and memory of the GPUs."""
    found = ", ".join(f"{gpu.name} {gpu.total_gib:.0f} GiB ({gpu.free_gib:.0f} free)" for gpu in gpus) or "none"
    if not need.gpus:
        return Check("GPU", "ok", found, "none")
    needed = f"{need.gpus} x {need.gpu_memory_gib:g} GB"
    least = need.gpu_memory_gib * CARD_TOLERANCE
    fitting = [gpu for gpu in gpus if gpu.total_gib >= least]
    if len(fitting) < need.gpus:
        todo = "install the NVIDIA driver (nvidia-smi must work), or tunegate profile use laptop"
        return Check(
            "GPU", "failed", found, needed, todo if not gpus else "use more or larger GPUs, or a smaller profile"
        )
    if sum(gpu.free_gib >= least for gpu in fitting) < need.gpus:
        return Check("GPU", "warning", found, needed, "other processes hold GPU memory: nvidia-smi names them")
    return Check("GPU", "ok", found, needed)
