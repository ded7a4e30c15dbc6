"""Our trainer against plain TRL, and against LLaMA-Factory where an interpreter that has it is given.

The same 64 rows once through: LoRA r=16 on all linear layers of the bf16 base, batch 4, 16 steps, no gradient
checkpointing. Each engine trains in a process of its own, one after the other, so that none profits from another's
warm memory; time is that of the training loop alone. The engines shuffle and average differently, so the losses they
log do not compare: `loss_after` is the trained model's mean loss a completion token over the 64 rows, computed alike
for all. Run alone on the machine:

    python tests/benchmarks/training.py [--llamafactory PYTHON]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tasks.chat.rows import TokenRow, encode_rows
from tasks.chat.tokenizer import load_tokenizer
from tasks.core.files import read_jsonl, write_json, write_jsonl
from tasks.core.project import TELEMETRY_OFF, Project
from tasks.core.settings import TrainParams, load_settings
from tasks.models.base import materialize
from tasks.training.batches import training_order

ROOT = Path(__file__).parents[2]
ROWS, BATCH, STEPS, MAX_LENGTH = 64, 4, 16, 512
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
PARAMS = {
    "mode": "lora", "lora": {"rank": 16, "alpha": 32, "dropout": 0.0, "target_modules": LINEAR},
    "max_steps": STEPS, "batch_rows": BATCH, "gradient_accumulation_steps": 1, "max_length_tokens": MAX_LENGTH,
    "learning_rate": 2e-4, "scheduler": "cosine", "warmup_steps": 0, "weight_decay": 0.0, "max_grad_norm": 1.0,
    "gradient_checkpointing": False, "checkpoint_every_steps": 1000, "seed": 42,
}  # fmt: skip


class SilentRun:
    """Stands where the MLflow run would: a benchmark logs nothing."""

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        """Drop the metrics."""


def timed(trainer: Any, rows: list[TokenRow]) -> dict[str, Any]:
    """Train and return time and loss."""
    started = time.monotonic()
    trainer.train()
    return {"seconds": round(time.monotonic() - started, 2), "loss_after": loss_after(trainer.model, rows)}


def loss_after(model: Any, rows: list[TokenRow]) -> float:
    """Return the mean cross entropy of a model over all completion tokens of the rows."""
    import torch

    total, count = 0.0, 0
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for row in rows:
            logits = model(input_ids=torch.tensor([row.input_ids])).logits[0, :-1].float()
            labels = torch.tensor(row.labels[1:])
            total += torch.nn.functional.cross_entropy(logits, labels, reduction="sum").item()
            count += int((labels >= 0).sum())
    return round(total / count, 4)


def ours(base: Path, rows: list[TokenRow], tokenizer: Any, scratch: Path) -> dict[str, Any]:
    """Train with tasks/training."""
    from tasks.training.model import load_trainable
    from tasks.training.train import fix_arithmetic
    from tasks.training.trainer import CompletionTrainer, StepReport, to_sft_config

    params = TrainParams.model_validate_json(json.dumps(PARAMS))
    fix_arithmetic(params.seed)
    order = training_order([len(row.input_ids) for row in rows], BATCH, STEPS, params.seed)
    report = StepReport(SilentRun(), [0] * STEPS)  # type: ignore[arg-type]
    args = to_sft_config(params, scratch)
    args.save_strategy = "no"
    return timed(CompletionTrainer(load_trainable(base, params), args, rows, order, tokenizer, [report]), rows)


def plain_trl(base: Path, rows: list[TokenRow], tokenizer: Any, scratch: Path) -> dict[str, Any]:
    """Train with TRL's SFTTrainer as it comes."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    config = SFTConfig(
        output_dir=str(scratch), max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=2e-4,
        lr_scheduler_type="cosine", bf16=True, use_cpu=not torch.cuda.is_available(), gradient_checkpointing=False,
        save_strategy="no", logging_steps=1, report_to="none", disable_tqdm=True, max_length=MAX_LENGTH, seed=42,
        dataset_kwargs={"skip_prepare_dataset": True}, dataloader_pin_memory=False,
    )  # fmt: skip
    lora = LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, task_type="CAUSAL_LM")
    data = Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows])
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    return timed(SFTTrainer(model, config, train_dataset=data, processing_class=tokenizer, peft_config=lora), rows)


ENGINES = {"tunegate": ours, "trl": plain_trl}


