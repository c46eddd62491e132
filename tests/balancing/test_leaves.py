"""Which leaf tensors count as shared parameters, and what the others get."""

from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import (
    BilevelWeighting,
    Equal,
    GradDrop,
    TrimmedMean,
    UPGrad,
    backward,
)
from jointrain.errors import InvalidInputError
from tests.balancing._weigh_by_position import GRADIENT_METHODS, Fixed

# gradients of several calls add up in these tests
backward = partial(backward, accumulate="per-batch")


class Net(nn.Module):
    """A trunk of two layers; the heads take what `skip` says."""

    def __init__(self, t: int, *, skip: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 6), nn.Linear(6, 6)
        self.heads = nn.ModuleList(nn.Linear(12 if skip == "input" else 6, 1) for _ in range(t))
        self.skip = skip
        self.double()

    def losses(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        low = self.first(x).tanh()
        z = self.second(low).tanh()
        taken = {
            "": lambda: z,
            "input": lambda: torch.cat([z, low], 1),
            "tied": lambda: z @ self.second.weight,
        }[self.skip]()
        return [(k + 1 - head(taken)).square().mean() for k, head in enumerate(self.heads)], z


def expected(net: Net, x: Tensor, weights: Tensor, counted: list[Tensor]) -> dict[str, Tensor]:
    """Return the gradients by plain passes: weighted for what counts and for x, else plain."""
    losses, _ = net.losses(x)
    named = {**dict(net.named_parameters()), "x": x}
    wanted = {}
    for name, tensor in named.items():
        both = name == "x" or any(tensor is c for c in counted)
        total = sum((w if both else 1.0) * v for w, v in zip(weights.tolist(), losses, strict=True))
        if tensor.requires_grad:
            wanted[name] = torch.autograd.grad(total, tensor, retain_graph=True)[0]
    return wanted


def gramian(losses: list[Tensor], parameters: list[Tensor]) -> Tensor:
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(v, parameters, retain_graph=True)])
        for v in losses
    ]
    jacobian = torch.stack(rows)
    return jacobian @ jacobian.T


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("t", [2, 5])
def test_an_input_that_requires_a_gradient_does_not_count_and_gets_the_weighted_losses_gradient(
    t, gradient_method
):
    net = Net(t)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    trunk = [*net.first.parameters(), *net.second.parameters()]
    wanted_gramian = gramian(net.losses(x)[0], trunk)
    weights = torch.arange(1.0, t + 1)
    wanted = expected(net, x, weights, trunk)
    step = backward(net.losses(x)[0], Fixed(), gradient_method=gradient_method)
    torch.testing.assert_close(step.gramian, wanted_gramian)
    torch.testing.assert_close(x.grad, wanted["x"])
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name])


@pytest.mark.parametrize(
    "options", [{}, {"compare_at": "features"}, {"compare_at": "last_shared_layer"}]
)
def test_an_input_gets_its_gradient_whatever_is_compared(options):
    net = Net(3)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    wanted = expected(net, x, torch.arange(1.0, 4), [])
    balancer = Fixed()
    for every in (1, 2):
        for _ in range(2):
            x.grad = None
            backward(net.losses(x)[0], balancer, refresh_every=every, **options)
            torch.testing.assert_close(x.grad, wanted["x"])


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
def test_an_input_gets_the_weights_of_a_method_that_sees_the_gradients(gradient_method):
    net = Net(3)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    for balancer, weights in ((TrimmedMean(), torch.ones(3)), (GradDrop(), torch.ones(3))):
        x.grad = None
        step = backward(net.losses(x)[0], balancer, gradient_method=gradient_method)
        weights = weights if step.weights is None else step.weights
        torch.testing.assert_close(x.grad, expected(net, x, weights, [])["x"])


