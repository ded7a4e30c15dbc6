import pytest

from tasks.core.errors import ConfigError
from tasks.quantization.group_size import choose_group_size


def test_takes_the_first_preferred_size_that_divides_every_layer():
    assert choose_group_size([576, 1536], [128, 64, 32]) == 64  # 576 = 4.5 * 128
    assert choose_group_size([4096, 11008], [128, 64]) == 128


def test_no_fitting_size_names_the_widths_and_the_setting():
    with pytest.raises(ConfigError, match=r"\[100, 576\]") as caught:
        choose_group_size([576, 100], [128, 64])
    assert "quantize.group_sizes" in caught.value.hint
