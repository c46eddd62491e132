import numpy as np
import pytest
from scipy.optimize import nnls

from jointrain.balancing.solvers import equilibrate, nonnegative_quadratic
from jointrain.balancing.solvers._nonnegative import _active_set
from tests.balancing.solvers._cases import KINDS, rows


def problem(kind, t, n):
    matrix = rows(kind, t).numpy()
    targets = np.random.default_rng(0).standard_normal((n, matrix.shape[1]))
    scaled, scale = equilibrate(matrix @ matrix.T)
    return matrix * scale[:, None], scaled, targets


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("t", [1, 2, 8, 17, 32])
def test_both_ways_reach_the_objective_of_scipy(t, kind):
    matrix, scaled, targets = problem(kind, t, 3)
    found = nonnegative_quadratic(scaled, targets @ matrix.T)
    for x, target in zip(found, targets, strict=True):
        best, _ = nnls(matrix.T, target, maxiter=50 * t)
        # the distance that scipy gives beside is not always that of what it found
        distance = np.linalg.norm(matrix.T @ best - target)
        other = _active_set(scaled, matrix @ target)
        for candidate in (x, other):
            assert (candidate >= 0).all()
            ours = np.linalg.norm(matrix.T @ candidate - target)
            assert ours == pytest.approx(distance, rel=1e-7)


def test_the_size_of_the_right_side_does_not_matter():
    matrix, scaled, targets = problem("conflicting", 8, 2)
    rights = targets @ matrix.T
    found = nonnegative_quadratic(scaled, rights)
    for factor in (1e-100, 1e100):
        scaled_found = nonnegative_quadratic(scaled, factor * rights)
        np.testing.assert_allclose(scaled_found, factor * found, rtol=1e-12)
    assert not nonnegative_quadratic(scaled, 0.0 * rights).any()


def test_the_ridge_grows_until_the_matrix_is_positive_definite():
    gramian = np.array([[1.0, -1.0 - 1e-5], [-1.0 - 1e-5, 1.0]])
    scaled, _ = equilibrate(gramian)
    assert np.linalg.eigvalsh(scaled).min() > 0
    assert scaled[0, 0] == pytest.approx(1.0001)
    scaled, scale = equilibrate(np.diag([4.0, 0.0]))
    assert scale.tolist() == [0.5, 0.0]
    assert scaled[0, 0] - 1.0 < 1e-11
