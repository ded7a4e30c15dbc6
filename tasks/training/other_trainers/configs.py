"""Settings of `params.yaml` in the words of other trainers; what one of them has no word for is named."""

from dataclasses import dataclass
from typing import Any, Final

from tasks.core.settings import TrainParams

#: Where the trained weights go, in the folder that was written.
OUT: Final = "out"
#: Where the tokenized rows lie.
TABLE, LINES = "rows", "rows.jsonl"
#: Those that do not train on a CPU. Axolotl reads rows and settings there, and fails at its first step.
NEED_CUDA: Final = {"axolotl": "Axolotl", "unsloth": "Unsloth"}


@dataclass(frozen=True)
class Setup:
    """What a configuration is made of.

    Args:
        params: the train section.
        model: folder of the base model, or its name on a hub.
        rows: how many rows there are.
        accelerated: whether the profile is for a machine with GPUs.
        template: the chat template the rows were rendered with.
    """

    params: TrainParams
    model: str
    rows: int
    accelerated: bool
    template: str

    @property
    def epochs(self) -> int:
        """Passes over the rows that are enough for all steps."""
        step_rows = self.params.batch_rows * self.params.gradient_accumulation_steps
        return -(-self.params.max_steps * step_rows // self.rows)


def llamafactory(setup: Setup) -> dict[str, Any]:
    """Return the settings of `llamafactory-cli train`. Source: src/llamafactory/hparams (0.9.5)."""
    params = setup.params
    config = {
        "stage": "sft", "do_train": True, "model_name_or_path": setup.model,
        # Tokenized rows are taken as they are; a data set has to be named, and is not read.
        "tokenized_path": TABLE, "dataset": "tunegate", "template": "empty", "cutoff_len": params.max_length_tokens,
        "finetuning_type": "full" if params.mode == "full" else "lora",
        "disable_gradient_checkpointing": not params.gradient_checkpointing,
        "preprocessing_num_workers": 1, "output_dir": OUT, "report_to": "none",
    }  # fmt: skip
    if params.mode != "full":
        config |= {
            "lora_rank": params.lora.rank, "lora_alpha": params.lora.alpha, "lora_dropout": params.lora.dropout,
            "lora_target": ",".join(params.lora.target_modules),
        }  # fmt: skip
    if params.mode == "qlora":
        config |= {"quantization_bit": 4, "quantization_method": "bnb", "quantization_type": "nf4",
                   "double_quantization": True}  # fmt: skip
    return config | _arguments(setup)


def axolotl(setup: Setup) -> dict[str, Any]:
    """Return the settings of `axolotl train`. Source: src/axolotl/utils/schemas (0.19.0)."""
    params = setup.params
    arguments = _arguments(setup)
    config = {
        "base_model": setup.model,
        # No type: rows with input_ids, attention_mask and labels are taken as they are.
        "datasets": [{"path": LINES, "ds_type": "json", "type": None}],
        "dataset_prepared_path": "prepared", "dataset_num_proc": 1, "val_set_size": 0, "train_on_inputs": False,
        "chat_template": "jinja", "chat_template_jinja": setup.template,
        "sequence_len": params.max_length_tokens, "sample_packing": False, "pad_to_sequence_len": False,
        "micro_batch_size": arguments["per_device_train_batch_size"], "num_epochs": setup.epochs,
        "optimizer": arguments["optim"], "lr_scheduler": arguments["lr_scheduler_type"], "output_dir": OUT,
    }  # fmt: skip
    taken = ("gradient_accumulation_steps", "max_steps", "learning_rate", "warmup_steps", "weight_decay",
             "max_grad_norm", "bf16", "seed", "logging_steps", "save_steps")  # fmt: skip
    config |= {name: arguments[name] for name in taken}
    config["gradient_checkpointing"] = params.gradient_checkpointing
    if params.mode != "full":
        config |= {
            "adapter": params.mode, "lora_r": params.lora.rank, "lora_alpha": params.lora.alpha,
            "lora_dropout": params.lora.dropout, "lora_target_modules": list(params.lora.target_modules),
        }  # fmt: skip
    return config | ({"load_in_4bit": True} if params.mode == "qlora" else {})


def swift(setup: Setup) -> dict[str, Any]:
    """Return the settings of `swift sft`. Source: swift/arguments (4.6.0)."""
    params = setup.params
    config = {
        "model": setup.model, "model_type": "tunegate", "template": "tunegate", "external_plugins": ["swift_tokens.py"],
        "cached_dataset": [TABLE], "split_dataset_ratio": 0, "max_length": params.max_length_tokens,
        "truncation_strategy": "delete", "torch_dtype": "bfloat16" if params.mode != "full" else "float32",
        "tuner_type": "full" if params.mode == "full" else "lora", "output_dir": OUT, "add_version": False,
        "report_to": "none", "gradient_checkpointing": params.gradient_checkpointing,
    }  # fmt: skip
    if params.mode != "full":
        config |= {
            "lora_rank": params.lora.rank, "lora_alpha": params.lora.alpha, "lora_dropout": params.lora.dropout,
            "target_modules": list(params.lora.target_modules),
        }  # fmt: skip
    if params.mode == "qlora":
        config |= {"quant_method": "bnb", "quant_bits": 4, "bnb_4bit_quant_type": "nf4",
                   "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "bfloat16"}  # fmt: skip
    return config | _arguments(setup)


def unsloth(setup: Setup) -> dict[str, Any]:
    """Return settings.json of scripts/unsloth_train.py: arguments of FastLanguageModel and of TRL's trainer."""
    params = setup.params
    checkpointing = "unsloth" if params.gradient_checkpointing else False
    model = {
        "model_name": setup.model, "max_seq_length": params.max_length_tokens, "load_in_4bit": params.mode == "qlora",
        "full_finetuning": params.mode == "full", "use_gradient_checkpointing": checkpointing,
    }  # fmt: skip
    lora = {
        "r": params.lora.rank, "lora_alpha": params.lora.alpha, "lora_dropout": params.lora.dropout, "bias": "none",
        "target_modules": list(params.lora.target_modules), "random_state": params.seed,
        "use_gradient_checkpointing": checkpointing,
    }  # fmt: skip
    arguments = _arguments(setup)
    arguments.pop("use_cpu", None)
    return {"model": model, "lora": None if params.mode == "full" else lora, "arguments": arguments}


def not_carried(setup: Setup, trainer: str) -> list[str]:
    """Return in words what of the settings the other trainer's run does not have."""
    params = setup.params
    missing = ["the order of rows: each trainer shuffles its own way, so losses of single steps do not compare"]
    if params.mode != "full":
        missing.append("the adapter's first random numbers")
    if params.parallel.strategy in ("fsdp", "zero3"):
        missing.append(f"train.parallel.strategy {params.parallel.strategy}: set up the other trainer's own")
    if params.parallel.processes > 1 and trainer == "unsloth":
        missing.append(f"train.parallel.processes {params.parallel.processes}: Unsloth trains on one card")
    if trainer in NEED_CUDA and not setup.accelerated:
        missing.append(f"the profile is for a machine without a GPU, and {NEED_CUDA[trainer]} needs CUDA")
    return missing


def _arguments(setup: Setup) -> dict[str, Any]:
    """Return what transformers' TrainingArguments calls the settings; a step has as many rows as here."""
    params = setup.params
    return {
        "max_steps": params.max_steps, "per_device_train_batch_size": params.batch_rows,
        # Here the batches of a step are dealt out to the processes; there each process takes so many.
        "gradient_accumulation_steps": params.gradient_accumulation_steps // params.parallel.processes,
        "learning_rate": params.learning_rate, "lr_scheduler_type": params.scheduler,
        "warmup_steps": params.warmup_steps, "weight_decay": params.weight_decay, "max_grad_norm": params.max_grad_norm,
        "optim": "adamw_torch", "bf16": True, "seed": params.seed, "data_seed": params.seed, "logging_steps": 1,
        "save_steps": params.checkpoint_every_steps, **({} if setup.accelerated else {"use_cpu": True}),
    }  # fmt: skip
