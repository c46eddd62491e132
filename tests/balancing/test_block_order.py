"""Methods that keep gradients keep them for the parameters that they are of."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import BALANCERS, MoCo, Needs, backward
from jointrain.errors import InvalidInputError

KEEPING = [n for n, c in BALANCERS.items() if c.needs is Needs.JACOBIAN and c.task_state]


class Towers(nn.Module):
    """Two towers of the same shape, both taken by both tasks, in another order each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.towers = nn.ModuleList(nn.Linear(4, 3) for _ in range(2)).double()
        self.x = torch.randn(6, 4, dtype=torch.float64)

    def losses(self) -> dict[str, Tensor]:
        first, second = (tower(self.x).tanh() for tower in self.towers)
        return {
            "a": (first * second.sin()).square().mean(),
            "b": (second - first.cos()).exp().mean(),
        }


@pytest.mark.parametrize("name", KEEPING)
def test_the_order_of_losses_changes_nothing(name):
    found = []
    for turned in (False, True):
        net, balancer = Towers(), BALANCERS[name]()
        balancer.bind(["a", "b"])
        for k in range(3):
            net.zero_grad()
            losses = net.losses()
            if turned and k:
                losses = dict(reversed(losses.items()))
            backward(losses, balancer)
        found.append([p.grad.clone() for p in net.parameters()])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", KEEPING)
def test_a_copy_and_a_loaded_one_go_on_with_another_copy_of_the_model(name):
    net, balancer = Towers(), BALANCERS[name]()
    backward(net.losses(), balancer)
    loaded = BALANCERS[name]()
    loaded.load_state_dict(balancer.state_dict())
    others = [(copy.deepcopy(net), copy.deepcopy(balancer)), (copy.deepcopy(net), loaded)]
    for some in (net, *(other for other, _ in others)):
        some.zero_grad()
    backward(net.losses(), balancer)
    for other, its in others:
        backward(other.losses(), its)
        for p, q in zip(net.parameters(), other.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad)


def test_other_parameters_of_the_same_shape_are_refused():
    net, balancer = Towers(), MoCo()
    backward(net.losses(), balancer)
    for some in (net.towers[:1].parameters(), None):
        model = net if some is not None else Towers()
        with pytest.raises(InvalidInputError, match="MoCo keeps gradients of 4 shared parameters"):
            backward(model.losses(), balancer, shared=some, accumulate="per-batch")
    balancer.reset()
    backward(Towers().losses(), balancer, accumulate="per-batch")
