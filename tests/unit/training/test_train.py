import csv
import json
import os
import shutil
import signal
from pathlib import Path

import pytest

from tasks.core.digest import file_digests, sha256_file
from tasks.core.errors import ConfigError, StoppedError
from tasks.core.files import read_json, read_jsonl
from tasks.core.tracking import LINEAGE_TAG, STAGE_TAG, client
from tasks.core.training_record import TrainingRun


def runs_of(project, lineage_id):
    found = client(project)
    experiment = found.get_experiment_by_name("tunegate").experiment_id
    return found, found.search_runs([experiment], f"tags.`{LINEAGE_TAG}` = '{lineage_id}'")


def curve_of(output):
    return list(csv.DictReader((output / "loss.csv").read_text(encoding="utf-8").splitlines()))


class Killed(Exception):
    """Stands for a kill between two steps."""


def stop_at(monkeypatch, step):
    log_step = TrainingRun.log_step

    def stopping(self, number, metrics):
        if number == step:
            raise Killed
        log_step(self, number, metrics)

    monkeypatch.setattr(TrainingRun, "log_step", stopping)


@pytest.mark.slow
def test_two_runs_write_the_same_bytes_and_name_no_machine(run_train, tiny, tmp_path):
    first, summary = run_train("first", scratch="a", mode="qlora")
    second, _ = run_train("second", scratch="b", mode="qlora")
    assert file_digests(first) == file_digests(second)
    assert summary == {"steps": 6, "rows": 20, "final_loss": summary["final_loss"], "dropped_rows": 0}
    for path in first.iterdir():
        content = path.read_bytes()
        assert str(tmp_path).encode() not in content, path.name
        assert str(tiny.parent).encode() not in content, path.name
    assert sorted(path.name for path in first.iterdir()) == [
        "adapter_config.json", "adapter_model.safetensors", "chat_template.jinja", "loss.csv", "parity.jsonl",
        "tokenizer.json", "tokenizer_config.json", "training.json",
    ]  # fmt: skip
    assert read_json(first / "adapter_config.json")["base_model_name_or_path"].startswith("sha256:")


@pytest.mark.slow
def test_earlier_thoughts_are_samples_counted_apart_from_rows(run_train, tiny_copy, tmp_path, write_rows):
    import trl

    shutil.copy(Path(trl.__file__).parent / "chat_templates/qwen3.jinja", tiny_copy / "chat_template.jinja")
    thinking = [
        {"role": role, "content": text}
        for number in range(3)
        for role, text in (("user", f"问{number}？"), ("assistant", f"<think>\n想{number}。\n</think>\n\n答{number}。"))
    ]
    write_rows(tmp_path / "train.jsonl", [{"row_id": "r-1", "messages": thinking}])
    output, summary = run_train("thoughts", base=tiny_copy, rows=tmp_path, max_steps=2)
    training = read_json(output / "training.json")
    assert (training["rows"], training["thought_samples"], summary["rows"]) == (1, 2, 1)
    trained = {row["row_id"]: row for row in read_jsonl(output / "parity.jsonl") if row["origin"] == "trained"}
    assert {name: row["completions"] for name, row in trained.items()} == {
        "r-1": [thinking[5]["content"]], "r-1#4": [thinking[3]["content"]], "r-1#2": [thinking[1]["content"]],
    }  # fmt: skip


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_bytes_in_the_same_mlflow_run(run_train, project, monkeypatch):
    whole, _ = run_train("whole", scratch="a")
    with monkeypatch.context() as patched:
        stop_at(patched, 5)
        with pytest.raises(Killed):
            run_train("stopped", scratch="b", lineage_id="tg-stopped")
    resumed, _ = run_train("resumed", scratch="b", lineage_id="tg-stopped")
    assert file_digests(resumed) == file_digests(whole)
    found, runs = runs_of(project, "tg-stopped")
    assert [run.info.status for run in runs] == ["FINISHED"]
    steps = [metric.step for metric in found.get_metric_history(runs[0].info.run_id, "loss")]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_run_after_its_step_and_it_goes_on_to_the_same_bytes(run_train, project, monkeypatch, number):
    settings = {"checkpoint_every_steps": 100, "scheduler": "linear"}
    whole, _ = run_train("whole", scratch="a", **settings)
    handlers = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)]
    log_step = TrainingRun.log_step

    def signalled(self, step, metrics):
        log_step(self, step, metrics)
        if step == 3:
            # One stop as two processes pass it on: the terminal's and the parent's.
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGINT if number == signal.SIGTERM else signal.SIGTERM)

    lineage_id = f"tg-{number}"
    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "log_step", signalled)
        with pytest.raises(StoppedError, match=f"{number.name}; training resumes at step 5") as stopped:
            run_train("stopped", scratch="b", lineage_id=lineage_id, **settings)
    assert stopped.value.exit_code == 128 + number
    assert [run.info.status for run in runs_of(project, lineage_id)[1]] == ["KILLED"]
    assert [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)] == handlers
    resumed, _ = run_train("resumed", scratch="b", lineage_id=lineage_id, **settings)
    assert file_digests(resumed) == file_digests(whole)
    found, [run] = runs_of(project, lineage_id)
    steps = [metric.step for metric in found.get_metric_history(run.info.run_id, "loss")]
    assert (run.info.status, steps) == ("FINISHED", [1, 2, 3, 4, 5, 6])


