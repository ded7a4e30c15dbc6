import pytest

from tasks.core.errors import ConfigError
from tasks.core.settings import QuantizeCandidate
from tasks.quantization.candidates import fitting, name_of


def candidates(*sizes):
    return [QuantizeCandidate(scheme="W4A16", group_size=size) for size in sizes]


def test_only_groups_that_divide_every_layer_stay_in_their_order():
    assert fitting(candidates(128, 32, 64), [576, 1536]) == candidates(32, 64)  # 576 = 4.5 * 128
    assert fitting(candidates(128, 64), [4096, 11008]) == candidates(128, 64)


def test_none_that_fits_names_the_widths_and_the_setting():
    with pytest.raises(ConfigError, match=r"\[100, 576\]") as caught:
        fitting(candidates(128, 64), [576, 100])
    assert "quantize.candidates" in caught.value.hint


def test_a_candidate_is_named_as_people_write_it():
    assert name_of(candidates(64)[0]) == "W4A16 g64"
