import numpy as np
import pytest
import torch

from jointrain.balancing import FERERO
from jointrain.errors import InvalidInputError
from tests.balancing.aggregation._preferences import check_refusals, end_on_opposed_quadratics


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_is_the_solution_of_the_programme(seed, scale):
    cvxpy = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(3, 6)) * [[1.0], [scale], [1.0 / scale]]
    losses, r = rng.uniform(0.5, 2.0, 3), rng.uniform(0.1, 1.0, 3)
    d, v = cvxpy.Variable(6), cvxpy.Variable()
    across = np.eye(3) - np.outer(r, r) / (r @ r)
    basis = np.linalg.svd(across)[0][:, :2].T
    constraints = [matrix @ d <= v, basis @ matrix @ d == -0.5 * basis @ losses]
    problem = cvxpy.Problem(cvxpy.Minimize(v + 0.5 * cvxpy.sum_squares(d)), constraints)
    problem.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    gramian = torch.from_numpy(matrix @ matrix.T)
    weights = FERERO(r).weights(gramian, torch.from_numpy(losses)).numpy()
    np.testing.assert_allclose(matrix.T @ weights, -d.value, atol=1e-5 * np.abs(d.value).max())


def test_moves_along_the_front_to_the_ray_where_gradients_cancel_out():
    # B L = 0 at losses (1, 3): with slopes (g, -g) the step has B J d = -c B L exactly
    gramian = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).double()
    losses = torch.tensor([2.0, 2.0]).double()
    weights = FERERO([1.0, 3.0], pull=1.0).weights(gramian, losses)
    across = torch.tensor([3.0, -1.0]).double()
    step = -gramian @ weights
    torch.testing.assert_close(across @ step, -(across @ losses))


@pytest.mark.parametrize("preference", [[1.0, 1.0], [1.0, 4.0]])
def test_ends_on_the_ray(preference):
    losses = end_on_opposed_quadratics(FERERO(preference))
    assert float(losses[1] / losses[0]) == pytest.approx(preference[1] / preference[0], rel=0.01)


def test_refuses_what_it_cannot_take():
    check_refusals(FERERO)
    with pytest.raises(InvalidInputError, match="`pull` must be a number in"):
        FERERO(pull=-1.0)
