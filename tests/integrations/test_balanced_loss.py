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
from jointrain.balancing.aggregation import PCGrad, UPGrad
from jointrain.balancing.weighting import DWA, FAMO, RLW, Uncertainty
from jointrain.errors import NonFiniteError
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


def test_a_scalar_times_0_has_gradients_of_0():
    parameter = torch.nn.Parameter(torch.ones(2))
    balanced = BalancedLoss(UPGrad(), tasks=("a", "b"))
    (0 * balanced({"a": parameter.square().sum(), "b": -parameter.sum()})).backward()
    assert parameter.grad.tolist() == [0.0, 0.0]


def test_accumulated_batches_add_up():
    network, once = case.network(), case.network()
    balanced = BalancedLoss()
    for seed in range(2):
        (balanced(_losses(network, seed)) / 2).backward()
    total = [_losses(once, seed) for seed in range(2)]
    (sum(loss for losses in total for loss in losses.values()) / 2).backward()
    for ours, theirs in zip(_gradients(network), _gradients(once), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_batches_of_a_plain_sum_may_be_called_exact():
    network, once = case.network(), case.network()
    balanced = BalancedLoss(accumulate="exact")
    for seed in range(2):
        (balanced(_losses(network, seed), batches=2) / 2).backward()
        (sum(_losses(once, seed).values()) / 2).backward()
    for ours, theirs in zip(_gradients(network), _gradients(once), strict=True):
        torch.testing.assert_close(ours, theirs)


BROKEN = [(None, "loss"), (Uncertainty, "loss"), (UPGrad, "loss"), (UPGrad, "gradient")]


def _broken(network, what):
    losses = _losses(network)
    if what == "loss":
        return losses | {"kind": losses["kind"] * torch.nan}
    return losses | {"kind": (losses["kind"] * 0).sqrt()}


@pytest.mark.parametrize("factor", [0.5, 1024.0])
@pytest.mark.parametrize("balancer, what", BROKEN)
def test_what_is_not_finite_raises_under_a_plain_factor(balancer, what, factor):
    network = case.network()
    scalar = BalancedLoss(balancer and balancer())(_broken(network, what)) * factor
    with pytest.raises(NonFiniteError, match="kind") as error:
        scalar.backward()
    assert ("scaler=scaler" in str(error.value)) == (factor > 1)


@pytest.mark.parametrize("balancer, what", BROKEN)
@pytest.mark.parametrize("factor", [1.0, 1024.0])
def test_what_is_not_finite_is_left_to_a_scaler_that_is_named(balancer, what, factor):
    network = case.network()
    scaler = torch.amp.GradScaler("cpu", init_scale=factor)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    balanced = BalancedLoss(balancer and balancer())
    scaler.scale(balanced(_broken(network, what), scaler=scaler)).backward()
    assert balanced.last.overflow
    scaler.step(optimizer)
    for ours, theirs in zip(network.parameters(), case.network().parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_step_that_overflowed_teaches_nothing():
    network = case.network()
    balanced = BalancedLoss(FAMO(case.NAMES))
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale(balanced(_broken(network, "loss"), scaler=scaler)).backward()
    balanced.after_step(_losses(network))
    assert not balanced.balancer.logits.any()


def test_a_task_that_was_left_out_is_not_learned_from():
    network = case.network()
    balanced = BalancedLoss(FAMO(case.NAMES), non_finite="skip")
    balanced(_broken(network, "loss")).backward()
    assert balanced.last.tasks == ("number",)
    balanced.after_step(_losses(network))


def test_learning_after_steps_of_several_batches_and_processes_is_refused(monkeypatch):
    monkeypatch.setattr("jointrain.integrations._balanced_loss.several_processes", lambda: True)
    monkeypatch.setattr("torch.distributed.get_world_size", lambda: 2)
    with pytest.raises(InvalidInputError, match="FAMO learns from the losses after a step"):
        BalancedLoss(FAMO(), accumulate="exact").check_accumulation(2)
    BalancedLoss(FAMO(), accumulate="per-batch").check_accumulation(2)
    BalancedLoss(UPGrad(), accumulate="exact").check_accumulation(2)


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


def _trained(balancer):
    balanced = BalancedLoss(balancer and balancer())
    balanced(_losses(case.network())).backward()
    return balanced


@pytest.mark.parametrize(
    "saved, here, words",
    [
        (Uncertainty, None, "that of Uncertainty, and here is the plain sum"),
        (None, Uncertainty, "that of the plain sum, and here is Uncertainty"),
        (PCGrad, RLW, "that of PCGrad, and here is RLW"),
    ],
)
def test_the_state_of_another_balancer_is_refused(saved, here, words):
    with pytest.raises(InvalidInputError, match=words):
        _trained(here).load_state_dict(_trained(saved).state_dict())


@pytest.mark.parametrize("here", [None, DWA])
def test_a_state_that_says_not_of_which_balancer_is_read_if_it_fits(here):
    state = _trained(Uncertainty).state_dict()
    del state["kind"]
    _trained(Uncertainty).load_state_dict(copy.deepcopy(state))
    with pytest.raises(InvalidInputError, match="is not that of"):
        _trained(here).load_state_dict(state)


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
