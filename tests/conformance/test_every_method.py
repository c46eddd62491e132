"""What every public method keeps: the public checks, and how its class is described."""

from __future__ import annotations

import pytest
import torch

import jointrain.balancing as balancing
from jointrain.balancing import BALANCERS, Balancer, GramianWeighting, LossWeighting, Weighing
from jointrain.testing import BALANCER_CHECKS, check_balancer

METHODS = sorted(BALANCERS)


def build(name: str) -> Balancer:
    """Build the method; those whose constructor needs something of the user say so in the class."""
    return BALANCERS[name](**getattr(BALANCERS[name], "example", {}))


@pytest.mark.parametrize("name", METHODS)
def test_is_public_and_described(name):
    cls = BALANCERS[name]
    assert cls.__name__ in balancing.__all__
    assert 10 < len(cls.summary()) <= 100
    assert cls.summary().endswith(".")
    for section in ("Source:", "Cost:", "State:", "Differs from the source:"):
        assert section in (cls.__doc__ or ""), f"the docstring lacks {section!r}"
    assert name == name.lower()
    assert "_" not in name


@pytest.mark.parametrize("check", BALANCER_CHECKS.values(), ids=BALANCER_CHECKS.keys())
@pytest.mark.parametrize("name", METHODS)
def test_keeps_what_balancers_keep(name, check):
    check(lambda: build(name))


class Sound(GramianWeighting):
    """Give each task the same weight."""

    def weights(self, gramian, losses):
        return torch.ones(len(gramian), dtype=torch.float64)


class OfTheWrongLength(Sound):
    """Give one weight too many."""

    def weights(self, gramian, losses):
        return torch.ones(len(gramian) + 1, dtype=torch.float64)


class NotANumber(Sound):
    """Divide by the gradients' lengths, which may be 0."""

    plain_for_one_task = False

    def weights(self, gramian, losses):
        return 1 / gramian.diagonal().sqrt()


class Negative(Sound):
    """Give weights below 0."""

    plain_for_one_task = False

    def weights(self, gramian, losses):
        return -torch.ones(len(gramian), dtype=torch.float64)


class Conflicting(Sound):
    """Promise what a plain sum does not keep."""

    non_conflicting = True


class OrderMatters(Sound):
    """Prefer the first task."""

    def weights(self, gramian, losses):
        return torch.arange(len(gramian), 0, -1, dtype=torch.float64) / len(gramian)


class ScaleMatters(Sound):
    """Weigh by the gradients' lengths."""

    plain_for_one_task = False

    def weights(self, gramian, losses):
        return gramian.diagonal().sqrt()


class HiddenState(LossWeighting):
    """Count steps in an attribute that is not saved."""

    plain_for_one_task = False
    scale_free = False

    def __init__(self):
        super().__init__()
        self.steps = 0

    def weigh(self, losses):
        self.steps += 1
        return Weighing([float(self.steps)] * len(losses))


@pytest.mark.parametrize(
    "cls, message",
    [
        (OfTheWrongLength, "finite values of the right shape: RuntimeError: size mismatch"),
        (
            NotANumber,
            "finite values of the right shape: 1 tasks, zero row",
        ),
        (Negative, "finite values of the right shape: 1 tasks, full rank: the weights are"),
        (Conflicting, "no loss increases: non_conflicting is promised, "),
        (OrderMatters, "the order of tasks: equivariant is promised"),
        (ScaleMatters, "a common factor: scale_free is promised"),
        (HiddenState, "state: after state_dict, it goes on in another way"),
        (lambda: 3, "a fresh balancer, described: it makes 3, which is no Balancer"),
    ],
)
def test_a_balancer_that_breaks_a_promise_is_told_which(cls, message):
    check_balancer(Sound)
    with pytest.raises(AssertionError, match=message):
        check_balancer(cls)
