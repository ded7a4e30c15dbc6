"""Settings for tests of sweeps."""

from tests.unit.made_run import settings

__all__ = ["settings"]