@pytest.mark.slow
def test_a_signal_at_the_last_step_changes_nothing(run_train, monkeypatch):
    log_step = TrainingRun.log_step

    def signalled(self, step, metrics):
        log_step(self, step, metrics)
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(TrainingRun, "log_step", signalled)
    assert run_train("out", max_steps=2)[1]["steps"] == 2


def test_a_signal_before_the_first_step_ends_it_at_once(run_train, monkeypatch):
    monkeypatch.setattr(TrainingRun, "log_params", lambda *given: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StoppedError, match="goes on from its last checkpoint"):
        run_train("out")


@pytest.mark.slow
def test_damaged_and_half_written_checkpoints_are_passed_over(run_train, tmp_path, monkeypatch):
    whole, _ = run_train("whole", scratch="a")
    with monkeypatch.context() as patched:
        stop_at(patched, 5)
        with pytest.raises(Killed):
            run_train("stopped", scratch="b")
    (tmp_path / "b/checkpoint-4/optimizer.pt").write_bytes(b"cut short")
    shutil.copytree(tmp_path / "b/checkpoint-2", tmp_path / "b/checkpoint-5")
    (tmp_path / "b/checkpoint-5/manifest.json").unlink()
    resumed, _ = run_train("resumed", scratch="b")
    assert file_digests(resumed) == file_digests(whole)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "learning_rate", "gain"), [("qlora", 0.05, 0.02), ("full", 0.005, 0.1)])
def test_modes_learn(run_train, tmp_path, chat_rows, write_rows, mode, learning_rate, gain):
    write_rows(tmp_path / "train.jsonl", chat_rows(2))  # one batch: each step sees the same rows
    output, _ = run_train("out", rows=tmp_path, mode=mode, max_steps=12, learning_rate=learning_rate)
    curve = curve_of(output)
    assert [int(row["step"]) for row in curve] == list(range(1, 13))
    assert float(curve[-1]["loss"]) < float(curve[0]["loss"]) - gain
    weights = "model.safetensors" if mode == "full" else "adapter_model.safetensors"
    assert (output / weights).is_file()


@pytest.mark.slow
def test_gradient_accumulation_and_checkpointing_change_no_result(run_train):
    plain, _ = run_train("plain", scratch="a", batch_rows=4)
    pieces, _ = run_train("pieces", scratch="b", batch_rows=4, gradient_checkpointing=True)
    curves = [[float(row["loss"]) for row in curve_of(output)] for output in (plain, pieces)]
    assert curves[0] == pytest.approx(curves[1], abs=1e-3)


