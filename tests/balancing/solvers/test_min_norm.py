import numpy as np
import pytest
import torch

from jointrain.balancing.solvers import min_norm_weights
from tests.balancing.solvers._cases import KINDS, SIZES, rows


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", SIZES)
def test_no_corner_is_downhill_so_the_minimum_is_reached(t, kind):
    """The gap ``w G w - min_i (G w)_i`` bounds what any other point of the simplex could gain."""
    matrix = rows(kind, t)
    gramian = matrix @ matrix.T
    weights = min_norm_weights(gramian)
    assert weights.dtype == torch.float64
    assert (weights >= 0).all()
    assert abs(float(weights.sum()) - 1.0) < 1e-12
    slope = gramian @ weights
    gap = float(weights @ slope - slope.min())
    assert gap <= 1e-9 * float(gramian.diagonal().min()) + 1e-14 * float(gramian.diagonal().mean())


@pytest.mark.parametrize("kind", ["full rank", "conflicting", "half rank"])
@pytest.mark.parametrize("t", [2, 3, 8, 17, 32])
def test_objective_is_that_of_a_conic_solver(t, kind):
    cvxpy = pytest.importorskip("cvxpy")
    matrix = rows(kind, t).numpy()
    w = cvxpy.Variable(t, nonneg=True)
    problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.norm(matrix.T @ w)), [cvxpy.sum(w) == 1])
    problem.solve(solver="CLARABEL")
    ours = matrix.T @ min_norm_weights(torch.from_numpy(matrix @ matrix.T)).numpy()
    assert np.linalg.norm(ours) == pytest.approx(problem.value, rel=1e-6, abs=1e-6)


def test_two_tasks_in_closed_form():
    def first(a, b, c):
        return float(min_norm_weights(torch.tensor([[a, b], [b, c]], dtype=torch.float64))[0])

    assert first(1.0, 0.0, 3.0) == pytest.approx(0.75)
    assert first(1.0, -1.0, 4.0) == pytest.approx(5 / 7)
    assert first(1.0, 1.5, 4.0) == 1.0  # the first lies in the shadow of the second
    assert first(4.0, 1.5, 1.0) == 0.0
    assert first(2.0, 2.0, 2.0) == 0.5
    assert first(1.0, -1.0, 1.0) == 0.5


def test_zero_gradients_share_the_weight():
    gramian = torch.diag(torch.tensor([0.0, 2.0, 0.0], dtype=torch.float64))
    assert min_norm_weights(gramian).tolist() == [0.5, 0.0, 0.5]
    assert min_norm_weights(torch.zeros(2, 2, dtype=torch.float64)).tolist() == [0.5, 0.5]


def test_a_gramian_of_low_precision_is_good_enough():
    matrix = rows("half rank", 17).float()
    weights = min_norm_weights((matrix @ matrix.T).double())
    assert torch.isfinite(weights).all()
    slope = (matrix @ matrix.T).double() @ weights
    assert float(weights @ slope - slope.min()) < 1e-3
