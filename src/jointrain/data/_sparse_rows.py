"""Rows of a sparse matrix as inputs of networks: dense only batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from jointrain.data._blocks import NumericBlock, robust_scale, squashed
from jointrain.data._piecewise_linear import PiecewiseLinearEncoding

if TYPE_CHECKING:  # its import would take longer than the prediction of a row
    from scipy.sparse import csc_array, csr_array

_AT_ONCE = 4_000_000
"""Numbers of a part that is made dense."""


class SparseRows:
    """Encoded rows that a network reads as a dense matrix, and that memory holds as a sparse one.

    It has what data in memory need of a tensor: length, slices, `index_select`, `to`, `double`.

    Args:
        encoded: The encoding of the entries that are there, [n, d], float32.
        empty: The encoding of a row without entries, [d].
        pieces: Makes further columns of them; default none.
        device: Where dense rows are wanted.
        dtype: Of dense rows.
    """

    def __init__(
        self,
        encoded: csr_array,
        empty: np.ndarray,
        pieces: PiecewiseLinearEncoding | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._encoded, self._empty, self._pieces = encoded, empty, pieces
        self.device, self.dtype = torch.device(device), dtype

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the dense matrix."""
        more = 0 if self._pieces is None else len(self._pieces.column)
        return self._encoded.shape[0], len(self._empty) + more

    @property
    def rows_at_once(self) -> int:
        """How many rows are made dense at once where no gradient is needed."""
        return max(1, _AT_ONCE // max(self.shape[1], 1))

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def _of(self, encoded: csr_array) -> SparseRows:
        return SparseRows(encoded, self._empty, self._pieces, self.device, self.dtype)

    def __getitem__(self, rows: slice) -> SparseRows:
        """Return a stretch of rows."""
        return self._of(self._encoded[rows])

    def index_select(self, dimension: int, rows: Tensor) -> SparseRows:
        """Return rows by their numbers; the dimension is 0."""
        assert dimension == 0
        return self._of(self._encoded[rows.cpu().numpy()])

    def to(self, device: torch.device | str) -> SparseRows:
        """Return the rows; dense ones will be on `device`."""
        return SparseRows(self._encoded, self._empty, self._pieces, device, self.dtype)

    def double(self) -> SparseRows:
        """Return the rows; dense ones will be of float64."""
        return SparseRows(self._encoded, self._empty, self._pieces, self.device, torch.float64)

    def dense_rows(self) -> Tensor:
        """Return the rows as a tensor, [n, d]."""
        rows = self._encoded
        found = np.empty((rows.shape[0], len(self._empty)), dtype=np.float32)
        found[:] = self._empty
        found[np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), rows.indices] = rows.data
        if self._pieces is not None:
            found = np.concatenate([found, self._pieces.transform(found)], axis=1)
        return torch.from_numpy(found).to(self.device, self.dtype)


def varying_columns(matrix: csr_array) -> np.ndarray:
    """Return the numbers of the columns that hold more than one value; NaN is one."""
    from scipy.sparse import csc_array

    columns = csc_array(matrix)
    columns.sum_duplicates()
    entries = np.diff(columns.indptr)
    filled = entries == columns.shape[0]
    varies = np.zeros(columns.shape[1], dtype=bool)
    for index in np.flatnonzero(entries).tolist():
        values = columns.data[columns.indptr[index] : columns.indptr[index + 1]]
        first = values[0] if filled[index] else 0.0
        same = np.isnan(values) if np.isnan(first) else values == first
        varies[index] = not same.all()
    return np.flatnonzero(varies)


