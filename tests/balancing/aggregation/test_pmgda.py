import numpy as np
import pytest
import torch

from jointrain.balancing import MGDA, PMGDA
from jointrain.errors import InvalidInputError
from tests.balancing.aggregation._preferences import check_refusals, end_on_opposed_quadratics


@pytest.mark.parametrize("seed", range(4))
def test_is_the_solution_of_the_programme_off_the_ray(seed):
    cvxpy = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    matrix, losses = rng.normal(size=(3, 8)), rng.uniform(0.5, 2.0, 3)
    ray = np.array([0.6, 0.0, 0.8])
    off = losses - (losses @ ray) * ray
    away = off / np.linalg.norm(off) @ matrix
    corners = np.vstack([matrix, away])
    corners /= np.linalg.norm(corners, axis=1, keepdims=True)
    mu = cvxpy.Variable(4, nonneg=True)
    d = corners.T @ mu
    constraints = [cvxpy.sum(mu) == 1, away @ d >= 0.3 * np.linalg.norm(away)]
    best = cvxpy.Problem(cvxpy.Maximize(cvxpy.min(matrix @ d)), constraints).solve()
    balancer = PMGDA([3.0, 0.0, 4.0], sigma=0.3)
    weights = balancer.weights(torch.from_numpy(matrix @ matrix.T), torch.from_numpy(losses))
    step = matrix.T @ weights.numpy()
    assert (matrix @ step).min() == pytest.approx(best, abs=1e-6)
    assert away @ step >= 0.3 * np.linalg.norm(away) - 1e-9


def test_is_mgda_on_the_ray():
    matrix = np.random.default_rng(0).normal(size=(3, 8))
    gramian, losses = torch.from_numpy(matrix @ matrix.T), torch.tensor([1.0, 2.0, 3.0]).double()
    found = PMGDA([1.0, 2.0, 3.0]).weights(gramian, losses)
    torch.testing.assert_close(found, MGDA().weights(gramian, losses))


@pytest.mark.parametrize("preference", [[1.0, 1.0], [1.0, 4.0]])
def test_ends_near_the_ray(preference):
    losses = end_on_opposed_quadratics(PMGDA(preference), rate=0.01)
    assert float(losses[1] / losses[0]) == pytest.approx(preference[1] / preference[0], rel=0.06)


def test_refuses_what_it_cannot_take():
    check_refusals(PMGDA)
    with pytest.raises(InvalidInputError, match="`sigma` must be a number in"):
        PMGDA(sigma=1.5)
    with pytest.raises(InvalidInputError, match="`tolerance` must be a number in"):
        PMGDA(tolerance=-1.0)
