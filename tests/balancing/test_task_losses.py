"""Losses kept as one vector: what a mapping of scalars would give."""

import math

import pytest
import torch

from jointrain.balancing import DWA, UPGrad, backward
from jointrain.balancing._task_losses import TaskLosses, mean_losses

NAMES = ("a", "b", "c")


def test_it_is_a_mapping_of_scalars():
    vector = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    losses = TaskLosses(NAMES, vector)
    assert tuple(losses) == NAMES
    assert len(losses) == 3
    assert "b" in losses
    assert "d" not in losses
    assert {name: loss.item() for name, loss in losses.items()} == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert losses["b"].ndim == 0
    losses["b"].backward()
    assert vector.grad.tolist() == [0, 1, 0]
    assert not losses.detach()["a"].requires_grad


def test_weights_multiply_the_task_s_loss():
    losses = TaskLosses(NAMES, torch.tensor([1.0, 2.0, 3.0]))
    assert losses.weighted(dict.fromkeys(NAMES, 1.0)) is losses
    weighted = losses.weighted({"c": 0.5, "a": 2.0, "b": 1.0})
    assert weighted.together.tolist() == [2.0, 2.0, 1.5]
    assert weighted.names == NAMES


@pytest.mark.parametrize("balancer", [DWA, UPGrad])
def test_the_one_call_takes_it_as_it_takes_scalars(balancer):
    gradients = []
    for together in (True, False):
        weight = torch.tensor([[1.0, -1.0], [0.5, 2.0]], requires_grad=True)
        vector = (weight @ torch.tensor([[1.0, 2.0, -1.0], [0.0, 1.0, 3.0]])).square().mean(0)
        losses = TaskLosses(NAMES, vector)
        step = backward(losses if together else dict(losses), balancer())
        assert step.tasks == NAMES
        gradients.append((weight.grad, step.losses, step.weights))
    for ours, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, wanted)


def test_a_loss_that_is_not_finite_is_skipped_by_name():
    x = torch.ones((), requires_grad=True)
    losses = TaskLosses(NAMES, torch.stack([x, x + math.nan, 2 * x]))
    step = backward(losses, DWA(["a", "b", "c"]), non_finite="skip")
    assert (step.tasks, step.skipped) == (("a", "c"), ("b",))
    assert step.losses.tolist() == [1, 2]


def test_means_are_over_the_steps_that_trained_a_task():
    steps = [TaskLosses(NAMES, torch.tensor([1.0, 2.0, 3.0])),
             TaskLosses(NAMES, torch.tensor([3.0, 2.0, 0.0]))]  # fmt: skip
    assert mean_losses(steps) == {"a": 2.0, "b": 2.0, "c": 1.5}
    mixed = [*steps, {"b": torch.tensor(5.0)}]
    assert mean_losses(mixed) == {"a": 2.0, "b": 3.0, "c": 1.5}
