"""Learning to branch: draws, the learned tree, and the course of the temperature."""

import math

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.networks import LearningToBranch


def stages():
    return [nn.Linear(8, 6), nn.Sequential(nn.Tanh(), nn.Linear(6, 4))]


def heads():
    return {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}


def network(**settings):
    return LearningToBranch(stages(), heads(), **settings)


def test_in_evaluation_a_task_runs_its_most_probable_path():
    made = network(nodes=[2, 3]).eval()
    with torch.no_grad():
        made.choices[1][0].copy_(torch.tensor([0.0, 0.1, 2.0]))
        made.choices[1][1].copy_(torch.tensor([3.0, 0.1, 2.0]))
        made.choices[0][2].copy_(torch.tensor([0.0, 1.0]))
        made.choices[0][0].copy_(torch.tensor([1.0, 0.0]))
    assert made.branches() == {"a": (1, 2), "b": (0, 0)}
    x = torch.randn(5, 8)
    a = made.heads.layers[0](made.nodes[1][2](made.nodes[0][1](x)))
    b = made.heads.layers[1](made.nodes[1][0](made.nodes[0][0](x)))
    torch.testing.assert_close(made(x)["a"], a)
    torch.testing.assert_close(made(x)["b"], b)
    exported = made.for_task("a")
    assert sum(p.numel() for n in exported.network.nodes for p in n.parameters()) == 54 + 28


def test_a_draw_follows_the_probabilities_and_has_a_gradient():
    made = network(warm_up=0)
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log().expand(20_000, 3).clone().requires_grad_()
    drawn = made._sample(logits, torch.tensor(1.0))
    assert ((drawn.detach() - drawn.detach().round()).abs() < 1e-6).all()
    torch.testing.assert_close(drawn.sum(1), torch.ones(20_000))
    shares = drawn.mean(0).detach()
    torch.testing.assert_close(shares, torch.tensor([0.6, 0.3, 0.1]), rtol=0, atol=0.015)
    drawn[:, 0].sum().backward()
    assert logits.grad.abs().sum() > 0


def test_warm_up_draws_evenly_and_learns_no_choice():
    made = network(warm_up=5)
    with torch.no_grad():
        for row in made.choices:
            for choice in row:
                choice.copy_(torch.tensor([50.0, 0.0]))
    even = made._sample(torch.tensor([[50.0, 0.0]]).expand(4000, 2), torch.tensor(1.0)).mean(0)
    torch.testing.assert_close(even, torch.tensor([0.5, 0.5]), rtol=0, atol=0.04)
    made(torch.randn(3, 8))["a"].sum().backward()
    assert all(not choice.grad.any() for row in made.choices for choice in row if
               choice.grad is not None)  # fmt: skip
    assert int(made.steps) == 1


def test_the_temperature_falls_geometrically_after_the_warm_up():
    made = network(temperature=(4.0, 0.25), anneal_steps=10, warm_up=3)
    temperatures = []
    for step in (0, 3, 8, 13, 99):
        made.steps.fill_(step)
        temperatures.append(float(made._temperature()))
    assert temperatures == pytest.approx([4, 4, math.sqrt(4 * 0.25), 0.25, 0.25])


def test_steps_are_counted_in_training_only_and_saved():
    made = network()
    made(torch.randn(3, 8))
    made.eval()(torch.randn(3, 8))
    assert int(made.state_dict()["steps"]) == 1


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"nodes": [2]}, "`nodes` must be at least 1 for each of the 2 stages"),
        ({"nodes": [2, 0]}, "`nodes` must be at least 1"),
        ({"temperature": (5.0, 0.0)}, "`temperature` must be positive"),
        ({"anneal_steps": 0}, "`anneal_steps` must be at least 1"),
        ({"warm_up": -1}, "`warm_up` at least 0"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        network(**settings)
