"""Rows joined for modules that look at each token alone: the same outputs in fewer calls."""

import pytest
import torch

from tasks.quantization import awq
from tasks.quantization.awq import outputs_by_row, token_by_token


@pytest.fixture
def rows():
    torch.manual_seed(0)
    return [{"x": torch.randn(1, tokens, 6)} for tokens in (5, 3, 7, 1, 2)]


class Counted(torch.nn.Module):
    """A module that looks at each token alone, and counts its calls."""

    def __init__(self, *, as_tuple=False):
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Linear(6, 9), torch.nn.SiLU(), torch.nn.Linear(9, 6))
        self.calls, self.as_tuple = 0, as_tuple

    def forward(self, x):
        self.calls += 1
        return (self.inner(x), None) if self.as_tuple else self.inner(x)


@pytest.mark.parametrize(("most", "calls"), [(1, 5), (8, 3), (100, 1)])
@pytest.mark.parametrize("as_tuple", [False, True])
def test_each_row_gets_its_own_output_in_fewer_calls(rows, monkeypatch, most, calls, as_tuple):
    monkeypatch.setattr(awq, "PIECE_TOKENS", most)
    module = Counted(as_tuple=as_tuple)
    alone = [module.inner(row["x"]) for row in rows]
    together = list(outputs_by_row(module, rows))
    assert module.calls == calls
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other)


def test_tokens_of_an_expert_have_no_row_dimension(rows):
    flat = [{"x": row["x"][0]} for row in rows]
    assert [output.shape for output in outputs_by_row(Counted(), flat)] == [row["x"].shape for row in flat]


def test_attention_is_not_joined(rows):
    states = rows[0]["x"]
    assert token_by_token({"hidden_states": states})
    assert not token_by_token({"hidden_states": states, "attention_mask": torch.zeros(1, 1, 5, 5)})
    assert not token_by_token({"hidden_states": states, "attention_mask": None})
