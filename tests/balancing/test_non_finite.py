"""What every method does where a loss or a gradient is NaN or infinite."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import BALANCERS, BalancedStep, Balancer, Needs, backward
from jointrain.errors import InvalidInputError
from tests.balancing._weigh_by_position import GRADIENT_METHODS

# gradients of several calls add up in these tests
backward = partial(backward, accumulate="per-batch")

METHODS = sorted(BALANCERS)


def build(name: str) -> Balancer:
    return BALANCERS[name](**getattr(BALANCERS[name], "example", {}))


class Net(nn.Module):
    """Three tasks; the gradient of the second is NaN while its loss is finite."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 3)
        self.heads = nn.ModuleList(nn.Linear(3, 1) for _ in range(3))
        self.x = torch.randn(8, 4)

    def losses(self, bad: bool = True) -> dict[str, Tensor]:
        z = self.trunk(self.x)
        a, b, c = ((head(z) - k).square().mean() for k, head in enumerate(self.heads))
        return {"a": a, "b": b + (0 * z.sum()).sqrt() if bad else b, "c": c}


def step(net: Net, balancer: Balancer, losses: dict[str, Tensor], bad: bool = True, **options):
    return backward(
        losses,
        balancer,
        extra=lambda: net.losses(bad),
        train=lambda: net.losses(bad),
        held_out=lambda: net.losses(False),
        **options,
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_task_whose_gradient_is_not_finite_is_left_out_as_if_it_were_absent(name):
    if BALANCERS[name].needs is Needs.HELD_OUT:
        pytest.skip("its weights come from held-out losses")
    net = Net()
    one, other = build(name), build(name)
    for balancer in (one, other):
        balancer.bind(["a", "b", "c"])
    for _ in range(2):
        net.zero_grad()
        losses = net.losses()
        del losses["b"]
        wanted = step(net, other, losses)
        gradients = [p.grad.clone() for p in net.trunk.parameters()]
        learned = [None if p.grad is None else p.grad.clone() for p in other.parameters()]
        net.zero_grad()
        one.zero_grad()
        got = step(net, one, net.losses(), non_finite="skip")
        other.zero_grad()
        assert got.skipped == ("b",)
        assert got.tasks == ("a", "c")
        if wanted.weights is not None:
            torch.testing.assert_close(got.weights, wanted.weights)
        for p, g in zip(net.trunk.parameters(), gradients, strict=True):
            torch.testing.assert_close(p.grad, g)
        for p, g in zip(one.parameters(), learned, strict=True):
            torch.testing.assert_close(p.grad, g)
    for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, equal_nan=True)


@pytest.mark.parametrize("name", METHODS)
def test_a_gradient_that_is_not_finite_is_named_by_methods_that_see_it(name):
    net, balancer = Net(), build(name)
    if balancer.needs in (Needs.LOSSES, Needs.HELD_OUT):
        return
    with pytest.raises(InvalidInputError, match=r"\['b'\] are NaN or infinite"):
        step(net, balancer, net.losses())
    assert net.trunk.weight.grad is None


@pytest.mark.parametrize("name", ["uncertainty", "mgda", "graddrop"])
def test_all_tasks_may_be_skipped(name):
    x = nn.Parameter(torch.zeros(2))
    losses = {"a": x.sum().sqrt() + 1, "b": (2 * x).sum().sqrt() + 1}
    found = backward(losses, build(name), non_finite="skip")
    assert set(found.skipped) == {"a", "b"}
    assert found.gradient_method == "all skipped"
    assert x.grad is None


@pytest.mark.parametrize("name", ["upgrad", "graddrop", "equal"])
def test_an_own_gradient_that_is_not_finite_is_left_out_too(name):
    net = Net()
    scale = nn.Parameter(torch.zeros(()))
    losses = net.losses(bad=False)
    losses["c"] = losses["c"] + scale.sqrt()
    found = backward(losses, build(name), non_finite="skip")
    assert found.skipped == ("c",)
    assert scale.grad is None
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())


