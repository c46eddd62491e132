import math

import numpy as np
import pytest
import torch

from jointrain.balancing.solvers import conflict_averse_weights, min_norm_weights
from tests.balancing.solvers._cases import KINDS, SIZES, rows


def gain_and_bound(matrix, c):
    """Return the worst task's gain, and the dual's value, which no gain can exceed."""
    t = len(matrix)
    gramian = matrix @ matrix.T
    y = conflict_averse_weights(gramian, c)
    assert (y >= 0).all()
    radius = c * float(matrix.mean(dim=0).norm())
    assert float((y @ matrix).norm()) <= radius * (1 + 1e-8) + 1e-12 * float(matrix.norm())
    gain = float((matrix @ ((y + 1.0 / t) @ matrix)).min())
    bounds = []
    for w in (y / y.sum().clamp_min(1e-300), min_norm_weights(gramian)):
        if float(w.sum()) > 0.5:
            update = w @ matrix
            bounds.append(float(update @ matrix.mean(dim=0)) + radius * float(update.norm()))
    return gain, min(bounds)


@pytest.mark.parametrize("c", [0.1, 0.5, 0.95, 3.0])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", SIZES)
def test_gain_meets_its_upper_bound(t, kind, c):
    matrix = rows(kind, t)
    gain, bound = gain_and_bound(matrix, c)
    scale = float(matrix.norm(dim=1).min() * matrix.mean(dim=0).norm())
    rounding = 1e-11 * float(matrix.norm(dim=1).max()) ** 2
    assert abs(bound - gain) <= 1e-6 * scale + rounding


@pytest.mark.parametrize("kind", ["full rank", "conflicting", "half rank"])
@pytest.mark.parametrize("t", [2, 3, 8, 17])
def test_objective_is_that_of_a_conic_solver(t, kind):
    cvxpy = pytest.importorskip("cvxpy")
    matrix = rows(kind, t).numpy()
    mean = matrix.mean(axis=0)
    radius = 0.5 * float(np.linalg.norm(mean))
    w = cvxpy.Variable(t, nonneg=True)
    objective = (matrix @ mean) @ w + radius * cvxpy.norm(matrix.T @ w)
    problem = cvxpy.Problem(cvxpy.Minimize(objective), [cvxpy.sum(w) == 1])
    problem.solve(solver="CLARABEL")
    gain, _ = gain_and_bound(torch.from_numpy(matrix), 0.5)
    assert gain == pytest.approx(problem.value, rel=1e-6, abs=1e-6 * (matrix**2).sum() / t)


def test_two_orthogonal_gradients_by_hand():
    y = conflict_averse_weights(torch.eye(2).double(), 0.5)
    torch.testing.assert_close(y, torch.tensor([0.25, 0.25]).double())


def test_unequal_orthogonal_gradients_by_hand():
    """Lengths 1 and 3: the short one is the worst off as long as d_1 < 9 y_2 + 9 / 2."""
    y = conflict_averse_weights(torch.diag(torch.tensor([1.0, 9.0]).double()), 0.2)
    torch.testing.assert_close(y, torch.tensor([0.2 * math.sqrt(2.5), 0.0]).double())


def test_where_gradients_cancel_out_no_task_is_made_worse():
    matrix = torch.tensor([[1.0, 0.0], [-2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    y = conflict_averse_weights(matrix @ matrix.T, 3.0)
    update = (y + 1.0 / 3.0) @ matrix
    torch.testing.assert_close(update, torch.tensor([0.0, 1.0 / 3.0]).double(), atol=1e-8, rtol=0)


def test_no_radius_adds_nothing():
    assert conflict_averse_weights(torch.eye(3).double(), 0.0).tolist() == [0.0] * 3
