"""The change of champion that is under way, written ahead of every step, so that any end can be finished or taken back.

    intended -> switched (the host serves it) -> recorded (history) -> alias -> no journal
             -> rollout (it has a share of the traffic) -> as above, or taken back -> no journal

The first line has the person and the reason. A journal that is found belongs to a command that ended half-way, however
it ended: `settle` in tasks/release/reconcile.py looks at what is served and recorded, and goes on or goes back.
"""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tasks.core.files import read_json, write_json
from tasks.core.project import Project
from tasks.release.history import Kind

Step = Literal["intended", "rollout", "switched", "recorded"]
#: How traffic moves: at once, by a rising share, or at once after a time of mirrored requests.
Strategy = Literal["switch", "canary", "shadow"]
STRATEGIES: tuple[Strategy, ...] = ("switch", "canary", "shadow")


@dataclass(frozen=True)
class Intent:
    """One change of champion that somebody asked for.

    Args:
        kind: how it was asked for.
        version: who shall be champion.
        lineage_id: of that version.
        by, reason: the person, and why.
        before: the champion at that time, None for none.
        time: when it was asked for, UTC.
        step: the last step that is known to be done.
        strategy: how traffic moves.
    """

    kind: Kind
    version: str
    lineage_id: str
    by: str
    reason: str
    before: str | None
    time: str
    step: Step = "intended"
    strategy: Strategy = "switch"


class Journal:
    """At most one intent of a project, in a file that is replaced whole."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.path: Path = project.state / "serving" / "promotion.json"

    def read(self) -> Intent | None:
        """Return what is under way, None for nothing."""
        if not self.path.is_file():
            return None
        value: dict[str, Any] = read_json(self.path)
        return Intent(**value)

    def begin(
        self,
        kind: Kind,
        version: str,
        lineage_id: str,
        *,
        by: str,
        reason: str,
        before: str | None,
        strategy: Strategy = "switch",
    ) -> Intent:
        """Write down what is about to be done, before any of it is."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        intent = Intent(kind, version, lineage_id, by, reason, before, now, strategy=strategy)
        self._write(intent)
        return intent

    def reached(self, intent: Intent, step: Step) -> None:
        """Write down that a step is done."""
        self._write(replace(intent, step=step))

    def end(self) -> None:
        """Forget the intent: it is done, or taken back."""
        self.path.unlink(missing_ok=True)

    def _write(self, intent: Intent) -> None:
        """Replace the file."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_json(self.path, asdict(intent))
