"""The losses of a step, from one batch or several, with grouped heads or without."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from jointrain import HardSharing, Task, TensorData
from jointrain.training import Batch, compute_losses

TASKS = {name: Task.regression(name) for name in "abc"}


@pytest.mark.parametrize("group_from", [None, 2])
def test_losses_are_means_over_the_labelled_rows_of_each_batch(group_from):
    network = HardSharing(
        nn.Identity(), {name: nn.Linear(3, 1) for name in "abc"}, group_from=group_from
    )
    x, z = torch.randn(4, 3), torch.randn(5, 3)
    a = torch.tensor([1.0, math.nan, 2.0, math.nan])
    b, c = torch.randn(4), torch.randn(5)
    batches = [
        Batch(TensorData(x, {"a": a, "b": b}), ("a", "b"), (False, True)),
        Batch(TensorData(z, {"c": c}), ("c",), (True,)),
    ]
    losses = compute_losses(network, TASKS, batches)
    expected = {
        "a": functional.mse_loss(network(x[[0, 2]])["a"][:, 0], a[[0, 2]]),
        "b": functional.mse_loss(network(x)["b"][:, 0], b),
        "c": functional.mse_loss(network(z)["c"][:, 0], c),
    }
    assert list(losses) == ["a", "b", "c"]
    torch.testing.assert_close(losses, expected)
