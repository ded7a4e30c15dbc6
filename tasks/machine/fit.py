"""Do training and serving fit: the estimates against the memory that is there, or that the profile states."""

from pathlib import Path

from tasks.core.gpus import Gpu
from tasks.core.settings import Settings
from tasks.machine.check import Check, Outcome
from tasks.models.estimate import Estimate, Shape, loading, serving, shape_of, training

#: Above this share of the room an estimate that fits is too close to rely on.
CLOSE = 0.9


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
    most = max(training(settings.train, shape), loading(settings.train, shape), key=lambda estimate: estimate.gib)
    return [
        _fit(f"training ({_how(settings)})", most, room_train, where, smaller, shape),
        _fit("serving (bf16 hop)", serving(settings, shape), room_serve, where_serve, fewer, shape),
    ]


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
    cards, two_gib = 2 * settings.serve.vllm.tensor_parallel, 2 * serving(settings, shape_of(settings, base)).gib
    on_cards = settings.hardware.gpus > 0
    fits = (len(gpus) or settings.hardware.gpus) >= cards if on_cards else two_gib <= memory_gib
    needed = f"{cards} GPUs" if on_cards else f"about {two_gib:.1f} GiB for two versions"
    todo = "" if fits else "serve.swap: hold in params.yaml (no canary, no shadow, no drill), or more memory or cards"
    return Check("swap", "ok" if fits else "warning", "beside: a new version starts beside the old one", needed, todo)


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
