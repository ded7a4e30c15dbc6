import json
import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tasks.chat.tokenizer import tokenizer_sha256
from tasks.core.digest import file_digests
from tasks.core.errors import DataContractError
from tasks.core.files import read_json
from tasks.training.merge import merge


@pytest.fixture(scope="module")
def trained(project, prepared, tiny, tmp_path_factory, train_params):
    """An adapter, trained once."""
    from tasks.training.train import train_here

    root = tmp_path_factory.mktemp("trained")
    for name in ("out", "scratch"):
        (root / name).mkdir()
    train_here(
        train_params(mode="qlora", max_steps=4), output=root / "out", prepared=prepared, base=tiny,
        scratch=root / "scratch", lineage_id="tg-trained", project=project,
    )  # fmt: skip
    return root / "out"


@pytest.fixture
def adapter(trained, tmp_path):
    """A copy of it, for a test to spoil."""
    return shutil.copytree(trained, tmp_path / "adapter")


def merged_into(folder, params, adapter, base):
    folder.mkdir()
    merge(params, output=folder, adapter=adapter, base=base)
    return folder


@pytest.mark.slow
def test_merged_model_answers_as_base_with_adapter(adapter, tiny, tmp_path, merge_params):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    merged = merged_into(tmp_path / "merged", merge_params, adapter, tiny)
    ids = torch.arange(40, 60).unsqueeze(0)
    base = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    plain = base(input_ids=ids).logits
    with_adapter = PeftModel.from_pretrained(base, adapter)(input_ids=ids).logits
    ours = AutoModelForCausalLM.from_pretrained(merged, dtype=torch.float32)(input_ids=ids).logits
    assert (ours - with_adapter).norm() < 0.1 * (plain - with_adapter).norm()


def test_record_names_every_changed_module(adapter, tiny, tmp_path, merge_params):
    merged = merged_into(tmp_path / "merged", merge_params, adapter, tiny)
    record = read_json(merged / "merge.json")
    assert record["modules"] == record["changed"] == len(record["relative_delta_norms"]) == 6
    assert all(norm > 0 for norm in record["relative_delta_norms"].values())
    assert tokenizer_sha256(merged) == tokenizer_sha256(tiny) == record["tokenizer_sha256"]
    with safe_open(merged / "model.safetensors", framework="pt") as weights:
        names = set(weights.keys())
        assert not any("lora" in name or "base_layer" in name for name in names)
        assert "lm_head.weight" not in names  # tied: stored once
        assert weights.get_tensor("model.norm.weight").dtype == torch.bfloat16
    assert read_json(merged / "config.json")["tie_word_embeddings"] is True


def test_two_merges_write_the_same_bytes_and_name_no_machine(adapter, tiny, tmp_path, merge_params):
    first = merged_into(tmp_path / "first", merge_params, adapter, tiny)
    second = merged_into(tmp_path / "second", merge_params, adapter, tiny)
    assert file_digests(first) == file_digests(second)
    for path in first.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
        assert str(tiny.parent).encode() not in path.read_bytes(), path.name


def test_lost_adapter_is_caught(adapter, tiny, tmp_path, merge_params):
    file = adapter / "adapter_model.safetensors"
    save_file({name: tensor * ("lora_B" not in name) for name, tensor in load_file(file).items()}, file)
    with pytest.raises(DataContractError, match="changes none of the 6 modules"):
        merged_into(tmp_path / "merged", merge_params, adapter, tiny)


def test_adapter_of_another_model_is_caught(adapter, tiny, tmp_path, merge_params):
    file = adapter / "adapter_model.safetensors"
    save_file({name.replace("layers.1", "layers.9"): tensor for name, tensor in load_file(file).items()}, file)
    with (
        pytest.warns(UserWarning, match="missing adapter keys"),
        pytest.raises(DataContractError, match="does not fit the base model"),
    ):
        merged_into(tmp_path / "merged", merge_params, adapter, tiny)


def test_changed_chat_template_is_caught(adapter, tiny, tmp_path, merge_params):
    template = adapter / "chat_template.jinja"
    template.write_text(template.read_text(encoding="utf-8") + " ", encoding="utf-8")
    with pytest.raises(DataContractError, match="not the one of the training"):
        merged_into(tmp_path / "merged", merge_params, adapter, tiny)


@pytest.mark.slow
def test_full_training_is_compared_and_saved_again(run_train, tiny, tmp_path, merge_params):
    trained = run_train("trained", mode="full", max_steps=2)[0]
    merged = merged_into(tmp_path / "merged", merge_params, trained, tiny)
    record = read_json(merged / "merge.json")
    assert record["mode"] == "full"
    assert record["changed"] > 0
    stored, again = load_file(trained / "model.safetensors"), load_file(merged / "model.safetensors")
    assert stored.keys() == again.keys()
    assert all(torch.equal(stored[name], again[name]) for name in stored)


@pytest.mark.slow
def test_lost_full_training_is_caught(run_train, tiny, tmp_path, merge_params):
    trained = run_train("trained", mode="full", max_steps=1)[0]
    save_file(load_file(tiny / "model.safetensors"), trained / "model.safetensors", {"format": "pt"})
    with pytest.raises(DataContractError, match="fine-tuning is lost"):
        merged_into(tmp_path / "merged", merge_params, trained, tiny)


def test_training_record_is_needed(adapter, tiny, tmp_path, merge_params):
    (adapter / "training.json").write_text(json.dumps({"mode": "lora"})[:-1], encoding="utf-8")
    with pytest.raises(DataContractError, match="not valid JSON"):
        merged_into(tmp_path / "merged", merge_params, adapter, tiny)
