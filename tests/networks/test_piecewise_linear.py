"""Piecewise-linear encoding, against the authors' package and by hand."""

import pytest
import rtdl_num_embeddings
import torch
from hypothesis import given
from hypothesis import strategies as st

from jointrain import InvalidInputError
from jointrain.networks._piecewise_linear import PiecewiseLinearEncoding


def test_bins_by_hand():
    x = torch.tensor([[0.0], [1.0], [2.0], [4.0], [8.0]])
    encoding = PiecewiseLinearEncoding(1).fit(x, bins=2)
    assert encoding.edges.tolist() == [[0, 2], [2, 8]]
    outputs = encoding(torch.tensor([[-2.0], [1.0], [5.0], [14.0]]))
    assert outputs.tolist() == [[-2, -1, 0], [1, 0.5, 0], [5, 1, 0.5], [14, 1, 2]]


@given(st.integers(0, 100), st.integers(2, 12))
def test_equals_the_authors_package_given_the_same_edges(seed, bins):
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(seed))
    encoding = PiecewiseLinearEncoding(3).fit(x, bins)
    edges = [
        torch.cat(
            [encoding.edges[0, encoding.column == i], encoding.edges[1, encoding.column == i][-1:]]
        )
        for i in range(3)
    ]
    theirs = rtdl_num_embeddings.PiecewiseLinearEncoding(edges)
    z = 2 * torch.randn(20, 3, generator=torch.Generator().manual_seed(seed + 1))
    torch.testing.assert_close(encoding(z)[:, 3:], theirs(z))


def test_features_of_two_values_and_constants_get_no_bins():
    x = torch.tensor([[0.0, 5.0, 1.0], [1.0, 5.0, 2.0], [0.0, 5.0, 3.0], [1.0, 5.0, 4.0]])
    encoding = PiecewiseLinearEncoding(3).fit(x, bins=3)
    assert set(encoding.column.tolist()) == {2}
    assert torch.equal(encoding(x)[:, :3], x)
    assert encoding(x).shape[1] == encoding.out_features


def test_without_numeric_features_nothing_is_added():
    x = torch.tensor([[0.0], [1.0]])
    assert torch.equal(PiecewiseLinearEncoding(1).fit(x)(x), x)


def test_stored_edges_are_loaded_whatever_their_number():
    x = torch.randn(50, 2)
    encoding = PiecewiseLinearEncoding(2).fit(x, bins=5)
    again = PiecewiseLinearEncoding(2)
    again.load_state_dict(encoding.state_dict())
    assert torch.equal(again(x), encoding(x))
    assert again.out_features == encoding.out_features


@pytest.mark.parametrize(
    "inputs, bins, message",
    [
        (torch.zeros(3, 2), 0, "bins"),
        (torch.zeros(3, 4), 3, "2 features"),
        (torch.zeros(0, 2), 3, "2 features"),
    ],
)
def test_what_can_not_be_fitted_is_refused(inputs, bins, message):
    with pytest.raises(InvalidInputError, match=message):
        PiecewiseLinearEncoding(2).fit(inputs, bins)
