"""The NVIDIA GPUs of this machine, and which of them a stage works on: apart from the cards that serve.

torch and vLLM take every card they see, and TRL refuses to train where that is more than one. What they see is
`CUDA_VISIBLE_DEVICES`, read once when CUDA starts: so the choice is made from what nvidia-smi says, before torch is
imported.
"""

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from tasks.core.errors import ConfigError, MissingToolError
from tasks.core.gpu_leases import leased

log = logging.getLogger(__name__)

#: Which GPUs stages work on, e.g. "2" or "2,3", as nvidia-smi numbers them. Unset: the freest outside the slots'.
WORK_GPUS_VARIABLE = "TUNEGATE_WORK_GPUS"
#: Which GPUs each slot serves on, e.g. "0,1|2,3": blue first.
SLOT_GPUS_VARIABLE = "TUNEGATE_SLOT_GPUS"
VISIBLE = "CUDA_VISIBLE_DEVICES"
#: CUDA numbers cards by speed unless told otherwise, nvidia-smi by bus: with this both mean the same card.
BUS_ORDER = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
#: Settings that say how many cards work takes.
SERVER_GPUS, TRAINING_GPUS = "serve.vllm.tensor_parallel", "train.parallel.processes"

NVIDIA_SMI = ("nvidia-smi", "--query-gpu=index,uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits")
NVIDIA_TIMEOUT_S = 10.0
#: A slot's card of which so much is free serves nothing: an idle context takes less than a tenth of the smallest card.
IDLE_SHARE = 0.9


@dataclass(frozen=True)
class Gpu:
    """One GPU, memory in GiB; `index` and `uuid` are nvidia-smi's names for it."""

    name: str
    total_gib: float
    free_gib: float
    index: int = 0
    uuid: str = ""

    @property
    def idle(self) -> bool:
        """Whether next to nothing is held on it."""
        return self.free_gib >= self.total_gib * IDLE_SHARE


def find_gpus() -> list[Gpu]:
    """Return the NVIDIA GPUs, as nvidia-smi reports them; none where there is no driver."""
    if shutil.which(NVIDIA_SMI[0]) is None:
        return []
    try:
        done = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, check=True, timeout=NVIDIA_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_gpus(done.stdout)


def parse_gpus(text: str) -> list[Gpu]:
    """Return the GPUs in nvidia-smi's answer (MiB); a line that is none (no devices found) is left out."""
    rows = [[cell.strip() for cell in line.split(",")] for line in text.splitlines()]
    return [
        Gpu(row[2], int(row[3]) / 1024, int(row[4]) / 1024, int(row[0]), row[1])
        for row in rows
        if len(row) == 5 and all(row[column].isdigit() for column in (0, 3, 4))
    ]


def names_in(value: str) -> list[str]:
    """Return the cards that a list such as "0, 1" names."""
    return [name for part in value.split(",") if (name := part.strip())]


def slot_groups() -> list[list[str]]:
    """Return the cards of each slot, as $TUNEGATE_SLOT_GPUS names them; none where it is not set."""
    value = os.environ.get(SLOT_GPUS_VARIABLE, "")
    return [names_in(group) for group in value.split("|")] if value else []


