"""TRL's SFTTrainer with our loss, our order of rows, sealed checkpoints and one line of progress."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, TrainerCallback
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from trl import SFTConfig, SFTTrainer

from tasks.chat.rows import TokenRow
from tasks.core.errors import ConfigError
from tasks.core.progress import Progress
from tasks.core.settings import TrainParams
from tasks.core.training_record import TrainingRun
from tasks.training.checkpoints import PREFIX, seal
from tasks.training.lora_linear import fuse_lora_layers
from tasks.training.loss import score_completions
from tasks.training.model import adapter_to_fp32, training_dtype
from tasks.training.parallel.strategies import (
    accumulation_steps,
    fsdp_precision,
    parallel_arguments,
    require_divided,
    use_deepspeed_on_cpu,
    use_fsdp_on_cpu,
)
from tasks.training.parallel.whole import MadeOptimizer, made_optimizer, parts_of, saved_weights, schedule_for

log = logging.getLogger(__name__)


def to_sft_config(params: TrainParams, scratch: Path) -> SFTConfig:
    """Return TRL's settings: every field we rely on is named here, so a rename upstream breaks one place."""
    config = SFTConfig(
        output_dir=str(scratch),
        max_steps=params.max_steps,
        per_device_train_batch_size=params.batch_rows,
        gradient_accumulation_steps=accumulation_steps(params),
        learning_rate=params.learning_rate,
        lr_scheduler_type=params.scheduler,
        warmup_steps=params.warmup_steps,
        weight_decay=params.weight_decay,
        max_grad_norm=params.max_grad_norm,
        optim="adamw_torch",
        bf16=training_dtype(divided=params.parallel.parts > 1) == torch.bfloat16,
        use_cpu=not torch.cuda.is_available(),
        gradient_checkpointing=params.gradient_checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if params.gradient_checkpointing else None,
        seed=params.seed,
        data_seed=params.seed,
        save_strategy="steps",
        save_steps=params.checkpoint_every_steps,
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=1,
        logging_nan_inf_filter=False,  # a loss that is not a number stops the run instead of being averaged away
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_num_workers=0,
        dataloader_pin_memory=torch.cuda.is_available(),
        packing=False,
        max_length=None,
        router_aux_loss_coef=0.0,
        dataset_kwargs={"skip_prepare_dataset": True},
        **parallel_arguments(params),
    )
    if config.fsdp_plugin_args is not None:
        config.fsdp_plugin_args["mixed_precision_policy"] = fsdp_precision()
    return config


