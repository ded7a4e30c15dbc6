"""The cards that stages work on and the cards that slots serve on: each enough, each there, and none of both."""

import os
from collections.abc import Sequence

from tasks.core.errors import ConfigError, MissingToolError
from tasks.core.gpus import (
    SERVER_GPUS,
    SLOT_GPUS_VARIABLE,
    TRAINING_GPUS,
    WORK_GPUS_VARIABLE,
    Gpu,
    choose_work_gpus,
    named,
    slot_groups,
)
from tasks.core.settings import Settings
from tasks.machine.check import Check

SLOTS = 2


def check_slot_gpus(settings: Settings, gpus: Sequence[Gpu]) -> list[Check]:
    """Check that both slots find room on the GPUs: a new version starts beside the old one.

    Args:
        gpus: what was found; where there is none, only what the variable says is checked.
    """
    if not settings.hardware.gpus:
        return []
    each = settings.serve.vllm.tensor_parallel
    todo = f'export {SLOT_GPUS_VARIABLE}="{_example(each)}"'
    needed = f"{each} GPU(s) for each of the two slots"
    given, slots = os.environ.get(SLOT_GPUS_VARIABLE, ""), slot_groups()
    if settings.serve.one_at_a_time and len(slots) < SLOTS:
        short = bool(given) and any(len(slot) < each for slot in slots)
        found, needed = given or "one version at a time sees all GPUs", f"{each} GPU(s) for one slot at a time"
        return [Check("slots' GPUs", "failed" if short else "ok", found, needed, todo if short else "")]
    if not given:
        return [Check("slots' GPUs", "warning", "both slots see all GPUs", needed, todo)]
    if len(slots) != SLOTS or any(len(slot) < each for slot in slots) or set(slots[0]) & set(slots[1]):
        return [Check("slots' GPUs", "failed", given, needed, todo)]
    names = [name for slot in slots for name in slot]
    if absent := [name for name in names if gpus and not named([name], gpus)]:
        found = f"{given}; not here: {', '.join(absent)}"
        return [Check("slots' GPUs", "failed", found, f"GPUs of the {len(gpus)} here", todo)]
    return [Check("slots' GPUs", "ok", given, needed)]


def check_work_gpus(settings: Settings, gpus: Sequence[Gpu]) -> list[Check]:
    """Check that stages find cards of their own beside the slots': one a training process, a server's to evaluate.

    Args:
        gpus: what was found; their number is checked elsewhere, so without any there is nothing to check.
    """
    given = os.environ.get(WORK_GPUS_VARIABLE, "")
    if not gpus or not (settings.hardware.gpus or given):
        return []
    server, processes = settings.serve.vllm.tensor_parallel, settings.train.parallel.processes
    each, setting = (server, SERVER_GPUS) if server >= processes else (processes, TRAINING_GPUS)
    title, needed = "work GPUs", f"{each} GPU(s) that no slot serves on"
    try:
        chosen = choose_work_gpus(gpus, each, each, setting)
    except (ConfigError, MissingToolError) as error:
        return [Check(title, "failed", error.message, needed, error.hint)]
    slots = slot_groups()
    serving = named([name for slot in slots for name in slot], gpus)
    cards = ", ".join(str(gpu.index) for gpu in chosen) or "none: CUDA_VISIBLE_DEVICES hides them"
    todo = _own_cards(gpus, serving, each, server)
    if borrowed := [gpu for gpu in chosen if gpu in serving]:
        found = f"{cards}, of which {len(borrowed)} of an idle slot"
        return [Check(title, "warning", found, needed, todo)]
    if not given and not slots and settings.hardware.gpus:
        return [Check(title, "warning", f"now {cards}, which a slot may take", needed, todo)]
    return [Check(title, "ok", given or f"{cards}, the freest now", needed)]


def _own_cards(gpus: Sequence[Gpu], serving: Sequence[Gpu], each: int, of_a_slot: int) -> str:
    """Return how stages get cards of their own; where there are too few, what to expect."""
    taken = [gpu.index for gpu in serving] or list(range(SLOTS * of_a_slot))
    left = [str(gpu.index) for gpu in gpus if gpu.index not in taken]
    if len(left) < each:
        return f"run stages and promotions one after the other, or add {each - len(left)} GPU(s) to work on"
    slots = "" if serving else f' {SLOT_GPUS_VARIABLE}="{_example(of_a_slot)}"'
    return f'export {WORK_GPUS_VARIABLE}="{",".join(left[:each])}"{slots}'


def _example(each: int) -> str:
    """Return the slots' cards where each takes so many, from the first on."""
    return "|".join(",".join(str(slot * each + index) for index in range(each)) for slot in range(SLOTS))
