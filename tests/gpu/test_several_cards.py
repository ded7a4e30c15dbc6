"""Two cards train one NF4 model, divided by FSDP over NCCL: near the curve of one card. Skipped with fewer cards."""

import csv

import pytest

from tasks.core.gpus import VISIBLE, find_gpus, working_on
from tasks.core.settings import ParallelParams

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

STEPS = {"gradient_accumulation_steps": 2, "max_steps": 8}


@pytest.fixture
def two_cards(monkeypatch):
    """Show the processes to come two cards; this one has started CUDA on one and sees no other."""
    if len(find_gpus()) < 2:
        pytest.skip("needs two GPUs")
    monkeypatch.delenv(VISIBLE, raising=False)
    with working_on(2, 2):
        yield


def losses(output):
    return [float(row["loss"]) for row in csv.DictReader((output / "loss.csv").read_text("utf-8").splitlines())]


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_cards_train_as_one_does(tiny, run_train, two_cards, strategy):
    one = losses(run_train(f"one-{strategy}", tiny, **STEPS))
    parallel = ParallelParams(strategy=strategy, processes=2).model_dump()
    two = losses(run_train(f"two-{strategy}", tiny, parallel=parallel, **STEPS))
    assert two == pytest.approx(one, rel=0.02)