def train_here(engine: str, base: Path, rows_file: Path) -> dict[str, Any]:
    """Train with one engine in this process."""
    tokenizer = load_tokenizer(base)
    rows = encode_rows(rows_file, tokenizer, MAX_LENGTH).rows
    with tempfile.TemporaryDirectory() as scratch:
        return ENGINES[engine](base, rows, tokenizer, Path(scratch))


def in_own_process(engine: str, base: Path, rows_file: Path) -> dict[str, Any]:
    """Train with one engine in a fresh process."""
    command = [sys.executable, __file__, "--engine", engine, "--base", str(base), "--rows", str(rows_file)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=os.environ | TELEMETRY_OFF)
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def llamafactory(python: Path, base: Path, rows_file: Path, folder: Path) -> dict[str, Any]:
    """Train with LLaMA-Factory from its own interpreter; its rows in its ShareGPT form, its template of this model."""
    rows = [{"messages": row["messages"]} for row in read_jsonl(rows_file)]
    write_jsonl(folder / "rows.jsonl", rows)
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "system_tag": "system"}  # fmt: skip
    write_json(folder / "dataset_info.json", {"rows": {"file_name": "rows.jsonl", "formatting": "sharegpt",
                                                       "columns": {"messages": "messages"}, "tags": tags}})  # fmt: skip
    write_json(folder / "train.yaml", {  # JSON is YAML, and its JSON reader is broken
        "stage": "sft", "do_train": True, "model_name_or_path": str(base), "template": "smollm2",
        "dataset_dir": str(folder), "dataset": "rows", "cutoff_len": MAX_LENGTH, "finetuning_type": "lora",
        "lora_rank": 16, "lora_alpha": 32, "lora_dropout": 0.0, "lora_target": "all", "max_steps": STEPS,
        "per_device_train_batch_size": BATCH, "gradient_accumulation_steps": 1, "learning_rate": 2e-4,
        "lr_scheduler_type": "cosine", "bf16": True, "disable_gradient_checkpointing": True, "logging_steps": 1,
        "save_strategy": "no", "output_dir": str(folder / "out"), "report_to": "none", "seed": 42,
        "use_cpu": True, "preprocessing_num_workers": 1, "disable_tqdm": True,
    })  # fmt: skip
    command = [str(python), "-m", "llamafactory.cli", "train", str(folder / "train.yaml")]
    environment = os.environ | TELEMETRY_OFF | {"HF_HUB_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1"}
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    seconds = json.loads((folder / "out" / "train_results.json").read_text(encoding="utf-8"))["train_runtime"]
    return {"seconds": round(seconds, 2), "loss_after": adapter_loss(base, folder / "out", rows_file)}


def adapter_loss(base: Path, adapter: Path, rows_file: Path) -> float:
    """Return `loss_after` of an adapter on disk."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16)
    rows = encode_rows(rows_file, load_tokenizer(base), MAX_LENGTH).rows
    return loss_after(PeftModel.from_pretrained(model, adapter), rows)


def main() -> None:
    """Run the engines one after the other and write one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llamafactory", type=Path, metavar="PYTHON", help="interpreter that has llamafactory 0.9.5")
    parser.add_argument("--engine", choices=sorted(ENGINES), help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, default=ROOT / "data/prepared/train.jsonl", help="prepared chat rows")
    options = parser.parse_args()
    if options.engine:
        sys.stdout.write(json.dumps(train_here(options.engine, options.base, options.rows)) + "\n")
        return
    base = materialize(load_settings(ROOT / "params.yaml").base_model, Project(ROOT)).path
    with tempfile.TemporaryDirectory() as folder:
        rows_file = Path(folder) / "train.jsonl"
        write_jsonl(rows_file, sorted(read_jsonl(options.rows), key=lambda row: row["row_id"])[:ROWS])
        results = {engine: in_own_process(engine, base, rows_file) for engine in ENGINES}
        if options.llamafactory:
            results["llamafactory"] = llamafactory(options.llamafactory, base, rows_file, Path(folder))
    seconds = results["tunegate"]["seconds"]
    ratios = {name: round(value["seconds"] / seconds, 2) for name, value in results.items() if name != "tunegate"}
    sys.stdout.write(json.dumps({"engines": results, "times_faster_than": ratios, "rows": ROWS}) + "\n")


if __name__ == "__main__":
    main()
