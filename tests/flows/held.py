"""Stage bodies that wait until a test has struck, and keep how often they were begun."""

from pathlib import Path

from tests.flows.clones import STAGE

VARIABLE = "HELD_STAGES"
#: The card that a stage of the gpu pool works on: its lease is real, the card is a name.
CARD = {"GPU-甲": "GPU 0"}

_BEGIN = "root = Path.cwd()\n"
_HELD = f'''
import os
import time

from tasks.core.gpu_leases import leased

if folder := os.environ.get("{VARIABLE}"):
    # Nothing gives it back but the end of this process.
    lease = leased({CARD!r}, 1, 1, stage.name)
    if stage.gpu:
        lease.__enter__()
    with Path(folder, f"{{stage.name}}.begun").open("a", encoding="utf-8") as stream:
        print(os.getpid(), file=stream)
    while Path(folder, f"{{stage.name}}.hold").exists():
        time.sleep(0.05)
'''


def held_stage() -> str:
    """Return the script of a stage in little that waits while it is held."""
    assert _BEGIN in STAGE
    return STAGE.replace(_BEGIN, f"{_HELD}\n{_BEGIN}", 1)


class Held:
    """The stages of one run that are to wait.

    Args:
        folder: what the stages' environment names.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder

    def hold(self, stage: str) -> None:
        """Have a stage wait when it is begun, until it is let go."""
        (self.folder / f"{stage}.hold").touch()

    def let_go(self, stage: str) -> None:
        (self.folder / f"{stage}.hold").unlink()

    def begun(self, stage: str) -> list[int]:
        """Return the processes in which a stage was begun, in order."""
        path = self.folder / f"{stage}.begun"
        return [int(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
