"""One scalar for several losses: its backward pass is the balanced one, whoever calls it."""

import copy
import re
from itertools import chain, islice, repeat
from pathlib import Path

import pytest
import torch

import jointrain
from jointrain import InvalidInputError
from jointrain.balancing import backward
from jointrain.balancing.aggregation import UPGrad
from jointrain.balancing.weighting import DWA, Uncertainty
from jointrain.integrations import BalancedLoss
from jointrain.training import compute_losses

from . import _case as case

TASKS = {task.name: task for task in case.TASKS}


def _losses(network, seed=0):
    generator = torch.Generator().manual_seed(seed)
    outputs = network(torch.randn(6, 4, generator=generator))
    return {"number": outputs["number"].square().mean(), "kind": outputs["kind"].exp().mean()}


def _gradients(network):
    return [None if p.grad is None else p.grad.clone() for p in network.parameters()]


@pytest.mark.parametrize("schedule, balancer", case.CASES, ids=case.IDS)
def test_a_loop_by_hand_ends_with_the_weights_of_the_trainer(schedule, balancer):
    network = case.network()
    optimizer = case.OPTIMIZER(list(network.parameters()))
    balanced = case.balanced_loss(balancer)
    loader = case.loader(schedule)
    for batches in islice(chain.from_iterable(repeat(loader)), case.STEPS):
        optimizer.zero_grad()
        balanced(compute_losses(network, TASKS, batches)).backward()
        optimizer.step()
        if balanced.wants_after_step:
            balanced.after_step(compute_losses(network, TASKS, batches))
    case.assert_same_bits(network, case.by_trainer(schedule, balancer))


def test_the_gradients_are_those_of_the_one_call():
    by_call, by_loss = case.network(), case.network()
    step = backward(_losses(by_call), UPGrad())
    balanced = BalancedLoss(UPGrad())
    loss = balanced(_losses(by_loss))
    assert loss.item() == pytest.approx(
        sum(loss.item() for loss in _losses(by_call).values()), rel=1e-6
    )
    loss.backward()
    for ours, theirs in zip(_gradients(by_loss), _gradients(by_call), strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(balanced.last.weights, step.weights)


@pytest.mark.parametrize("balancer", [UPGrad, Uncertainty, DWA])
def test_a_factor_on_the_scalar_reaches_the_gradients_but_not_the_balancer(balancer):
    plain, scaled = case.network(), case.network()
    losses = BalancedLoss(balancer()), BalancedLoss(balancer())
    for step in range(3):
        for network, balanced, factor in ((plain, losses[0], 1.0), (scaled, losses[1], 1024.0)):
            network.zero_grad()
            (balanced(_losses(network, step)) * factor).backward()
        for one, many in zip(_gradients(plain), _gradients(scaled), strict=True):
            torch.testing.assert_close(many / 1024, one, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(losses[1].last.weights, losses[0].last.weights, rtol=1e-5, atol=0)
    first, second = (list(balanced.balancer.parameters()) for balanced in losses)
    torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-8)


def test_accumulated_batches_add_up():
    network, once = case.network(), case.network()
    balanced = BalancedLoss()
    for seed in range(2):
        (balanced(_losses(network, seed)) / 2).backward()
    total = [_losses(once, seed) for seed in range(2)]
    (sum(loss for losses in total for loss in losses.values()) / 2).backward()
    for ours, theirs in zip(_gradients(network), _gradients(once), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_penalty_is_added_unweighed():
    network, other = case.network(), case.network()
    weight = next(network.parameters())
    (BalancedLoss(UPGrad())(_losses(network), penalty=weight.square().sum()) * 3.0).backward()
    BalancedLoss(UPGrad())(_losses(other)).backward()
    first = next(other.parameters())
    torch.testing.assert_close(weight.grad, 3 * (first.grad + 2 * first.detach()))


def test_without_gradients_it_is_the_sum():
    network = case.network()
    with torch.no_grad():
        loss = BalancedLoss(UPGrad())(_losses(network))
    assert not loss.requires_grad
    assert loss.item() == pytest.approx(
        sum(loss.item() for loss in _losses(network).values()), rel=1e-6
    )


def test_an_error_of_the_balancer_comes_through():
    network = case.network()
    losses = _losses(network) | {"kind": _losses(network)["kind"] * torch.nan}
    with pytest.raises(InvalidInputError, match="kind"):
        BalancedLoss(UPGrad())(losses).backward()


def test_the_state_goes_on_where_it_was_saved():
    network, other = case.network(), case.network()
    first, second = BalancedLoss(Uncertainty()), BalancedLoss(Uncertainty())
    for seed in range(2):
        first(_losses(network, seed)).backward()
    second(_losses(other)).backward()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for balanced in (first, second):
        balanced(_losses(network, 5)).backward()
    assert torch.equal(first.last.weights, second.last.weights)
    assert torch.equal(*(next(b.balancer.parameters()) for b in (first, second)))


def test_the_end_of_an_epoch_is_passed_on():
    seen = []

    class Told(DWA):
        wants_end_epoch = True

        def end_epoch(self):
            seen.append(1)

    BalancedLoss(Told()).end_epoch()
    BalancedLoss().end_epoch()
    assert seen == [1]


def test_nothing_else_imports_the_integrations_and_they_import_no_framework():
    package = Path(jointrain.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text()
        if path.parent.name == "integrations":
            assert not re.search(r"^\s*(from|import) (lightning|transformers|accel)", text, re.M)
        else:
            assert "jointrain.integrations" not in text


def test_what_is_no_balancer_is_refused():
    with pytest.raises(InvalidInputError, match="`balancer` must be a Balancer"):
        BalancedLoss("upgrad")


def test_tasks_that_are_named_late_are_refused():
    network = case.network()
    balanced = BalancedLoss(Uncertainty())
    balanced({"kind": _losses(network)["kind"]}).backward()
    with pytest.raises(InvalidInputError, match="number"):
        balanced(_losses(network)).backward()
