"""Every fault that ships silently elsewhere, planted in a good run's evidence: caught, and the right hop named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.core.errors import DataContractError, GateFailedError
from tasks.core.files import read_json, read_jsonl, write_json, write_jsonl
from tasks.core.settings import GateParams, load_settings
from tasks.gate.gate import gate, require_pass

ROOT = Path(__file__).parents[3]
HOPS = ("base", "adapter", "merged", "awq")


def judge(run: Any, tmp_path: Path, params: GateParams | None = None) -> dict[str, Any]:
    """Run the gate and return verdict.json."""
    output = tmp_path / "gate"
    output.mkdir(exist_ok=True)
    gate(params or run.settings.gate, output=output, **run.gate_inputs)
    verdict: dict[str, Any] = read_json(output / "verdict.json")
    return verdict


def caught(run: Any, tmp_path: Path, params: GateParams | None = None) -> set[tuple[str, str]]:
    """Return {(check, hop)} of what failed; the verdict must be FAIL and stop a run."""
    verdict = judge(run, tmp_path, params)
    assert verdict["verdict"] == "FAIL"
    with pytest.raises(GateFailedError):
        require_pass(verdict)
    return {(check["name"], check["hop"]) for check in verdict["checks"] if not check["passed"]}


def predictions(run: Any, hop: str) -> list[dict[str, Any]]:
    return list(read_jsonl(run.report(hop) / "predictions.jsonl"))


def predict(run: Any, hop: str, rows: list[dict[str, Any]]) -> None:
    """Replace a hop's predictions."""
    path = run.report(hop) / "predictions.jsonl"
    path.unlink()
    write_jsonl(path, rows)


def serve_instead(run: Any, hop: str, other: str) -> None:
    """Plant another model's answers under a hop's name: items and held-out text."""
    if run.samples(hop):
        run.rewrite(hop, run.samples(other))
    predict(run, hop, predictions(run, other))


def test_the_good_run_has_none_of_them(run: Any, tmp_path: Path) -> None:
    verdict = judge(run, tmp_path)
    assert verdict["verdict"] == "PASS"
    assert [check["name"] for check in verdict["checks"] if not check["passed"]] == []


def test_adapter_the_server_never_loaded(run: Any, tmp_path: Path) -> None:
    serve_instead(run, "adapter", "base")
    assert ("lost_adapter", "adapter") in caught(run, tmp_path)


def test_adapter_lost_in_the_merge(run: Any, tmp_path: Path) -> None:
    serve_instead(run, "merged", "base")
    found = caught(run, tmp_path)
    assert {("lost_adapter", "merged"), ("adapter_merged_agreement", "merged")} <= found
    assert not {hop for _, hop in found} - {"merged", "awq"}


def test_adapter_merged_with_the_wrong_scale(run: Any, tmp_path: Path) -> None:
    rows = predictions(run, "merged")
    for row in rows[20:]:  # half-way back to the base: other first choices
        row["top1"] = [token + 50 for token in row["top1"]]
    predict(run, "merged", rows)
    assert ("adapter_merged_agreement", "merged") in caught(run, tmp_path)


def test_quantization_that_did_nothing(run: Any, tmp_path: Path) -> None:
    models = run.root / "data/models"
    for name in ("model.safetensors", "config.json"):
        (models / "awq" / name).write_bytes((models / "merged" / name).read_bytes())
    serve_instead(run, "awq", "merged")
    assert caught(run, tmp_path) == {("noop_quantization", "awq")}


def test_layer_left_in_16_bits(run: Any, tmp_path: Path, write_safetensors: Any) -> None:
    path = run.root / "data/models/awq/model.safetensors"
    names = [f"model.layers.0.{name}_proj" for name in ("q", "k", "v", "o", "gate", "up")]
    tensors: dict[str, Any] = {f"{name}.weight_packed": ("I32", b"\x07" * 128, [16, 2]) for name in names}
    tensors["model.layers.0.down_proj.weight"] = ("BF16", b"\x01" * 512, [16, 16])
    write_safetensors(path, tensors)
    assert caught(run, tmp_path) == {("quantized_layers", "awq")}
    words = next(c["words"] for c in read_json(tmp_path / "gate/verdict.json")["checks"] if not c["passed"])
    assert "1 of 7 targeted layers" in words
    assert "model.layers.0.down_proj" in words


@pytest.mark.parametrize("hop", HOPS)
def test_wrong_template(run: Any, tmp_path: Path, hop: str) -> None:
    run.edit_results(hop, chat_template_sha256="0" * 64)
    assert caught(run, tmp_path) == {("chat_template", hop)}


