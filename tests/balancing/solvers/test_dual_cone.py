import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from jointrain.balancing.solvers import dual_cone_weights
from tests.balancing.solvers._cases import KINDS, SIZES, rows


def units(matrix):
    length = matrix.norm(dim=1, keepdim=True)
    return matrix / length.where(length > 0, 1.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", SIZES)
def test_the_conditions_of_optimality_hold(t, kind):
    matrix = rows(kind, t)
    gramian = matrix @ matrix.T
    for given in (torch.full((1, t), 1.0 / t).double(), torch.eye(t).double()[: min(t, 9)]):
        weights = dual_cone_weights(gramian, given)
        added = weights - given
        update = weights @ matrix
        size = (given @ matrix).norm(dim=1) + 1e-300
        assert (added >= 0).all()
        slope = update @ units(matrix).T
        assert (slope >= -1e-8 * size[:, None]).all()
        assert ((added * (update @ matrix.T)).sum(dim=1).abs() <= 1e-7 * size.square()).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [1, 2, 3, 8, 17, 32])
def test_objective_is_that_of_scipy(t, kind):
    matrix = units(rows(kind, t))
    gramian = matrix @ matrix.T
    weights = dual_cone_weights(gramian, torch.full((1, t), 1.0 / t).double())[0]
    mean = matrix.mean(dim=0).numpy()
    _, distance = nnls(-matrix.numpy().T, mean, maxiter=50 * t)
    ours = np.linalg.norm(matrix.numpy().T @ weights.numpy())
    assert ours == pytest.approx(distance, rel=1e-6, abs=1e-6)


def test_two_tasks_in_closed_form():
    gramian = torch.tensor([[1.0, -1.0], [-1.0, 2.0]], dtype=torch.float64)
    weights = dual_cone_weights(gramian, torch.eye(2).double())
    torch.testing.assert_close(weights, torch.tensor([[1.0, 0.5], [1.0, 1.0]]).double())


def test_without_conflict_nothing_is_added():
    gramian = torch.tensor([[1.0, 0.2], [0.2, 2.0]], dtype=torch.float64)
    given = torch.tensor([[0.3, 0.7]], dtype=torch.float64)
    assert torch.equal(dual_cone_weights(gramian, given), given)
