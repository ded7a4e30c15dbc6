"""The verdict on a version, or on the last run, with its comparison with the champion."""

from typing import Any

from tasks.core.errors import ConfigError
from tasks.core.files import read_json
from tasks.core.layout import GATE
from tasks.core.project import Project
from tasks.core.settings import Settings
from tasks.release.champion import recorded_comparison
from tasks.release.registry import Registry
from tasks.release.version_evidence import registered


def verdict_of(project: Project, settings: Settings, version: str | None) -> dict[str, Any]:
    """Return verdict.json of a registered version, or of the last run, with the comparison with the champion.

    Args:
        project: where the run and the registry are.
        settings: name of the registered model.
        version: number of a version, None for the last run.

    Raises:
        ConfigError: there is no such version, or no run yet.
        DataContractError: the version has no evidence.
        TransientError: the artifact store does not answer.
    """
    if version is None:
        path = project.root / GATE / "verdict.json"
        if not path.is_file():
            raise ConfigError(f"{path} does not exist: the gate has not judged yet", "tunegate run")
        return {"version": None, **read_json(path), "champion_comparison": None}
    registry = Registry(project, settings.register_.model_name)
    found = registry.version(version)
    folder = registered(registry, found, GATE.removeprefix("data/"))
    return {
        "version": version,
        **read_json(folder / "verdict.json"),
        "champion_comparison": recorded_comparison(registry, found),
    }
