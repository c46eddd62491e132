"""The factor of a scaler, which needn't be a power of two."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import Equal, GradDrop, UPGrad, backward


class Third:
    """Multiplies by a third, as what is done to a scalar that carries several losses may."""

    def scale(self, losses: Tensor) -> Tensor:
        return losses * (1 / 3)

    def is_enabled(self) -> bool:
        return True


@pytest.mark.parametrize("balancer", [Equal, UPGrad, GradDrop])
def test_a_factor_has_all_digits_of_float64(balancer):
    def gradient(scaler: Third | None) -> Tensor:
        torch.manual_seed(0)
        trunk, heads = nn.Linear(4, 4).double(), [nn.Linear(4, 1).double() for _ in range(3)]
        z = trunk(torch.ones(5, 4, dtype=torch.float64)).tanh()
        losses = [(head(z) - k).square().mean() for k, head in enumerate(heads)]
        backward(losses, balancer(), scaler=scaler)
        return trunk.weight.grad

    torch.testing.assert_close(gradient(Third()) * 3, gradient(None), rtol=1e-13, atol=1e-15)
