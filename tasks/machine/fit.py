"""Do training and serving fit: the estimates against the memory that is there, or that the profile states."""

from pathlib import Path

from tasks.core.gpus import Gpu
from tasks.core.processor import cpu_dtype
from tasks.core.settings import Settings
from tasks.engine.sleeping import NO_SLEEP_ON_CPU
from tasks.machine.check import Check, Outcome
from tasks.models.estimate import BF16, Arithmetic, Estimate, Shape, loading, serving, shape_of, training

#: Above this share of the room an estimate that fits is too close to rely on.
CLOSE = 0.9
HOLD = "serve.swap: hold in params.yaml"


def check_fit(settings: Settings, base: Path | None, gpus: list[Gpu], memory_gib: float) -> list[Check]:
    """Return the memory estimates for training and serving, each with its formula.

    Args:
        base: folder of the base model where it is here (its config.json makes the estimate exact in its shapes).
        gpus: what was found; the stated hardware stands in where there is none.
        memory_gib: memory of the machine.
    """
    shape = shape_of(settings, base)
    vllm, need = settings.serve.vllm, settings.hardware
    one_gib = min((gpu.total_gib for gpu in gpus), default=need.gpu_memory_gib)
    if need.gpus:
        processes = settings.train.parallel.processes
        one = f"each of {processes} GPUs" if processes > 1 else "one GPU"
        where = one if gpus else f"{one} of the stated size"
        room_train, room_serve = one_gib, one_gib * vllm.gpu_memory_utilization * vllm.tensor_parallel
        share = f"gpu_memory_utilization {vllm.gpu_memory_utilization:g}"
        where_serve = f"{vllm.tensor_parallel} GPU(s) x {one_gib:.0f} GiB x {share}"
    else:
        where = where_serve = "this machine"
        room_train = room_serve = memory_gib
    smaller = "smaller train.batch_rows or max_length_tokens, gradient_checkpointing: true, or train.mode: qlora"
    fewer = "larger serve.vllm.tensor_parallel, smaller max_model_length_tokens, or larger GPUs"
    # The larger of the two: weights in 4 bit are whole on each card for a moment.
    here = arithmetic(settings)
    both = (one(settings.train, shape, here) for one in (training, loading))
    most = max(both, key=lambda estimate: estimate.gib)
    return [
        _fit(f"training ({_how(settings)})", most, room_train, where, smaller, shape),
        _fit("serving (16-bit hop)", serving(settings, shape, here), room_serve, where_serve, fewer, shape),
    ]


def arithmetic(settings: Settings) -> Arithmetic:
    """Return what this profile computes in: bf16 on GPUs, on a CPU what it is made for."""
    return BF16 if settings.hardware.gpus else Arithmetic(4 if cpu_dtype() == "float32" else 2, on_cpu=True)


def check_swap(settings: Settings, base: Path | None, gpus: list[Gpu], memory_gib: float) -> Check:
    """Name how a new version takes over, and whether there is room for two where two are asked for.

    Args:
        base: folder of the base model where it is here.
        gpus: what was found; the stated hardware stands in where there is none.
        memory_gib: memory of the machine, from which slots serve where the profile asks for no GPU.
    """
    if settings.serve.swap == "hold":
        held = f"hold: the old version stops first, requests wait at most {settings.serve.hold_s:g} s"
        return Check("swap", "ok", held, "room for one version")
    if settings.serve.swap == "sleep":
        return _check_sleep(settings, base, gpus, memory_gib)
    one = serving(settings, shape_of(settings, base), arithmetic(settings))
    cards, two_gib = 2 * settings.serve.vllm.tensor_parallel, 2 * one.gib
    on_cards = settings.hardware.gpus > 0
    fits = (len(gpus) or settings.hardware.gpus) >= cards if on_cards else two_gib <= memory_gib
    needed = f"{cards} GPUs" if on_cards else f"about {two_gib:.1f} GiB for two versions"
    todo = "" if fits else f"{HOLD} (no canary, no shadow, no drill), or more memory or cards"
    return Check("swap", "ok" if fits else "warning", "beside: a new version starts beside the old one", needed, todo)


def _check_sleep(settings: Settings, base: Path | None, gpus: list[Gpu], memory_gib: float) -> Check:
    """Check that the old version can sleep: on a card, its weights in the machine's memory beside the new one's."""
    found = f"sleep: the old version's weights wait in memory, requests wait at most {settings.serve.hold_s:g} s"
    if not (gpus or settings.hardware.gpus):
        return Check("swap", "failed", "sleep: there is no GPU", "a CUDA build of vLLM", f"{HOLD}: {NO_SLEEP_ON_CPU}")
    gib = serving(settings, shape_of(settings, base)).gib
    fits = gib <= memory_gib
    needed = f"room for one version, about {gib:.1f} GiB of memory for the one that sleeps"
    return Check("swap", "ok" if fits else "warning", found, needed, "" if fits else f"{HOLD}, or more memory")


def _how(settings: Settings) -> str:
    """Return the mode of training, and how several processes share the model."""
    parallel = settings.train.parallel
    shared = f", {parallel.strategy} over {parallel.processes}" if parallel.processes > 1 else ""
    return f"{settings.train.mode}{shared}"


def _fit(what: str, estimate: Estimate, room_gib: float, where: str, todo: str, shape: Shape) -> Check:
    """Compare one estimate with the room there is."""
    source = "config.json" if shape.exact else "the number of parameters"
    outcome: Outcome = "failed" if estimate.gib > room_gib else "warning" if estimate.gib > room_gib * CLOSE else "ok"
    detail = (*estimate.lines, f"shapes from {source}; room: {where}")
    found, needed = f"about {estimate.gib:.1f} GiB", f"at most {room_gib:.1f} GiB"
    return Check(f"memory: {what}", outcome, found, needed, "" if outcome == "ok" else todo, detail)
