"""One card, a tiny model made here with the laptop base's tokenizer, and that model trained, merged and quantized."""

import gc
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.chat.tokenizer import copy_tokenizer, load_tokenizer
from tasks.core.files import write_jsonl
from tasks.core.gpus import VISIBLE, Gpu, find_gpus, named, names_in, working_on
from tasks.core.project import Project
from tasks.core.settings import MergeParams, QuantizeCandidate, load_settings
from tasks.models.base import materialize
from tests.unit.training.conftest import PACKAGED, make_params, make_rows

ROOT = Path(__file__).parents[2]
#: Shapes that CUDA kernels take: heads of 64, and rows that groups of 64 and Marlin's tiles divide.
TINY = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2}  # fmt: skip


@pytest.fixture(scope="session", autouse=True)
def card():
    """The one card that this process sees, chosen as for a stage; every test is skipped where there is none."""
    gpus = find_gpus()
    if not gpus:
        pytest.skip("nvidia-smi reports no GPU")
    with working_on(1, 1):
        found: list[Gpu] = named(names_in(os.environ.get(VISIBLE, "")), gpus)
        if not found:
            pytest.skip(f"{VISIBLE} hides every GPU")
        yield found[0]


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    return Project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="session")
def made_model(tmp_path_factory):
    """Return a function that writes a random Llama of some shape with the real tokenizer; nothing is downloaded."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    base = materialize(PACKAGED, Project(ROOT)).path
    tokenizer = load_tokenizer(base)

    def make(name, **shape):
        folder = tmp_path_factory.mktemp("models") / name
        torch.manual_seed(7)
        config = LlamaConfig(
            vocab_size=len(tokenizer), max_position_embeddings=1024, tie_word_embeddings=True, initializer_range=0.05,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id, **shape,
        )  # fmt: skip
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
        copy_tokenizer(base, folder)
        return folder

    return make


@pytest.fixture(scope="session")
def tiny(made_model):
    return made_model("tiny", **TINY)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    rows = make_rows(24)
    for name, part in (("train", rows), ("calibration", rows[:8]), ("validation", rows[16:])):
        write_jsonl(folder / f"{name}.jsonl", part)
    return folder


@pytest.fixture(scope="session")
def run_train(project, prepared, tmp_path_factory):
    """Run the train stage; the same scratch goes on where it was."""
    from tasks.training.train import train

    root = tmp_path_factory.mktemp("train")

    def run(name, base, *, scratch=None, rows=prepared, **changes):
        output, kept = root / name, root / f"scratch-{scratch or name}"
        output.mkdir()
        kept.mkdir(exist_ok=True)
        train(
            make_params(**{"mode": "qlora", "max_steps": 8} | changes), output=output, prepared=rows, validation=rows,
            base=base, scratch=kept, lineage_id=f"tg-{scratch or name}", project=project,
        )  # fmt: skip
        return output

    return run


@dataclass(frozen=True)
class Chain:
    """What the stages wrote, each from the one before."""

    adapter: Path
    merged: Path
    awq: Path
    #: Most memory that quantization took on the card, bytes.
    quantize_peak: int


@pytest.fixture(scope="session")
def chain(tiny, prepared, run_train, tmp_path_factory):
    """The tiny model trained, merged and quantized on the card by the stages' own functions."""
    import torch

    from tasks.quantization.quantize import quantize
    from tasks.training.merge import merge

    root = tmp_path_factory.mktemp("chain")
    adapter, merged, awq = run_train("adapter", tiny), root / "merged", root / "awq"
    merged.mkdir()
    merge(MergeParams(dtype="bfloat16"), output=merged, adapter=adapter, base=tiny)
    awq.mkdir()
    gc.collect()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    quantize(quantize_params(), output=awq, merged=merged, prepared=prepared)
    return Chain(adapter, merged, awq, torch.cuda.max_memory_allocated() - before)


def quantize_params():
    """The shipped settings with less work."""
    candidates = [QuantizeCandidate(scheme=name, group_size=64) for name in ("W4A16", "W4A16_ASYM")]
    return load_settings(ROOT / "params.yaml").quantize.model_copy(update={
        "candidates": candidates, "finalists": 1, "grid_points": 3, "calibration_rows": 4, "heldout_rows": 3,
    })  # fmt: skip
