"""Methods that keep gradients keep them for the parameters that they are of."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import BALANCERS, MoCo, Needs, UPGrad, backward, balancer_from_name
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


class Three(Towers):
    """A third task, like the second one."""

    def losses(self, tasks="abc") -> dict[str, Tensor]:
        found = super().losses()
        first, second = (tower(self.x).tanh() for tower in self.towers)
        found["c"] = (second * first).square().mean()
        return {task: found[task] for task in tasks}


def step(net: nn.Module, balancer, tasks="abc", **options) -> list[Tensor]:
    net.zero_grad()
    backward(net.losses(tasks), balancer, **options)
    return [p.grad.clone() for p in net.parameters()]


def loaded(balancer, name: str):
    other = balancer_from_name(name)
    other.load_state_dict(balancer.state_dict())
    return other


WAYS = {
    "state_dict": loaded,
    "deepcopy": lambda balancer, _: copy.deepcopy(balancer),
    "pickle": lambda balancer, _: pickle.loads(pickle.dumps(balancer)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tasks", ["bc", "cb", "cab"])
@pytest.mark.parametrize("name", KEEPING)
def test_it_goes_on_with_other_tasks_than_those_of_the_first_step(name, tasks, way):
    net, balancer = Three(), balancer_from_name(name)
    balancer.bind("abc")
    step(net, balancer)
    other = WAYS[way](balancer, name)
    model = copy.deepcopy(net) if way == "state_dict" else net
    for chosen in (tasks, "abc", "ac"):
        for ours, theirs in zip(
            step(model, other, chosen), step(net, balancer, chosen), strict=True
        ):
            torch.testing.assert_close(ours, theirs)
    assert list(other.state_dict()) == list(balancer.state_dict())


@pytest.mark.parametrize("name", KEEPING)
def test_a_task_that_comes_later_is_known_again(name):
    net, balancer = Three(), balancer_from_name(name)
    balancer.bind("abc")
    step(net, balancer, "bc")
    step(net, balancer, "abc")
    other = loaded(balancer, name)
    for ours, theirs in zip(step(net, other, "ab"), step(net, balancer, "ab"), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_so_it_is_in_the_balancer_of_another_run():
    net, balancer = Three(), MoCo("abc")
    step(net, balancer, "abc")
    other = MoCo("abc")
    step(net, other, "cb")
    other.load_state_dict(balancer.state_dict())
    for ours, theirs in zip(step(net, other, "cb"), step(net, balancer, "cb"), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_so_it_is_with_several_batches_a_step():
    net, balancer = Three(), MoCo("abc")

    def several(balancer, *batches):
        net.zero_grad()
        for tasks in batches:
            backward(net.losses(tasks), balancer, accumulate="exact")
        return [p.grad.clone() for p in net.parameters()]

    several(balancer, "a", "bc")
    other = loaded(balancer, "moco")
    found = several(other, "b", "c")
    for ours, theirs in zip(found, step(net, balancer, "bc"), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_so_it_is_within_a_method_that_moves_the_weights():
    net, balancer = Three(), balancer_from_name("f-mtl", balancer="moco")
    balancer.bind("abc")

    def moved(balancer, tasks):
        net.zero_grad()
        backward(lambda: net.losses(tasks), balancer)
        return [p.grad.clone() for p in net.parameters()]

    moved(balancer, "abc")
    other = balancer_from_name("f-mtl", balancer="moco")
    other.load_state_dict(balancer.state_dict())
    for ours, theirs in zip(moved(other, "bc"), moved(balancer, "bc"), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_state_without_an_order_is_loaded():
    net, balancer = Three(), MoCo("abc")
    step(net, balancer)
    state = {k: v for k, v in balancer.state_dict().items() if k != "kept_order"}
    assert len(state) + 1 == len(balancer.state_dict())
    other = MoCo("abc")
    other.load_state_dict(state)
    for ours, theirs in zip(step(net, other), step(net, balancer), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(other.kept_order, balancer.kept_order)


def test_what_cannot_be_known_again_is_refused():
    net, balancer = Three(), MoCo("abc")
    step(net, balancer, "ab")
    with pytest.raises(InvalidInputError, match=r"the tasks \['a', 'b'\] and the model as it was"):
        step(net, loaded(balancer, "moco"), "c", shared=net.towers)
    other = loaded(balancer, "moco")
    net.towers[0] = nn.Sequential(nn.Linear(4, 3, bias=False), nn.Linear(3, 3)).double()
    with pytest.raises(InvalidInputError, match="MoCo was loaded or copied with gradients of 4"):
        step(net, other)


def test_a_method_that_keeps_nothing_has_no_order():
    net, balancer = Three(), UPGrad()
    step(net, balancer)
    assert "kept_order" not in balancer.state_dict()


def test_other_parameters_of_the_same_shape_are_refused():
    net, balancer = Towers(), MoCo()
    backward(net.losses(), balancer)
    for some in (net.towers[:1].parameters(), None):
        model = net if some is not None else Towers()
        with pytest.raises(InvalidInputError, match="MoCo keeps gradients of 4 shared parameters"):
            backward(model.losses(), balancer, shared=some, accumulate="per-batch")
    balancer.reset()
    backward(Towers().losses(), balancer, accumulate="per-batch")
