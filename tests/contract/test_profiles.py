"""Profiles are whole, valid, and possible: shapes that can be quantized and split, margins that can be shown."""

from functools import cache
from pathlib import Path

import pytest
from scipy import stats

from tasks.core.settings import QuantizeCandidate, load_settings
from tasks.evaluation.statistics.binary import detectable_binary
from tasks.evaluation.statistics.continuous import detectable_continuous
from tasks.gate.rules import check_rules
from tasks.machine.network import base_pin
from tasks.models.estimate import serving, shape_of, training
from tasks.quantization.candidates import fitting

ROOT = Path(__file__).parents[2]
FILES = {path.stem: path for path in (ROOT / "infra" / "profiles").glob("*.yaml")}
LARGE = ("verify-7b", "optimize-32b", "production-72b")
#: Input features of the linear layers, from each model's config.json on the hub: hidden, heads x head size, MLP.
INPUTS = {
    "Qwen/Qwen2.5-7B-Instruct": (3584, 28 * 128, 18944),
    "Qwen/Qwen2.5-32B-Instruct": (5120, 40 * 128, 27648),
    "Qwen/Qwen2.5-72B-Instruct": (8192, 64 * 128, 29568),
}
CEVAL_ITEMS, SHORT_ITEMS, SAFETY_ITEMS = 1346, 96, 44


def rule(settings, name):
    return next(item for item in settings.gate.rules if item.name == name)


def strictest(settings) -> float:
    """Return the level of Holm's first step."""
    return settings.gate.alpha / sum(item.severity == "block" for item in settings.gate.rules)


@cache
def detectable(rate: float, margin: float, alpha: float) -> float:
    """Return the detectable difference on C-Eval's items; exact, and a second or two of work."""
    return detectable_binary(CEVAL_ITEMS, discordant_rate=rate, threshold=-margin, alpha=alpha)


def shards_fit(widths, group_size: int, tensor_parallel: int) -> bool:
    """Return whether no group is cut where vLLM cuts the rows of o_proj and down_proj over its GPUs."""
    return all(width % (tensor_parallel * group_size) == 0 for width in widths[1:])


def test_the_four_profiles_are_there():
    assert set(FILES) == {"laptop", *LARGE}


def test_laptop_is_what_is_shipped():
    assert FILES["laptop"].read_bytes() == (ROOT / "params.yaml").read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_a_profile_is_valid_and_its_rules_can_be_asked(name):
    settings = load_settings(FILES[name])
    assert settings.profile == name
    check_rules(settings.gate)
    assert settings.prepare.calibration_rows >= settings.quantize.calibration_rows


@pytest.mark.parametrize("name", LARGE)
def test_large_profiles_use_the_real_benchmark_and_no_limit(name):
    settings = load_settings(FILES[name])
    ceval = settings.evaluate.exams[0]
    assert (ceval.name, ceval.source, ceval.few_shot, ceval.limit) == ("ceval", "huggingface", 5, None)
    assert settings.evaluate.domain.limit is None
    assert "modelscope" in FILES[name].read_text("utf-8")


def test_only_production_is_production_and_asks_two():
    promote = {name: load_settings(path).promote for name, path in FILES.items()}
    assert {name: item.approvals_required for name, item in promote.items()} == {
        "laptop": 0, "verify-7b": 1, "optimize-32b": 1, "production-72b": 2,
    }  # fmt: skip
    assert [name for name, item in promote.items() if item.environment == "production"] == ["production-72b"]


@pytest.mark.parametrize("name", FILES)
def test_no_profile_is_taken_for_pinned_that_is_not(name):
    # No hub was in reach when the large ones were written: doctor names the command that pins them, no hash is made up.
    settings = load_settings(FILES[name])
    outcomes = [check.outcome for check in base_pin(settings)]
    assert outcomes == (["warning"] if name in LARGE else [])
    assert (settings.base_model.digest is None) == (name in LARGE)


@pytest.mark.parametrize("name", LARGE)
def test_every_candidate_fits_every_layer_and_every_gpu_s_share_of_it(name):
    settings = load_settings(FILES[name])
    widths = INPUTS[settings.base_model.id]
    candidates = settings.quantize.candidates
    assert fitting(candidates, widths) == candidates
    assert all(shards_fit(widths, item.group_size, settings.serve.vllm.tensor_parallel) for item in candidates)


def test_groups_of_128_would_be_cut_in_the_72b_model():
    # They divide the layers, so quantization would go through: vLLM would then fail, or answer noise.
    widths = INPUTS["Qwen/Qwen2.5-72B-Instruct"]
    assert fitting([QuantizeCandidate(scheme="W4A16", group_size=128)], widths)
    assert not shards_fit(widths, 128, 4)
    assert not shards_fit(widths, 128, 2)


@pytest.mark.parametrize("name", LARGE)
def test_margins_can_be_shown_with_the_items_there_are(name):
    settings = load_settings(FILES[name])
    alpha = strictest(settings)
    for rule_name, rate in (("ceval_kept", 0.10), ("ceval_quantization", 0.05)):
        margin = rule(settings, rule_name).margin
        assert detectable(rate, margin, alpha) <= margin
    assert detectable_continuous(SHORT_ITEMS, 0.15, alpha=alpha) == pytest.approx(0.05, abs=0.005)
    assert detectable_continuous(SHORT_ITEMS, 0.05, alpha=alpha) <= rule(settings, "quantization_loss").margin


@pytest.mark.parametrize("name", LARGE)
def test_the_safety_floor_blocks_and_can_be_shown(name):
    settings = load_settings(FILES[name])
    floor = rule(settings, "safety_floor")
    assert floor.severity == "block"
    with_one_wrong = stats.binom.sf(SAFETY_ITEMS - 2, SAFETY_ITEMS, floor.margin)
    assert floor.margin == 1.0 or with_one_wrong <= strictest(settings)


def test_the_items_the_margins_were_chosen_for_are_the_shipped_ones():
    folder = ROOT / "data" / "raw" / "eval" / "domain"
    count = {name: len((folder / f"{name}.jsonl").read_text("utf-8").splitlines()) for name in ("short", "safety")}
    assert count == {"short": SHORT_ITEMS, "safety": SAFETY_ITEMS}


@pytest.mark.parametrize("name", LARGE)
def test_the_stated_hardware_carries_training_and_two_slots(name):
    settings = load_settings(FILES[name])
    need, vllm = settings.hardware, settings.serve.vllm
    shape = shape_of(settings, None)
    assert training(settings.train, shape).gib < need.gpu_memory_gib * 0.9
    assert serving(settings, shape).gib < need.gpu_memory_gib * 0.9 * vllm.gpu_memory_utilization * vllm.tensor_parallel
    assert need.gpus >= 2 * vllm.tensor_parallel
    assert need.cpu_memory_gib > 2 * need.parameters_billion * 1e9 / (1 << 30)
    assert need.disk_gib > (2 + 2 + 2 * 0.6) * need.parameters_billion * 1e9 / (1 << 30)


@pytest.mark.parametrize("name", FILES)
def test_memory_holds_the_merged_model_and_its_held_out_logits(name):
    # Quantization keeps the merged model's logits in bf16 to compare each finalist with, at most so many, beside one
    # model in bf16 and its packed weights (a quarter, and scales).
    settings = load_settings(FILES[name])
    quantize = settings.quantize
    logits = quantize.heldout_rows * quantize.heldout_length_tokens * shape_of(settings, None).vocabulary * 2
    weights = settings.hardware.parameters_billion * 1e9 * 2
    assert (logits + 1.3 * weights) / (1 << 30) < settings.hardware.cpu_memory_gib
