"""Optimisers: settings, layouts against hand-written loops, and the learning rate's course."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from jointrain import HardSharing, InvalidInputError, OptimizerSettings
from jointrain.training import Optimizers
from jointrain.training._optimizer import learning_rate_factor

ADAM = partial(torch.optim.Adam, lr=0.01)


def _network():
    return HardSharing(nn.Linear(3, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 2)})


@pytest.mark.parametrize("name, kind", [("adamw", "AdamW"), ("adam", "Adam"), ("sgd", "SGD")])
def test_settings_make_the_named_optimiser(name, kind):
    settings = OptimizerSettings(name=name, learning_rate=0.2, weight_decay=0.1)
    optimizer = settings(list(nn.Linear(2, 1).parameters()))
    assert type(optimizer).__name__ == kind
    (group,) = optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.2, 0.1)


def test_momentum_reaches_gradient_descent():
    settings = OptimizerSettings(name="sgd", momentum=0.9)
    assert settings([nn.Parameter(torch.ones(2))]).param_groups[0]["momentum"] == 0.9


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "adamx"}, "`optimizer` must be one of adamw, .*, got 'adamx'.*did you mean"),
        ({"learning_rate": 0}, "`learning_rate` must be positive, got 0"),
        ({"learning_rate": math.nan}, "`learning_rate` must be positive, got nan"),
        ({"learning_rate": math.inf}, "`learning_rate` must be positive, got inf"),
        ({"weight_decay": -1}, "`weight_decay` must be at least 0, got -1"),
        ({"name": "sgd", "momentum": 1.0}, r"`momentum` must lie in \[0, 1\), got 1.0"),
        ({"name": "adamw", "momentum": 0.9}, "`momentum` goes with optimizer 'sgd', not 'adamw'"),
    ],
)
def test_a_bad_setting_is_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        OptimizerSettings(**arguments)


def test_momentum_of_heads_that_join_later():
    shared, head, other = (nn.Parameter(torch.ones(2)) for _ in range(3))
    optimizer = OptimizerSettings(name="sgd", learning_rate=1.0, momentum=0.5)(
        [shared, head, other]
    )
    for late in (head, other):
        optimizer.zero_grad()
        shared.grad, late.grad = torch.ones(2), torch.ones(2)
        optimizer.step()
    assert shared.tolist() == [-1.5, -1.5]
    assert head.tolist() == other.tolist() == [0.0, 0.0]


def test_layouts_divide_the_parameters():
    network = _network()
    shared = network.shared_parameters()
    a, b = network.task_parameters("a"), network.task_parameters("b")

    def held(layout):
        groups = [o.param_groups[0]["params"] for o in Optimizers(network, ADAM, layout).all]
        return [set(group) for group in groups]

    assert held("one") == [{*shared, *a, *b}]
    assert held("per_task") == [{*shared, *a}, {*shared, *b}]
    assert held("per_group") == [set(shared), set(a), set(b)]


def test_only_the_trained_tasks_optimisers_step_and_each_once():
    network = _network()
    optimizers = Optimizers(network, ADAM, "per_group")
    steps = {id(optimizer): 0 for optimizer in optimizers.all}
    for optimizer in optimizers.all:
        optimizer.register_step_post_hook(lambda o, *_: steps.__setitem__(id(o), steps[id(o)] + 1))
    optimizers.step(["a", "b"])
    assert list(steps.values()) == [1, 1, 1]
    optimizers.step(["b"])
    assert list(steps.values()) == [2, 1, 2]


def test_per_task_optimisers_keep_a_momentum_of_the_shared_parameters_each():
    network = _network()
    by_hand = copy.deepcopy(network)
    optimizers = Optimizers(network, ADAM, "per_task")
    hand = {
        name: ADAM([*by_hand.trunk.parameters(), *by_hand.task_parameters(name)]) for name in "ab"
    }
    x = torch.randn(8, 3)
    for name in "abbaab":
        optimizers.zero_grad()
        network(x, [name])[name].square().mean().backward()
        optimizers.step([name])
        by_hand.zero_grad()
        by_hand(x)[name].square().mean().backward()
        hand[name].step()
    for ours, theirs in zip(network.parameters(), by_hand.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_per_task_optimisers_refuse_a_step_of_several_tasks_on_shared_parameters():
    optimizers = Optimizers(_network(), ADAM, "per_task")
    optimizers.check_step(["a"])
    with pytest.raises(InvalidInputError, match="optimisers per task need steps of one task each"):
        optimizers.check_step(["a", "b"])
    nothing_shared = HardSharing(nn.Identity(), {"a": nn.Linear(3, 1), "b": nn.Linear(3, 1)})
    Optimizers(nothing_shared, ADAM, "per_task").check_step(["a", "b"])


@pytest.mark.parametrize("layout", ["one", "per_task", "per_group"])
def test_frozen_parameters_are_left_out(layout):
    network = _network()
    network.trunk.requires_grad_(False)
    optimizers = Optimizers(network, ADAM, layout)
    held = {p for o in optimizers.all for group in o.param_groups for p in group["params"]}
    assert held == {*network.task_parameters("a"), *network.task_parameters("b")}
    optimizers.check_step(["a"])


def test_a_task_without_parameters_of_its_own_needs_no_optimiser():
    network = HardSharing(nn.Linear(3, 2), {"a": nn.Identity(), "b": nn.Linear(2, 1)})
    assert len(Optimizers(network, ADAM, "per_group").all) == 2
    assert len(Optimizers(network, ADAM, "per_task").all) == 2


def test_a_network_without_a_trainable_parameter_is_refused():
    network = HardSharing(nn.Identity(), {"a": nn.Identity()})
    with pytest.raises(InvalidInputError, match="no parameter that requires a gradient"):
        Optimizers(network, ADAM)


def test_an_unknown_layout_is_refused():
    with pytest.raises(InvalidInputError, match=r"got 'pertask'.*did you mean 'per_task'"):
        Optimizers(_network(), ADAM, "pertask")


def test_the_learning_rate_is_scaled_from_its_start_in_every_group():
    optimizers = Optimizers(_network(), ADAM, "per_group")
    optimizers.all[1].param_groups[0]["lr"] = 1.0  # a change after the start is overruled
    optimizers.scale_learning_rate(0.5)
    optimizers.scale_learning_rate(0.25)
    assert [o.param_groups[0]["lr"] for o in optimizers.all] == [0.0025] * 3


def test_warm_up_rises_linearly_and_cosine_falls_to_zero():
    factors = [learning_rate_factor(step, 100, 0.1, "cosine") for step in range(100)]
    assert factors[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert factors[10:] == pytest.approx([(1 + math.cos(math.pi * i / 90)) / 2 for i in range(90)])
    assert max(factors) == factors[10] == 1
    assert factors[-1] < 1e-3


def test_without_decay_the_rate_stays():
    assert [learning_rate_factor(step, 4, 0.5, "none") for step in range(4)] == pytest.approx(
        [1 / 3, 2 / 3, 1, 1]
    )
    assert [learning_rate_factor(step, 3, 0.0, "none") for step in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("decay", ["cosine", "none"])
@pytest.mark.parametrize("warm_up", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_factors_are_positive_and_at_most_one(decay, warm_up, steps):
    factors = [learning_rate_factor(step, steps, warm_up, decay) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)
