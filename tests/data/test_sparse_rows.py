"""Sparse features are encoded as dense ones are, and are dense only batch by batch."""

import numpy as np
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array

from jointrain import InvalidInputError
from jointrain.data import Column, SparseRows, TableEncoder, TensorData, varying_columns


def matrix(rows: int = 200, seed: int = 0) -> np.ndarray:
    """Columns of every kind: mostly 0, mostly not, with NaN, negative, two values, one value."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(rows, 9))
    x[:, :4] *= generator.random((rows, 4)) < 0.1
    x[:, 4] *= generator.random(rows) < 0.6
    x[generator.random(rows) < 0.05, 1] = np.nan
    x[generator.random(rows) < 0.3, 5] = np.nan
    x[:, 6] = generator.random(rows) < 0.1
    x[:, 7] = np.where(generator.random(rows) < 0.2, np.nan, 3.0)
    x[:, 8] = np.abs(x[:, 8]) * (generator.random(rows) < 0.25)
    return x + 0.0  # no negative zero


def columns(count: int) -> list[Column]:
    return [Column(f"x{i}", "numeric", "Float64") for i in range(count)]


def table(x: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({f"x{i}": x[:, i] for i in range(x.shape[1])}).fill_nan(None)


@pytest.mark.parametrize("bins", [0, None, 4])
def test_encoded_as_the_dense_matrix(bins):
    x = matrix()
    dense = TableEncoder(bins).fit(table(x), columns(9))
    sparse = TableEncoder(bins).fit_sparse(csr_array(x), columns(9))
    other = matrix(50, seed=1)
    other[3] = 0
    expected = torch.from_numpy(dense.transform(table(other)))
    for encoder in (dense, sparse):
        rows = encoder.transform_sparse(csr_array(other))
        assert rows.shape == expected.shape
        assert len(rows) == 50
        assert torch.equal(rows.dense_rows(), expected)
    assert sparse.feature_names == dense.feature_names
    assert torch.equal(rows[10:20].dense_rows(), expected[10:20])
    chosen = torch.tensor([4, 4, 49])
    assert torch.equal(rows.index_select(0, chosen).dense_rows(), expected[chosen])
    assert rows.double().to("cpu").dense_rows().dtype == torch.float64
    data = TensorData(rows, {"a": torch.zeros(50)})
    assert isinstance(data.take(chosen).inputs, SparseRows)
    assert torch.equal(data.part(5, 8).inputs.dense_rows(), expected[5:8])


def test_columns_that_hold_one_value():
    x = np.array([[0, 1, np.nan, np.nan, 2, 0], [0, 1, np.nan, 1, 0, 0], [0, 1, np.nan, 1, 2, 5]])
    assert varying_columns(csr_array(x)).tolist() == [3, 4, 5]
    explicit = csr_array((np.zeros(3), ([0, 1, 2], [0, 0, 1])), shape=(3, 2))
    assert varying_columns(explicit).tolist() == []


def test_other_columns_are_refused():
    x = matrix()
    encoder = TableEncoder().fit_sparse(csr_array(x), columns(9))
    with pytest.raises(InvalidInputError, match="has 8 columns, and the model was fitted with 9"):
        encoder.transform_sparse(csr_array(x[:, :8]))
    words = pl.DataFrame({"w": ["a", "b"] * 3})
    encoder = TableEncoder().fit(words, [Column("w", "category", "String")])
    with pytest.raises(InvalidInputError, match="columns of other kinds"):
        encoder.transform_sparse(csr_array(np.zeros((2, 1))))
