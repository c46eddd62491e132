import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from jointrain.balancing.solvers import project_onto_simplex

NUMBERS = st.floats(-1e150, 1e150) | st.floats(-2.0, 2.0)


@given(arrays(np.float64, st.integers(1, 9), elements=NUMBERS))
def test_lies_on_the_simplex(point):
    found = project_onto_simplex(point)
    assert (found >= 0).all()
    assert found.sum() == pytest.approx(1.0, abs=1e-9)


@given(arrays(np.float64, 5, elements=st.floats(-3.0, 3.0)))
def test_is_nearer_than_any_corner_or_the_middle(point):
    """For the nearest point x of a convex set, <point - x, y - x> <= 0 for all its corners y."""
    found = project_onto_simplex(point)
    assert ((point - found) @ (np.eye(5) - found).T <= 1e-12).all()


def test_by_hand():
    assert project_onto_simplex(np.array([0.9, 0.5])).tolist() == pytest.approx([0.7, 0.3])
    assert project_onto_simplex(np.array([2.0, 0.0])).tolist() == [1.0, 0.0]
    assert project_onto_simplex(np.array([-5.0])).tolist() == [1.0]
