"""What may enter as a model folder: every way in for code is planted and refused before anything is loaded."""

import json

import pytest

from tasks.core.errors import DataContractError
from tasks.models.safety import require_safe


@pytest.fixture
def folder(tmp_path):
    model = tmp_path / "模型"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"\0")
    (model / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (model / "chat_template.jinja").write_text("{{ messages }}")
    return model


def test_safetensors_config_and_template_enter(folder):
    require_safe(folder)


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "a.pt", "a.pth", "a.pkl", "modeling_x.py", "x.so", "a.CKPT", "a.h5"]
)
def test_files_that_execute_are_refused(folder, name):
    (folder / name).write_bytes(b"")
    with pytest.raises(DataContractError, match=name.replace(".", r"\.")):
        require_safe(folder)


def test_executable_files_in_subfolders_are_refused(folder):
    (folder / "original").mkdir()
    (folder / "original" / "consolidated.pth").write_bytes(b"")
    with pytest.raises(DataContractError, match="consolidated"):
        require_safe(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"auto_map": {"AutoModel": "modeling_x.X"}},
        {"text_config": {"auto_map": {"AutoModel": "evil/repo--modeling.X"}}},
        {"trust_remote_code": True},
        {"custom_generate": "evil/repo"},
    ],
)
def test_configs_that_ask_for_remote_code_are_refused(folder, config):
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataContractError, match="remote code"):
        require_safe(folder)


def test_auto_map_in_the_tokenizer_config_is_refused(folder):
    (folder / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["t.T", None]}}))
    with pytest.raises(DataContractError, match=r"tokenizer_config\.json"):
        require_safe(folder)


def test_links_out_of_the_folder_are_refused(folder, tmp_path):
    (tmp_path / "elsewhere.safetensors").write_bytes(b"\0")
    (folder / "more.safetensors").symlink_to(tmp_path / "elsewhere.safetensors")
    with pytest.raises(DataContractError, match="links out"):
        require_safe(folder)


def test_all_findings_are_named_at_once(folder):
    (folder / "model.safetensors").unlink()
    (folder / "a.bin").write_bytes(b"")
    (folder / "b.py").write_bytes(b"")
    with pytest.raises(DataContractError) as caught:
        require_safe(folder)
    assert all(word in caught.value.message for word in ("a.bin", "b.py", "no .safetensors"))


def test_absent_folder_and_damaged_config_are_clear(folder, tmp_path):
    with pytest.raises(DataContractError, match="does not exist"):
        require_safe(tmp_path / "nowhere")
    (folder / "config.json").write_text("{")
    with pytest.raises(DataContractError, match="not valid JSON"):
        require_safe(folder)
