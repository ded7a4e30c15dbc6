"""The memory that training takes on a card, against what doctor tells people beforehand."""

import gc

import pytest
import torch

from tasks.core.files import read_json, write_jsonl
from tasks.core.settings import load_settings
from tasks.models.estimate import GIB, RUNTIME_GIB, shape_of, training
from tests.gpu.conftest import ROOT
from tests.unit.training.conftest import make_params

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

#: 0.46e9 parameters: large enough that the terms of the estimate are more than its allowance for libraries.
SHAPE = {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 8, "num_attention_heads": 16,
         "num_key_value_heads": 8}  # fmt: skip
LENGTH, BATCH_ROWS, STEPS = 512, 4, 3


@pytest.fixture(scope="module")
def large(made_model):
    return made_model("large", **SHAPE)


@pytest.fixture(scope="module")
def long_rows(tmp_path_factory):
    """Rows that fill the length they may have."""
    folder = tmp_path_factory.mktemp("long")
    answer = "Close doors and windows, stop ventilation and listen to official news. " * 33
    rows = [{"row_id": f"r-{number:016x}", "source": "long.jsonl", "language": "en", "concept": None,
             "messages": [{"role": "user", "content": f"Question {number}: what does sheltering mean?"},
                          {"role": "assistant", "content": answer}]} for number in range(12)]  # fmt: skip
    write_jsonl(folder / "train.jsonl", rows)
    return folder


@pytest.mark.parametrize("mode", ["qlora", "lora"])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_training_takes_what_was_estimated(large, long_rows, run_train, mode, checkpointing, capsys):
    changes = {"batch_rows": BATCH_ROWS, "max_length_tokens": LENGTH, "max_steps": STEPS, "mode": mode,
               "gradient_checkpointing": checkpointing, "checkpoint_every_steps": STEPS}  # fmt: skip
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    held_before = torch.cuda.memory_allocated()
    output = run_train(f"memory-{mode}-{checkpointing}", large, rows=long_rows, **changes)
    taken = (torch.cuda.max_memory_allocated() - held_before) / GIB
    estimate = training(make_params(**changes), shape_of(settings_of(large), large))
    with capsys.disabled():
        print(f"\n{mode}, checkpointing {checkpointing}: {taken:.2f} GiB taken, {estimate.gib:.2f} GiB estimated, of "
              f"which {RUNTIME_GIB:g} for libraries")  # fmt: skip
    facts = read_json(output / "training.json")
    assert facts["tokens"] / facts["rows"] > 0.8 * LENGTH
    # What doctor lets pass must fit; and an estimate of twice the truth would turn people away.
    assert taken < estimate.gib
    assert taken > (estimate.gib - RUNTIME_GIB) / 2


def settings_of(folder):
    """Return settings that state the size of the model."""
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        count = sum(weights.get_tensor(name).numel() for name in weights.keys())  # noqa: SIM118
    settings = load_settings(ROOT / "params.yaml")
    hardware = settings.hardware.model_copy(update={"parameters_billion": count / 1e9})
    return settings.model_copy(update={"hardware": hardware})
