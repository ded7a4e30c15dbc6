"""The beginning of a sweep: everything about it is checked, then the checkout is copied, then it exists."""

from pathlib import Path

import yaml

from tasks.core.project import Project
from tasks.core.settings import load_settings
from tasks.sweep.checkout import take_snapshot
from tasks.sweep.checks import require_known, require_measurable, require_sound
from tasks.sweep.space import require_none
from tasks.sweep.store import Plan, Sweep, create, sampler_of, seal


def begin(project: Project, name: str, plan: Plan) -> Sweep:
    """Return a sweep that may run; one of this name that was asked for the same goes on.

    Raises:
        ConfigError: settings that params.yaml could not have, or another sweep has the name; nothing was started.
        MissingToolError: the sampler is not installed.
    """
    sweep = create(project, name, plan)
    if sweep.begun:
        return sweep
    _require_possible(project.root / "params.yaml", plan)
    take_snapshot(sweep)
    seal(sweep)
    return sweep


def _require_possible(params: Path, plan: Plan) -> None:
    """Check keys, values, combinations, hop and metric."""
    load_settings(params)
    values = yaml.safe_load(params.read_text(encoding="utf-8"))
    require_measurable(plan.hop, plan.metric, values)
    require_known(plan.space, plan.hop, values)
    sampler = sampler_of(plan, values)
    if sampler.total == 0:
        require_none(["nothing to try: these are the settings as they are"])
    if plan.sampler != "tpe":
        require_sound(sampler.checked, values)
