"""Written for another trainer: labels and settings of stage train, the same bytes each time, nobody's work lost."""

import json
import runpy
from dataclasses import replace

import pytest
import yaml

from tasks.chat.rows import IGNORED, encode_rows
from tasks.cli.export_training import export_training as command
from tasks.cli.main import cli
from tasks.core.errors import ConfigError, DataContractError
from tasks.core.files import read_jsonl
from tasks.core.manifest import verify_manifest
from tasks.core.settings import load_settings
from tasks.models.base import BaseModel
from tasks.training.other_trainers import export as module
from tasks.training.other_trainers.configs import Setup, not_carried
from tasks.training.other_trainers.export import TRAINERS, export_training
from tests.unit.training.conftest import ROOT, save_rows


@pytest.fixture(scope="module")
def settings():
    return load_settings(ROOT / "params.yaml")


@pytest.fixture(scope="module")
def model(tiny):
    return BaseModel(tiny, "sha256:tiny")


@pytest.fixture
def prepared(tmp_path, chat_rows):
    """Twenty rows; the first answer of one is not to be learnt, and one is too long."""
    rows = chat_rows(20)
    rows[0]["untaught"] = [1]
    rows[3]["messages"][-1]["content"] = "关好门窗。" * 400
    save_rows(tmp_path / "train.jsonl", rows)
    return tmp_path


def written(folder, name):
    """(ids, labels) of the rows in a folder, in order."""
    if not TRAINERS[name].table:
        return [(row["input_ids"], row["labels"]) for row in read_jsonl(folder / "rows.jsonl")]
    from datasets import load_from_disk

    return [(row["input_ids"], row["labels"]) for row in load_from_disk(str(folder / "rows"))]


def ours(prepared, settings, tokenizer):
    rows = encode_rows(prepared / "train.jsonl", tokenizer, settings.train.max_length_tokens, every_thought=True).rows
    return [(row.input_ids, row.labels) for row in rows]


@pytest.mark.parametrize("name", TRAINERS)
def test_rows_are_those_of_stage_train(name, settings, model, prepared, tokenizer, tmp_path):
    out = tmp_path / "out"
    found = export_training(name, settings, model, prepared, out)
    assert written(out, name) == ours(prepared, settings, tokenizer)
    assert found["rows"] == 19
    assert [(row["row_id"], row["reason"]) for row in found["left_out"]] == [("r-0000000000000003", "too_long")]
    assert found["labelled_tokens"] == sum(label != IGNORED for _, labels in written(out, name) for label in labels)
    assert verify_manifest(out)["sources"]["trainer"] == name


def test_an_answer_not_to_be_learnt_has_no_label(settings, model, prepared, tokenizer, tmp_path):
    export_training("axolotl", settings, model, prepared, tmp_path / "out")
    _, labels = written(tmp_path / "out", "axolotl")[0]
    taught = tokenizer.decode([label for label in labels if label != IGNORED])
    row = next(read_jsonl(prepared / "train.jsonl"))
    answers = [turn["content"] for turn in row["messages"] if turn["role"] == "assistant"]
    assert len(answers) == 2
    assert taught == f"{answers[1]}<|im_end|>"


@pytest.mark.parametrize("name", ["llamafactory"])
def test_twice_is_the_same_bytes_and_the_second_time_nothing_is_written(name, settings, model, prepared, tmp_path):
    first = export_training(name, settings, model, prepared, tmp_path / "one")
    again = export_training(name, settings, model, prepared, tmp_path / "one")
    other = export_training(name, settings, model, prepared, tmp_path / "two")
    assert (first["written"], again["written"], other["written"]) == (True, False, True)
    assert first["files"] == again["files"] == other["files"]


def test_a_changed_label_is_written_right_again(settings, model, prepared, tokenizer, tmp_path):
    out = tmp_path / "out"
    export_training("axolotl", settings, model, prepared, out)
    rows = list(read_jsonl(out / "rows.jsonl"))
    rows[0]["labels"] = rows[0]["input_ids"]  # the question is learnt too
    save_rows(out / "rows.jsonl", rows)
    assert export_training("axolotl", settings, model, prepared, out)["written"]
    assert written(out, "axolotl") == ours(prepared, settings, tokenizer)


def test_other_settings_are_written_anew_but_never_over_a_training(settings, model, prepared, tmp_path):
    out = tmp_path / "out"
    export_training("llamafactory", settings, model, prepared, out)
    (out / "out").mkdir()
    (out / "out" / "adapter_model.safetensors").write_bytes(b"hours of a GPU")
    assert not export_training("llamafactory", settings, model, prepared, out)["written"]
    train = settings.train.model_copy(update={"seed": settings.train.seed + 1})
    changed = settings.model_copy(update={"train": train})
    with pytest.raises(ConfigError, match=r"out/adapter_model\.safetensors"):
        export_training("llamafactory", changed, model, prepared, out)
    (out / "out" / "adapter_model.safetensors").unlink()
    assert export_training("llamafactory", changed, model, prepared, out)["written"]
    assert yaml.safe_load((out / "train.yaml").read_text("utf-8"))["seed"] == train.seed


