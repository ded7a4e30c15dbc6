"""The train stage: prepared rows and a base model to an adapter, the same bytes each time on the same CPU."""

import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.chat.labels import taught
from tasks.chat.rows import EncodedRows, RowRefused, TokenRow, encode_row, encode_rows
from tasks.chat.shapes import built_in, shape_of, spread
from tasks.chat.tokenizer import copy_tokenizer, load_tokenizer
from tasks.core.digest import sha256_file
from tasks.core.files import read_json, write_json, write_jsonl, write_text
from tasks.core.project import Project
from tasks.core.settings import TrainParams
from tasks.models.tokenizer_files import pad_token
from tasks.models.weights import save_weights
from tasks.training.batches import training_order
from tasks.training.checkpoints import last_complete, step_of

log = logging.getLogger(__name__)

TRAIN_ROWS = "train.jsonl"
#: Trained rows whose ids the evaluation compares with what the server tokenizes.
PARITY_ROWS = 32
#: The final loss is the mean of this many last steps: one step is one batch and says little.
FINAL_STEPS = 10


def train(
    params: TrainParams,
    *,
    output: Path,
    prepared: Path,
    validation: Path,
    base: Path,
    scratch: Path,
    lineage_id: str,
    project: Project,
) -> dict[str, Any]:
    """Fine-tune the base model on `train.jsonl`; go on from the last checkpoint in `scratch` if there is one.

    Writes the adapter (mode full: the weights), tokenizer files, `training.json`, `loss.csv`, `parity.jsonl`.

    Args:
        params: the train section; with `parallel.processes` above 1 each is a process of its own.
        output: empty folder to fill.
        prepared: chat rows.
        validation: read for its presence alone: rows that broke a critical expectation are never trained on.
        base: folder of the base model.
        scratch: checkpoints; outlives a kill.
        lineage_id: tag of the MLflow run.
        project: where MLflow is.

    Raises:
        DataContractError: the rows or the tokenizer cannot be trained with.
        ConfigError: the loss diverged.
        StoppedError: SIGTERM or Ctrl-C; a checkpoint is written.
        TransientError: one of several processes was ended by a signal.
    """
    del validation
    if params.parallel.processes == 1:
        return train_here(
            params, output=output, prepared=prepared, base=base, scratch=scratch, lineage_id=lineage_id, project=project
        )
    from tasks.training.parallel.launch import train_together

    paths = {"output": output, "prepared": prepared, "base": base}
    function = f"{__name__}:{train_here.__name__}"
    return train_together(function, params, scratch=scratch, paths=paths, lineage_id=lineage_id, project=project)


def train_here(
    params: TrainParams,
    *,
    output: Path,
    prepared: Path,
    base: Path,
    scratch: Path,
    lineage_id: str,
    project: Project,
    rank: int = 0,
) -> dict[str, Any]:
    """Train in this process, as `train` says; of several, the first (rank 0) alone writes and reports.

    Raises:
        DataContractError, ConfigError, StoppedError: as `train`.
    """
    from tasks.core.training_record import training_run
    from tasks.models.base import folder_digest
    from tasks.training.interruption import stoppable

    tokenizer = load_tokenizer(base)
    encoded = encode_rows(prepared / TRAIN_ROWS, tokenizer, params.max_length_tokens, every_thought=True)
    checkpoint = last_complete(scratch)
    if rank:
        with stoppable() as interruption:
            trainer = _trained(params, base, encoded.rows, tokenizer, scratch, checkpoint, None, interruption)
        trainer.trained_weights()  # its part of them
        return {}
    base_digest = folder_digest(base, project)
    with training_run(project, lineage_id, again=checkpoint is not None) as run, stoppable() as interruption:
        run.log_params({"train": params.model_dump(mode="json"), "base_model_digest": base_digest})
        run.log_dataset(f"prepared/{TRAIN_ROWS}", sha256_file(prepared / TRAIN_ROWS), encoded.conversations)
        trainer = _trained(params, base, encoded.rows, tokenizer, scratch, checkpoint, run, interruption)
        curve = [entry for entry in trainer.state.log_history if "loss" in entry]
        _save_weights(trainer, params.mode, base, base_digest, output)
        write_text(output / "loss.csv", _loss_csv(curve))
        # The order of a tool's fields is that of the tokens that were trained.
        write_jsonl(output / "parity.jsonl", _parity(encoded.rows, tokenizer), sort_keys=False)
        facts = _facts(params, encoded, curve)
        facts["computed_in"] = "bfloat16" if trainer.args.bf16 else "float32"
        if params.parallel.processes > 1:
            facts["parallel"] = params.parallel.model_dump(mode="json")
        digests = {"base_digest": base_digest, "tokenizer_sha256": copy_tokenizer(base, output)}
        write_json(output / "training.json", facts | digests | {"pad_token": asdict(pad_token(base))})
    return {name: facts[name] for name in ("steps", "rows", "final_loss")} | {"dropped_rows": len(encoded.dropped)}


