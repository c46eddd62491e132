"""How a step chooses its way and cuts its work."""

from __future__ import annotations

import torch
from torch import nn

from jointrain.balancing.engine._prepare import prepare
from tests.balancing._networks import mlp


def test_parameters_are_sorted_into_shared_and_own():
    net, losses = mlp()
    step = prepare(list(losses().values()))
    shared = {id(leaf.tensor) for leaf in step.shared}
    assert shared == {id(p) for p in net.trunk.parameters()}
    for head, own in zip(net.heads, step.own, strict=True):
        assert {id(leaf.tensor) for leaf in own} == {id(p) for p in head.parameters()}


def test_runs_are_about_as_large_as_the_largest_parameter_or_as_allowed():
    trunk = nn.Sequential(*(nn.Linear(10, 10) for _ in range(4)), nn.Linear(10, 30))
    z = trunk(torch.ones(2, 10))
    step = prepare([z.sum(), z.square().sum()])

    def sizes():
        return [sum(leaf.tensor.numel() for leaf in run) for run in step.groups(step.shared)]

    step.gradient_method = "layerwise"
    assert sum(sizes()) == sum(p.numel() for p in trunk.parameters()) == 770
    assert max(sizes()) <= 1.05 * 300
    assert len(sizes()) <= 4
    step.gradient_method = "auto"
    for limit, runs in ((10, 4), (2 * 4 * 480, 2), (2 * 4 * 770, 1)):
        step.memory_limit = limit
        assert sum(sizes()) == 770
        assert max(sizes()) <= max(1.05 * 300, limit / 8)
        assert len(sizes()) <= runs


def test_a_memory_limit_decides_what_is_too_large():
    _, losses = mlp()
    step = prepare(list(losses().values()))
    size = 3 * 8 * sum(leaf.tensor.numel() for leaf in step.shared)
    for limit, too_large in ((size, False), (size - 1, True)):
        step.memory_limit = limit
        assert step.too_large() == too_large
    step.memory_limit = None
    assert not step.too_large()
