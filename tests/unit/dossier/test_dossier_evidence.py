"""What stands behind the scores: parity, quantization, cost, approvals, and what a reader sees before signing."""

from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json, write_text
from tasks.core.layout import HOPS
from tasks.dossier.cost import cost_facts
from tasks.dossier.evidence import (
    agreement_facts,
    approval_facts,
    before_signing,
    heldout_row,
    not_tested,
    parity_facts,
)

TRAINING = {"tokens": 100, "completion_tokens": 60}
CALIBRATION = {"calibration_tokens": 10}


@pytest.fixture
def results(run: Any) -> dict[str, Any]:
    return {hop: read_json(run.report(hop) / "results.json") for hop in HOPS}


@pytest.fixture
def facts(results: dict[str, Any]) -> dict[str, Any]:
    """Facts with nothing to say before signing."""
    bar = {"bar": 0.95, "measured": 0.97, "held": True}
    return {
        "verdict": {"rules": []},
        "safety": {"failed": [], "items": 44, "numeric": []},
        "parity": parity_facts({"base": {"parity": {"rows": 1, "mismatches": []}}}),
        "quantization": {"bars": {"bits_per_byte_kept": bar, "top1_agreement": bar, "held": True}},
    }


def test_a_mismatch_stands_in_its_shape_and_hop(results: dict[str, Any]) -> None:
    fault = {"shape": "system", "row_id": "r-1", "words": "token 4: 'a' became 'b'"}
    results["merged"]["parity"]["mismatches"] = [fault]
    parity = parity_facts(results)
    system = next(shape for shape in parity["shapes"] if shape["words"] == ("system", "系统提示"))
    assert system["hops"] == {"base": (3, 0), "adapter": (3, 0), "merged": (3, 1), "awq": (3, 0)}
    assert parity["mismatches"] == [{"hop": "merged", **fault}]
    assert parity["unsupported"][0][0] == ("tools", "工具调用")
    assert parity["stop"]["awq"]["stopped"] == 4


def test_a_sound_run_has_nothing_to_say_before_signing(facts: dict[str, Any]) -> None:
    assert before_signing(facts) == []


def test_what_the_verdict_does_not_say_is_said_before_signing(facts: dict[str, Any]) -> None:
    rule = {"severity": "report", "outcome": "FAIL", "metric": "safety_accuracy", "title": "Safety items",
            "title_zh": "安全项", "hops": ["awq", "awq"], "expect": "floor", "margin": 0.9,
            "lower_is_better": False}  # fmt: skip
    facts["verdict"]["rules"] = [rule, {**rule, "outcome": "PASS"}, {**rule, "severity": "block"}]
    facts["safety"] |= {"failed": [{"lost": True}, {"lost": False}],
                        "numeric": [{"failure": "off_by_1000", "words": ("", ""), "hops": {"awq": 3}}]}  # fmt: skip
    facts["parity"]["unsupported"] = [(("tools", "工具调用"), "no tools")]
    facts["quantization"]["bars"] |= {
        "held": False,
        "top1_agreement": {"bar": 0.95, "measured": 0.89, "held": False},
    }
    english = [en for en, _ in before_signing(facts)]
    assert len(english) == 5
    for words, said in zip(
        ("refuted: awq is at least 90.0 %", "2 of 44 safety items failed, 1 of them right before", "3 written numbers",
         "no form for: tools", "same first choice 89.0 % (bar 95 %)"), english, strict=True,
    ):  # fmt: skip
        assert words in said


def test_held_out_text_is_the_row_every_hop_has(results: dict[str, Any]) -> None:
    row = heldout_row(results)
    assert row is not None
    assert set(row["hops"]) == set(HOPS)
    results["awq"]["heldout"] = None
    assert heldout_row(results) is None


def test_agreement_goes_from_hop_to_hop() -> None:
    step = {"top1": 1.0, "kl_nats": 0.0, "positions": 9}
    assert [found["hops"] for found in agreement_facts({"agreement": {"merged_awq": step, "base_adapter": step}})] == [
        ["base", "adapter"], ["merged", "awq"],
    ]  # fmt: skip
    assert agreement_facts({}) == []


def test_what_was_not_tested_follows_from_what_was(run: Any, results: dict[str, Any], facts: dict[str, Any]) -> None:
    def said() -> str:
        return " ".join(en for en, _ in not_tested(facts, run.settings.hardware, results))

    assert "The adapter by itself" in said()
    assert "No known score" in said()
    assert "No person read the generated answers" in said()
    results["adapter"]["scope"] = "full"
    results["base"]["calibration"] = {"ok": True}
    assert "The adapter by itself" not in said()
    assert "No known score" not in said()


def test_approvals_say_what_this_deployment_asks(run: Any) -> None:
    promote = run.settings.promote.model_copy(update={"environment": "production", "approvals_required": 2})
    said = " ".join(en for en, _ in approval_facts(promote))
    assert "asks for 2 named approvals" in said
    assert "cannot be its only approver" in said
    assert "demonstration is refused" in said
    assert len(approval_facts(None)) == 1


def test_time_and_energy_are_those_of_the_runs(tmp_path: Path, results: dict[str, Any]) -> None:
    runs = [tmp_path / f"{name}.json" for name in ("train", "merge", "evaluate@awq")]
    for path, seconds in ((runs[0], 212.5), (runs[2], 60.4), (tmp_path / "unknown.json", 1.0)):
        write_json(path, {"stage": path.stem, "seconds": seconds, "joules": 36 * seconds})
    cost = cost_facts(runs, TRAINING, CALIBRATION, results)
    assert [(stage["name"], stage["words"]) for stage in cost["stages"]] == [
        ("train", "3 min 32 s"), ("evaluate@awq", "1 min 0 s"),
    ]  # fmt: skip
    assert cost["watt_hours"] == pytest.approx(2.729)
    assert ("calibration tokens", "量化校准词元", 10) in cost["tokens"]


def test_energy_of_some_stages_only_is_no_energy_of_the_run(tmp_path: Path, results: dict[str, Any]) -> None:
    write_json(tmp_path / "train.json", {"stage": "train", "seconds": 2, "joules": 7.0})
    write_json(tmp_path / "merge.json", {"stage": "merge", "seconds": 2})
    assert (
        cost_facts([tmp_path / "train.json", tmp_path / "merge.json"], TRAINING, CALIBRATION, results)["watt_hours"]
        is None
    )


def test_no_runs_and_nonsense_in_them(tmp_path: Path, results: dict[str, Any]) -> None:
    runs = [tmp_path / "train.json", tmp_path / "merge.json"]
    assert cost_facts(runs, TRAINING, CALIBRATION, results)["stages"] == []
    write_json(runs[0], {"stage": "train", "seconds": "soon"})
    assert cost_facts(runs, TRAINING, CALIBRATION, results)["stages"] == []
    write_text(runs[1], "{")
    with pytest.raises(DataContractError, match=r"merge\.json"):
        cost_facts(runs, TRAINING, CALIBRATION, results)