def test_reused_weights_are_not_put_on_a_gradient_that_is_not_finite():
    net, balancer = Net(), build("upgrad")
    backward(net.losses(bad=False), balancer, refresh_every=10, non_finite="skip")
    net.zero_grad()
    found = backward(net.losses(), balancer, refresh_every=10, non_finite="skip")
    assert found.skipped == ("b",)
    assert net.trunk.weight.grad.isfinite().all()


# --- gradient scaling ----------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.inf, math.nan])
@pytest.mark.parametrize("policy", ["raise", "skip"])
@pytest.mark.parametrize("name", METHODS)
def test_infinite_losses_under_a_scaler_are_left_to_it(name, policy, value):
    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    before = net.trunk.weight.detach().clone()
    balancer = build(name)
    losses = {k: v * value for k, v in net.losses(bad=False).items()}
    found = step(net, balancer, losses, bad=False, scaler=scaler, non_finite=policy)
    assert found.overflow
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(net.trunk.weight, before)
    assert scaler.get_scale() == 2.0**9
    optimizer.zero_grad()
    found = step(net, balancer, net.losses(bad=False), bad=False, scaler=scaler)
    assert not found.overflow
    scaler.step(optimizer)
    assert not torch.equal(net.trunk.weight, before)


def test_one_infinite_loss_under_a_scaler_is_enough():
    net = Net()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    losses = net.losses(bad=False)
    losses["a"] = losses["a"] * math.inf
    assert backward(losses, build("upgrad"), scaler=scaler).overflow
    losses = net.losses(bad=False)
    losses["a"] = losses["a"] * math.inf
    found = backward(losses, build("upgrad"), scaler=scaler, non_finite="skip")
    assert found.skipped == ("a",)
    assert not found.overflow


# --- gradients that nobody compares: of own parameters, or below the place of comparison ----------


class Own(Net):
    """The second task's gradient is NaN by a parameter of its own alone."""

    def __init__(self) -> None:
        super().__init__()
        self.root = nn.Parameter(torch.zeros(3))

    def losses(self, bad: bool = True) -> dict[str, Tensor]:
        losses = super().losses(bad=False)
        root = self.root.square().sum()
        return losses | {"b": losses["b"] + (root.sqrt() if bad else root)}


class Deep(Net):
    """The second task's gradient is NaN in the first of two shared layers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.top = nn.Linear(3, 3)

    def aside(self, y: Tensor, bad: bool) -> Tensor:
        return (y * (0 if bad else 1)).square().sum(1, keepdim=True).sqrt()

    def parts(self, bad: bool = True) -> tuple[dict[str, Tensor], list[Tensor]]:
        y = self.trunk(self.x)
        z, u = self.top(y.tanh()), self.aside(y, bad)
        ends = {"a": z, "b": z + u, "c": z}
        pairs = zip(self.heads, ends, strict=True)
        return {name: (head(ends[name]) - 1).square().mean() for head, name in pairs}, [z, u]

    def losses(self, bad: bool = True) -> dict[str, Tensor]:
        return self.parts(bad)[0]


def take(
    net: Net, name: str, *, without_b: bool = False, **options
) -> tuple[Balancer, BalancedStep]:
    """Take a step with finite gradients, and one in which the gradient of b isn't."""
    balancer = build(name)
    balancer.bind(["a", "b", "c"])
    for bad in (False, True):
        net.zero_grad()
        balancer.zero_grad()
        more = dict(options)
        if isinstance(net, Deep):
            losses, ends = net.parts(bad)
            if options.get("compare_at") == "features":
                more["features"] = ends
        else:
            losses = net.losses(bad)
        if bad and without_b:
            del losses["b"]
        found = step(net, balancer, losses, bad, **more)
    return balancer, found


