"""What each process holds, as settings of the libraries that divide it.

ddp: all of the model; gradients are averaged. fsdp: a part of every weight, gradient and optimizer state, by torch's
FSDP2 through accelerate. zero3: the same by DeepSpeed (Rajbhandari et al. 2020, arXiv:1910.02054, stage 3).
"""

import importlib.util
from typing import Any

from tasks.core.errors import ConfigError, MissingToolError
from tasks.core.settings import TrainParams

#: The one whose zero3 was tried (docs/training.md).
DEEPSPEED = "deepspeed==0.19.8"


def accumulation_steps(params: TrainParams) -> int:
    """Return the batches one process computes in a step: the step's batches are dealt out, so a step stays the same."""
    return params.gradient_accumulation_steps // params.parallel.processes


def parallel_arguments(params: TrainParams) -> dict[str, Any]:
    """Return the fields of TrainingArguments that make a strategy; none for one process."""
    if params.parallel.strategy == "ddp":
        return {"ddp_find_unused_parameters": False, "ddp_broadcast_buffers": False}
    if params.parallel.strategy == "fsdp":
        return {"fsdp": True, "fsdp_config": to_fsdp_config(params)}
    if params.parallel.strategy == "zero3":
        return {"deepspeed": to_zero3_config(params)}
    return {}


def to_fsdp_config(params: TrainParams) -> dict[str, Any]:
    """Return accelerate's settings of FSDP2: decoder layers are divided one by one and put together where they compute.

    `activation_checkpointing` is FSDP's own: it does not keep the random state, and LoRA's dropout would be another in
    the second pass. TrainingArguments' `gradient_checkpointing` keeps it, for one more gathering of each layer.
    """
    return {
        "version": 2,
        "reshard_after_forward": True,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "cpu_offload": False,
        # Only the first process reads the weights, the others get theirs from it. A model in 4 bit is read by each.
        "cpu_ram_efficient_loading": params.mode != "qlora",
        "state_dict_type": "FULL_STATE_DICT",
        "activation_checkpointing": False,
    }


def fsdp_precision() -> Any:
    """Return FSDP2's types: compute in bf16 from fp32 masters, gradients averaged in fp32, the loss left as it is.

    accelerate's own would average in bf16 and round the loss to it.
    """
    import torch
    from torch.distributed.fsdp import MixedPrecisionPolicy

    return MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)


def to_zero3_config(params: TrainParams) -> dict[str, Any]:
    """Return DeepSpeed's settings: stage 3, everything on the GPUs, bf16 with fp32 masters.

    Optimizer and schedule are ours, so that a checkpoint of one strategy can be read under another.
    """
    return {
        "bf16": {"enabled": True},
        "zero_optimization": {
            "stage": 3,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
        },
        "zero_force_ds_cpu_optimizer": False,
        "communication_data_type": "fp32",
        "train_micro_batch_size_per_gpu": params.batch_rows,
        "gradient_accumulation_steps": accumulation_steps(params),
        "train_batch_size": params.batch_rows * params.gradient_accumulation_steps,
        "gradient_clipping": params.max_grad_norm,
        "wall_clock_breakdown": False,
    }


def require_deepspeed() -> None:
    """Refuse zero3 where DeepSpeed is not installed: it builds against the machine's CUDA and is in no lock.

    Raises:
        MissingToolError: it is not there.
    """
    if importlib.util.find_spec("deepspeed") is None:
        raise MissingToolError(
            "train.parallel.strategy is zero3, and DeepSpeed is not installed",
            f".venv/bin/pip install --no-build-isolation {DEEPSPEED}, or train.parallel.strategy: fsdp in params.yaml",
        )


def use_fsdp_on_cpu(accelerator: Any, plugin_args: dict[str, Any]) -> None:
    """Let accelerate (1.15) use FSDP where there is no accelerator: torch's runs there, and tests need it.

    Its state drops the plugin for processes on CPU, without a word, and trains with DDP.
    """
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    plugin = FullyShardedDataParallelPlugin(**plugin_args)
    accelerator.state.distributed_type = DistributedType.FSDP
    accelerator.state.fsdp_plugin = plugin


def use_deepspeed_on_cpu(accelerator: Any, plugin: Any) -> None:
    """Let accelerate (1.15) use DeepSpeed where there is no accelerator, as `use_fsdp_on_cpu`."""
    from accelerate.utils import DistributedType

    plugin.set_mixed_precision("bf16")
    plugin.select(_from_accelerator_state=True)
    accelerator.state.distributed_type = DistributedType.DEEPSPEED
    accelerator.state.deepspeed_plugins = {"default": plugin}
    accelerator.state._mixed_precision = "no"  # DeepSpeed's own


def require_divided(model: Any, args: Any) -> None:
    """Refuse to train a model that is not divided as its settings say.

    Args:
        model: as accelerate prepared it.
        args: TrainingArguments.

    Raises:
        ConfigError: each process holds all of it.
    """
    from torch.distributed.fsdp import FSDPModule

    if args.fsdp and not isinstance(model, FSDPModule):
        found = "fsdp"
    elif args.deepspeed and type(model).__name__ != "DeepSpeedEngine":
        found = "zero3"
    else:
        return
    raise ConfigError(
        f"train.parallel.strategy is {found}, and {type(model).__name__} is not divided: every process holds all of it",
        "use the versions of infra/environments/pipeline.lock (make setup), or train.parallel.strategy: ddp",
    )
