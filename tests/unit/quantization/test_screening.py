"""Screening rounds as the written format does: sixteen values a group, and nothing worse than half a step."""

import pytest
import torch

from tasks.core.settings import QuantizeCandidate
from tasks.quantization.screening import round_to_nearest


def rounded(weight, scheme="W4A16", group_size=8):
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    layer.weight.data = weight.clone()
    round_to_nearest({"only": layer}, QuantizeCandidate(scheme=scheme, group_size=group_size))
    return layer.weight.data


@pytest.mark.parametrize("scheme", ["W4A16", "W4A16_ASYM"])
def test_a_group_keeps_at_most_sixteen_values_close_to_its_own(scheme):
    weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    kept = rounded(weight, scheme, 32)
    assert not torch.equal(kept, weight)
    for before, after in zip(weight.view(-1, 32), kept.view(-1, 32), strict=True):
        step = (before.max().clamp(min=0) - before.min().clamp(max=0)) / 15 if scheme == "W4A16_ASYM" else (
            before.abs().max() / 7.5
        )  # fmt: skip
        assert len(after.unique()) <= 16
        # Half a step of rounding, half a step where the zero point or the largest value is rounded itself.
        assert (before - after).abs().max() <= step * 1.01


def test_weights_on_the_grid_stay():
    grid = torch.arange(-8, 8).float() * 0.5
    assert torch.allclose(rounded(grid.repeat(2, 1), "W4A16_ASYM", 16), grid.repeat(2, 1))


def test_a_zero_point_helps_weights_of_one_sign():
    weight = torch.rand(8, 32, generator=torch.Generator().manual_seed(1)) + 0.01
    error = {scheme: (rounded(weight, scheme) - weight).square().mean() for scheme in ("W4A16", "W4A16_ASYM")}
    assert error["W4A16_ASYM"] < error["W4A16"]
