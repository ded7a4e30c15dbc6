"""The settings that accelerate, torch and DeepSpeed get, held against those libraries' own reading of them."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import BatchSampler, SequentialSampler

from tasks.core.errors import ConfigError
from tasks.training.model import nf4_config
from tasks.training.parallel.strategies import accumulation_steps, require_divided, to_zero3_config


def shared(train_params, strategy, processes=2, **changes):
    parallel = {"strategy": strategy, "processes": processes}
    return train_params(parallel=parallel, **{"gradient_accumulation_steps": 4, "batch_rows": 3} | changes)


@pytest.fixture(autouse=True)
def environment_kept(monkeypatch):
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "false")  # TrainingArguments sets it


@pytest.mark.parametrize(("mode", "once"), [("qlora", False), ("lora", True), ("full", True)])
def test_fsdp_divides_by_layer_and_averages_in_fp32(train_params, tmp_path, mode, once):
    from accelerate.utils import FullyShardedDataParallelPlugin

    from tasks.training.trainer import to_sft_config

    args = to_sft_config(shared(train_params, "fsdp", mode=mode), tmp_path)
    plugin = FullyShardedDataParallelPlugin(**args.fsdp_plugin_args)
    assert (plugin.fsdp_version, plugin.reshard_after_forward) == (2, True)
    assert plugin.cpu_ram_efficient_loading is once
    assert "FULL_STATE_DICT" in str(plugin.state_dict_type)
    # LoRA's dropout would be another in FSDP's own second pass.
    assert not plugin.activation_checkpointing
    plugin.set_mixed_precision("bf16")
    policy = plugin.mixed_precision_policy
    assert (policy.param_dtype, policy.reduce_dtype, policy.output_dtype) == (torch.bfloat16, torch.float32, None)


def test_zero3_is_read_as_stage_three_on_the_gpus_alone(train_params):
    from accelerate.utils.deepspeed import HfDeepSpeedConfig

    found = HfDeepSpeedConfig(to_zero3_config(shared(train_params, "zero3")))
    assert found.is_zero3()
    assert not found.is_offload()
    assert found.is_true("bf16.enabled")
    assert found.get_value("gradient_clipping") == 1.0
    # No optimizer and no schedule of DeepSpeed's: a checkpoint goes on under another strategy.
    assert found.get_value("optimizer") is None
    assert found.get_value("scheduler") is None


@pytest.mark.parametrize("processes", [2, 4])
def test_zero3_s_batch_is_the_step_of_one_process(train_params, processes):
    config = to_zero3_config(shared(train_params, "zero3", processes))
    assert config["train_batch_size"] == 3 * 4
    micro, steps = config["train_micro_batch_size_per_gpu"], config["gradient_accumulation_steps"]
    assert micro * steps * processes == config["train_batch_size"]


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_take_disjoint_parts_of_the_same_steps(train_params, processes):
    from accelerate.data_loader import BatchSamplerShard

    strategy = "single" if processes == 1 else "ddp"
    params = shared(train_params, strategy, processes, max_steps=3)
    step_rows = params.batch_rows * params.gradient_accumulation_steps
    rows = BatchSampler(SequentialSampler(range(params.max_steps * step_rows)), params.batch_rows, drop_last=False)
    dealt = [list(BatchSamplerShard(rows, processes, number)) for number in range(processes)]
    each = accumulation_steps(params)
    for step in range(params.max_steps):
        taken = [row for part in dealt for batch in part[step * each : (step + 1) * each] for row in batch]
        assert sorted(taken) == list(range(step * step_rows, (step + 1) * step_rows))


def test_one_process_gets_the_settings_it_always_had(train_params, tmp_path):
    from tasks.training.trainer import to_sft_config

    args = to_sft_config(train_params(gradient_accumulation_steps=4), tmp_path)
    assert args.gradient_accumulation_steps == 4
    assert not args.fsdp
    assert args.fsdp_plugin_args is None
    assert args.deepspeed is None


def test_only_divided_4bit_weights_are_stored_as_bf16():
    assert nf4_config(torch.bfloat16).bnb_4bit_quant_storage == torch.uint8
    divided = nf4_config(torch.bfloat16, divided=True)
    assert divided.bnb_4bit_quant_storage == divided.bnb_4bit_compute_dtype == torch.bfloat16


@pytest.mark.parametrize(("fsdp", "deepspeed", "name"), [(True, None, "fsdp"), (False, {"bf16": {}}, "zero3")])
def test_a_library_that_divides_nothing_is_caught(fsdp, deepspeed, name):
    with pytest.raises(ConfigError, match=f"strategy is {name}, and Linear is not divided"):
        require_divided(torch.nn.Linear(2, 2), SimpleNamespace(fsdp=fsdp, deepspeed=deepspeed))
    require_divided(torch.nn.Linear(2, 2), SimpleNamespace(fsdp=False, deepspeed=None))
