"""A call within `no_grad`, `inference_mode` or autocast, where `loss.backward()` works as well."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import BALANCERS, MoDo, Needs, UPGrad, backward
from tests.balancing._weigh_by_position import GRADIENT_METHODS

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