def _frozen_after_forward(net: Net) -> tuple[list[Tensor], list[nn.Parameter]]:
    """Return losses, and what was frozen since, as the loops of adversarial networks do."""
    losses, _ = net.losses(torch.ones(5, 4, dtype=torch.float64))
    frozen = [net.first.weight, net.second.bias, *net.heads[0].parameters()]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return losses, frozen


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("skip", ["", "tied"])
@pytest.mark.parametrize("t", [2, 5, 9])
def test_what_is_frozen_after_the_forward_pass_counts_nowhere(t, skip, gradient_method):
    net = Net(t, skip=skip)
    losses, frozen = _frozen_after_forward(net)
    wanted_gramian = gramian(losses, [net.first.bias, net.second.weight])
    step = backward(losses, UPGrad(), gradient_method=gradient_method)
    torch.testing.assert_close(step.gramian, wanted_gramian)
    without = [p for p in net.parameters() if p.grad is None]
    assert {id(p) for p in without} == {id(p) for p in frozen}


@pytest.mark.parametrize("balancer", [Equal, GradDrop])
@pytest.mark.parametrize("non_finite", ["raise", "skip"])
def test_what_is_frozen_after_the_forward_pass_gets_no_gradient(balancer, non_finite):
    net = Net(3)
    losses, frozen = _frozen_after_forward(net)
    backward(losses, balancer(), non_finite=non_finite, penalty=net.first.weight.square().sum())
    without = [p for p in net.parameters() if p.grad is None]
    assert {id(p) for p in without} == {id(p) for p in frozen}


def test_the_shared_part_may_be_frozen_after_the_forward_pass():
    net = Net(3)
    losses, _ = net.losses(torch.ones(5, 4, dtype=torch.float64))
    for parameter in (*net.first.parameters(), *net.second.parameters()):
        parameter.requires_grad_(False)
    backward(losses, UPGrad())
    assert net.second.weight.grad is None
    assert all(p.grad is not None for p in net.heads.parameters())


def test_a_named_leaf_counts():
    net = Net(2)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    named = [x, net.first.weight]
    wanted = gramian(net.losses(x)[0], named)
    torch.testing.assert_close(backward(net.losses(x)[0], UPGrad(), shared=named).gramian, wanted)


def test_plain_tensors_count_where_there_is_no_parameter():
    a, b = (torch.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))

    def losses() -> list[Tensor]:
        return [(a * b).sum(), a.prod() + b.prod()]

    with pytest.warns(UserWarning, match="all 2 tensors that they share"):
        step = backward(losses(), UPGrad())
    torch.testing.assert_close(step.gramian, gramian(losses(), [a, b]).double())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backward(losses(), UPGrad(), shared=[a, b])
        backward([a.sum(), (a * b).sum()], UPGrad())  # only one of them can be meant


def test_shared_plain_tensors_among_own_parameters_have_to_be_named():
    net = Net(2)
    weights = {k: v.detach().clone().requires_grad_() for k, v in net.first.named_parameters()}

    def losses() -> list[Tensor]:
        z = torch.func.functional_call(net.first, weights, (torch.ones(3, 4).double(),))
        return [head(z).square().mean() for head in net.heads]

    with pytest.raises(InvalidInputError, match=r"share no nn.Parameter, only 2 plain.*`shared="):
        backward(losses(), UPGrad())
    step = backward(losses(), UPGrad(), shared=weights.values())
    torch.testing.assert_close(step.gramian, gramian(losses(), list(weights.values())))


def test_a_bilevel_method_trains_no_inputs():
    class Sees(BilevelWeighting):
        name = "sees"

        def weights(self, problem):
            self.parameters_seen = problem.parameters
            return torch.ones(2)

    net = Net(2)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    balancer = Sees()
    backward(
        net.losses(x)[0],
        balancer,
        train=lambda: net.losses(x)[0],
        held_out=lambda: net.losses(x)[0],
    )
    assert {id(p) for p in balancer.parameters_seen} == {id(p) for p in net.parameters()}
    torch.testing.assert_close(x.grad, expected(net, x, torch.ones(2), [])["x"])


