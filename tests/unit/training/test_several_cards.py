"""A machine with several cards: TRL refuses to train on what it would see; a stage sees one. No real card is used."""

import os

import pytest

from tasks.core.gpus import working_on

HERE = "0,1"


@pytest.fixture
def stand_in_count(monkeypatch):
    """Let transformers count the cards that CUDA_VISIBLE_DEVICES shows, of the two that stand in for real ones."""
    from trl import SFTConfig

    monkeypatch.setattr(
        SFTConfig, "n_gpu", property(lambda self: len(os.environ.get("CUDA_VISIBLE_DEVICES", HERE).split(",")))
    )


@pytest.mark.slow
def test_trl_refuses_two_stand_in_cards_and_trains_on_the_chosen_one(run_train, stand_in_gpus, stand_in_count):
    stand_in_gpus(8, 79)
    with pytest.raises(ValueError, match="DataParallel"):
        run_train("refused", scratch="a", max_steps=1)
    with working_on(1, 1):
        _, summary = run_train("trained", scratch="b", max_steps=1)
    assert summary["steps"] == 1
