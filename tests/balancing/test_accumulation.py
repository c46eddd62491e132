"""Several batches a step, balanced as one."""

from __future__ import annotations

import copy

import pytest
import torch

from jointrain.balancing import BALANCERS, FAMO, Equal, Needs, Uncertainty, UPGrad, backward
from jointrain.errors import InvalidInputError
from tests.balancing._replicas import ROWS, TASKS, Net, build, data, flat, losses_of

EXACT = sorted(
    name
    for name, cls in BALANCERS.items()
    if cls.needs not in (Needs.HELD_OUT, Needs.NEARBY, Needs.HEADS) and not cls.extra_batches
)
BATCHES = 4


def gradients(network):
    return torch.cat([p.grad.flatten() for p in network.parameters()])


def train(name, batches, steps=3):
    network, balancer = Net(), build(name)
    optimizer = torch.optim.SGD([*network.parameters()], lr=0.02)
    for step in range(steps):
        optimizer.zero_grad()
        x, y = data(step)
        for part in zip(x.chunk(batches), y.chunk(batches), strict=True):
            losses = losses_of(network, *part)
            mean = {task: loss / batches for task, loss in losses.items()}
            result = backward(mean, balancer, accumulate="exact")
        optimizer.step()
        if balancer.wants_after_step:
            with torch.no_grad():
                balancer.after_step(torch.stack(list(losses_of(network, x, y).values())))
    return network, balancer, result


@pytest.mark.parametrize("name", EXACT)
def test_batches_of_a_step_are_balanced_as_one(name):
    whole, first, one = train(name, 1)
    parts, second, several = train(name, BATCHES)
    moved = (flat(whole) - flat(Net())).abs().max()
    assert (flat(parts) - flat(whole)).abs().max() < 1e-5 * moved
    torch.testing.assert_close(several.losses, one.losses, rtol=1e-5, atol=1e-7)
    for (key, ours), theirs in zip(
        first.state_dict().items(), second.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(
            theirs.float(), ours.float(), rtol=1e-3, atol=1e-5, equal_nan=True, msg=key
        )


@pytest.mark.parametrize("name", ["upgrad", "graddrop"])
def test_one_batch_is_as_without(name):
    network, other = Net(), Net()
    x, y = data(0)
    backward(losses_of(network, x, y), build(name), accumulate="exact")
    backward(losses_of(other, x, y), build(name))
    torch.testing.assert_close(gradients(network), gradients(other))


def test_tasks_may_come_in_different_batches():
    network, whole = Net(), Net()
    x, y = data(0)
    balancer = UPGrad()
    backward(losses_of(network, x, y, ("a", "b")), balancer, accumulate="exact")
    result = backward(losses_of(network, x, y, ("c",)), balancer, accumulate="exact")
    expected = backward(losses_of(whole, x, y), UPGrad())
    assert result.tasks == TASKS
    torch.testing.assert_close(result.weights, expected.weights, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(gradients(network), gradients(whole))


def test_penalties_of_the_batches_add_up():
    network, other = Net(), Net()
    balancer = UPGrad()
    for _ in range(2):
        losses = {k: v / 2 for k, v in losses_of(network, *data(0)).items()}
        penalty = network.trunk[0].weight.square().sum()
        backward(losses, balancer, accumulate="exact", penalty=penalty)
    backward(losses_of(other, *data(0)), UPGrad())
    (2 * other.trunk[0].weight.square().sum()).backward()
    torch.testing.assert_close(gradients(network), gradients(other))


@pytest.mark.parametrize("balancer", [UPGrad(), BALANCERS["graddrop"]()])
def test_a_gradient_method_refuses_filled_gradients(balancer):
    network = Net()
    backward(losses_of(network, *data(0)), balancer)
    before = gradients(network).clone()
    with pytest.raises(InvalidInputError, match="zero_grad"):
        backward(losses_of(network, *data(1)), balancer)
    torch.testing.assert_close(gradients(network), before, rtol=0, atol=0)
    backward(losses_of(network, *data(1)), balancer, accumulate="per-batch")
    assert not torch.equal(gradients(network), before)


def test_gradients_of_zero_are_empty():
    network = Net()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for seed in range(2):
        backward(losses_of(network, *data(seed)), UPGrad())
        optimizer.zero_grad(set_to_none=False)


@pytest.mark.parametrize("balancer", [Equal(), FAMO(), Uncertainty()])
def test_loss_weightings_add_up(balancer):
    network = Net()
    for seed in range(2):
        backward(losses_of(network, *data(seed)), balancer)


def test_changed_gradients_are_not_gone_on_with():
    network, balancer = Net(), UPGrad()
    backward(losses_of(network, *data(0)), balancer, accumulate="exact")
    network.trunk[0].weight.grad.mul_(2)
    with pytest.raises(InvalidInputError, match="changed since the last batch"):
        backward(losses_of(network, *data(1)), balancer, accumulate="exact")


@pytest.mark.parametrize(
    "options, words",
    [
        ({"compare_at": "features"}, "features"),
        ({"refresh_every": 2}, "refresh_every"),
        ({"non_finite": "skip"}, "skip"),
    ],
)
def test_what_is_not_exact_is_refused(options, words):
    with pytest.raises(InvalidInputError, match=words):
        backward(losses_of(Net(), *data(0)), UPGrad(), accumulate="exact", **options)


def test_a_balancer_in_the_middle_of_a_step_can_be_copied():
    network, balancer = Net(), UPGrad()
    backward(losses_of(network, *data(0)), balancer, accumulate="exact")
    assert copy.deepcopy(balancer).accumulated is None


def test_rows_without_a_label_leave_a_task_out():
    network, other = Net(), Net()
    result = backward(losses_of(network, *data(0)), UPGrad(), rows={"a": ROWS, "b": 0, "c": ROWS})
    backward(losses_of(other, *data(0), ("a", "c")), UPGrad())
    assert result.tasks == ("a", "c")
    assert network.heads["b"].weight.grad is None
    for ours, theirs in zip(network.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