@pytest.mark.parametrize("hop", ["adapter", "merged", "awq"])
def test_swapped_eos(run: Any, tmp_path: Path, hop: str, make_tokenizer: Any) -> None:
    make_tokenizer(run.root / "data/models" / hop, eos="<|im_start|>")
    assert caught(run, tmp_path) == {("end_of_turn", hop)}


def test_base_served_under_the_new_name(run: Any, tmp_path: Path) -> None:
    serve_instead(run, "awq", "base")
    assert ("model_identity", "awq") in caught(run, tmp_path)


@pytest.mark.parametrize("where", ["user", "assistant"])
def test_leaked_eval_items(run: Any, tmp_path: Path, where: str) -> None:
    path = run.root / "data/prepared/train.jsonl"
    rows = list(read_jsonl(path))
    turn = next(turn for turn in rows[7]["messages"] if turn["role"] == where)
    turn["content"] = "（练习）domain_choice 第 3 题：核应急状态下，应当怎么做? 请回答"
    path.unlink()
    write_jsonl(path, rows)
    assert caught(run, tmp_path) == {("no_leaks", "prepared")}
    words = next(c["words"] for c in read_json(tmp_path / "gate/verdict.json")["checks"] if not c["passed"])
    assert "r-7 holds domain_choice/domain_choice-003" in words


def test_items_the_data_was_never_searched_for(run: Any, tmp_path: Path) -> None:
    path = run.root / "data/prepared/eval_questions.jsonl"
    rows = [row for row in read_jsonl(path) if row["eval_set"] != "safety"]
    path.unlink()
    write_jsonl(path, rows)
    assert caught(run, tmp_path) == {("no_leaks", "prepared")}


def test_labels_unmasked_on_the_prompt(run: Any, tmp_path: Path, parity_row: Any) -> None:
    path = run.root / "data/models/adapter/parity.jsonl"
    path.unlink()
    write_jsonl(path, [parity_row(0), parity_row(1, prompt_masked=False)])
    assert caught(run, tmp_path) == {("labels_masked", "adapter")}


def test_labels_shifted_by_one(run: Any, tmp_path: Path, parity_row: Any) -> None:
    row = parity_row(0)
    row["labels"] = [-100, *row["labels"][:-1]]
    path = run.root / "data/models/adapter/parity.jsonl"
    path.unlink()
    write_jsonl(path, [row])
    assert caught(run, tmp_path) == {("labels_masked", "adapter")}


def plant_ceval(run: Any, accuracy: dict[str, float]) -> None:
    """Put C-Eval's 1,346 questions into every full report; each hop gets right what `accuracy` says."""
    levels = np.random.default_rng(1).random(1346)
    names = [f"subject_{n % 52:02d}/{n // 52}" for n in range(1346)]
    questions = run.root / "data/prepared/eval_questions.jsonl"
    known = [row for row in read_jsonl(questions) if row["eval_set"] != "ceval_mini"]
    asked = [{"eval_set": "ceval", "item_id": name, "options": [], "question": f"{name} 的题目是什么？"}
             for name in names]  # fmt: skip
    questions.unlink()
    write_jsonl(questions, known + asked)
    for hop, share in accuracy.items():
        rows = [row for row in run.samples(hop) if row["suite"] != "ceval_mini"]
        rows += [{"suite": "ceval", "item_id": name, "metric": "accuracy", "value": float(level < share),
                  "group": name.partition("/")[0], "detail": {"lang": "zh"}}
                 for name, level in zip(names, levels, strict=True)]  # fmt: skip
        suites = read_json(run.report(hop) / "results.json")["suites"]
        suites["ceval"] = suites.pop("ceval_mini") | {"name": "ceval", "stand_in": False}
        run.edit_results(hop, suites=suites)
        run.rewrite(hop, rows)


def large_rules(run: Any, *names: str) -> GateParams:
    """Return the gate with rules of the 7B profile."""
    profile = load_settings(ROOT / "infra/profiles/verify-7b.yaml").gate
    rules = [rule for rule in profile.rules if rule.name in names]
    found: GateParams = run.settings.gate.model_copy(update={"rules": rules})
    return found