def test_a_loss_weighting_reaches_every_leaf():
    net = Net(2)
    x = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    backward(net.losses(x)[0], Equal())
    torch.testing.assert_close(x.grad, expected(net, x, torch.ones(2), [])["x"])


# --- features that are no whole cut --------------------------------------------------------------


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("t", [2, 4, 9])
@pytest.mark.parametrize("skip", ["input", "tied"])
def test_a_path_around_the_features_is_counted(skip, t, gradient_method):
    net = Net(t, skip=skip)
    x = torch.randn(5, 4, dtype=torch.float64)
    trunk = [*net.first.parameters(), *net.second.parameters()]
    wanted_gramian = gramian(net.losses(x)[0], trunk)
    wanted = expected(net, x, torch.arange(1.0, t + 1), trunk)
    losses, z = net.losses(x)
    balancer = Fixed()
    step = backward(losses, balancer, features=z, gradient_method=gradient_method, refresh_every=2)
    torch.testing.assert_close(step.gramian, wanted_gramian)
    for again in (False, True):
        if again:
            net.zero_grad()
            losses, z = net.losses(x)
            assert (
                backward(losses, balancer, features=z, refresh_every=2).gradient_method == "reused"
            )
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(parameter.grad, wanted[name])


def view(z: Tensor) -> Tensor:
    return z.view(z.shape)


def scale(z: Tensor) -> Tensor:
    return 2 * z.sin()


@pytest.mark.parametrize("options", [{"gradient_method": m} for m in GRADIENT_METHODS])
@pytest.mark.parametrize("t", [2, 4, 9])
@pytest.mark.parametrize("between", [view, scale])
def test_some_tasks_may_do_something_in_common_with_the_features(between, t, options):
    net = Net(t)
    x = torch.randn(5, 4, dtype=torch.float64)

    def losses() -> tuple[list[Tensor], Tensor]:
        z = net.losses(x)[1]
        common = between(z)
        return [
            (k + 1 - head(common if k % 2 else z)).square().mean()
            for k, head in enumerate(net.heads)
        ], z

    trunk = [*net.first.parameters(), *net.second.parameters()]
    wanted = gramian(losses()[0], trunk)
    values, z = losses()
    at_features = torch.stack([torch.autograd.grad(v, z, retain_graph=True)[0] for v in values])
    total = torch.autograd.grad(
        sum(k * v for k, v in enumerate(values, 1)), trunk, retain_graph=True
    )
    step = backward(values, Fixed(), features=z, **options)
    torch.testing.assert_close(step.gramian, wanted)
    torch.testing.assert_close([p.grad for p in trunk], list(total))
    values, z = losses()
    step = backward(values, UPGrad(), features=z, compare_at="features")
    rows = at_features.flatten(1)
    torch.testing.assert_close(step.gramian, rows @ rows.T)


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("t", [2, 5])
def test_features_that_are_named_twice_count_once(t, gradient_method):
    net = Net(t)
    x = torch.randn(5, 4, dtype=torch.float64)
    trunk = [*net.first.parameters(), *net.second.parameters()]
    wanted = gramian(net.losses(x)[0], trunk)
    losses, z = net.losses(x)
    step = backward(losses, UPGrad(), features=[z, z], gradient_method=gradient_method)
    torch.testing.assert_close(step.gramian, wanted)


