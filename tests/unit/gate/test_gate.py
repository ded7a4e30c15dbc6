"""The whole gate on a run's evidence: verdict, words, demo, files, exit code."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ConfigError, DataContractError, GateFailedError
from tasks.core.files import read_json, write_json, write_text
from tasks.core.guard import guarded
from tasks.core.manifest import write_manifest
from tasks.core.settings import AgreementsParams, EvaluateParams, GateParams
from tasks.gate.gate import gate, require_pass
from tests.unit.made_run import LINEAR_LAYERS


def judge(run: Any, output: Path, params: GateParams | None = None, **changes: Any) -> dict[str, Any]:
    """Run the gate and return verdict.json."""
    output.mkdir(exist_ok=True)
    gate(params or run.settings.gate, output=output, **{**run.gate_inputs, **changes})
    verdict: dict[str, Any] = read_json(output / "verdict.json")
    return verdict


def failed(verdict: dict[str, Any]) -> dict[str, set[str]]:
    """Return {check: hops at which it failed}."""
    found: dict[str, set[str]] = {}
    for check in verdict["checks"]:
        if not check["passed"]:
            found.setdefault(check["name"], set()).add(check["hop"])
    return found


def test_a_good_run_passes_as_a_demo(run: Any, tmp_path: Path) -> None:
    verdict = judge(run, tmp_path / "gate")
    assert verdict["verdict"] == "PASS"
    assert failed(verdict) == {}
    assert verdict["lineage_id"] == "tg-cccccccccccccccc"
    assert [rule["outcome"] for rule in verdict["rules"] if rule["severity"] == "block"] == ["PASS", "PASS"]
    assert verdict["demo"]
    assert any("laptop" in reason for reason in verdict["demo_reasons"])
    assert any("ceval_mini is a stand-in" in reason for reason in verdict["demo_reasons"])
    require_pass(verdict)


@pytest.mark.slow
def test_rules_changed_after_training_began_make_a_demonstration(run: Any, tmp_path: Path) -> None:
    adapter = run.root / "data/models/adapter"
    (adapter / "manifest.json").unlink()
    write_manifest(adapter, {"stage": "train", "lineage_id": "tg-aaaaaaaaaaaaaaaa", "parts": {},
                             "rules_sha256": run.settings.gate.digest()})  # fmt: skip
    kept = judge(run, tmp_path / "kept")
    assert kept["rules_sha256"] == kept["rules_fixed_sha256"] == run.settings.gate.digest()
    assert not any("rules were changed" in reason for reason in kept["demo_reasons"])
    looser = run.settings.gate.model_copy(update={"alpha": run.settings.gate.alpha * 2})
    changed = judge(run, tmp_path / "changed", looser)
    assert any("rules were changed after training began" in reason for reason in changed["demo_reasons"])
    assert changed["rules_sha256"] != changed["rules_fixed_sha256"]


def test_a_report_only_rule_never_blocks(run: Any, tmp_path: Path) -> None:
    verdict = judge(run, tmp_path / "gate")
    floor = next(rule for rule in verdict["rules"] if rule["name"] == "safety_floor")
    assert (floor["outcome"], floor["severity"], verdict["verdict"]) == ("FAIL", "report", "PASS")


def test_same_evidence_same_bytes(run: Any, tmp_path: Path) -> None:
    judge(run, tmp_path / "first")
    judge(run, tmp_path / "second")
    for name in ("verdict.json", "metrics.json", "verdict.md"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_metrics_are_flat_numbers(run: Any, tmp_path: Path) -> None:
    judge(run, tmp_path / "gate")
    metrics = read_json(tmp_path / "gate/metrics.json")
    assert all(isinstance(value, float) for value in metrics.values())
    assert metrics["gate_pass"] == 1.0
    assert metrics["awq_domain_bits_per_byte"] < metrics["base_domain_bits_per_byte"]
    assert metrics["merged_awq_agreement"] == pytest.approx(116 / 120, abs=1e-6)


def test_verdict_page_says_it_in_words(run: Any, tmp_path: Path) -> None:
    judge(run, tmp_path / "gate")
    page = (tmp_path / "gate/verdict.md").read_text(encoding="utf-8")
    assert "# Gate: PASS (demonstration)" in page
    assert "awq is better than base by more than 0.050 bits per byte" in page
    assert "On the same 96 items base has" in page
    assert "通过" in page


def test_lost_adapter_is_found_at_merged(run: Any, tmp_path: Path) -> None:
    base = {(row["suite"], row["item_id"]): row for row in run.samples("base")}
    run.rewrite("merged", list(base.values()))
    verdict = judge(run, tmp_path / "gate")
    assert verdict["verdict"] == "FAIL"
    assert failed(verdict) == {"lost_adapter": {"merged"}}


def test_adapter_of_zeros_is_found_at_adapter(run: Any, tmp_path: Path, write_safetensors: Any) -> None:
    folder = run.root / "data/models/adapter"
    write_safetensors(folder / "adapter_model.safetensors", {"q.lora_A.weight": ("F32", b"\x01" * 32),
                                                             "q.lora_B.weight": ("F32", b"\x00" * 32)})  # fmt: skip
    assert failed(judge(run, tmp_path / "gate")) == {"lost_adapter": {"adapter"}}


@pytest.mark.parametrize("fault", [{"changed": 0}, {"base_digest": "sha256:" + "0" * 64}])
def test_merge_that_lost_the_adapter_or_the_base_is_found(run: Any, tmp_path: Path, fault: dict[str, Any]) -> None:
    path = run.root / "data/models/merged/merge.json"
    write_json(path, read_json(path) | fault)
    assert failed(judge(run, tmp_path / "gate")) == {"lost_adapter": {"merged"}}


def test_base_with_pad_as_eos_is_found_at_base(run: Any, tmp_path: Path) -> None:
    run.edit_results("base", tokens={"bos": 1, "eos": 2, "pad": 2})
    assert failed(judge(run, tmp_path / "gate")) == {"end_of_turn": {"base"}}


def test_base_served_under_a_new_name_is_found_at_awq(run: Any, tmp_path: Path) -> None:
    run.rewrite("awq", run.samples("base"))
    verdict = judge(run, tmp_path / "gate")
    assert failed(verdict) == {"model_identity": {"awq"}}
    assert next(rule for rule in verdict["rules"] if rule["name"] == "domain_gain")["outcome"] == "FAIL"


def test_report_of_another_model_is_found_by_its_lineage(run: Any, tmp_path: Path) -> None:
    run.edit_results("merged", model_lineage_id="tg-0123456789abcdef")
    assert failed(judge(run, tmp_path / "gate")) == {"model_identity": {"merged"}}


def test_merged_model_saved_as_awq_is_found(run: Any, tmp_path: Path) -> None:
    models = run.root / "data/models"
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(models / "merged" / name, models / "awq" / name)
    run.rewrite("awq", run.samples("merged"))
    verdict = judge(run, tmp_path / "gate")
    assert failed(verdict) == {"noop_quantization": {"awq"}}
    words = next(check["words"] for check in verdict["checks"] if check["name"] == "noop_quantization")
    assert all(part in words for part in ("bytes", "no 4-bit group", "no packed weight", "item by item"))


@pytest.mark.parametrize("kind", ["I8", "F8_E4M3"])
def test_weights_of_eight_bits_pass_and_one_left_in_sixteen_is_found(
    run: Any, tmp_path: Path, write_safetensors: Any, kind: str
) -> None:
    folder = run.root / "data/models/awq"
    layers = {f"{name}.weight": (kind, b"\x07" * 256, [16, 16]) for name in LINEAR_LAYERS}
    group = {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "int" if kind == "I8" else "float"}}
    config = {"model_type": "llama", "quantization_config": {"config_groups": {"group_0": group}}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    write_safetensors(folder / "model.safetensors", layers)
    assert not failed(judge(run, tmp_path / "gate"))
    write_safetensors(
        folder / "model.safetensors", layers | {f"{LINEAR_LAYERS[0]}.weight": ("BF16", b"\x07" * 512, [16, 16])}
    )
    assert failed(judge(run, tmp_path / "gate2")) == {"quantized_layers": {"awq"}}


def test_quantization_that_packed_nothing_is_found_though_smaller(
    run: Any, tmp_path: Path, write_safetensors: Any
) -> None:
    write_safetensors(run.root / "data/models/awq/model.safetensors", {"q_proj.weight": ("BF16", b"\x01" * 8)})
    assert failed(judge(run, tmp_path / "gate")) == {"noop_quantization": {"awq"}}


@pytest.mark.parametrize("hop", ["base", "merged", "awq"])
def test_wrong_template_is_found_at_its_hop(run: Any, tmp_path: Path, hop: str) -> None:
    run.edit_results(hop, chat_template_sha256="0" * 64)
    verdict = judge(run, tmp_path / "gate")
    assert failed(verdict) == {"chat_template": {hop}}
    assert any("different chat templates" in reason for reason in verdict["demo_reasons"])


def test_folder_changed_after_its_evaluation_is_found(run: Any, tmp_path: Path) -> None:
    write_text(run.root / "data/models/awq/chat_template.jinja", "{{ messages }}")
    assert failed(judge(run, tmp_path / "gate")) == {"chat_template": {"awq"}}


@pytest.mark.parametrize("hop", ["base", "merged", "awq"])
def test_token_mismatch_is_found_at_its_hop(run: Any, tmp_path: Path, hop: str) -> None:
    run.edit_results(hop, parity={"rows": 16, "mismatches": [{"row_id": "r-0"}]})
    assert failed(judge(run, tmp_path / "gate")) == {"token_parity": {hop}}


def test_parity_over_no_rows_is_no_pass(run: Any, tmp_path: Path) -> None:
    run.edit_results("awq", parity={"rows": 0, "mismatches": []})
    assert failed(judge(run, tmp_path / "gate")) == {"token_parity": {"awq"}}


@pytest.mark.parametrize("hop", ["adapter", "merged", "awq"])
def test_pad_that_is_eos_is_found_at_its_hop(run: Any, tmp_path: Path, hop: str, make_tokenizer: Any) -> None:
    make_tokenizer(run.root / "data/models" / hop, pad="<|im_end|>")
    assert failed(judge(run, tmp_path / "gate")) == {"end_of_turn": {hop}}


@pytest.mark.parametrize("hop", ["adapter", "merged", "awq"])
def test_swapped_eos_is_found_at_its_hop(run: Any, tmp_path: Path, hop: str, make_tokenizer: Any) -> None:
    make_tokenizer(run.root / "data/models" / hop, eos="<|im_start|>")
    assert failed(judge(run, tmp_path / "gate")) == {"end_of_turn": {hop}}


def test_several_stop_tokens_are_fine(run: Any, tmp_path: Path, make_tokenizer: Any) -> None:
    folder = run.root / "data/models/awq"
    make_tokenizer(folder, eos="<|im_start|>")
    write_json(folder / "generation_config.json", {"eos_token_id": [1, 2]})
    assert failed(judge(run, tmp_path / "gate")) == {}


@pytest.mark.parametrize(
    "canary", [{"items": 8, "passed": False, "failures": ["x scored -1"]}, {"items": 0, "passed": True, "failures": []}]
)
def test_failed_canary_is_found_at_its_hop(run: Any, tmp_path: Path, canary: dict[str, Any]) -> None:
    run.edit_results("merged", canary=canary)
    assert failed(judge(run, tmp_path / "gate")) == {"canary": {"merged"}}


def test_another_server_version_is_found(run: Any, tmp_path: Path) -> None:
    run.edit_results("awq", server={"engine": "vllm", "version": "0.31.0"})
    assert failed(judge(run, tmp_path / "gate")) == {"same_server": {"awq"}}


def test_a_hop_computed_in_another_type_is_found(run: Any, tmp_path: Path) -> None:
    for hop, kind in (("base", "float32"), ("adapter", "float32"), ("merged", "float32"), ("awq", "bfloat16")):
        server = read_json(run.report(hop) / "results.json")["server"]
        run.edit_results(hop, server=server | {"computed_in": kind})
    assert failed(judge(run, tmp_path / "gate")) == {"same_server": {"awq"}}


def test_low_agreement_is_found_at_awq(run: Any, tmp_path: Path) -> None:
    asked = AgreementsParams.model_validate(
        {"adapter_merged": {"min_top1": 0.9, "max_kl_nats": 0.1}, "merged_awq": {"min_top1": 0.97, "max_kl_nats": 0.1}}
    )
    strict = run.settings.gate.model_copy(update={"agreement": asked})
    assert failed(judge(run, tmp_path / "gate", strict)) == {"merged_awq_agreement": {"awq"}}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_value_that_is_no_number_fails_and_is_kept_as_null(run: Any, tmp_path: Path, value: Any) -> None:
    rows = run.samples("awq")
    index = next(n for n, row in enumerate(rows) if row["suite"] == "domain_short")
    rows[index]["value"] = value
    run.rewrite("awq", rows)
    verdict = judge(run, tmp_path / "gate")
    assert failed(verdict) == {"finite": {"awq"}}
    rule = next(rule for rule in verdict["rules"] if rule["name"] == "domain_gain")
    assert (rule["outcome"], rule["value"], rule["interval"]) == ("FAIL", None, [None, None])
    assert "Nothing was measured" in rule["words"]


def test_a_diverged_training_is_found_at_adapter(run: Any, tmp_path: Path) -> None:
    write_text(run.root / "data/models/adapter/loss.csv", "step,loss,learning_rate\n1,2.0,0.1\n2,nan,0.1\n")
    assert failed(judge(run, tmp_path / "gate")) == {"finite": {"adapter"}}


def test_truncated_eval_set_is_refused_by_name(run: Any, tmp_path: Path) -> None:
    rows = run.samples("awq")
    run.rewrite("awq", [row for row in rows if row["item_id"] not in ("safety-001", "safety-002")])
    with pytest.raises(DataContractError, match=r"hop awq lacks 2 of 520 items.*safety/safety-001, safety/safety-002"):
        judge(run, tmp_path / "gate")


def test_extra_item_is_refused_by_name(run: Any, tmp_path: Path) -> None:
    extra = {"suite": "safety", "item_id": "sneaked-in", "metric": "accuracy", "value": 1.0, "detail": {}}
    run.rewrite("merged", [*run.samples("merged"), extra])
    with pytest.raises(DataContractError, match="hop base lacks 1 of 521 items that merged has: safety/sneaked-in"):
        judge(run, tmp_path / "gate")


def test_samples_cut_short_of_results_are_refused(run: Any, tmp_path: Path) -> None:
    path = run.report("base") / "samples.jsonl"
    path.write_text("".join(path.read_text(encoding="utf-8").splitlines(keepends=True)[:-1]), encoding="utf-8")
    with pytest.raises(DataContractError, match=r"hop base: suite safety_unknown has 23 items.*says 24"):
        judge(run, tmp_path / "gate")


def test_item_scored_twice_is_refused(run: Any, tmp_path: Path) -> None:
    rows = run.samples("base")
    run.rewrite("base", [*rows, rows[0]])
    with pytest.raises(DataContractError, match="stands twice"):
        judge(run, tmp_path / "gate")


def test_report_in_the_wrong_place_is_refused(run: Any, tmp_path: Path) -> None:
    with pytest.raises(DataContractError, match="is the report of hop 'base'"):
        judge(run, tmp_path / "gate", eval_awq=run.report("base"))


def test_damaged_safetensors_are_refused(run: Any, tmp_path: Path) -> None:
    (run.root / "data/models/awq/model.safetensors").write_bytes(b"\x00\x01")
    with pytest.raises(DataContractError, match="no complete safetensors file"):
        judge(run, tmp_path / "gate")


def test_a_real_profile_with_the_real_benchmark_is_no_demo(run: Any, tmp_path: Path) -> None:
    for hop in ("base", "merged", "awq"):
        suites = read_json(run.report(hop) / "results.json")["suites"]
        suites["ceval_mini"] |= {"name": "ceval", "stand_in": False}
        run.edit_results(hop, suites=suites)
    verdict = judge(run, tmp_path / "gate", profile="production-72b")
    assert (verdict["demo"], verdict["demo_reasons"]) == (False, [])


def test_a_base_that_was_not_pinned_makes_a_demo(run: Any, tmp_path: Path) -> None:
    unpinned = run.settings.base_model.model_copy(update={"digest": None})
    verdict = judge(run, tmp_path / "gate", base_model=unpinned)
    assert any("base_model.digest was null" in reason for reason in verdict["demo_reasons"])


def test_a_limit_makes_a_demo(run: Any, tmp_path: Path) -> None:
    limited = run.settings.evaluate.model_dump(mode="json")
    limited["domain"]["limit"] = 20
    verdict = judge(run, tmp_path / "gate", evaluate=EvaluateParams.model_validate(limited))
    assert any("cut to 20 items" in reason for reason in verdict["demo_reasons"])


def test_mixed_use_of_the_template_makes_a_demo(run: Any, tmp_path: Path) -> None:
    suites = read_json(run.report("awq") / "results.json")["suites"]
    suites["safety"]["chat_template"] = False
    run.edit_results("awq", suites=suites)
    verdict = judge(run, tmp_path / "gate")
    assert any("safety was asked with a chat template at one hop" in reason for reason in verdict["demo_reasons"])


def test_fail_exits_4_and_says_rule_hop_and_next_step(
    run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = run.samples("awq")
    for row in rows:
        if row["suite"] == "domain_short":
            row["value"] += 0.6
    run.rewrite("awq", rows)
    verdict = judge(run, tmp_path / "gate")
    assert verdict["verdict"] == "FAIL"
    assert guarded(lambda: require_pass(verdict)) == 4
    said = capsys.readouterr().err
    assert "rule quantization_loss, merged -> awq: FAIL" in said
    assert "next: " in said
    assert json.loads((tmp_path / "gate/verdict.json").read_text(encoding="utf-8")) == verdict


def test_inconclusive_exits_4_too(run: Any, tmp_path: Path) -> None:
    for hop in ("base", "merged", "awq"):
        rows = run.samples(hop)
        few = [row for row in rows if row["suite"] != "domain_short" or row["item_id"] < "domain_short-004"]
        run.rewrite(hop, few)
    verdict = judge(run, tmp_path / "gate")
    assert verdict["verdict"] == "INCONCLUSIVE"
    with pytest.raises(GateFailedError, match="INCONCLUSIVE") as raised:
        require_pass(verdict)
    assert "add items" in raised.value.hint


def test_a_failed_check_stops_with_its_hop_and_command(run: Any, tmp_path: Path) -> None:
    run.edit_results("merged", canary={"items": 8, "passed": False, "failures": ["x scored -1"]})
    with pytest.raises(GateFailedError, match="check canary, hop merged") as raised:
        require_pass(judge(run, tmp_path / "gate"))
    assert "tunegate stage evaluate@merged" in raised.value.hint


def test_all_wrong_rules_are_named_at_once(run: Any, tmp_path: Path) -> None:
    plain = run.settings.gate.model_dump(mode="json")
    plain["rules"] = [
        {"name": "a", "metric": "bleu", "hops": ["base", "awq"], "expect": "better", "margin": 0.1, "alpha": 0.2},
        {"name": "a", "metric": "safety_accuracy", "hops": ["awq", "awq"], "expect": "better", "margin": -1.0},
        {"name": "b", "metric": "safety_accuracy", "hops": ["base", "awq"], "expect": "floor", "margin": 1.5},
    ]
    plain["rules"] = [{"alpha": None, "severity": "report"} | rule for rule in plain["rules"]]
    with pytest.raises(ConfigError) as raised:
        judge(run, tmp_path / "gate", GateParams.model_validate_json(json.dumps(plain)))
    for part in ("stands twice", "no rule has severity block", "'bleu'", "compared with itself", "negative",
                 "looks at one hop", "out of range", "looser"):  # fmt: skip
        assert part in raised.value.message


def test_lineage_is_that_of_the_quantized_model(run: Any, tmp_path: Path) -> None:
    write_manifest(run.root / "data/models/awq", {"stage": "quantize", "lineage_id": "tg-new", "parts": {}})
    run.edit_results("awq", model_lineage_id="tg-new")
    assert judge(run, tmp_path / "gate")["lineage_id"] == "tg-new"