def fit_numeric(matrix: csr_array, names: list[str]) -> NumericBlock:
    """Return the block that `NumericBlock.fit` gives for the dense matrix.

    Columns whose quartiles are all 0, as most are, are read by their entries; others are made dense
    a few at a time.
    """
    from scipy.sparse import csc_array

    columns = csc_array(matrix)
    columns.sum_duplicates()
    rows, count = columns.shape
    of_column = np.repeat(np.arange(count), np.diff(columns.indptr))
    absent = np.isnan(columns.data)
    missing = np.bincount(of_column[absent], minlength=count)
    below = np.bincount(of_column[columns.data < 0], minlength=count)
    above = np.bincount(of_column[columns.data > 0], minlength=count)
    last = rows - missing - 1
    # the quartiles lie between these ranks
    low, high = np.floor(0.25 * last), np.minimum(np.floor(0.75 * last) + 1, last)
    of_zeros = (last >= 0) & (below <= low) & (high < rows - missing - above)
    least, most = np.zeros(count), np.zeros(count)
    np.minimum.at(least, of_column[~absent], columns.data[~absent])
    np.maximum.at(most, of_column[~absent], columns.data[~absent])
    center, scale = np.zeros(count), np.zeros(count)
    with np.errstate(divide="ignore", over="ignore"):
        of_extremes = 2 / (most - least)
    usable = of_zeros & np.isfinite(of_extremes)
    scale[usable] = of_extremes[usable]
    for part in _chunks(np.flatnonzero(~of_zeros), rows):
        center[part], scale[part] = robust_scale(columns[:, part].toarray())
    return NumericBlock(names, center, scale, missing > 0)


def encode_numeric(
    matrix: csr_array, block: NumericBlock, pieces: PiecewiseLinearEncoding | None = None
) -> SparseRows:
    """Return the rows as the block, and the bins behind it, encode them."""
    from scipy.sparse import csr_array

    matrix = csr_array(matrix, dtype=np.float64, copy=True)
    matrix.sum_duplicates()
    absent = np.isnan(matrix.data)
    marked = absent & block.missing[matrix.indices]
    marks = len(block.names) + np.cumsum(block.missing) - 1
    values = squashed(matrix.data, block.center[matrix.indices], block.scale[matrix.indices])
    empty = np.zeros(len(block.names) + int(block.missing.sum()), dtype=np.float32)
    empty[: len(block.names)] = squashed(np.zeros(len(block.names)), block.center, block.scale)
    of_rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    # an entry may be encoded as 0, so they are put side by side, not added up
    places = np.concatenate([of_rows, of_rows[marked]])
    indices = np.concatenate([matrix.indices, marks[matrix.indices[marked]]])
    entries = np.concatenate([values, np.ones(int(marked.sum()))]).astype(np.float32)
    order = np.argsort(places, kind="stable")
    ends = np.concatenate([[0], np.cumsum(np.bincount(places, minlength=matrix.shape[0]))])
    shape = (matrix.shape[0], len(empty))
    encoded = csr_array((entries[order], indices[order], ends), shape=shape)
    return SparseRows(encoded, empty, pieces)


def fit_pieces(
    matrix: csr_array, block: NumericBlock, bins: int | None
) -> PiecewiseLinearEncoding | None:
    """Return the bins that `PiecewiseLinearEncoding.fit` gives for the dense encoding."""
    if bins == 0:
        return None
    from scipy.sparse import csc_array

    columns = csc_array(matrix)
    numeric = [i for i in range(columns.shape[1]) if _has_three(columns, i, block)]
    if bins is None:
        bins = PiecewiseLinearEncoding.chosen_bins(len(numeric))
    if not bins:
        return None
    found = []
    for index in numeric:
        values = columns[:, [index]].toarray().astype(np.float64)
        scaled = squashed(values, block.center[index], block.scale[index]).astype(np.float32)
        one = PiecewiseLinearEncoding.fit(scaled, bins)
        found.append((np.full(len(one.column), index, dtype=np.int64), one.edges, one.ends))
    if not found:
        return PiecewiseLinearEncoding.fit(np.zeros((1, 0), dtype=np.float32), 0)
    return PiecewiseLinearEncoding(
        *(np.concatenate(part, axis=-1) for part in zip(*found, strict=True))
    )


def _has_three(columns: csc_array, index: int, block: NumericBlock) -> bool:
    """Return whether a column holds more than two values once it is encoded."""
    values = np.unique(columns.data[columns.indptr[index] : columns.indptr[index + 1]])
    if columns.indptr[index + 1] - columns.indptr[index] < columns.shape[0]:
        values = np.append(values, 0.0)
    scaled = squashed(values.astype(np.float64), block.center[index], block.scale[index])
    return len(np.unique(scaled.astype(np.float32))) > 2


def _chunks(columns: np.ndarray, rows: int) -> Iterator[np.ndarray]:
    size = max(1, _AT_ONCE // max(rows, 1))
    for start in range(0, len(columns), size):
        yield columns[start : start + size]


def is_sparse(value: Any) -> bool:
    """Return whether it is a sparse matrix or array of scipy."""
    return hasattr(value, "tocsr") and hasattr(value, "nnz")
