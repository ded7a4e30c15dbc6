"""The estimates, against numbers computed by hand and against published sizes."""

import json

import pytest

from tasks.core.gpus import Gpu
from tasks.machine.fit import check_fit
from tasks.models.estimate import GIB, Shape, serving, shape_of, training

#: config.json of Qwen2.5-7B-Instruct, as on the hub.
QWEN_7B = {"num_hidden_layers": 28, "hidden_size": 3584, "vocab_size": 152064, "num_attention_heads": 28,
           "num_key_value_heads": 4}  # fmt: skip


def terms(estimate):
    return {name: value for name, _, value in estimate.terms}


def test_full_training_takes_sixteen_bytes_a_parameter(laptop):
    params = laptop.train.model_copy(update={"mode": "full"})
    found = terms(training(params, Shape(1e9, 10, 1000, 50_000, 1.0, exact=True)))
    assert found["trained weights"] == pytest.approx(16e9 / GIB)
    assert not any(name.startswith("weights") for name in found)


def test_lora_holds_bf16_weights_and_a_small_trained_part(laptop):
    params = laptop.train.model_copy(update={"mode": "lora"})
    found = terms(training(params, Shape(1e9, 10, 1000, 50_000, 1.0, exact=True)))
    assert found["weights, bf16"] == pytest.approx(2e9 / GIB)
    assert found["adapter"] == pytest.approx(16 * 20 * 1000 * 10 * 16 / GIB)


def test_qlora_of_7b_is_what_its_authors_measured(large, tmp_path):
    # Dettmers et al. 2023, figure 6: about 5 GB for the 4-bit weights of a 7B LLaMA with its 16-bit parts.
    (tmp_path / "config.json").write_text(json.dumps(QWEN_7B))
    settings = large.model_copy(update={"hardware": large.hardware.model_copy(update={"parameters_billion": 7.62})})
    shape = shape_of(settings, tmp_path)
    found = terms(training(large.train, shape))
    assert 4.5 < found["weights, NF4"] + found["embeddings and head, bf16"] < 6
    # 1 row x 2048 tokens x 3584 x (2 x 28 + 34) bytes
    assert found["activations"] == pytest.approx(2048 * 3584 * 90 / GIB)


def test_checkpointing_saves_activations(large):
    shape = shape_of(large, None)
    without = large.train.model_copy(update={"gradient_checkpointing": False})
    assert terms(training(without, shape))["activations"] > 5 * terms(training(large.train, shape))["activations"]


def test_derived_shapes_are_near_the_real_ones(large):
    shape = shape_of(large, None)
    assert not shape.exact
    assert shape.layers == pytest.approx(80, rel=0.15)
    assert shape.hidden == pytest.approx(8192, rel=0.15)


def test_serving_on_a_cpu_counts_the_cache_as_set(laptop):
    found = terms(serving(laptop, shape_of(laptop, None)))
    assert found["cache"] == laptop.serve.vllm.kv_cache_gib


def test_serving_on_gpus_needs_room_for_one_longest_conversation(large, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(QWEN_7B))
    found = terms(serving(large, shape_of(large, tmp_path)))
    # 2 (key, value) x 28 layers x 3584 / 7 x 2 bytes x 8192 tokens
    assert found["cache of one longest conversation"] == pytest.approx(2 * 28 * 512 * 2 * 8192 / GIB)


def test_a_model_that_does_not_fit_is_refused_with_the_formula(large):
    small_cards = [Gpu("NVIDIA A10", 22.5, 22.5)] * 8
    train, serve = check_fit(large, None, small_cards, 320)
    assert train.outcome == serve.outcome == "failed"
    assert "qlora" in train.name
    assert any("4.127 bits" in line for line in train.detail)
    assert "tensor_parallel" in serve.todo


def test_a_close_fit_is_a_warning(large):
    train, _ = check_fit(large, None, [Gpu("H20", 54.0, 54.0)] * 8, 320)
    assert train.outcome == "warning"


def test_without_a_gpu_the_stated_one_is_checked(large):
    train, serve = check_fit(large, None, [], 320)
    assert train.outcome == serve.outcome == "ok"
    assert "stated size" in train.detail[-1]
