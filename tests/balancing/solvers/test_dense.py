import numpy as np
import pytest

from jointrain.balancing.solvers import _dense


@pytest.mark.parametrize("t", [3, 80, 81, 100])
def test_small_and_large_agree_with_numpy(t):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((t, 2 * t))
    matrix, right = rows @ rows.T, rng.standard_normal((t, 2))
    x, solved = _dense.solve_positive(matrix, right)
    assert solved
    np.testing.assert_allclose(matrix @ x, right, atol=1e-8)
    y, solved = _dense.solve_positive(matrix, right[:, 0].copy())
    assert solved
    np.testing.assert_allclose(y, x[:, 0], atol=1e-10)
    factor = np.tril(_dense.cholesky(matrix))
    np.testing.assert_allclose(factor @ factor.T, matrix, atol=1e-9)
    np.testing.assert_allclose(_dense.product(matrix, matrix), matrix @ matrix)
    values, vectors = _dense.eigen(matrix)
    np.testing.assert_allclose((vectors * values) @ vectors.T, matrix, atol=1e-8)
    assert _dense.cholesky(-matrix) is None
    assert not _dense.solve_positive(-matrix, right)[1]
