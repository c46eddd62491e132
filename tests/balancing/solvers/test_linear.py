import numpy as np

from jointrain.balancing.solvers import linear_program


def test_corner_of_the_simplex_by_hand():
    # the cheapest is the first, of which at least half has to be left to the others
    found = linear_program(
        np.array([1.0, 2.0, 3.0]), np.array([[-1.0, 0.0, 0.0]]), np.array([-0.5])
    )
    np.testing.assert_allclose(found, [0.5, 0.5, 0.0], atol=1e-12)


def test_a_free_unknown_is_no_part_of_the_simplex():
    # least s with x_i + s >= 0.75 for both: 0.25 at equal shares
    rows, low = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]), np.array([0.75, 0.75])
    found = linear_program(np.array([0.0, 0.0, 1.0]), rows, low, free=1)
    np.testing.assert_allclose(found, [0.5, 0.5, 0.25], atol=1e-12)


def test_rows_without_a_bound_do_not_bind_and_what_cannot_be_met_gives_none():
    cost = np.array([1.0, 0.0])
    free = linear_program(cost, np.array([[1.0, 0.0]]), np.array([-np.inf]))
    np.testing.assert_allclose(free, [0.0, 1.0], atol=1e-12)
    assert linear_program(cost, np.array([[1.0, 1.0]]), np.array([2.0])) is None
