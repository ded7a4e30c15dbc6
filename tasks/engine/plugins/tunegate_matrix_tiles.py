"""vLLM's plugin that asks Linux for the matrix tiles of a CPU that has them (AMX), before any kernel uses them.

Loaded by vLLM itself (an entry point in the folder beside), never by the pipeline. A process may touch the tiles only
after it has asked for them (arch_prctl ARCH_REQ_XCOMP_PERM, kept over fork, lost at exec). vLLM 0.32 chooses its own
kernels for tiles where the CPU has them and never asks; it lives from oneDNN, which asks for itself. Of a model small
enough that oneDNN multiplies nothing, the first request ended the engine by an illegal instruction, after the server
had said that it was ready.
"""

import torch


def register() -> None:
    """Called by vLLM in each of its processes; where there are no tiles, nothing is asked."""
    if torch.cpu._is_amx_tile_supported():
        torch.cpu._init_amx()
