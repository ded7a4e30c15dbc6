import shutil
from pathlib import Path

import pytest

from tasks.core.project import Project

ROOT = Path(__file__).parents[3]
VARIABLES = (
    "TUNEGATE_SERVE_PYTHON", "TUNEGATE_SLOT_GPUS", "TUNEGATE_WORK_GPUS", "TUNEGATE_ACCELERATOR", "PREFECT_API_URL",
    "MLFLOW_TRACKING_URI", "HF_ENDPOINT", "MODELSCOPE_DOMAIN",
)  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    """A clone with nothing in it but the settings, in a folder with a Chinese name."""
    root = tmp_path / "克隆"
    (root / "infra" / "environments").mkdir(parents=True)
    shutil.copytree(ROOT / "infra" / "profiles", root / "infra" / "profiles")
    for path in (ROOT / "infra" / "environments").glob("*"):
        if path.is_file():
            shutil.copy(path, root / "infra" / "environments")
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, root)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TUNEGATE_ROOT", str(root))
    monkeypatch.setenv("TUNEGATE_GATEWAY_PORT", "18080")
    monkeypatch.setenv("TUNEGATE_SLOT_PORT", "18101")
    monkeypatch.setenv("TUNEGATE_EVALUATION_PORT", "18103")
    return Project(root)


@pytest.fixture
def large(project):
    from tasks.core.settings import load_settings

    return load_settings(project.root / "infra" / "profiles" / "production-72b.yaml")


@pytest.fixture
def laptop(project):
    from tasks.core.settings import load_settings

    return load_settings(project.root / "params.yaml")