def test_a_folder_of_something_else_is_refused(settings, model, prepared, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("第一章", "utf-8")
    with pytest.raises(ConfigError, match="something else"):
        export_training("swift", settings, model, prepared, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text("utf-8") == "第一章"


def test_without_prepared_rows_the_next_command_is_named(settings, model, tmp_path):
    with pytest.raises(DataContractError, match="tunegate stage prepare"):
        export_training("swift", settings, model, tmp_path, tmp_path / "out")


def test_a_failure_half_way_leaves_nothing(settings, model, prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "write_text", lambda path, text: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        export_training("axolotl", settings, model, prepared, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("profile", ["laptop", "verify-7b", "optimize-32b", "production-72b"])
@pytest.mark.parametrize("name", TRAINERS)
def test_a_step_has_as_many_rows_and_the_adapter_is_the_same(name, profile):
    settings = load_settings(ROOT / "infra" / "profiles" / f"{profile}.yaml")
    config = TRAINERS[name].settings(Setup(settings.train, "org/base", 100, settings.hardware.gpus > 0, "template"))
    flat = {}
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        flat |= part
    train = settings.train
    rows = flat.get("micro_batch_size") or flat["per_device_train_batch_size"]
    at_once = rows * train.parallel.processes
    assert at_once * flat["gradient_accumulation_steps"] == train.batch_rows * train.gradient_accumulation_steps
    rank = next(flat[key] for key in ("lora_rank", "lora_r", "r") if key in flat)
    targets = next(flat[key] for key in ("lora_target", "lora_target_modules", "target_modules") if key in flat)
    assert (rank, flat["lora_alpha"], flat["seed"]) == (train.lora.rank, train.lora.alpha, train.seed)
    assert (targets.split(",") if isinstance(targets, str) else targets) == train.lora.target_modules
    quantized = flat.get("load_in_4bit") or flat.get("quantization_bit") == 4 or flat.get("quant_bits") == 4
    assert bool(quantized) == (train.mode == "qlora")
    assert "org/base" in json.dumps(config)


def test_what_needs_cuda_is_said_where_the_profile_has_none(settings):
    setup = Setup(settings.train, "org/base", 100, accelerated=False, template="template")
    said = {name: any("needs CUDA" in what for what in not_carried(setup, name)) for name in TRAINERS}
    assert said == {"llamafactory": False, "axolotl": True, "unsloth": True, "swift": False}
    assert not any("needs CUDA" in what for what in not_carried(replace(setup, accelerated=True), "axolotl"))


@pytest.mark.slow
def test_unsloth_s_script_trains_on_the_same_labels(settings, model, prepared, tokenizer, tmp_path):
    """Its trainer is TRL's; only the loading of the model is Unsloth's, and needs CUDA."""
    from transformers import AutoModelForCausalLM

    export_training("unsloth", settings, model, prepared, tmp_path / "out")
    script = runpy.run_path(str(tmp_path / "out" / "train.py"))
    read = script["read_settings"]()
    read["arguments"] |= {"use_cpu": True, "bf16": False}
    trainer = script["make_trainer"](AutoModelForCausalLM.from_pretrained(model.path), tokenizer, read)
    seen = []
    for batch in trainer.get_train_dataloader():
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"], strict=True):
            seen.append((ids[mask.bool()].tolist(), labels[mask.bool()].tolist()))
    assert sorted(seen) == sorted(ours(prepared, settings, tokenizer))
    assert trainer.args.max_steps == settings.train.max_steps
    assert trainer.args.learning_rate == settings.train.learning_rate


def test_the_command_knows_all_of_them():
    assert list(command.params[0].type.choices) == list(TRAINERS)


def test_the_command_says_what_was_written_and_what_is_not_the_same(tiny, prepared, tmp_path, monkeypatch, capsys):
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    params["base_model"] = {"source": "local", "id": str(tiny), "revision": None, "digest": None}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True), "utf-8")
    (tmp_path / "dvc.yaml").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prepared").mkdir()
    (prepared / "train.jsonl").rename(tmp_path / "data" / "prepared" / "train.jsonl")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUNEGATE_ROOT", str(tmp_path))
    cli(["export-training", "llamafactory", "--out", "lf"], standalone_mode=False)
    text = capsys.readouterr().out
    assert text.startswith("lf: 19 rows, ")
    assert "r-0000000000000003 (too_long)" in text
    assert "llamafactory-cli train train.yaml" in text
    cli(["export-training", "llamafactory", "--out", "lf", "--json"], standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert (found["written"], found["rows"], found["trainer"]) == (False, 19, "LLaMA-Factory")
