"""GGUF files of tiny models of the families, read back with the package's own reader; llama.cpp reads them in
tests/contract/test_llamacpp.py."""

import json

import numpy as np
import pytest
from gguf import GGUFReader

from tasks.core.errors import DataContractError
from tasks.core.files import read_json, write_json
from tasks.export.architecture import rope_factors, shape_of
from tasks.export.formats import stored_type
from tasks.export.gguf_file import write_gguf
from tasks.export.kernels import Kernels
from tasks.export.vocabulary import vocabulary_of
from tests.unit.families import write_family


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Tiny models by family, made once."""
    made = {}

    def model(name):
        if name not in made:
            # Qwen 2's heads share the width of the model; the others' need not.
            config = {"head_dim": 16} if name == "qwen2.5" else {}
            made[name] = write_family(name, tmp_path_factory.mktemp("family") / name, model=True, **config)
        return made[name]

    return model


@pytest.fixture
def copied(models, tmp_path):
    """A copy of a tiny model that a test may spoil."""

    def copy(name, **config):
        folder = tmp_path / "copy"
        folder.mkdir()
        for path in models(name).iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
        write_json(folder / "config.json", read_json(folder / "config.json") | config)
        return folder

    return copy


def written(folder, target, kind="f16", facts=None):
    write_gguf(folder, target, kind, facts or {}, Kernels(target))
    return GGUFReader(target)


def values(reader, name):
    tensor = next(one for one in reader.tensors if one.name == name)
    return tensor.data


def bf16(folder, name):
    from safetensors.torch import load_file as load

    return load(folder / "model.safetensors")[name].float().numpy()


@pytest.mark.parametrize(("family", "architecture"), [("qwen2.5", "qwen2"), ("qwen3", "qwen3"), ("llama-3.2", "llama")])
def test_sizes_weights_and_tokenizer_are_those_of_the_folder(models, tmp_path, family, architecture):
    folder = models(family)
    reader = written(folder, tmp_path / "model.gguf", facts={"general.name": "应急助手", "tunegate.lineage_id": "tg-1"})
    found = {name: field.contents() for name, field in reader.fields.items()}
    config = read_json(folder / "config.json")
    assert found["general.architecture"] == architecture
    assert (found["general.name"], found["tunegate.lineage_id"]) == ("应急助手", "tg-1")
    assert found[f"{architecture}.attention.head_count_kv"] == config["num_key_value_heads"]
    assert found[f"{architecture}.attention.key_length"] == config["head_dim"]
    assert len(found["tokenizer.ggml.tokens"]) == config["vocab_size"]
    assert found["tokenizer.chat_template"] == (folder / "chat_template.jinja").read_text(encoding="utf-8")
    # The embedding is the head as well: written once.
    assert "output.weight" not in {one.name for one in reader.tensors}
    np.testing.assert_array_equal(
        values(reader, "token_embd.weight"), bf16(folder, "model.embed_tokens.weight").astype(np.float16)
    )
    assert values(reader, "blk.1.attn_norm.weight").dtype == np.float32


def test_rows_of_queries_and_keys_take_turns_in_a_llama_alone(models, tmp_path):
    for family, moved in (("llama-3.2", True), ("qwen2.5", False)):
        folder = models(family)
        reader = written(folder, tmp_path / f"{family}.gguf")
        config = read_json(folder / "config.json")
        for part, heads in (("q", config["num_attention_heads"]), ("k", config["num_key_value_heads"])):
            own = bf16(folder, f"model.layers.0.self_attn.{part}_proj.weight").astype(np.float16)
            found = values(reader, f"blk.0.attn_{part}.weight")
            # As tasks/models/packaged.py reads them back.
            back = found.reshape(heads, -1, 2, found.shape[1]).swapaxes(1, 2).reshape(found.shape)
            np.testing.assert_array_equal(back if moved else found, own)
            assert np.array_equal(found, own) != moved


def test_q8_0_keeps_the_weights_within_a_step(models, tmp_path):
    from gguf.quants import dequantize

    folder = models("qwen3")
    reader = written(folder, tmp_path / "model.gguf", "q8_0")
    tensor = next(one for one in reader.tensors if one.name == "blk.0.ffn_down.weight")
    own = bf16(folder, "model.layers.0.mlp.down_proj.weight")
    step = np.abs(own.reshape(-1, 32)).max(axis=1, keepdims=True) / 127
    assert tensor.tensor_type.name == "Q8_0"
    far = np.abs(dequantize(tensor.data, tensor.tensor_type).reshape(-1, 32) - own.reshape(-1, 32))
    assert (far <= step * 0.57).all()  # half a step, and the scale is rounded to fp16


@pytest.mark.parametrize("family", ["qwen2.5", "llama-3.2"])
def test_the_same_folder_gives_the_same_bytes(models, tmp_path, family):
    for name in ("a", "b"):
        written(models(family), tmp_path / name, "q8_0")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


class TestRefused:
    def test_other_architectures_by_name(self, models, tmp_path):
        with pytest.raises(DataContractError, match=r"Qwen3MoeForCausalLM is not written as GGUF"):
            written(models("qwen3-moe"), tmp_path / "model.gguf")

    def test_tokenizers_that_merge_by_score(self, models, tmp_path):
        with pytest.raises(DataContractError, match=r"no byte-level BPE"):
            written(models("yi-1.5"), tmp_path / "model.gguf")

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"use_sliding_window": True}, "use_sliding_window"),
            ({"head_dim": 32}, "head_dim 32"),
            ({"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}}, "rope_type dynamic"),
            ({"hidden_act": "gelu"}, "hidden_act gelu"),
            ({"quantization_config": {"format": "pack-quantized"}}, "quantized already"),
        ],
    )
    def test_what_llama_cpp_would_compute_otherwise(self, copied, tmp_path, change, said):
        with pytest.raises(DataContractError, match=said):
            written(copied("qwen2.5", **change), tmp_path / "model.gguf")

    def test_weights_without_a_place(self, copied, tmp_path):
        folder = copied("qwen2.5")
        weights = load_file_as_torch(folder)
        save_torch({**weights, "model.layers.0.extra.weight": weights["model.norm.weight"].clone()}, folder)
        with pytest.raises(DataContractError, match=r"1 weights have no place .* model.layers.0.extra.weight"):
            written(folder, tmp_path / "model.gguf")

    def test_nan(self, copied, tmp_path):
        folder = copied("qwen2.5")
        weights = load_file_as_torch(folder)
        weights["model.norm.weight"][3] = float("nan")
        save_torch(weights, folder)
        with pytest.raises(DataContractError, match=r"model.norm.weight holds NaN"):
            written(folder, tmp_path / "model.gguf")

    def test_values_beyond_fp16(self, copied, tmp_path):
        folder = copied("qwen2.5")
        weights = load_file_as_torch(folder)
        weights["model.layers.0.mlp.up_proj.weight"][0, 0] = 1e6
        save_torch(weights, folder)
        with pytest.raises(DataContractError, match=r"blk.0.ffn_up.weight holds values that fp16 cannot"):
            written(folder, tmp_path / "model.gguf")
        written(folder, tmp_path / "model.gguf", "q8_0")

    def test_another_way_to_split_text(self, copied):
        folder = copied("llama-3.2")
        file = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{Han}|."
        (folder / "tokenizer.json").write_text(json.dumps(file), encoding="utf-8")
        with pytest.raises(DataContractError, match=r"way to split text is not known"):
            vocabulary_of(folder, 1024)

    def test_a_token_without_a_row(self, models):
        with pytest.raises(DataContractError, match=r"has no row in the embedding"):
            vocabulary_of(models("qwen2.5"), 300)


def load_file_as_torch(folder):
    from safetensors.torch import load_file as load

    return load(folder / "model.safetensors")


def save_torch(weights, folder):
    from safetensors.torch import save_file as save

    save(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_special_tokens_and_rows_without_a_token(models):
    folder = models("qwen3")
    rows = read_json(folder / "config.json")["vocab_size"]
    found = vocabulary_of(folder, rows)
    by_text = dict(zip(found.tokens, found.kinds, strict=True))
    assert (by_text["<|im_end|>"], by_text["<think>"], by_text["a"]) == (3, 4, 1)
    assert found.tokens[-1] == f"[PAD{rows - 1}]"
    assert found.kinds[-1] == 5
    assert found.tokens[found.ids["eos"]] == "<|im_end|>"
    # vLLM ends there as well, by the generation config.
    assert [found.tokens[number] for number in found.stops] == ["<|endoftext|>"]


def test_llama_3_frequencies_are_those_of_transformers(copied):
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}  # fmt: skip
    folder = copied("llama-3.2", rope_parameters=rope, head_dim=128, max_position_embeddings=131072)
    shape = shape_of(folder)
    theirs, _ = ROPE_INIT_FUNCTIONS["llama3"](AutoConfig.from_pretrained(folder), "cpu")
    plain = 500000.0 ** -(np.arange(0, 128, 2) / 128)
    np.testing.assert_allclose(plain / np.array(rope_factors(shape)), theirs.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "size", "stored"),
    [
        ("token_embd.weight", (49152, 576), "Q8_0"),  # 576 is no multiple of 256: Q6_K becomes Q8_0
        ("token_embd.weight", (151936, 3584), "Q6_K"),
        ("blk.0.attn_v.weight", (512, 3584), "Q6_K"),
        ("blk.4.attn_v.weight", (512, 3584), "Q4_K"),
        ("blk.5.ffn_down.weight", (3584, 18944), "Q6_K"),
        ("blk.4.ffn_down.weight", (3584, 18944), "Q4_K"),
        ("blk.4.attn_q.weight", (3584, 3584), "Q4_K"),
        ("blk.4.attn_q.weight", (576, 576), "Q5_0"),
        ("blk.4.attn_q.weight", (100, 100), "F16"),
        ("blk.4.attn_norm.weight", (3584,), "F32"),
    ],
)
def test_q4_k_m_is_llama_cpps_mixture(name, size, stored):
    assert stored_type(name, size, "q4_k_m", blocks=28, tied=True).name == stored
