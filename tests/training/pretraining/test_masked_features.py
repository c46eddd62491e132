"""Masked features: the loss by hand, and that it sees what it should."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.training import MaskedFeatures

ROWS = torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0]], dtype=torch.float64)


def _by_hand(rate, seed, decoder, trunk):
    hidden = torch.rand(3, 2, generator=torch.Generator().manual_seed(seed)) < rate
    means, deviations = (3.0, 20.0), ((8 / 3) ** 0.5, 200**0.5)
    total, count = 0.0, 0
    for b in range(3):
        row = [means[j] if hidden[b, j] else ROWS[b, j].item() for j in range(2)]
        decoded = decoder(trunk(torch.tensor(row, dtype=torch.float64)))
        for j in range(2):
            if hidden[b, j]:
                total += ((decoded[j].item() - ROWS[b, j].item()) / deviations[j]) ** 2
                count += 1
    return total / max(count, 1), count


@pytest.mark.parametrize("seed", range(5))
def test_the_loss_is_the_mean_squared_error_of_hidden_values(seed):
    loss_of = MaskedFeatures(rate=0.4).build(ROWS, 4).double()
    trunk = nn.Linear(2, 4).double()
    expected, _ = _by_hand(0.4, seed, loss_of.decoder, trunk)
    loss = loss_of(trunk, ROWS, torch.Generator().manual_seed(seed))
    assert loss.item() == pytest.approx(expected, rel=1e-10)


def test_a_batch_in_which_nothing_is_hidden_has_loss_zero():
    rate = 1e-6
    loss_of = MaskedFeatures(rate=rate).build(ROWS, 4).double()
    trunk = nn.Linear(2, 4).double()
    assert _by_hand(rate, 0, loss_of.decoder, trunk)[1] == 0
    assert loss_of(trunk, ROWS, torch.Generator().manual_seed(0)).item() == 0


def test_a_constant_column_is_measured_in_its_own_unit():
    rows = torch.tensor([[1.0, 7.0], [2.0, 7.0]])
    assert MaskedFeatures().build(rows, 3).deviation.tolist() == [0.5, 1.0]


@pytest.mark.parametrize("rate", [0.0, 1.0, float("nan")])
def test_a_rate_outside_its_range_is_refused(rate):
    with pytest.raises(InvalidInputError, match=r"`rate` must lie in \(0, 1\)"):
        MaskedFeatures(rate=rate)
