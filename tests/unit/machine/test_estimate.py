"""The estimates, against numbers computed by hand and against published sizes."""

import json

import pytest

from tasks.core.gpus import Gpu
from tasks.core.settings import ParallelParams
from tasks.machine.fit import arithmetic, check_fit, check_swap
from tasks.models.estimate import (
    GIB,
    RUNTIME_GIB,
    SHORT_TOKENS,
    Arithmetic,
    Shape,
    loading,
    serving,
    shape_of,
    training,
)

#: config.json of Qwen2.5-7B-Instruct, as on the hub.
QWEN_7B = {"num_hidden_layers": 28, "hidden_size": 3584, "vocab_size": 152064, "num_attention_heads": 28,
           "num_key_value_heads": 4}  # fmt: skip


def terms(estimate):
    return {name: value for name, _, value in estimate.terms}


def alone(train):
    """The train section for one process."""
    return train.model_copy(update={"parallel": ParallelParams(strategy="single", processes=1)})


def shared(train, strategy, processes):
    return train.model_copy(update={"parallel": ParallelParams(strategy=strategy, processes=processes)})


@pytest.mark.parametrize("strategy", ["fsdp", "zero3"])
def test_divided_training_holds_a_part_of_the_weights_and_two_layers_whole(large, strategy):
    shape = Shape(70e9, 80, 8192, 152_064, 0.125, exact=True)
    one, four = (terms(training(train, shape)) for train in (alone(large.train), shared(large.train, strategy, 4)))
    for name in ("weights, NF4", "embeddings and head, bf16", "adapter"):
        assert four[name] == pytest.approx(one[name] / 4)
    assert four["activations"] == one["activations"]
    layer = (70e9 - shape.embeddings) * 4.127 / 8 / GIB / 80
    assert four["layers put together"] == pytest.approx(2 * layer + shape.embeddings * 2 / GIB)


def test_ddp_holds_all_on_each_gpu(large):
    shape = shape_of(large, None)
    assert training(shared(large.train, "ddp", 4), shape) == training(alone(large.train), shape)


def test_4bit_weights_are_whole_on_each_gpu_while_they_are_read(large):
    shape = shape_of(large, None)
    qlora = shared(large.train, "fsdp", 4)
    one = terms(training(alone(large.train), shape))
    whole = one["weights, NF4"] + one["embeddings and head, bf16"]
    assert loading(qlora, shape).gib == pytest.approx(whole + RUNTIME_GIB)
    lora = qlora.model_copy(update={"mode": "lora"})
    assert loading(lora, shape).gib == pytest.approx(72.7e9 * 2 / 4 / GIB + RUNTIME_GIB)


def test_doctor_judges_divided_training_by_its_largest_moment(large):
    (fit, _) = check_fit(large, None, [Gpu("NVIDIA A100-SXM4-80GB", 80.0, 79.0)] * 8, 512.0)
    assert (fit.name, fit.outcome) == ("memory: training (qlora, fsdp over 4)", "ok")
    assert "room: each of 4 GPUs" in fit.detail[-1]
    (small, _) = check_fit(large, None, [Gpu("NVIDIA L20", 24.0, 23.0)] * 8, 512.0)
    assert small.outcome == "failed"  # a quarter would fit in 24 GiB, the reading does not


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
    found = terms(training(alone(large.train), shape))
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
    one = large.model_copy(update={"train": alone(large.train)})
    train, _ = check_fit(one, None, [Gpu("H20", 54.0, 54.0)] * 8, 320)
    assert train.outcome == "warning"


def test_without_a_gpu_the_stated_one_is_checked(large):
    train, serve = check_fit(large, None, [], 320)
    assert train.outcome == serve.outcome == "ok"
    assert "stated size" in train.detail[-1]


def test_doctor_names_how_a_version_takes_over_and_whether_two_fit(large, laptop):
    cards = [Gpu("NVIDIA A100-SXM4-80GB", 80.0, 79.0)]
    assert check_swap(large, None, cards * 8, 512.0).outcome == "ok"
    short = check_swap(large, None, cards * 4, 512.0)
    assert (short.outcome, short.needed) == ("warning", "8 GPUs")
    assert "serve.swap: hold" in short.todo
    one = large.model_copy(update={"serve": large.serve.model_copy(update={"swap": "hold", "hold_s": 90.0})})
    held = check_swap(one, None, cards * 4, 512.0)
    assert (held.outcome, held.found) == ("ok", "hold: the old version stops first, requests wait at most 90 s")
    asleep = large.model_copy(update={"serve": large.serve.model_copy(update={"swap": "sleep", "hold_s": 90.0})})
    assert check_swap(asleep, None, cards * 4, 512.0).outcome == "ok"
    assert check_swap(asleep, None, cards * 4, 16.0).outcome == "warning"
    on_cpu = laptop.model_copy(update={"serve": laptop.serve.model_copy(update={"swap": "sleep"})})
    refused = check_swap(on_cpu, None, [], 16.0)
    assert (refused.outcome, "not supported on current platform" in refused.todo) == ("failed", True)
    assert check_swap(laptop, None, [], 16.0).outcome == "ok"
    assert check_swap(laptop, None, [], 1.0).outcome == "warning"


@pytest.mark.parametrize(("kind", "width"), [("16-bit", 2), ("float32", 4)])
def test_a_cpu_without_bf16_needs_twice_the_weights(laptop, monkeypatch, kind, width):
    monkeypatch.setenv("TUNEGATE_CPU_DTYPE", kind)
    here = arithmetic(laptop)
    assert here == Arithmetic(width, on_cpu=True)
    shape = shape_of(laptop, None)
    lora = laptop.train.model_copy(update={"mode": "lora"})
    for estimate in (serving(laptop, shape, here), training(lora, shape, here)):
        assert terms(estimate)[f"weights, {here.name}"] == pytest.approx(0.135e9 * width / GIB)
    plain, found = terms(training(lora, shape)), terms(training(lora, shape, here))
    assert found["activations"] == pytest.approx(plain["activations"] * width / 2)


def test_the_attention_of_short_rows_counts_on_a_cpu(laptop):
    from tasks.training.attention import LONGEST_TOKENS

    assert SHORT_TOKENS == LONGEST_TOKENS
    shape, cpu = Shape(0.135e9, 30, 576, 49152, 1 / 3, exact=True), Arithmetic(on_cpu=True)
    train = laptop.train.model_copy(update={"batch_rows": 4, "max_length_tokens": 512, "gradient_checkpointing": False})
    kept = 4 * 9 * 512 * 512 * 2 * 30 / GIB
    assert terms(training(train, shape, cpu))["attention of short rows"] == pytest.approx(kept)
    long = train.model_copy(update={"max_length_tokens": 513})
    assert "attention of short rows" not in terms(training(long, shape, cpu)) | terms(training(train, shape))
