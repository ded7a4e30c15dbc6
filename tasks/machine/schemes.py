"""What the cards found here serve of the ways that quantize writes: by the table, not by a try."""

import shutil
import subprocess

from tasks.core.gpus import NVIDIA_SMI, NVIDIA_TIMEOUT_S
from tasks.core.schemes import SCHEMES, not_served, serves
from tasks.core.settings import Settings
from tasks.machine.check import Check

QUERY = (NVIDIA_SMI[0], "--query-gpu=compute_cap", "--format=csv,noheader")


def find_capabilities() -> list[float]:
    """Return the compute capability of each card, as nvidia-smi says it; none where it says nothing."""
    if shutil.which(QUERY[0]) is None:
        return []
    try:
        done = subprocess.run(QUERY, capture_output=True, text=True, check=True, timeout=NVIDIA_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_capabilities(done.stdout)


def parse_capabilities(text: str) -> list[float]:
    """Return the numbers in nvidia-smi's answer, a line each; a line that is none is left out."""
    return [float(line) for line in map(str.strip, text.splitlines()) if line.replace(".", "", 1).isdigit()]


def check_schemes(settings: Settings, found: list[float]) -> list[Check]:
    """Check that every card here serves what quantize may write; nothing where none is found or asked for.

    Args:
        found: compute capability of each card.
    """
    if not settings.hardware.gpus or not found:
        return []
    least, said = min(found), settings.hardware.compute_capability
    written: list[str] = [item.scheme for item in settings.quantize.candidates]
    refused = sorted({scheme for card in found for scheme in not_served(written, card)})
    able = [f"{name} ({serves(name, least)})" for name in SCHEMES if serves(name, least) != "no"]
    needed = ", ".join(dict.fromkeys(written))
    shown = f"{least}: {', '.join(able) or 'none'}"
    name = "what the cards serve"
    if refused:
        todo = f"leave {', '.join(refused)} out of quantize.candidates, or serve on other cards: docs/quantization.md"
        return [Check(name, "warning" if said else "failed", shown, needed, todo)]
    if said is not None and said != least:
        todo = f"hardware.compute_capability says {said}: right if other cards serve"
        return [Check(name, "warning", shown, needed, todo)]
    return [Check(name, "ok", shown, needed)]
