"""Piecewise-linear encoding of numeric features: what makes networks good on tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

LARGEST = 8
"""Bins of a feature, where there are few features."""
_WIDEST = 512
"""Bins of all features together, about; more would cost more than they bring."""


class PiecewiseLinearEncoding:
    r"""How far each numeric feature has got through each bin between its quantiles.

    With bin edges :math:`b_0 < \dots < b_k`, feature x gives :math:`(x - b_{i-1}) / (b_i -
    b_{i-1})` for bin i, clipped to [0, 1] except below the first and above the last edge. A linear
    layer on top is then a piecewise-linear function of each feature. Features with two values or
    fewer (as of one-hot encoded categories) get no bins.

    Args:
        column: The feature of each bin, [m].
        edges: Lower and upper edge of each bin, [2, m].
        ends: Whether a bin is the first or the last of its feature, [2, m].

    Source: Gorishniy, Rubachev & Babenko, "On Embeddings for Numerical Features in Tabular Deep
        Learning", NeurIPS 2022, section 3.1, eq. (1); quantiles as in section 3.1.1.
    Differs from the source: the features themselves stay beside their bins. The authors' package
        (``rtdl_num_embeddings``) has the same as a torch layer; here it is arrays, which an encoder
        file can hold.
    """

    def __init__(self, column: np.ndarray, edges: np.ndarray, ends: np.ndarray) -> None:
        if not (len(column) == edges.shape[1] == ends.shape[1]):
            raise ValueError("columns and edges differ in number")
        self.column, self.edges, self.ends = column, edges, ends

    @classmethod
    def fit(cls, inputs: np.ndarray, bins: int | None = None) -> PiecewiseLinearEncoding:
        """Take the bin edges from the quantiles of each feature; fewer where quantiles coincide.

        Args:
            inputs: Training rows, [n, d].
            bins: Bins of a feature at most; 0 for none. None (default): 8, or so many fewer that
                all features together have about 512; none below 2.
        """
        numeric = numeric_columns(inputs)
        if bins is None:
            bins = cls.chosen_bins(len(numeric))
        columns: list[int] = []
        lower: list[np.ndarray] = []
        upper: list[np.ndarray] = []
        for index in numeric if bins else ():
            # edges that are values of the feature, as its quantiles may lie between equal ones
            shares = np.linspace(0, 1, bins + 1)
            border = np.unique(np.quantile(inputs[:, index], shares, method="nearest"))
            columns += [int(index)] * (len(border) - 1)
            lower.append(border[:-1])
            upper.append(border[1:])
        column = np.array(columns, dtype=np.int64)
        edges = np.array([np.concatenate(side) if side else [] for side in (lower, upper)])
        first = np.diff(column, prepend=-1) != 0
        last = np.diff(column, append=-1) != 0
        return cls(column, edges.astype(np.float32).reshape(2, -1), np.stack([first, last]))

    @staticmethod
    def chosen_bins(features: int) -> int:
        """Return how many bins a feature gets at most where there are so many, as `fit` says."""
        bins = min(LARGEST, _WIDEST // max(features, 1))
        return bins if bins > 1 else 0

    def transform(self, inputs: np.ndarray) -> np.ndarray:
        """Return the place of each row in each bin.

        Shape:
            inputs: [n, d]. returns: [n, m].
        """
        passed = inputs[:, self.column]
        passed -= self.edges[0]
        passed /= self.edges[1] - self.edges[0]
        low = np.where(self.ends[0], -np.inf, 0).astype(passed.dtype)
        high = np.where(self.ends[1], np.inf, 1).astype(passed.dtype)
        return np.clip(passed, low, high, out=passed)

    def state(self) -> dict[str, np.ndarray]:
        """Return what is stored."""
        return {"column": self.column, "edges": self.edges, "ends": self.ends}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray]) -> PiecewiseLinearEncoding:
        """Return the encoding of a state; a state that fits none raises ValueError."""
        column, edges, ends = arrays["column"], arrays["edges"], arrays["ends"]
        types = [array.dtype.str for array in (column, edges, ends)]
        if types != ["<i8", "<f4", "|b1"] or column.ndim != 1:
            raise ValueError("bins of another type")
        if edges.shape != (2, len(column)) or ends.shape != edges.shape or (column < 0).any():
            raise ValueError("columns and edges differ in number")
        if not np.isfinite(edges).all() or not (edges[0] < edges[1]).all():
            raise ValueError("a bin has no width")
        return cls(column, edges, ends)


def numeric_columns(inputs: np.ndarray) -> np.ndarray:
    """Return the numbers of the columns of `inputs`, [n, d], that hold more than two values."""
    between = (inputs != inputs.min(0)) & (inputs != inputs.max(0))
    return np.flatnonzero(between.any(0))
