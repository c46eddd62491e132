import numpy as np
import pytest
import torch

from jointrain.balancing.solvers import bargaining_weights
from tests.balancing.solvers._cases import SIZES, rows


@pytest.mark.parametrize("power", [0.1, 0.5, 1.0, 2.0, 10.0])
@pytest.mark.parametrize("kind", ["full rank", "conflicting", "tiny", "huge", "equal rows"])
@pytest.mark.parametrize("t", SIZES)
def test_the_equations_hold(t, kind, power):
    matrix = rows(kind, t)
    gramian = matrix @ matrix.T
    weights = bargaining_weights(gramian, power)
    assert (weights > 0).all()
    ratio = (gramian @ weights) * weights**power
    torch.testing.assert_close(ratio, torch.ones(t).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("t", [2, 8, 32])
def test_the_equations_hold_for_lengths_twelve_decades_apart(t):
    matrix = rows("unlike scales", t)
    weights = bargaining_weights(matrix @ matrix.T)
    ratio = (matrix @ matrix.T @ weights) * weights
    torch.testing.assert_close(ratio, torch.ones(t).double(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("t", [2, 3, 8])
def test_objective_is_that_of_a_conic_solver(t):
    cvxpy = pytest.importorskip("cvxpy")
    matrix = rows("conflicting", t).numpy()
    w = cvxpy.Variable(t)
    objective = 0.5 * cvxpy.sum_squares(matrix.T @ w) - cvxpy.sum(cvxpy.log(w))
    problem = cvxpy.Problem(cvxpy.Minimize(objective))
    problem.solve(solver="CLARABEL")
    ours = bargaining_weights(torch.from_numpy(matrix @ matrix.T)).numpy()
    value = 0.5 * np.sum((matrix.T @ ours) ** 2) - np.log(ours).sum()
    assert value == pytest.approx(problem.value, rel=1e-6, abs=1e-6)


def test_two_tasks_in_closed_form():
    """a w^2 + b w v = 1 = c v^2 + b w v: with w = r v, r = sqrt(c / a)."""
    weights = bargaining_weights(torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64))
    torch.testing.assert_close(weights, torch.tensor([2.0, 1.0]).double() / 2**0.5)


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("kind", ["opposite", "half rank", "zero row"])
@pytest.mark.parametrize("t", [2, 3, 8, 17])
def test_without_a_solution_weights_are_finite_and_do_no_harm(t, kind, power):
    matrix = rows(kind, t)
    weights = bargaining_weights(matrix @ matrix.T, power)
    assert torch.isfinite(weights).all()
    assert (weights >= 0).all()
    slope = matrix @ (weights @ matrix)
    length = matrix.norm(dim=1)
    rounding = 1e-14 * length * (weights * length).max()
    assert (slope >= -1e-6 * length * (weights @ matrix).norm() - rounding).all()


def test_zero_gradients_have_no_say():
    gramian = torch.diag(torch.tensor([4.0, 0.0], dtype=torch.float64))
    assert bargaining_weights(gramian).tolist() == pytest.approx([0.5, 0.0])
    assert bargaining_weights(torch.zeros(2, 2, dtype=torch.float64)).tolist() == [0.0, 0.0]