@pytest.mark.slow
def test_accumulated_steps_average_over_their_tokens(run_train, tmp_path, chat_rows, write_rows):
    write_rows(tmp_path / "train.jsonl", chat_rows(4))
    whole, _ = run_train("whole", scratch="a", rows=tmp_path, batch_rows=4, max_steps=1)
    parts, _ = run_train("parts", scratch="b", rows=tmp_path, batch_rows=2, gradient_accumulation_steps=2, max_steps=1)
    losses = [read_json(out / "training.json")["final_loss"] for out in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


@pytest.mark.slow
def test_parity_rows_are_the_rows_as_trained(run_train, tokenizer):
    output, _ = run_train("out", max_steps=1)
    rows = list(read_jsonl(output / "parity.jsonl"))
    assert {row["origin"] for row in rows} == {"trained", "built_in"}
    assert {"single", "system", "multi_turn", "whitespace", "rare_characters"} <= {row["shape"] for row in rows}
    trained = [row for row in rows if row["origin"] == "trained"]
    assert len({row["row_id"] for row in trained}) == len(trained) == 20
    for row in rows:
        rendered = tokenizer.apply_chat_template(row["messages"], tools=row["tools"], tokenize=False)
        assert tokenizer.decode(row["input_ids"]) == rendered
        assert tokenizer.decode(row["completion_ids"]).endswith(row["messages"][-1]["content"] + "<|im_end|>")
        assert row["completions"] == [m["content"] for m in row["messages"] if m["role"] == "assistant"]
        assert all(label in (-100, token) for label, token in zip(row["labels"], row["input_ids"], strict=True))


@pytest.mark.slow
def test_rows_left_out_are_in_the_record(run_train, tmp_path, chat_rows, write_rows):
    rows = chat_rows(6)
    rows[0]["messages"][-1]["content"] = "长" * 400
    write_rows(tmp_path / "train.jsonl", rows)
    output, summary = run_train("out", rows=tmp_path, max_steps=1)
    assert summary["dropped_rows"] == 1
    assert [item["row_id"] for item in read_json(output / "training.json")["dropped_rows"]] == [rows[0]["row_id"]]


@pytest.mark.slow
def test_mlflow_has_parameters_curve_and_dataset(run_train, project, prepared):
    run_train("out", lineage_id="tg-logged", max_steps=2)
    found, runs = runs_of(project, "tg-logged")
    run = found.get_run(runs[0].info.run_id)
    assert run.data.tags[STAGE_TAG] == "train"
    assert run.data.params["train.lora.rank"] == "4"
    assert {"loss", "learning_rate", "tokens_per_s"} <= set(run.data.metrics)
    dataset = run.inputs.dataset_inputs[0]
    assert {tag.key: tag.value for tag in dataset.tags}["tunegate.sha256"] == sha256_file(prepared / "train.jsonl")


@pytest.mark.slow
def test_a_failed_run_is_marked_so(run_train, project, monkeypatch):
    stop_at(monkeypatch, 1)
    with pytest.raises(Killed):
        run_train("out", lineage_id="tg-failed")
    assert [run.info.status for run in runs_of(project, "tg-failed")[1]] == ["FAILED"]


@pytest.mark.slow
def test_diverged_loss_stops_with_a_hint(run_train):
    with pytest.raises(ConfigError, match=r"loss is (nan|inf)"):
        run_train("out", mode="full", learning_rate=1e30, max_grad_norm=1e30, warmup_steps=0)


@pytest.mark.slow
def test_pad_equal_to_end_of_turn_never_reaches_training(run_train, tiny_copy):
    """Another token pads, and every folder made from this base says so."""
    config = tiny_copy / "tokenizer_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"pad_token": "<|im_end|>"}))
    output = run_train("out", base=tiny_copy, max_steps=1)[0]
    assert read_json(output / "training.json")["pad_token"] == {
        "token": "<|endoftext|>", "id": 0, "origin": "unknown token",
    }  # fmt: skip
    assert read_json(output / "tokenizer_config.json")["pad_token"] == "<|endoftext|>"
    assert read_json(config)["pad_token"] == "<|im_end|>"  # the base's folder stays as it is


@pytest.mark.slow
def test_nothing_is_printed(run_train, capsys):
    run_train("out", max_steps=1)
    assert capsys.readouterr().out == ""
