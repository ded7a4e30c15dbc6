"""Which cards work is done on: the freest, never one that serves, wrong names refused. nvidia-smi is a stand-in."""

import os
import subprocess
import sys

import pytest

from tasks.core import gpus
from tasks.core.errors import ConfigError, MissingToolError
from tasks.core.gpus import Gpu, find_gpus, parse_gpus, working_on


def visible(least=1, most=1):
    """Return what a stage's process would see."""
    with working_on(least, most):
        return os.environ.get("CUDA_VISIBLE_DEVICES")


def test_gpus_as_nvidia_smi_prints_them():
    text = "0, GPU-a, NVIDIA A100-SXM4-80GB, 81920, 80896\n1, GPU-b, NVIDIA L4, 23034, 22700\n"
    first = Gpu("NVIDIA A100-SXM4-80GB", 80.0, 79.0, 0, "GPU-a")
    assert parse_gpus(text) == [first, Gpu("NVIDIA L4", 23034 / 1024, 22700 / 1024, 1, "GPU-b")]
    assert parse_gpus("No devices were found\n") == []
    assert parse_gpus("0, MIG-a, NVIDIA A100, [N/A], [N/A]\n") == []


def test_a_stand_in_nvidia_smi_is_asked_and_one_that_fails_reports_none(stand_in_gpus, tmp_path):
    stand_in_gpus(10, 79)
    assert [(gpu.index, gpu.free_gib, gpu.idle) for gpu in find_gpus()] == [(0, 10, False), (1, 79, True)]
    (tmp_path / "stand-in-nvidia-smi" / "nvidia-smi").write_text("#!/bin/sh\necho 'driver mismatch' >&2\nexit 9\n")
    assert find_gpus() == []


def test_with_a_stand_in_for_several_cards_the_freest_is_taken(stand_in_gpus):
    stand_in_gpus(8, 79, 40)
    assert visible() == "1"
    assert visible(2, 2) == "1,2"
    assert visible(1, 8) == "1,2,0"


def test_of_equally_free_stand_in_cards_the_first_is_taken(stand_in_gpus):
    stand_in_gpus(79, 79)
    assert visible() == "0"


def test_cards_are_counted_as_nvidia_smi_counts_them(stand_in_gpus):
    stand_in_gpus(79)
    with working_on(1, 1):
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "CUDA_DEVICE_ORDER" not in os.environ


def test_what_was_visible_before_is_visible_again_also_after_an_error(stand_in_gpus, monkeypatch):
    stand_in_gpus(79, 79)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(ZeroDivisionError), working_on(1, 1):
        _ = 1 / 0
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"


def test_without_a_gpu_nothing_is_chosen_and_nothing_refused(monkeypatch, stand_in_gpus):
    stand_in_gpus()
    assert visible(4, 4) is None


def test_work_that_needs_no_card_sees_none(stand_in_gpus):
    stand_in_gpus(79, 79)
    assert visible(0, 0) == ""


def test_the_stand_in_card_that_serves_is_not_trained_on_however_free(stand_in_gpus, monkeypatch):
    # Night two of the issue: blue serves a small model on card 0.
    stand_in_gpus(75, 20)
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0|2")
    assert visible() == "1"


def test_an_idle_slot_s_card_is_taken_where_no_other_is_left(stand_in_gpus, monkeypatch):
    stand_in_gpus(8, 79)
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0|1")
    assert visible() == "1"


def test_cards_that_all_serve_are_refused_with_the_way_out(stand_in_gpus, monkeypatch):
    stand_in_gpus(8, 8)
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0|1")
    with pytest.raises(MissingToolError, match="of 2, 0 serve nothing") as caught:
        visible()
    assert "tunegate stop" in caught.value.hint
    assert "TUNEGATE_SLOT_GPUS" in caught.value.hint


def test_a_server_over_more_cards_than_there_are_is_refused(stand_in_gpus):
    stand_in_gpus(79, 79)
    with pytest.raises(MissingToolError, match="needs 4 GPUs"):
        visible(4, 4)


@pytest.mark.parametrize(("value", "seen"), [("1", "1"), ("GPU-0002", "2"), (" 0 , 2 ", "2"), ("2,1", "1")])
def test_the_named_cards_are_taken_by_index_or_uuid(stand_in_gpus, monkeypatch, value, seen):
    stand_in_gpus(10, 79, 40)
    monkeypatch.setenv("TUNEGATE_WORK_GPUS", value)
    assert visible() == seen


@pytest.mark.parametrize("value", ["3", "0,0", "0,GPU-0000", "zero", ",", "0 1"])
def test_a_wrong_name_of_a_card_is_a_config_error(stand_in_gpus, monkeypatch, value):
    stand_in_gpus(79, 79, 79)
    monkeypatch.setenv("TUNEGATE_WORK_GPUS", value)
    with pytest.raises(ConfigError, match="here: 0, 1, 2") as caught:
        visible()
    assert caught.value.hint == "export TUNEGATE_WORK_GPUS=2"


def test_a_card_to_work_and_to_serve_on_is_refused(stand_in_gpus, monkeypatch):
    stand_in_gpus(79, 79, 79)
    monkeypatch.setenv("TUNEGATE_WORK_GPUS", "1,2")
    monkeypatch.setenv("TUNEGATE_SLOT_GPUS", "0|GPU-0001")
    with pytest.raises(ConfigError, match="GPU 1 is in TUNEGATE_WORK_GPUS and in TUNEGATE_SLOT_GPUS"):
        visible()


def test_too_few_named_cards_for_the_server_are_refused(stand_in_gpus, monkeypatch):
    stand_in_gpus(79, 79, 79)
    monkeypatch.setenv("TUNEGATE_WORK_GPUS", "1")
    with pytest.raises(ConfigError, match=r"names 1 GPU.*asks for 2"):
        visible(2, 2)


def test_named_cards_without_a_driver_are_a_missing_tool(stand_in_gpus, monkeypatch):
    stand_in_gpus()
    monkeypatch.setenv("TUNEGATE_WORK_GPUS", "0")
    with pytest.raises(MissingToolError, match="reports no GPU") as caught:
        visible()
    assert "nvidia-smi must work" in caught.value.hint


def test_only_the_cards_a_scheduler_gave_are_chosen_from(stand_in_gpus, monkeypatch):
    stand_in_gpus(79, 20, 40)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-0002")
    assert visible() == "2"


def test_cards_hidden_on_purpose_stay_hidden(stand_in_gpus, monkeypatch):
    stand_in_gpus(79)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert visible() == ""


def test_the_choice_is_made_without_torch(stand_in_gpus):
    stand_in_gpus(8, 79)
    code = (
        "import os, sys\n"
        "from tasks.core.gpus import working_on\n"
        "with working_on(1, 1): print(os.environ['CUDA_VISIBLE_DEVICES'], 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "False"]


def test_a_silent_nvidia_smi_is_given_up(stand_in_gpus, tmp_path, monkeypatch):
    (tmp_path / "stand-in-nvidia-smi" / "nvidia-smi").write_text("#!/bin/sh\nexec sleep 30\n")
    (tmp_path / "stand-in-nvidia-smi" / "nvidia-smi").chmod(0o755)
    monkeypatch.setattr(gpus, "NVIDIA_TIMEOUT_S", 0.2)
    assert find_gpus() == []
