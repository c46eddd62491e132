import math

import numpy as np
import pytest
import torch

from jointrain.balancing import PIVRG, FairGrad
from jointrain.errors import InvalidInputError


def gramian(t=4):
    matrix = np.random.default_rng(1).normal(size=(t, 9))
    return torch.from_numpy(matrix @ matrix.T)


def test_solves_its_equations_with_the_shares_of_the_noted_drops():
    balancer = PIVRG(["a", "b", "c", "d"])
    drops = np.array([40.0, 0.0, -10.0, 5.0])
    balancer.note(dict(zip("abcd", drops, strict=True)))
    weights = balancer.weights(gramian(), torch.ones(4).double()).numpy()
    # 50 / log 2 is above the least temperature: the largest share is twice the smallest
    share = np.exp(drops / (50 / math.log(2)))
    share *= 4 / share.sum()
    assert share.max() / share.min() == pytest.approx(2.0)
    np.testing.assert_allclose(gramian().numpy() @ weights, np.sqrt(share / weights), rtol=1e-7)


def test_small_differences_have_the_least_temperature():
    balancer = PIVRG(["a", "b"], min_temperature=10.0)
    balancer.note({"a": 1.0, "b": 0.0})
    weights = balancer.weights(torch.eye(2).double(), torch.ones(2).double())
    assert float((weights[0] / weights[1]) ** 3) == pytest.approx(math.exp(0.1))


def test_is_fairgrad_in_the_first_epoch_and_favours_what_fell_least_afterwards():
    balancer = PIVRG(2)
    losses = torch.tensor([1.0, 1.0]).double()
    torch.testing.assert_close(
        balancer.weights(gramian(2), losses), FairGrad(alpha=2.0).weights(gramian(2), losses)
    )
    balancer.end_epoch()
    balancer.weights(gramian(2), torch.tensor([0.8, 0.4]).double())
    balancer.weights(gramian(2), torch.tensor([1.0, 0.6]).double())
    balancer.end_epoch()
    torch.testing.assert_close(balancer.drops, torch.tensor([-10.0, -50.0]).double())


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match="`bound` must be a number in"):
        PIVRG(bound=1.0)
    with pytest.raises(InvalidInputError, match="`min_temperature` must be a number in"):
        PIVRG(min_temperature=0.0)
    with pytest.raises(InvalidInputError, match="`note` must be called with the tasks known"):
        PIVRG().note({"a": 1.0})
    with pytest.raises(InvalidInputError, match="Task 'c' is unknown"):
        PIVRG(["a", "b"]).note({"c": 1.0})
    with pytest.raises(InvalidInputError, match=r"`drops\['a'\]` must be a number in"):
        PIVRG(["a", "b"]).note({"a": math.nan})