@pytest.mark.parametrize("skip", ["input", "tied"])
def test_comparing_at_features_with_a_path_around_them_is_refused(skip):
    net = Net(2, skip=skip)
    losses, z = net.losses(torch.ones(5, 4, dtype=torch.float64))
    with pytest.raises(InvalidInputError, match="a path from a loss leads around it"):
        backward(losses, UPGrad(), features=z, compare_at="features")


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
def test_a_parameter_of_one_task_may_be_named_as_shared(gradient_method):
    net = Net(5)
    x = torch.randn(5, 4, dtype=torch.float64)
    shared = [*net.first.parameters(), net.heads[0].weight]
    rows = []
    losses, _ = net.losses(x)
    for v in losses:
        found = torch.autograd.grad(v, shared, retain_graph=True, allow_unused=True)
        pairs = zip(shared, found, strict=True)
        rows.append(torch.cat([(p * 0 if g is None else g).flatten() for p, g in pairs]))
    jacobian = torch.stack(rows).detach()
    step = backward(losses, Fixed(), shared=shared, gradient_method=gradient_method)
    torch.testing.assert_close(step.gramian, jacobian @ jacobian.T)
    torch.testing.assert_close(net.heads[0].weight.grad.flatten(), jacobian[0, -6:])


def test_one_task_alone_may_be_compared_at_features():
    net = Net(3)
    losses, z = net.losses(torch.ones(5, 4, dtype=torch.float64))
    step = backward({"a": losses[0]}, UPGrad(), features=z, compare_at="features")
    assert step.weights.tolist() == [1.0]
    losses, _ = net.losses(torch.ones(5, 4, dtype=torch.float64))
    backward({"a": losses[0]}, UPGrad(), shared=net.first.parameters(), compare_at="features")


def test_a_last_layer_that_a_loss_does_not_reach_is_refused():
    trunk, some = nn.Linear(3, 4), nn.Linear(4, 4)
    z = trunk(torch.ones(2, 3))
    y = some(z)
    step = backward([y.sum(), y.prod(), z.sum()], UPGrad(), compare_at="last_shared_layer")
    assert float(step.gramian[2, 2]) > 0  # the trunk's, which all reach
    y = some(trunk(torch.ones(2, 3)))
    other = nn.Linear(3, 4)(torch.ones(2, 3))
    with pytest.raises(InvalidInputError, match="No shared layer was found that all losses reach"):
        backward([y.sum(), y.prod(), other.sum()], UPGrad(), compare_at="last_shared_layer")


# --- losses that were put together ---------------------------------------------------------------


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("t", [2, 5])
@pytest.mark.parametrize(
    "form",
    [
        torch.stack,
        lambda losses: list(torch.stack(losses)),
        lambda losses: [torch.stack(losses)[k - len(losses)] for k in range(len(losses))],
        lambda losses: torch.cat([v.reshape(1) for v in losses]),
    ],
)
def test_heads_of_stacked_losses_stay_the_tasks_own(form, t, gradient_method):
    net = Net(t)
    x = torch.randn(5, 4, dtype=torch.float64)
    trunk = [*net.first.parameters(), *net.second.parameters()]
    wanted_gramian = gramian(net.losses(x)[0], trunk)
    wanted = expected(net, x, torch.arange(1.0, t + 1), trunk)
    step = backward(form(net.losses(x)[0]), Fixed(), gradient_method=gradient_method)
    torch.testing.assert_close(step.gramian, wanted_gramian)
    for name, parameter in net.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name])