def named(names: Sequence[str], gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the cards of these names (index or UUID) in their order; a name of no card is passed over."""
    return [gpu for name in names for gpu in gpus if name in (str(gpu.index), gpu.uuid)]


@contextmanager
def working_on(least: int, most: int, setting: str = SERVER_GPUS, *, what: str = "a stage") -> Iterator[None]:
    """Let this process, and what it starts, see only the cards that it may work on, alone; then as before.

    Cards that another stage of this machine works on are passed over; where too few are left, it is waited for.

    Args:
        least: cards the work cannot do without; 0 shows it none.
        most: cards it can use.
        setting: where that number stands in params.yaml.
        what: the work, for others who wait for its cards.

    Raises:
        ConfigError, MissingToolError: as `choose_work_gpus`.
    """
    with ExitStack() as leases:
        seen = _to_see(leases, least, most, setting, what)
        before = {name: os.environ.get(name) for name in (VISIBLE, *BUS_ORDER)}
        os.environ.update(seen)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def _to_see(leases: ExitStack, least: int, most: int, setting: str, what: str) -> dict[str, str]:
    """Return the variables that show the chosen cards, leased until `leases` is left; none where there is no card."""
    if not most:
        # Libraries start CUDA on the first card they see, also for work that needs none: that card may serve.
        return {VISIBLE: ""}
    gpus = find_gpus()
    if not gpus and not os.environ.get(WORK_GPUS_VARIABLE):
        return {}
    if not (choice := choose_work_gpus(gpus, least, len(gpus), setting)):
        return {}
    cards = {gpu.uuid or str(gpu.index): gpu for gpu in choice}
    called = {name: f"GPU {gpu.index}" for name, gpu in cards.items()}
    chosen = [cards[name] for name in leases.enter_context(leased(called, least, most, what))]
    for gpu in chosen:
        log.info("GPU %d: %s, %.1f of %.1f GiB free", gpu.index, gpu.name, gpu.free_gib, gpu.total_gib)
    return {VISIBLE: ",".join(str(gpu.index) for gpu in chosen), **BUS_ORDER}


def choose_work_gpus(gpus: Sequence[Gpu], least: int, most: int, setting: str = SERVER_GPUS) -> list[Gpu]:
    """Return the cards to work on, the freest first; none where `CUDA_VISIBLE_DEVICES` hides them all.

    They are those that $TUNEGATE_WORK_GPUS names. Where it is not set: the freest of those no slot serves on; where
    these are too few, a slot's cards too, but only while nothing is held on them.

    Args:
        gpus: what nvidia-smi reports.
        least: cards the work cannot do without.
        most: cards it can use.
        setting: where that number stands in params.yaml.

    Raises:
        ConfigError: the variable names cards that are not here, too few, one twice, or a slot's.
        MissingToolError: there are too few cards outside those that serve.
    """
    if value := os.environ.get(WORK_GPUS_VARIABLE):
        return _freest(_given(value, gpus, least, setting), most)
    gpus = _allowed(gpus)
    if not gpus:
        return []
    slots = named([name for group in slot_groups() for name in group], gpus)
    own = [gpu for gpu in gpus if gpu not in slots]
    room = own if len(own) >= least else own + [gpu for gpu in slots if gpu.idle]
    if len(room) < least:
        raise MissingToolError(_too_few(len(gpus), len(room), least, setting), _more(len(gpus), least, setting))
    return _freest(room, most)


def _freest(gpus: Sequence[Gpu], most: int) -> list[Gpu]:
    """Return the cards with the most free memory; of equals the first, so that the choice can be foretold."""
    return sorted(gpus, key=lambda gpu: (-gpu.free_gib, gpu.index))[:most]


def _allowed(gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the cards that the environment lets this process see: a scheduler may have given it only some."""
    visible = os.environ.get(VISIBLE)
    return list(gpus) if visible is None else named(names_in(visible), gpus)


def _given(value: str, gpus: Sequence[Gpu], least: int, setting: str) -> list[Gpu]:
    """Return the cards that the variable names, all there, each once, enough, and no slot's."""
    names = names_in(value)
    found = named(names, gpus)
    here = ", ".join(str(gpu.index) for gpu in gpus) or "none"
    if not gpus:
        raise MissingToolError(
            f"{WORK_GPUS_VARIABLE}={value!r}, but nvidia-smi reports no GPU",
            f"install the NVIDIA driver (nvidia-smi must work), or unset {WORK_GPUS_VARIABLE}",
        )
    if len(found) != len(names) or len(set(found)) != len(names) or not names:
        raise ConfigError(
            f"{WORK_GPUS_VARIABLE}={value!r} must name GPUs that are here, each once (here: {here})",
            f"export {WORK_GPUS_VARIABLE}={gpus[-1].index}",
        )
    if shared := [gpu for gpu in named([name for group in slot_groups() for name in group], gpus) if gpu in found]:
        raise ConfigError(
            f"GPU {shared[0].index} is in {WORK_GPUS_VARIABLE} and in {SLOT_GPUS_VARIABLE}: work beside what serves",
            f"take it out of one of them; unset {WORK_GPUS_VARIABLE} takes the freest card that serves nothing",
        )
    if len(found) < least:
        raise ConfigError(
            f"{WORK_GPUS_VARIABLE}={value!r} names {len(found)} GPU(s), {setting} asks for {least}",
            f"name {least}, or lower {setting} in params.yaml",
        )
    return found


def _too_few(total: int, room: int, least: int, setting: str) -> str:
    """Return what is missing in words."""
    if total < least:
        return f"the stage needs {least} GPUs ({setting}), there are {total}"
    return f"the stage needs {least} GPU(s) to work on; of {total}, {room} serve nothing ({SLOT_GPUS_VARIABLE})"


def _more(total: int, least: int, setting: str) -> str:
    """Return what helps against too few cards."""
    if total < least:
        return f"lower {setting} in params.yaml, or use a machine with more GPUs"
    return f"tunegate stop frees the slots' cards; or leave {least} card(s) out of {SLOT_GPUS_VARIABLE}"
