"""What the tests of the methods with a preference share: their refusals, and a small problem."""

from __future__ import annotations

import pytest
import torch

from jointrain.errors import InvalidInputError


def check_refusals(cls) -> None:
    """Assert that preferences that can't be used are refused in one line."""
    for preference, message in (
        ([0.0, 0.0], "`preference` must have at least one entry above zero"),
        ([1.0, -0.5], "`preference` must hold finite numbers of at least 0"),
        ([1.0, float("nan")], "`preference` must hold finite numbers of at least 0"),
        ([], "`preference` must be a vector with one number per task"),
        ([1.0, 1.0, 1.0], "`preference` must have one entry per task, got 3 for 2"),
        ({"a": 1.0, "c": 1.0}, "`preference` has an entry for task 'c'"),
        ({"a": 1.0}, "`preference` must have an entry for every task, it lacks 'b'"),
    ):
        with pytest.raises(InvalidInputError, match=message) as caught:
            cls(preference, tasks=["a", "b"])
        assert "\n" not in str(caught.value)


def end_on_opposed_quadratics(balancer, steps=400, rate=0.05):
    """Return the losses [2] at the end of gradient descent, of which no point makes both zero."""
    x = torch.tensor([1.5, 0.8], dtype=torch.float64, requires_grad=True)
    goals = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    for _ in range(steps):
        losses = (x - goals).square().sum(1)
        rows = torch.stack([torch.autograd.grad(loss, x, retain_graph=True)[0] for loss in losses])
        weights = balancer.weights(rows @ rows.T, losses.detach())
        with torch.no_grad():
            x -= rate * (weights @ rows)
    return losses.detach()
