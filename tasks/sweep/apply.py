"""The winner's settings in params.yaml, with its comments."""

from pathlib import Path

from tasks.core.errors import ConfigError
from tasks.core.files import write_text
from tasks.sweep.checkout import drift
from tasks.sweep.checks import sections_of
from tasks.sweep.params_text import with_settings
from tasks.sweep.space import Point
from tasks.sweep.store import Sweep, winner_of


def winners_params(sweep: Sweep, *, anyway: bool = False) -> tuple[Point, Path]:
    """Write params.yaml with the winner's settings beside the sweep, and return the settings and where it is.

    Args:
        sweep: which is done.
        anyway: also where params.yaml has changed since.

    Raises:
        DataContractError: the sweep is not done.
        ConfigError: what was compared is not what params.yaml says now, but for the settings that were tried.
    """
    point = winner_of(sweep)
    moved = [key for key in drift(sweep, sections_of(sweep.plan.hop)) if not _tried(key, sweep)]
    if moved and not anyway:
        raise ConfigError(
            f"params.yaml is not what sweep {sweep.name} started from: {', '.join(moved)}; beside other settings its "
            "winner may not win",
            f"set them back, or sweep again; tunegate sweep apply {sweep.name} --anyway writes the winner all the same",
        )
    text = (sweep.project.root / "params.yaml").read_text(encoding="utf-8")
    target = sweep.folder / "params.yaml"
    write_text(target, with_settings(text, point))
    return point, target


def _tried(key: str, sweep: Sweep) -> bool:
    """Return whether a setting is one of those that were tried, or inside of one."""
    return any(key == tried or key.startswith(f"{tried}.") for tried in sweep.plan.settings)
