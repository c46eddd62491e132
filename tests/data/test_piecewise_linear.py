"""Piecewise-linear encoding, against the authors' package and by hand."""

import numpy as np
import pytest
import rtdl_num_embeddings
import torch
from hypothesis import given, strategies as st

from jointrain.data._piecewise_linear import PiecewiseLinearEncoding


def test_bins_by_hand():
    x = np.array([[0.0], [1.0], [2.0], [4.0], [8.0]], dtype=np.float32)
    encoding = PiecewiseLinearEncoding.fit(x, bins=2)
    assert encoding.edges.tolist() == [[0, 2], [2, 8]]
    places = encoding.transform(np.array([[-2.0], [1.0], [5.0], [14.0]], dtype=np.float32))
    assert places.tolist() == [[-1, 0], [0.5, 0], [1, 0.5], [1, 2]]


@given(st.integers(0, 100), st.integers(2, 12))
def test_equals_the_authors_package_given_the_same_edges(seed, bins):
    random = np.random.default_rng(seed)
    x = random.normal(size=(60, 3)).astype(np.float32)
    encoding = PiecewiseLinearEncoding.fit(x, bins)
    own = [encoding.edges[:, encoding.column == i] for i in range(3)]
    edges = [torch.from_numpy(np.append(lower, upper[-1])) for lower, upper in own]
    theirs = rtdl_num_embeddings.PiecewiseLinearEncoding(edges)
    z = 2 * random.normal(size=(20, 3)).astype(np.float32)
    np.testing.assert_allclose(
        encoding.transform(z), theirs(torch.from_numpy(z)), rtol=1e-4, atol=1e-5
    )


def test_features_of_two_values_and_constants_get_no_bins():
    x = np.array([[0, 5, 1], [1, 5, 2], [0, 5, 3], [1, 5, 4]], dtype=np.float32)
    assert set(PiecewiseLinearEncoding.fit(x, bins=3).column.tolist()) == {2}


@pytest.mark.parametrize("bins", [0, None, 4])
def test_without_numeric_features_there_are_no_bins(bins):
    x = np.array([[0.0], [1.0]], dtype=np.float32)
    assert PiecewiseLinearEncoding.fit(x, bins).transform(x).shape == (2, 0)


@pytest.mark.parametrize("features, bins", [(3, 8), (100, 5), (300, 0)])
def test_many_features_get_fewer_bins(features, bins):
    x = np.random.default_rng(0).normal(size=(50, features)).astype(np.float32)
    assert len(PiecewiseLinearEncoding.fit(x).column) == features * bins


def test_a_state_gives_the_same_encoding():
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    encoding = PiecewiseLinearEncoding.fit(x)
    again = PiecewiseLinearEncoding.from_state(encoding.state())
    np.testing.assert_array_equal(again.transform(x), encoding.transform(x))
