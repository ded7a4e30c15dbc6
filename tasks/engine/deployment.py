"""What a slot is to serve: a version, its weights, and what its evidence says it answers."""

from dataclasses import dataclass
from pathlib import Path

from tasks.engine.fingerprint import Fingerprint


@dataclass(frozen=True)
class Deployment:
    """A registered version and the folder of its weights; vLLM serves it under the lineage id.

    Args:
        fingerprint: what its evidence says it answers; None where it has no evidence to be held to.
    """

    version: str
    lineage_id: str
    model: Path
    fingerprint: Fingerprint | None = None