def assert_same_state(one: Balancer, other: Balancer) -> None:
    mine, theirs = one.state_dict(), other.state_dict()
    assert mine.keys() == theirs.keys()
    # the factors of the tasks in half precision learn from overflows alone
    mine.pop("task_scales", None)
    for key, value in mine.items():
        torch.testing.assert_close(value, theirs[key], equal_nan=True)


def assert_as_without_b(build_net: Callable[[], Net], name: str, **options) -> None:
    net, other = build_net(), build_net()
    one, got = take(net, name, non_finite="skip", **options)
    two, wanted = take(other, name, without_b=True, **options)
    assert got.skipped == ("b",)
    assert got.tasks == wanted.tasks == ("a", "c")
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        # a task that is absent leaves None, or zeros where its loss was computed
        mine, theirs = ((p if x.grad is None else x.grad) for x in (p, q))
        assert (p.grad is None) == (q.grad is None)
        torch.testing.assert_close(mine, theirs if q.grad is not None else mine)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad)
    assert_same_state(one, two)


@pytest.mark.parametrize("name", METHODS)
def test_a_task_with_a_bad_gradient_of_its_own_is_left_out_as_if_it_were_absent(name):
    assert_as_without_b(Own, name)


@pytest.mark.parametrize("name", METHODS)
def test_a_gradient_of_its_own_that_is_not_finite_raises_in_methods_that_see_gradients(name):
    if BALANCERS[name].needs is Needs.LOSSES:
        pytest.skip("takes one pass, with weights known beforehand")
    net = Own()
    with pytest.raises(InvalidInputError, match="NaN or infinite"):
        step(net, build(name), net.losses())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("options", [{"gradient_method": m} for m in ("layerwise", "per_task")])
@pytest.mark.parametrize("name", ["graddrop", "trimmed-mean", "upgrad"])
def test_so_it_is_layer_by_layer(name, options):
    assert_as_without_b(Own, name, **options)
    assert_as_without_b(Deep, name, **options)
    net = Own()
    with pytest.raises(InvalidInputError, match=r"of the tasks \['b'\] are NaN"):
        step(net, build(name), net.losses(), **options)


@pytest.mark.parametrize("name", ["auto-lambda", "moml", "forum", "modo", "uncertainty"])
def test_a_bad_gradient_of_the_trunk_is_left_out_where_weights_come_from_elsewhere(name):
    assert_as_without_b(Net, name)
    assert_as_without_b(Deep, name)


@pytest.mark.parametrize("compare_at", ["features", "last_shared_layer"])
@pytest.mark.parametrize("name", ["upgrad", "gradnorm", "nash-mtl", "gradvac"])
def test_a_bad_gradient_below_the_place_of_comparison_is_seen(name, compare_at):
    assert_as_without_b(Deep, name, compare_at=compare_at)
    net = Deep()
    losses, ends = net.parts()
    options = {"features": ends} if compare_at == "features" else {}
    with pytest.raises(InvalidInputError, match="NaN or infinite"):
        backward(losses, build(name), compare_at=compare_at, **options)
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", ["upgrad", "graddrop", "modo", "uncertainty"])
def test_tasks_that_share_nothing_are_left_out_too(name):
    x, y = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.ones(2))
    losses = lambda: {"a": x.square().sum().sqrt(), "b": y.square().sum()}  # noqa: E731
    found = backward(losses(), build(name), non_finite="skip", extra=losses)
    assert found.skipped == ("a",)
    assert x.grad is None
    torch.testing.assert_close(y.grad / y.grad[0], torch.ones(2))
    if name != "uncertainty":
        with pytest.raises(InvalidInputError, match=r"of the tasks \['a'\] are NaN"):
            backward(losses(), build(name), extra=losses)


def _of_slope(parameter: Tensor, slope: float) -> Tensor:
    """Return zero with this slope."""
    return ((parameter - parameter.detach()) * slope).sum()


