import numpy as np
import pytest
import torch

from jointrain.balancing import EPO
from jointrain.errors import InvalidInputError
from tests.balancing.aggregation._preferences import check_refusals


def programme(gramian, losses, r, tolerance=1e-4):
    """The paper's programme of a step, by a general solver: what is maximised, and its largest."""
    cvxpy = pytest.importorskip("cvxpy")
    t = len(losses)
    w = cvxpy.Variable(t, nonneg=True)
    shares = r * losses / (r @ losses)
    excess = shares @ np.log(t * shares)
    slope = gramian @ (r * (np.log(t * shares) - excess))
    constraints = [cvxpy.sum(w) == 1]
    if excess > tolerance:
        aim = slope
        if (slope > 0).any():
            for j in range(t):
                if j == (r * losses).argmax():
                    constraints.append(gramian[j] @ w >= 0)
                elif slope[j] <= 0:
                    constraints.append(gramian[j] @ w >= slope[j])
        else:
            constraints.append(gramian @ w >= 0)
    else:
        aim = gramian.sum(0)
        constraints += [gramian @ w >= 0, w @ slope >= min(0.0, slope.max())]
    return aim, cvxpy.Problem(cvxpy.Maximize(aim @ w), constraints).solve()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("balanced", [False, True])
def test_is_the_solution_of_the_programme(seed, balanced):
    rng = np.random.default_rng(seed)
    matrix, r = rng.normal(size=(4, 9)) - 0.3, rng.uniform(0.2, 1.0, 4)
    losses = 1 / r if balanced else rng.uniform(0.2, 3.0, 4)
    gramian = matrix @ matrix.T
    balancer = EPO(r / r.max())
    weights = balancer.weights(torch.from_numpy(gramian), torch.from_numpy(losses)).numpy() / 4
    aim, best = programme(gramian, losses, r / r.max())
    assert weights.sum() == pytest.approx(1.0)
    assert aim @ weights == pytest.approx(best, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("preference", [[1.0, 1.0], [2.0, 1.0], [1.0, 3.0]])
def test_ends_where_the_losses_over_the_preference_are_equal(preference):
    """On the paper's problem of two concave losses."""
    x = torch.tensor([0.1, -0.2], dtype=torch.float64, requires_grad=True)
    balancer = EPO(preference)
    for _ in range(150):
        near = torch.stack([(x - 0.5**0.5).square().sum(), (x + 0.5**0.5).square().sum()])
        losses = 1 - torch.exp(-near)
        rows = torch.stack([torch.autograd.grad(loss, x, retain_graph=True)[0] for loss in losses])
        with torch.no_grad():
            x -= 0.1 * (balancer.weights(rows @ rows.T, losses.detach()) @ rows)
    ratio = float((losses[1] / losses[0]).detach())
    assert ratio == pytest.approx(preference[0] / preference[1], rel=0.03)
    assert float((x[0] - x[1]).detach()) == pytest.approx(0.0, abs=1e-3)  # the Pareto set


def test_vanished_losses_have_the_preference_as_weights():
    weights = EPO([3.0, 1.0]).weights(torch.eye(2).double(), torch.zeros(2).double())
    assert weights.tolist() == [1.5, 0.5]


def test_refuses_what_it_cannot_take():
    check_refusals(EPO)
    with pytest.raises(InvalidInputError, match="`preference` must have entries above zero"):
        EPO([1.0, 0.0])
    with pytest.raises(InvalidInputError, match="`tolerance` must be a number in"):
        EPO(tolerance=-1.0)
    with pytest.raises(InvalidInputError, match="`losses` must not be negative for EPO"):
        EPO().weights(torch.eye(2).double(), torch.tensor([1.0, -1.0]).double())
