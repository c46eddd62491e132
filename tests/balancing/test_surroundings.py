"""A call within `no_grad`, `inference_mode` or autocast, where `loss.backward()` works as well."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import BALANCERS, Equal, MoDo, Needs, UPGrad, backward
from tests.balancing._weigh_by_position import GRADIENT_METHODS, Fixed

SURROUNDINGS = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "detect_anomaly": torch.autograd.detect_anomaly,
}


def gradients(place: str | None, balancer, **options) -> list[Tensor]:
    torch.manual_seed(0)
    trunk, heads = nn.Linear(8, 16), nn.ModuleList(nn.Linear(16, 1) for _ in range(5))
    z = trunk(torch.randn(12, 8)).tanh()
    losses = [(head(z) - k).square().mean() for k, head in enumerate(heads)]
    if place is None:
        backward(losses, balancer, **options)
    else:
        with SURROUNDINGS[place]():
            backward(losses, balancer, **options)
    return [p.grad for p in (*trunk.parameters(), *heads.parameters())]


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("place", SURROUNDINGS)
@pytest.mark.parametrize(
    "name",
    [
        name
        for name, cls in BALANCERS.items()
        if cls.needs not in (Needs.HELD_OUT, Needs.NEARBY) and not cls.extra_batches
    ],
)
def test_every_method_gives_what_it_gives_elsewhere(name, place):
    made = [BALANCERS[name](**getattr(BALANCERS[name], "example", {})) for _ in range(2)]
    for one, other in zip(gradients(None, made[0]), gradients(place, made[1]), strict=True):
        torch.testing.assert_close(one, other)
        assert not other.requires_grad


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("place", SURROUNDINGS)
@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
def test_every_way_to_the_gradients_does(gradient_method, place):
    if (gradient_method, place) == ("batched", "detect_anomaly"):
        pytest.skip("torch can't look for NaN in a batch of gradients")
    options = {"gradient_method": gradient_method}
    for one, other in zip(
        gradients(None, UPGrad(), **options), gradients(place, UPGrad(), **options), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_losses_computed_anew_are_computed_within_the_callers_autocast():
    weight = nn.Parameter(torch.randn(4, 4))
    kinds = []

    def extra() -> list[Tensor]:
        z = weight @ weight
        kinds.append(z.dtype)
        return [z.float().sum(), z.float().square().sum()]

    with torch.autocast("cpu", torch.bfloat16):
        backward(extra(), MoDo(), extra=extra)
    assert set(kinds) == {torch.bfloat16}


# --- autocast within autocast --------------------------------------------------------------------


class InParts(nn.Module):
    """Layers of which the second has an autocast of its own, and the third one that is off."""

    def __init__(self, inner: torch.dtype, t: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = inner
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))
        self.heads = nn.ModuleList(nn.Linear(8, 1) for _ in range(t))

    def forward(self, x: Tensor) -> list[Tensor]:
        first, second, third, fourth = self.layers
        z = first(x).tanh()
        with torch.autocast("cpu", self.inner):
            z = second(second(z).tanh()).tanh()  # whose weights are cast once
        with torch.autocast("cpu", enabled=False):
            z = third(z.float()).tanh()
        z = fourth(z).tanh()
        return [(head(z).float() - k).square().mean() for k, head in enumerate(self.heads)]


def autocast(kind: torch.dtype | None) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext() if kind is None else torch.autocast("cpu", kind)


@pytest.mark.parametrize("within", [False, True])
@pytest.mark.parametrize("gradient_method", GRADIENT_METHODS)
@pytest.mark.parametrize("t", [2, 6])
@pytest.mark.parametrize(
    "outer, inner",
    [
        (None, torch.bfloat16),
        (torch.bfloat16, torch.float16),
        (torch.float16, torch.bfloat16),
        (torch.float16, torch.float16),
    ],
)
def test_an_autocast_within_another_gives_what_plain_passes_give(
    outer, inner, t, gradient_method, within
):
    net, x = InParts(inner, t), torch.randn(32, 8)
    parameters = list(net.parameters())
    scaled = torch.float16 in (outer, inner)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=scaled)

    with autocast(outer):
        losses = net(x)
    rows = []
    for loss in scaler.scale(torch.stack(losses)) / scaler.get_scale():
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        pairs = zip(found, parameters, strict=True)
        rows.append([torch.zeros_like(p) if g is None else g for g, p in pairs])
    columns = [torch.stack(column) for column in zip(*rows, strict=True)]
    shared = torch.cat([c.flatten(1) for c in columns[:8]], 1)

    for balancer in (Fixed(), Equal()):
        net.zero_grad()
        with autocast(outer):
            losses = net(x)
            if within:
                step = backward(losses, balancer, scaler=scaler, gradient_method=gradient_method)
        if not within:
            step = backward(losses, balancer, scaler=scaler, gradient_method=gradient_method)
        if step.gramian is not None:
            torch.testing.assert_close(
                step.gramian.float(), shared @ shared.T, rtol=0.03, atol=0.01
            )
        for i, (p, column) in enumerate(zip(parameters, columns, strict=True)):
            weights = step.weights.to(column) if i < 8 else torch.ones(t)
            wanted = torch.tensordot(weights, column, 1)
            away = p.grad / scaler.get_scale() - wanted
            assert float(away.abs().max()) < 0.03 * float(wanted.abs().max())


def test_rounding_is_that_of_the_coarsest_type_within():
    seen = []

    class Seeing(UPGrad):
        def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
            seen.append(self.rounding)
            return super().weights(gramian, losses)

    with torch.autocast("cpu", torch.float16):
        losses = InParts(torch.bfloat16, 3)(torch.randn(32, 8))
    backward(losses, Seeing())
    assert seen == [torch.finfo(torch.bfloat16).eps ** 2]