class Steep(Own):
    """The second task's gradient overflows by a parameter of its own, times a scaler's factor."""

    def losses(self, bad: bool = True) -> dict[str, Tensor]:
        losses = Net.losses(self, bad=False)
        return losses | {"b": losses["b"] + _of_slope(self.root, 1e36 if bad else 1.0)}


class SteepTrunk(Deep):
    """So in the first of two shared layers."""

    def aside(self, y: Tensor, bad: bool) -> Tensor:
        return ((y - y.detach()) * (1e37 if bad else 1.0)).sum(1, keepdim=True)


@pytest.mark.parametrize("build_net", [Steep, SteepTrunk])
@pytest.mark.parametrize("policy", ["raise", "skip"])
@pytest.mark.parametrize("name", METHODS)
def test_a_balancer_learns_nothing_from_a_step_that_the_scaler_skips(name, policy, build_net):
    if BALANCERS[name].needs is Needs.LOSSES:
        pytest.skip("takes one pass, with weights known beforehand")
    if name == "consmtl" and build_net is SteepTrunk:
        pytest.skip("needs one tensor that all heads start from")
    assert_learns_nothing(build_net(), name, non_finite=policy)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("gradvac", {"compare_at": "last_shared_layer"}),
        ("gradnorm", {"compare_at": "last_shared_layer"}),
        ("gradvac", {"compare_at": "features"}),
        ("nash-mtl", {"gradient_method": "layerwise"}),
        ("graddrop", {"gradient_method": "layerwise"}),
    ],
)
@pytest.mark.parametrize("build_net", [Steep, SteepTrunk])
def test_so_with_options(name, options, build_net):
    if options.get("compare_at") != "features" or build_net is Steep:
        assert_learns_nothing(build_net(), name, **options)


def assert_learns_nothing(net: Net, name: str, **options) -> None:
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    balancer = build(name)
    balancer.bind(["a", "b", "c"])
    found = step(net, balancer, net.losses(False), False, scaler=scaler, **options)
    assert not found.overflow
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    balancer.zero_grad()
    other = copy.deepcopy(balancer)
    before = net.trunk.weight.detach().clone()
    found = step(net, balancer, net.losses(), scaler=scaler, **options)
    scaler.step(optimizer)
    assert torch.equal(net.trunk.weight, before)
    assert found.overflow
    assert_same_state(balancer, other)


class Branches(nn.Module):
    """Two branches from a common layer; the gradient by the second one is NaN."""

    def __init__(self, t: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 4), nn.Linear(3, 4)
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(t))
        self.double()

    def losses(self) -> dict[str, Tensor]:
        x = self.first(torch.arange(15.0, dtype=torch.float64).view(5, 3) / 15)
        z, y = self.a(x).tanh(), (self.b(x) * 0).abs().sqrt()
        return {str(k): h(z if k < 2 else y).square().mean() for k, h in enumerate(self.heads)}


@pytest.mark.parametrize("gradient_method", [*GRADIENT_METHODS, "some at a time"])
@pytest.mark.parametrize("t", [3, 6, 9])
@pytest.mark.parametrize("name", ["upgrad", "trimmed-mean", "moco"])
def test_a_task_that_does_not_use_a_branch_is_finite_whatever_is_there(name, t, gradient_method):
    options = {"gradient_method": gradient_method}
    if gradient_method == "some at a time":
        options = {"memory_limit": 1000}
    net, other = Branches(t), Branches(t)
    taken = backward(net.losses(), build(name), non_finite="skip", **options)
    assert taken.tasks == ("0", "1")
    losses = {k: loss for k, loss in other.losses().items() if k in taken.tasks}
    backward(losses, build(name), **options)
    torch.testing.assert_close(net.first.weight.grad, other.first.weight.grad)
    with pytest.raises(InvalidInputError, match=r"of the tasks \['2'"):
        backward(net.losses(), build(name), **options)