class CompletionTrainer(SFTTrainer):
    """SFTTrainer that computes the completion's loss and nothing else, over rows in an order fixed beforehand.

    Args:
        model: from `load_trainable`.
        args: from `to_sft_config`.
        rows: the rows; tokenized already.
        order: row indices as trained, from `training_order`.
        tokenizer: of the base model.
        callbacks: transformers callbacks.
    """

    def __init__(
        self,
        model: Any,
        args: SFTConfig,
        rows: list[TokenRow],
        order: list[int],
        tokenizer: Any,
        callbacks: list[TrainerCallback],
    ) -> None:
        from datasets import Dataset

        data = Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows])
        super().__init__(
            model=model, args=args, train_dataset=data.select(order), processing_class=tokenizer, callbacks=callbacks
        )
        self.remove_callback(PrinterCallback)  # it prints; stdout belongs to the stage's result
        score_completions(
            model.get_base_model() if hasattr(model, "get_base_model") else model
        )  # instead of TRL's head
        self.parts = parts_of(self.args)
        self.made = MadeOptimizer((), ())
        if not self.is_deepspeed_enabled:
            adapter_to_fp32(self.model)  # DeepSpeed keeps its own fp32 masters
        if self.args.device.type == "cpu" and self.parts is None:
            fuse_lora_layers(self.model, torch.bfloat16 if args.bf16 else torch.float32)

    def create_accelerator_and_postprocess(self) -> None:
        """Make the accelerator; one that would leave FSDP or DeepSpeed out on a CPU is told to use it."""
        super().create_accelerator_and_postprocess()
        if self.args.fsdp and not self.is_fsdp_enabled:
            use_fsdp_on_cpu(self.accelerator, self.args.fsdp_plugin_args)
            self.is_fsdp_enabled = True
        if self.args.deepspeed and self.accelerator.distributed_type != "DEEPSPEED":
            use_deepspeed_on_cpu(self.accelerator, self.args.deepspeed_plugin)
            self.is_deepspeed_enabled = True

    def create_optimizer(self, model: Any = None) -> Any:
        """Make the optimizer, and remember it as it was before its weights were divided."""
        made = super().create_optimizer(model)
        if self.parts is not None:
            self.made = made_optimizer(made, self.model)
        return made

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any) -> Any:
        """Divide the model, and make sure of it: a library that does not would train, with other memory."""
        own = None if self.is_deepspeed_enabled else resume_from_checkpoint  # DeepSpeed reads its own kind alone
        prepared = super()._prepare_for_training(max_steps, train_dataloader, own)
        require_divided(self.model_wrapped, self.args)
        if resume_from_checkpoint and own is None:
            self._load_from_checkpoint(resume_from_checkpoint)
            self._load_optimizer_and_scheduler(resume_from_checkpoint)
        return prepared

    def _holder(self) -> Any:
        """Return what holds the optimizer's states."""
        return self.model_wrapped if self.is_deepspeed_enabled else self.optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean cross entropy over the tokens that carry loss (of the whole step, over all processes)."""
        outputs = model(**inputs)
        scored = num_items_in_batch if num_items_in_batch is not None else (inputs["labels"][:, 1:] >= 0).sum()
        loss = outputs["loss_sum"] / torch.as_tensor(scored).clamp(min=1)
        if self.args.average_tokens_across_devices and num_items_in_batch is not None:
            loss = loss * self.accelerator.num_processes  # data-parallel training averages gradients
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        """Take the rows as they lie: the order is already decided, and skipping ahead on resume keeps it."""
        rows: Any = train_dataset if train_dataset is not None else self.train_dataset
        return SequentialSampler(rows)

    def trained_weights(self) -> dict[str, torch.Tensor] | None:
        """Return the trained weights put together from all processes; None where each process holds them whole."""
        return self.parts.weights(self.model) if self.parts else None

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the trained weights, and nothing of what is frozen: Trainer's would put the whole model together."""
        if self.parts is None:
            super().save_model(output_dir, _internal_call)
            return
        weights = self.parts.weights(self.model)
        if self.args.should_save:
            self._save(output_dir, state_dict=weights)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Read the trained weights; divided ones after they were divided."""
        if self.parts is None:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        self.parts.set_weights(self.model, saved_weights(Path(resume_from_checkpoint), self.model))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Write both as one process would, so that any number of processes can go on from them."""
        if self.parts is None:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = self.parts.optimizer_state(self._holder(), self.made)
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            scheduler: Any = self.lr_scheduler
            schedule = schedule_for(len(self.made.groups), scheduler.state_dict())
            torch.save(schedule, Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Read what `_save_optimizer_and_scheduler` wrote, of any number of processes."""
        if self.args.world_size == 1 or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        # Trainer reads a copy for each process onto its device, and knows no device called cpu:0.
        state = torch.load(Path(checkpoint) / OPTIMIZER_NAME, map_location="cpu", weights_only=True)
        optimizer: Any = self.optimizer
        scheduler: Any = self.lr_scheduler
        if self.parts is None:
            optimizer.load_state_dict(state)
        else:
            self.parts.set_optimizer_state(self._holder(), self.made, state)
        schedule = torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True)
        scheduler.load_state_dict(schedule_for(len(optimizer.param_groups), schedule))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint without TRL's model card, then seal it, once every process has written its part."""
        super(SFTTrainer, self)._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            seal(Path(str(self.args.output_dir)) / f"{PREFIX}{self.state.global_step}")


class DivergenceStop(TrainerCallback):
    """Stop when the loss diverges."""

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Look at the loss of one step.

        Raises:
            ConfigError: it is not a number any more.
        """
        if logs and not math.isfinite(logs.get("loss", 0.0)):
            raise ConfigError(f"the training loss is {logs['loss']} at step {state.global_step}",
                              "lower train.learning_rate, or look at the rows of that step")  # fmt: skip


class StepReport(TrainerCallback):
    """After each step: one progress line every few seconds, the curve to MLflow.

    Args:
        run: the MLflow run.
        step_tokens: tokens of each step, prompt included, padding not.
    """

    def __init__(self, run: TrainingRun, step_tokens: list[int]) -> None:
        self.run, self.step_tokens = run, step_tokens
        self.progress: Progress | None = None
        self.started, self.first_step = 0.0, 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock; steps before a resumed checkpoint do not count for the rate."""
        self.started, self.first_step = time.monotonic(), state.global_step
        self.progress = Progress(log, "train", state.max_steps, "steps", done=state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Report one step."""
        if not logs or "loss" not in logs or self.progress is None:
            return
        rate = self.tokens_per_s(state.global_step)
        metrics = {"loss": logs["loss"], "learning_rate": logs["learning_rate"], "tokens_per_s": rate}
        self.run.log_step(state.global_step, metrics)
        self.progress.advance(note=f"loss {logs['loss']:.3f}, {rate:.0f} tokens/s")

    def tokens_per_s(self, step: int) -> float:
        """Return the mean rate since this process started to train."""
        tokens = sum(self.step_tokens[self.first_step : step])
        return tokens / max(time.monotonic() - self.started, 1e-9)