@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("sizes", [(2, 1, 0), (0, 1, 2), (1, 0, 2), (2, 0)])
@pytest.mark.parametrize("with_graph", [True, False])
@pytest.mark.parametrize(
    "entries", [lambda vector: vector, list, lambda v: [v[k] for k in range(len(v))]]
)
def test_a_vector_of_parts_with_several_losses_or_none(sizes, with_graph, entries, gradient_method):
    trunk = nn.Linear(4, 5).double()
    heads = nn.ModuleList(nn.Linear(5, max(size, 1)).double() for size in sizes)
    x = torch.randn(6, 4, dtype=torch.float64)

    def losses() -> Tensor:
        z = trunk(x).tanh()
        parts = [(k + head(z)).square().mean(0) for k, head in enumerate(heads)]
        empty = parts[0][:0] if with_graph else torch.zeros(0, dtype=torch.float64)
        return torch.cat([p if n else empty for p, n in zip(parts, sizes, strict=True)])

    weights = torch.arange(1.0, len(losses()) + 1, dtype=torch.float64)
    options = {"shared": trunk, "gradient_method": gradient_method}
    wanted_gramian = gramian(list(losses()), list(trunk.parameters()))
    wanted = torch.autograd.grad(weights @ losses(), list(trunk.parameters()))
    used = [head for head, size in zip(heads, sizes, strict=True) if size]
    own = [p for head in used for p in head.parameters()]
    wanted_own = torch.autograd.grad(losses().sum(), own)
    step = backward(entries(losses()), Fixed(), **options)
    torch.testing.assert_close(step.gramian, wanted_gramian)
    for p, g in zip([*trunk.parameters(), *own], [*wanted, *wanted_own], strict=True):
        torch.testing.assert_close(p.grad, g)


@pytest.mark.parametrize("others", [1, 2])
def test_losses_without_a_graph_among_those_put_together(others):
    net = Net(2)
    x = torch.randn(5, 4, dtype=torch.float64)
    first, second = (loss.reshape(1) for loss in net.losses(x)[0])
    vector = torch.cat([first, *[torch.zeros(1, dtype=torch.float64)] * others, second])
    trunk = [*net.first.parameters(), *net.second.parameters()]
    step = backward([vector[0], vector[-1]], Fixed())
    torch.testing.assert_close(step.gramian, gramian(net.losses(x)[0], trunk))


def test_stacked_losses_of_batches_of_their_own():
    net = Net(2)
    batches = [torch.randn(5, 4, dtype=torch.float64) for _ in range(2)]

    def losses() -> list[Tensor]:
        return [net.losses(x)[0][k] for k, x in enumerate(batches)]

    trunk = [*net.first.parameters(), *net.second.parameters()]
    for options in ({}, {"refresh_every": 2}):
        step = backward(torch.stack(losses()), Fixed(), **options)
        torch.testing.assert_close(step.gramian, gramian(losses(), trunk))


@pytest.fixture
def compiled():
    torch.compiler.reset()
    with torch._functorch.config.patch(donated_buffer=False):
        yield lambda function: torch.compile(function, backend="aot_eager")
    torch.compiler.reset()


@pytest.mark.parametrize("t", [2, 5])
@pytest.mark.parametrize("part", ["outputs", "losses"])
def test_tasks_that_part_within_a_compiled_function_need_the_shared_parameters(compiled, part, t):
    net = Net(t)
    x = torch.randn(5, 4, dtype=torch.float64)
    trunk = [*net.first.parameters(), *net.second.parameters()]
    wanted_gramian = gramian(net.losses(x)[0], trunk)
    wanted = expected(net, x, torch.arange(1.0, t + 1), trunk)

    def outputs() -> list[Tensor]:
        z = net.second(net.first(x).tanh()).tanh()
        return [head(z) for head in net.heads]

    if part == "outputs":
        whole = compiled(outputs)
    else:
        of_all = compiled(lambda: net.losses(x)[0])

    def losses() -> list[Tensor]:
        if part == "losses":
            return of_all()
        return [(k + 1 - out).square().mean() for k, out in enumerate(whole())]

    with pytest.raises(InvalidInputError, match="part within a compiled function"):
        backward(losses(), Fixed())
    with pytest.raises(InvalidInputError, match="No tensors were found"):
        backward(losses(), Fixed(), shared=trunk, compare_at="features")
    for gradient_method in GRADIENT_METHODS:
        net.zero_grad()
        step = backward(losses(), Fixed(), shared=trunk, gradient_method=gradient_method)
        torch.testing.assert_close(step.gramian, wanted_gramian)
        for name, parameter in net.named_parameters():
            torch.testing.assert_close(parameter.grad, wanted[name])