def fix_arithmetic(seed: int, processes: int = 1) -> None:
    """Make CPU results repeatable: seeds, and one thread count whatever OMP_NUM_THREADS a parent process set.

    Sums are split over threads, so the count changes last digits: the same machine always takes all its cores, and
    several processes share them.
    """
    import torch
    from transformers import set_seed

    set_seed(seed)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    torch.set_num_threads(max((cores or 1) // processes, 1))


def _trained(
    params: TrainParams,
    base: Path,
    rows: list[TokenRow],
    tokenizer: Any,
    scratch: Path,
    checkpoint: Path | None,
    run: Any,
    interruption: Any,
) -> Any:
    """Return the trainer after its last step; without a run it reports nothing."""
    from tasks.training.model import load_trainable
    from tasks.training.trainer import CompletionTrainer, DivergenceStop, StepReport, to_sft_config

    fix_arithmetic(params.seed, params.parallel.processes)
    args = to_sft_config(params, scratch)
    step_rows = params.batch_rows * params.gradient_accumulation_steps
    lengths = [len(row.input_ids) for row in rows]
    order = training_order(lengths, params.batch_rows, params.max_steps * step_rows // params.batch_rows, params.seed)
    step_tokens = [sum(lengths[row] for row in order[at : at + step_rows]) for at in range(0, len(order), step_rows)]
    if checkpoint:
        log.info("train: going on after step %d", step_of(checkpoint))
    model = load_trainable(base, params)
    log.info("train: %s, %d rows, %d steps of %d rows, %d tokens", params.mode, len(rows), params.max_steps, step_rows,
             sum(step_tokens))  # fmt: skip
    reports = [StepReport(run, step_tokens)] if run else []
    callbacks = [DivergenceStop(), *reports, interruption]
    trainer = CompletionTrainer(model, args, rows, order, tokenizer, callbacks)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer


def _save_weights(trainer: Any, mode: str, base: Path, base_digest: str, output: Path) -> None:
    """Write the adapter, or in mode full the whole model in bf16, as safetensors, with no trace of this machine."""
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model)
    weights = trainer.trained_weights()
    if mode == "full" and weights is None:
        save_weights(model.to(torch.bfloat16), output, like=base)
        return
    if mode == "full":
        rounded = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
        save_weights(model, output, like=base, state_dict=rounded)
        return
    model.save_pretrained(output, state_dict=weights, safe_serialization=True, save_embedding_layers=False)
    (output / "README.md").unlink(missing_ok=True)  # a card about nothing, with the path of the base in it
    config = read_json(output / "adapter_config.json")
    # PEFT writes sets in hash order and the base as a path: both differ from run to run.
    config["target_modules"] = sorted(config["target_modules"])
    config["base_model_name_or_path"] = base_digest
    write_json(output / "adapter_config.json", config)


def _parity(rows: list[TokenRow], tokenizer: Any) -> list[dict[str, Any]]:
    """Return the evidence of what was trained: the fixed set as training encodes it, and rows of each trained shape."""
    by_id = sorted(rows, key=lambda row: row.row_id)
    trained = spread(((shape_of(row.messages, row.tools), row) for row in by_id), PARITY_ROWS)
    evidence = [_evidence("trained", shape_of(row.messages, row.tools), row, tokenizer) for row in trained]
    for conversation in built_in():
        try:
            row = encode_row(conversation.row_id, conversation.messages, tokenizer, conversation.tools)
        except RowRefused:
            continue  # the evaluation names what this template cannot render
        evidence.append(_evidence("built_in", conversation.shape, row, tokenizer))
    return evidence


def _evidence(origin: str, shape: str, row: TokenRow, tokenizer: Any) -> dict[str, Any]:
    """Return one row as it was trained; `completions` is what its labels decode to, stop tokens aside."""
    return {
        "row_id": row.row_id,
        "origin": origin,
        "shape": shape,
        "messages": row.messages,
        "tools": row.tools,
        "input_ids": row.input_ids,
        "labels": row.labels,
        "completion_ids": row.completion_ids,
        "completions": [run.text for run in taught(row.input_ids, row.labels, tokenizer)],
        "trained_turns": list(row.trained_turns),
        "thought_restored": row.thought_restored,
        "joined": row.joined,
    }


def _loss_csv(curve: list[dict[str, float]]) -> str:
    """Return the loss curve as CSV."""
    lines = [f"{entry['step']},{entry['loss']:.6f},{entry['learning_rate']:.8g}" for entry in curve]
    return "\n".join(["step,loss,learning_rate", *lines]) + "\n"


def _facts(params: TrainParams, encoded: EncodedRows, curve: list[dict[str, float]]) -> dict[str, Any]:
    """Return what training.json says, without digests."""
    last = [entry["loss"] for entry in curve[-FINAL_STEPS:]]
    return {
        "mode": params.mode,
        "steps": params.max_steps,
        "rows": encoded.conversations,
        **({"thought_samples": encoded.thought_samples} if encoded.thought_samples else {}),
        "tokens": sum(len(row.input_ids) for row in encoded.rows),
        "completion_tokens": sum(len(row.completion_ids) for row in encoded.rows),
        "first_loss": round(curve[0]["loss"], 6),
        "final_loss": round(sum(last) / len(last), 6),
        "max_length_tokens": params.max_length_tokens,
        "dropped_rows": encoded.dropped,
    }
