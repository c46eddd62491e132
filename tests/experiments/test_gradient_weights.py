"""Weights that even out gradient lengths, against lengths by hand."""

import pytest
import torch
from torch import nn

from jointrain import HardSharing, InvalidInputError, Task, TensorData
from jointrain.experiments._gradient_weights import gradient_weights


def problem(scale: float = 1.0):
    torch.manual_seed(0)
    network = HardSharing(nn.Linear(3, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}).double()
    x = torch.randn(20, 3, dtype=torch.float64)
    y = torch.randn(20, 2, dtype=torch.float64) * torch.tensor([1.0, scale])
    tasks = [Task.regression("a"), Task.regression("b")]
    return network, tasks, TensorData(x, {"a": y[:, 0], "b": y[:, 1]})


def test_weighted_gradients_of_the_first_step_are_of_one_length():
    network, tasks, data = problem(scale=10)
    shared = list(network.trunk.parameters())
    lengths = {}
    for task in tasks:
        loss = task.loss(network(data.inputs)[task.name], data.targets[task.name])
        gradients = torch.autograd.grad(loss, shared)
        lengths[task.name] = float(torch.cat([g.flatten() for g in gradients]).norm())
    weights = gradient_weights(network, tasks, data, epochs=1, batch_size=20)
    assert weights["a"] * lengths["a"] == pytest.approx(weights["b"] * lengths["b"], rel=1e-9)
    assert sum(weights.values()) == pytest.approx(2)
    assert weights["b"] < 0.2


def test_a_task_that_moves_nothing_keeps_a_finite_weight():
    network, tasks, data = problem(scale=0)
    with torch.no_grad():
        head = network.heads.piece("b")[0]
        head.weight.zero_()
        head.bias.zero_()
    weights = gradient_weights(network, tasks, data, epochs=1, batch_size=20)
    assert 0 < weights["a"] < weights["b"] <= 2


def test_one_task_has_weight_one():
    network, tasks, data = problem()
    assert gradient_weights(network, tasks[:1], data) == {"a": 1.0}


def test_frozen_shared_layers_are_left_out():
    network, tasks, data = problem()
    trunk = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4)).double()
    trunk[0].requires_grad_(False)
    network = HardSharing(trunk, {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}).double()
    assert sum(gradient_weights(network, tasks, data, epochs=1).values()) == pytest.approx(2)
    trunk.requires_grad_(False)
    with pytest.raises(InvalidInputError, match="all are frozen; give other `weights`"):
        gradient_weights(network, tasks, data, epochs=1)
