"""Which cards a slot serves on: read as the doctor and the stages read it."""

import pytest

from tasks.core.errors import ConfigError
from tasks.serving.vllm_slot import slot_gpus

SLOTS = ["blue", "green"]


@pytest.mark.parametrize(
    ("value", "blue", "green"), [(None, None, None), ("", None, None), ("0|1", "0", "1"), ("0,1 | 2, 3", "0,1", "2,3")]
)
def test_each_slot_gets_its_group(monkeypatch, value, blue, green):
    monkeypatch.delenv("TUNEGATE_SLOT_GPUS", raising=False)
    if value is not None:
        monkeypatch.setenv("TUNEGATE_SLOT_GPUS", value)
    assert [slot_gpus(slot, SLOTS) for slot in SLOTS] == [blue, green]


def test_one_after_the_other_they_may_share_a_group(monkeypatch):
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0,1")
    assert [slot_gpus(slot, SLOTS, shared=True) for slot in SLOTS] == ["0,1", "0,1"]
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0|1")
    assert [slot_gpus(slot, SLOTS, shared=True) for slot in SLOTS] == ["0", "1"]


@pytest.mark.parametrize("value", ["0", "0|1|2"])
def test_another_number_of_groups_is_refused(monkeypatch, value):
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", value)
    with pytest.raises(ConfigError, match="must name 2 groups"):
        slot_gpus("blue", SLOTS)
