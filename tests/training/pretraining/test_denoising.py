"""Denoising: the loss by hand."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.training import Denoising

ROWS = torch.tensor([[1.0, 10.0], [3.0, 10.0], [5.0, 40.0]], dtype=torch.float64)


def test_the_loss_is_the_mean_squared_error_of_the_clean_rows():
    loss_of = Denoising(noise=0.5).build(ROWS, 4).double()
    trunk = nn.Linear(2, 4).double()
    drawn = torch.randn(3, 2, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    deviations = ((8 / 3) ** 0.5, 200**0.5)
    total = 0.0
    for b in range(3):
        noisy = [ROWS[b, j].item() + 0.5 * deviations[j] * drawn[b, j].item() for j in range(2)]
        decoded = loss_of.decoder(trunk(torch.tensor(noisy, dtype=torch.float64)))
        total += sum(
            ((decoded[j].item() - ROWS[b, j].item()) / deviations[j]) ** 2 for j in range(2)
        )
    loss = loss_of(trunk, ROWS, torch.Generator().manual_seed(7))
    assert loss.item() == pytest.approx(total / 6, rel=1e-10)


@pytest.mark.parametrize("noise", [0.0, -1.0, float("inf"), float("nan")])
def test_noise_that_is_not_positive_is_refused(noise):
    with pytest.raises(InvalidInputError, match="`noise` must be positive"):
        Denoising(noise=noise)
