"""What the tests of the loss weightings share."""

from __future__ import annotations

import torch
from torch import Tensor


def weights_of(balancer, losses, *, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return the gradient of the objective by the losses [t]; one call of `objective`."""
    leaf = torch.as_tensor(losses, dtype=dtype).clone().requires_grad_()
    (weights,) = torch.autograd.grad(balancer.objective(leaf), leaf)
    return weights


def numeric_weights(balancer, losses, *, step: float = 1e-6) -> Tensor:
    """Return central differences of the objective, for methods without detached factors."""
    base = torch.as_tensor(losses, dtype=torch.float64)
    rows = []
    for i in range(len(base)):
        move = torch.zeros_like(base)
        move[i] = step
        rise = balancer.objective(base + move) - balancer.objective(base - move)
        rows.append(rise.detach() / (2 * step))
    return torch.stack(rows)


def present(balancer, names):
    """Return the context in which the named tasks take part."""
    return balancer.taking_part(balancer.positions_of(names))


def close(found, wanted, *, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    """Assert that the two are equal up to rounding."""
    wanted = torch.as_tensor(wanted, dtype=torch.float64)
    torch.testing.assert_close(found.detach().double(), wanted, rtol=rtol, atol=atol)
