"""Generation configs that transformers would not save go through a save byte for byte; broken ones are refused."""

import json
from pathlib import Path

import pytest

from tasks.core.errors import DataContractError
from tasks.models.weights import load_weights, require_generation_config, save_weights
from tests.unit.families import write_family

IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
CASE_15 = IDS | {"max_length": 4096, "temperature": 0.9, "top_p": 0.6}
#: What transformers refuses to save or would write in other words.
ODD = [
    CASE_15,
    IDS | {"top_k": 40},
    IDS | {"typical_p": 0.8, "min_p": 0.1},
    IDS | {"do_sample": False, "temperature": 0.0},
    IDS | {"length_penalty": 2.0, "early_stopping": True},
    IDS | {"pad_token_id": -1},
    IDS | {"temperature": None, "do_sample": None, "repetition_penalty": 1.05},
    IDS | {"chat_format": "chatml", "max_window_size": 6144, "a_key_of_tomorrow": {"nested": [1]}},
    {"eos_token_id": [2, 1], "do_sample": True, "temperature": 0.6, "transformers_version": "4.39.3"},
    {},
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A tiny model without a generation config."""
    return write_family("llama-3", tmp_path_factory.mktemp("base") / "llama-3", model=True)


def test_case_15_a_temperature_without_sampling_is_kept_as_it_is(base, tmp_path):
    from transformers import GenerationConfig

    with pytest.raises(ValueError, match="temperature"):
        GenerationConfig.from_dict(CASE_15).save_pretrained(tmp_path)
    path = base / "generation_config.json"
    path.write_text(json.dumps(CASE_15))
    save_weights(load_weights(base), tmp_path / "merged", like=base)
    assert json.loads((tmp_path / "merged" / path.name).read_text()) == CASE_15
    path.unlink()


def test_every_generation_config_goes_through_a_save_byte_for_byte(base, tmp_path):
    path = base / "generation_config.json"
    for number, config in enumerate(ODD):
        path.write_text(json.dumps(config, indent=4))
        require_generation_config(base)
        save_weights(load_weights(base), tmp_path / str(number), like=base)
        assert (tmp_path / str(number) / path.name).read_bytes() == path.read_bytes()
    path.unlink()


def test_a_model_without_one_gets_none_and_keeps_its_token_ids(base, tmp_path):
    from transformers import AutoModelForCausalLM

    model = load_weights(base)
    model.config.eos_token_id, model.config.pad_token_id = 5, 6  # as the trainer does
    save_weights(model, tmp_path, like=base)
    assert not (tmp_path / "generation_config.json").exists()
    theirs, ours = (json.loads((folder / "config.json").read_text()) for folder in (base, tmp_path))
    assert all(ours[name] == theirs[name] for name in IDS)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).generation_config.eos_token_id == theirs["eos_token_id"]


@pytest.mark.parametrize("text", ["[]", '{"early_stopping": "soon"}', '{"max_new_tokens": 0}', "{"])
def test_a_generation_config_that_no_server_reads_is_refused(tmp_path: Path, text):
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(DataContractError, match=r"generation_config\.json"):
        require_generation_config(tmp_path)
