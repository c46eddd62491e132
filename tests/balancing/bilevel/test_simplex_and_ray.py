import numpy as np
import pytest
import torch

from jointrain.balancing.bilevel._simplex_and_ray import simplex_and_ray_weights


def value(gramian, reward, x):
    return float(0.5 * x @ gramian @ x - reward * x[-1])


def draw(t, p, seed, *, kind="full"):
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randn(t + 1, p, generator=rng, dtype=torch.float64)
    if kind == "unlike scales":
        rows *= torch.logspace(-3, 3, t + 1, dtype=torch.float64)[:, None]
    if kind == "equal rows":
        rows[:-1] = rows[0]
    if kind == "zero rows":
        rows[:-1] = 0
    if kind == "opposed":
        rows[:-1] -= 2.0 * rows[-1]
    return rows @ rows.T, 0.1 * float(rows[-1].square().sum())


KINDS = ("full", "unlike scales", "equal rows", "zero rows", "opposed")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [1, 2, 3, 8, 17])
def test_equals_a_general_solver(t, kind):
    cvxpy = pytest.importorskip("cvxpy")
    for seed in range(3):
        gramian, reward = draw(t, 6, seed, kind=kind)
        x = simplex_and_ray_weights(gramian, reward)
        assert (x >= 0).all()
        torch.testing.assert_close(x[:-1].sum(), torch.tensor(1.0).double())
        variable = cvxpy.Variable(t + 1, nonneg=True)
        scale = float(gramian.abs().max())
        form = cvxpy.quad_form(variable, cvxpy.psd_wrap(gramian.numpy() / scale))
        problem = cvxpy.Problem(
            cvxpy.Minimize(0.5 * form - reward / scale * variable[-1]),
            [cvxpy.sum(variable[:-1]) == 1],
        )
        problem.solve(solver=cvxpy.CLARABEL)
        wanted = scale * problem.value
        assert value(gramian, reward, x) <= wanted + 1e-6 * max(abs(wanted), 1e-3 * scale)


@pytest.mark.parametrize("kind", KINDS)
def test_keeps_the_conditions_of_optimality(kind):
    for seed in range(5):
        gramian, reward = draw(6, 10, seed, kind=kind)
        x = simplex_and_ray_weights(gramian, reward).numpy()
        slope = gramian.numpy() @ x
        slope[-1] -= reward
        scale = np.abs(gramian.numpy() @ np.diag(np.abs(x) + 1e-12)).max() + reward
        assert slope[-1] >= -1e-7 * scale
        assert abs(slope[-1] * x[-1]) <= 1e-7 * scale * max(x[-1], 1)
        price = slope[:-1].min()
        assert ((slope[:-1] - price) * x[:-1] <= 1e-7 * scale).all()


def test_one_vector_and_its_ray_in_closed_form():
    # min 1/2 |f + nu q|^2 - c nu: nu = max((c - <q, f>) / |q|^2, 0)
    gramian = torch.tensor([[2.0, -3.0], [-3.0, 5.0]]).double()
    torch.testing.assert_close(
        simplex_and_ray_weights(gramian, 1.0), torch.tensor([1.0, 0.8]).double()
    )
    gramian = torch.tensor([[2.0, 3.0], [3.0, 5.0]]).double()
    assert simplex_and_ray_weights(gramian, 1.0).tolist() == [1.0, 0.0]


def test_a_huge_reward_leaves_the_vector_that_least_opposes_the_ray():
    gramian = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, -0.5], [0.5, -0.5, 1.0]]).double()
    x = simplex_and_ray_weights(gramian, 1e150)
    assert x[:2].tolist() == [0.0, 1.0]
    assert float(x[2]) == pytest.approx(1e150)
