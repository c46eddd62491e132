"""Contrastive: the loss by hand, and the corrupted rows."""

import math

import pytest
import torch
from hypothesis import given, strategies as st
from torch import nn

from jointrain import InvalidInputError
from jointrain.training import Contrastive


def test_the_loss_is_the_cross_entropy_of_cosines():
    rows = torch.randn(5, 3, dtype=torch.float64)
    loss_of = Contrastive(temperature=0.5).build(rows, 4).double()
    trunk = nn.Linear(3, 4).double()
    corrupted = loss_of.corrupt(rows, torch.Generator().manual_seed(3))
    one, two = (loss_of.projection(trunk(x)).tolist() for x in (rows, corrupted))

    def cosine(a, b):
        product = sum(x * y for x, y in zip(a, b, strict=True))
        return product / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))

    total = 0.0
    for i in range(5):
        powers = [math.exp(cosine(one[i], two[k]) / 0.5) for k in range(5)]
        total -= math.log(powers[i] / sum(powers))
    loss = loss_of(trunk, rows, torch.Generator().manual_seed(3))
    assert loss.item() == pytest.approx(total / 5, rel=1e-10)


@given(st.integers(1, 12), st.floats(0.01, 1.0), st.integers(0, 100))
def test_as_many_values_of_each_row_are_replaced_from_their_column(columns, rate, seed):
    # value r of column c is 100 c + r, so that its origin can be read
    rows = 100.0 * torch.arange(columns) + torch.arange(20.0)[:, None]
    loss_of = Contrastive(rate=rate).build(rows, 2)
    # rows that are not among the donors, so that a replaced value is always another
    given_rows = rows + 0.5
    corrupted = loss_of.corrupt(given_rows, torch.Generator().manual_seed(seed))
    changed = corrupted != given_rows
    assert changed.sum(1).tolist() == [max(1, math.floor(rate * columns))] * 20
    assert torch.equal(corrupted.div(100, rounding_mode="floor"), rows.div(100).floor())


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rate": 0.0}, r"`rate` must lie in \(0, 1\], got 0.0"),
        ({"rate": 1.1}, r"`rate` must lie in \(0, 1\], got 1.1"),
        ({"temperature": 0.0}, "`temperature` must be positive, got 0.0"),
        ({"temperature": float("nan")}, "`temperature` must be positive, got nan"),
    ],
)
def test_a_number_outside_its_range_is_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        Contrastive(**settings)
