"""What `--set` says, and what is refused of it: everything at once."""

import pytest

from tasks.core.errors import ConfigError
from tasks.sweep.space import Choices, Range, parse_space, plain_space, space_of


def test_lists_ranges_and_numbers_that_yaml_takes_for_text():
    space = parse_space(["a=8, 16", "b=1e-4..1e-2:log", "c=[[q_proj], [q_proj, v_proj]]", "d=1e-4", "e=甲", "f=1..8"])
    assert space == {
        "a": Choices((8, 16)),
        "b": Range(1e-4, 1e-2, log=True),
        "c": Choices((["q_proj"], ["q_proj", "v_proj"])),
        "d": Choices((0.0001,)),
        "e": Choices(("甲",)),
        "f": Range(1, 8, log=False),
    }
    assert space_of(plain_space(space)) == space


def test_everything_that_cannot_be_read_is_named_at_once():
    wrong = ["x", "y=", "a=3..1", "b=0..1:log", "c=8,8", "d=2024-01-01", "e={", "f=1", "f=2", "g=.nan"]
    with pytest.raises(ConfigError) as caught:
        parse_space(wrong)
    assert "9 problem(s)" in caught.value.message
    assert all(f"--set {text}: " in caught.value.message for text in wrong if text != "f=1")


def test_nothing_to_try_is_refused():
    with pytest.raises(ConfigError, match="nothing to try"):
        parse_space([])


@pytest.mark.parametrize("axis", [Range(1, 4, log=False), Range(1, 4, log=True)])
def test_whole_numbers_reach_both_ends_and_nothing_beyond(axis):
    drawn = [axis.at(step / 1000) for step in range(1000)]
    assert {*drawn} == {1, 2, 3, 4}
    assert all(isinstance(value, int) for value in drawn)


def test_a_log_range_gives_each_factor_the_same_share():
    axis = Range(1e-4, 1e-2, log=True)
    assert axis.at(0.5) == pytest.approx(1e-3, rel=1e-5)
    assert axis.at(0) == 1e-4
    assert axis.at(0.999999) <= 1e-2