def test_over_trained_adapter_that_forgets_c_eval(run: Any, tmp_path: Path) -> None:
    plant_ceval(run, {"base": 0.62, "merged": 0.53, "awq": 0.525})
    verdict = judge(run, tmp_path, large_rules(run, "domain_gain", "ceval_kept", "ceval_quantization"))
    rules = {rule["name"]: rule for rule in verdict["rules"]}
    assert verdict["verdict"] == "FAIL"
    assert rules["domain_gain"]["outcome"] == "PASS"
    assert (rules["ceval_kept"]["outcome"], rules["ceval_kept"]["hop"]) == ("FAIL", "adapter")
    assert rules["ceval_quantization"]["outcome"] == "PASS"
    assert "Lost at hop adapter" in rules["ceval_kept"]["words"]
    assert rules["ceval_kept"]["items"][0]["item"].startswith("ceval/subject_")


def test_c_eval_lost_by_quantization_is_named_there(run: Any, tmp_path: Path) -> None:
    plant_ceval(run, {"base": 0.62, "merged": 0.62, "awq": 0.52})
    verdict = judge(run, tmp_path, large_rules(run, "domain_gain", "ceval_kept", "ceval_quantization"))
    failed = {rule["name"]: rule["hop"] for rule in verdict["rules"] if rule["outcome"] == "FAIL"}
    assert failed == {"ceval_kept": "awq", "ceval_quantization": "awq"}


def test_truncated_eval_set_at_one_hop(run: Any, tmp_path: Path) -> None:
    run.rewrite("awq", [row for row in run.samples("awq") if row["item_id"] != "safety-001"])
    with pytest.raises(DataContractError, match=r"hop awq lacks 1 of .* safety/safety-001"):
        judge(run, tmp_path)


def test_eval_set_truncated_at_every_hop(run: Any, tmp_path: Path) -> None:
    for hop in ("base", "merged", "awq"):
        run.rewrite(hop, [row for row in run.samples(hop) if row["item_id"] not in ("safety-001", "safety-002")])
    assert caught(run, tmp_path) == {("whole_sets", "base")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hop", "fault"),
    [*((hop, "none") for hop in HOPS), ("base", "same"), ("merged", "positive"), ("awq", "null")],
)
def test_server_that_returns_no_prompt_logprobs(run: Any, tmp_path: Path, hop: str, fault: str) -> None:
    rows = predictions(run, hop)
    for row in rows:
        size = len(row["reference"])
        row["logprobs"] = {"none": [], "same": [-1.0] * size, "positive": [0.5] * size, "null": [None] * size}[fault]
    predict(run, hop, rows)
    assert ("server_scores", hop) in caught(run, tmp_path)


def test_four_options_scored_alike(run: Any, tmp_path: Path) -> None:
    rows = run.samples("merged")
    for row in rows:
        if "logprobs" in row["detail"]:
            row["detail"]["logprobs"] = [-1.0] * 4
    run.rewrite("merged", rows)
    assert caught(run, tmp_path) == {("server_scores", "merged")}


def test_harness_that_does_not_reproduce_a_known_score(run: Any, tmp_path: Path) -> None:
    known = {"expected": 0.711, "measured": 0.484, "tolerance": 0.02, "ok": False, "source": "model card"}
    run.edit_results("base", calibration=known)
    assert caught(run, tmp_path) == {("calibration", "base")}
    letters = {"measured": -1.9, "expected": -1.4, "tolerance": 0.02}
    run.edit_results("base", calibration=known | {"measured": 0.705, "answer_logprob": letters})
    assert caught(run, tmp_path) == {("calibration", "base")}
    run.edit_results("base", calibration=known | {"measured": 0.705, "ok": True})
    assert judge(run, tmp_path)["verdict"] == "PASS"


def test_held_out_text_of_other_rows(run: Any, tmp_path: Path) -> None:
    predict(run, "awq", predictions(run, "awq")[:-1])
    assert caught(run, tmp_path) == {("merged_awq_agreement", "awq")}


def test_quantization_that_moved_the_distribution_but_not_the_first_choice(run: Any, tmp_path: Path) -> None:
    rows = predictions(run, "awq")
    for row, same in zip(rows, predictions(run, "merged"), strict=True):
        row["top1"] = same["top1"]
        row["top"] = [[[token, -5.0 if at == 0 else -0.1] for at, (token, _) in enumerate(position)]
                      for position in same["top"]]  # fmt: skip
    predict(run, "awq", rows)
    assert caught(run, tmp_path) == {("merged_awq_agreement", "awq")}


def test_quantization_json_without_its_fields_is_refused(run: Any, tmp_path: Path) -> None:
    path = run.root / "data/models/awq/quantization.json"
    write_json(path, {key: value for key, value in read_json(path).items() if key != "ignored"})
    with pytest.raises(DataContractError, match="ignored"):
        judge(run, tmp_path)
