"""Doctor's word on what the cards here serve: each of them must serve what is written."""

from pathlib import Path

import pytest

from tasks.core.settings import QuantizeCandidate, load_settings
from tasks.machine.schemes import check_schemes, find_capabilities, parse_capabilities

ROOT = Path(__file__).parents[3]


def settings(profile, *schemes, said=None):
    found = load_settings(ROOT / "infra" / "profiles" / f"{profile}.yaml")
    hardware = found.hardware.model_copy(update={"compute_capability": said})
    candidates = [QuantizeCandidate(scheme=scheme) for scheme in schemes]
    quantize = found.quantize.model_copy(update={"candidates": candidates})
    return found.model_copy(update={"hardware": hardware, "quantize": quantize})


def test_what_nvidia_smi_says_is_read_and_nothing_else():
    assert parse_capabilities("8.9\n 12.0 \n[N/A]\nNo devices were found\n") == [8.9, 12.0]


def test_without_devices_nothing_is_found(stand_in_gpus):
    stand_in_gpus()
    assert find_capabilities() == []


@pytest.mark.parametrize(
    ("said", "found", "outcome"),
    [
        (None, [9.0], "ok"),
        (9.0, [9.0, 9.0], "ok"),
        (9.0, [8.9], "warning"),
        (None, [9.0, 10.0], "failed"),
        (None, [10.0], "failed"),
        (9.0, [10.0], "warning"),
    ],
)
def test_every_card_must_serve_it(said, found, outcome):
    (check,) = check_schemes(settings("verify-7b", "W8A8", "FP8_DYNAMIC", said=said), found)
    assert check.outcome == outcome
    assert bool(check.todo) == (outcome != "ok")


def test_the_words_say_where_only_weights_are_small():
    (check,) = check_schemes(settings("verify-7b", "FP8_DYNAMIC"), [8.6])
    assert check.found.startswith("8.6: W4A16 (yes)")
    assert "FP8_DYNAMIC (weights only)" in check.found


def test_nothing_is_said_without_cards():
    assert check_schemes(settings("verify-7b", "W8A8"), []) == []
    assert check_schemes(settings("laptop", "W8A8"), [9.0]) == []
