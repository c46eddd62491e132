"""What balancers of the caller's own make is looked at."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.balancing import (
    Direction,
    GramianWeighting,
    JacobianAggregation,
    LossWeighting,
    Weighing,
    backward,
)


def _step(balancer):
    torch.manual_seed(0)
    trunk, heads = nn.Linear(3, 2), [nn.Linear(2, 1) for _ in range(2)]
    z = trunk(torch.ones(4, 3)).tanh()
    return backward([head(z).square().mean() for head in heads], balancer)


@pytest.mark.parametrize(
    "weights, got",
    [
        (torch.ones(3), r"\[3\]"),
        (torch.ones(2, 1), r"\[2, 1\]"),
        (torch.tensor(1.0), r"\[\]"),
        ([1.0, 2.0], "list"),
        (None, "NoneType"),
    ],
)
def test_weights_are_one_for_each_task(weights, got):
    class Own(GramianWeighting):
        name = "own"

        def weights(self, gramian, losses):
            return weights

    with pytest.raises(InvalidInputError, match=rf"Own must make weights of shape \[2\].* {got}$"):
        _step(Own())


@pytest.mark.parametrize(
    "made, message",
    [
        (lambda blocks: [b.sum(0) for b in blocks], "aggregate must return a Direction, got list"),
        (lambda blocks: Direction(blocks), "updates of shape"),
        (lambda blocks: Direction([b[0] for b in blocks][:-1]), "updates of shape"),
        (lambda blocks: Direction([b[0].reshape(-1) for b in blocks]), "updates of shape"),
        (lambda blocks: Direction([b[0] for b in blocks], torch.ones(1)), "weights of shape"),
    ],
)
def test_updates_have_the_shape_of_parameters(made, message):
    class Own(JacobianAggregation):
        name = "own"

        def aggregate(self, blocks, losses):
            return made(blocks)

    with pytest.raises(InvalidInputError, match=f"Own.*{message}"):
        _step(Own())


@pytest.mark.parametrize(
    "made, got", [(Weighing([1.0]), "1 weights"), ([1.0, 1.0], "list"), (None, "NoneType")]
)
def test_losses_are_weighed_by_one_number_each(made, got):
    class Own(LossWeighting):
        name = "own"

        def weigh(self, losses):
            return made

    with pytest.raises(InvalidInputError, match=f"Own.weigh must return Weighing.*got {got}"):
        _step(Own())


@pytest.mark.parametrize(
    "made, got",
    [
        (lambda losses: losses, r"Tensor shape \[2\]"),
        (lambda losses: float(losses.detach().sum()), "float"),
        (lambda losses: losses.detach().sum(), "Tensor shape"),
    ],
)
def test_an_objective_is_one_number_of_the_losses(made, got):
    class Own(LossWeighting):
        name = "own"

        def objective(self, losses):
            return made(losses)

    with pytest.raises(InvalidInputError, match=f"Own.objective must return one number.*got {got}"):
        _step(Own())
