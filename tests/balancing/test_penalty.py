"""What `penalty=` adds: its plain gradient, once, whatever it has in common with the losses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import (
    FMTL,
    FORUM,
    SAMO,
    Equal,
    GradDrop,
    MoDo,
    Uncertainty,
    UPGrad,
    backward,
)
from jointrain.errors import InvalidInputError, NonFiniteError

CASES = {
    "equal": (Equal, {}),
    "equal, looked at": (Equal, {"non_finite": "skip"}),
    "uncertainty": (lambda: Uncertainty(3), {}),
    "upgrad": (UPGrad, {}),
    "per task": (UPGrad, {"gradient_method": "per_task"}),
    "layerwise": (UPGrad, {"gradient_method": "layerwise"}),
    "features": (UPGrad, {"compare_at": "features"}),
    "last layer": (UPGrad, {"compare_at": "last_shared_layer"}),
    "accumulated": (UPGrad, {"accumulate": "exact"}),
    "losses, accumulated": (Equal, {"accumulate": "exact"}),
    "graddrop": (GradDrop, {}),
    "two batches": (MoDo, {}),
    "held out": (FORUM, {}),
    "samo": (SAMO, {}),
    "f-mtl": (FMTL, {}),
}


class Net(nn.Module):
    """A trunk and three heads."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Linear(4, 4)
        self.heads = nn.ModuleList(nn.Linear(4, 1) for _ in range(3))
        self.double()

    def losses(self) -> tuple[list[Tensor], Tensor]:
        z = self.trunk(torch.arange(24.0, dtype=torch.float64).view(6, 4) / 24).tanh()
        return [(head(z) - k).square().mean() for k, head in enumerate(self.heads)], z


def of_activations(net: Net, z: Tensor) -> Tensor:
    return z.square().mean() + net.heads[0](z).square().mean()


def of_weights(net: Net, z: Tensor) -> Tensor:
    return net.trunk.weight.square().sum() + net.heads[0].bias.square().sum()


def run(name: str, penalty=None) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return the gradients of a step, and how often each post-accumulate hook ran."""
    build, options = CASES[name]
    net, calls = Net(), {}
    for key, parameter in net.named_parameters():

        def count(_: Tensor, key: str = key) -> None:
            calls[key] = calls.get(key, 0) + 1

        parameter.register_post_accumulate_grad_hook(count)
    losses, z = net.losses()
    added = None if penalty is None else penalty(net, z)
    again = {name: lambda: net.losses()[0] for name in ("extra", "train", "held_out")}
    backward(losses, build(), penalty=added, **again, **options)
    return {key: p.grad for key, p in net.named_parameters()}, calls


@pytest.mark.parametrize("penalty", [of_activations, of_weights])
@pytest.mark.parametrize("name", CASES)
def test_its_plain_gradient_is_added_and_hooks_run_once_on_the_whole(name, penalty):
    net = Net()
    parameters = dict(net.named_parameters())
    alone = torch.autograd.grad(
        penalty(net, net.losses()[1]), list(parameters.values()), allow_unused=True
    )
    without, _ = run(name)
    found, calls = run(name, penalty)
    for key, g in zip(parameters, alone, strict=True):
        wanted = without[key] if g is None else without[key] + g
        torch.testing.assert_close(found[key], wanted, msg=key)
    assert calls == dict.fromkeys(parameters, 1)


@pytest.mark.parametrize("name", CASES)
def test_one_that_is_not_finite_raises_and_leaves_gradients_as_they_were(name):
    build, options = CASES[name]
    net = Net()
    root = (net.trunk.weight * 0).sum().sqrt()  # 0, with a gradient of NaN
    again = {name: lambda: net.losses()[0] for name in ("extra", "train", "held_out")}
    with pytest.raises(NonFiniteError, match="`penalty` is nan"):
        backward(net.losses()[0], build(), penalty=root * math.nan, **again, **options)
    if name not in ("equal", "uncertainty"):  # which take one pass for all
        with pytest.raises(NonFiniteError, match="gradient of `penalty`"):
            backward(net.losses()[0], build(), penalty=root, **again, **options)
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("balancer", [Equal, UPGrad])
def test_one_that_is_no_scalar_is_refused(balancer):
    net = Net()
    losses, z = net.losses()
    with pytest.raises(InvalidInputError, match=r"`penalty` must be a scalar tensor, got \(6, 4\)"):
        backward(losses, balancer(), penalty=z)
    with pytest.raises(InvalidInputError, match="got float"):
        backward(losses, balancer(), penalty=0.5)
    backward(losses, balancer(), penalty=z.sum().view(1))


def test_the_graph_may_be_kept_after_it():
    net = Net()
    losses, z = net.losses()
    penalty = z.square().mean()
    backward(losses, UPGrad(), penalty=penalty, retain_graph=True)
    first = [parameter.grad.clone() for parameter in net.parameters()]
    backward(losses, UPGrad(), penalty=penalty, accumulate="per-batch")
    for parameter, once in zip(net.parameters(), first, strict=True):
        torch.testing.assert_close(parameter.grad, 2 * once)
