"""Piecewise-linear encoding of numeric features: what makes networks good on tables."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from jointrain.errors import InvalidInputError


class PiecewiseLinearEncoding(nn.Module):
    r"""Adds to each numeric feature how far it has got through each bin between its quantiles.

    With bin edges :math:`b_0 < \dots < b_k`, feature x gives :math:`(x - b_{i-1}) / (b_i -
    b_{i-1})` for bin i, clipped to [0, 1] except below the first and above the last edge. A linear
    layer on top is then a piecewise-linear function of each feature. Features with two values or
    fewer (as of one-hot encoded categories) get no bins.

    Args:
        in_features: Number of features, d.

    Shape:
        forward: [b, d] -> [b, d + m] with m bins in all, those of the first feature first. Before
        `fit`, m = 0.

    Source: Gorishniy, Rubachev & Babenko, "On Embeddings for Numerical Features in Tabular Deep
        Learning", NeurIPS 2022, section 3.1, eq. (1); quantiles as in section 3.1.1.
    Differs from the source: the features themselves stay beside their bins.
    """

    column: Tensor
    """The feature of each bin, [m]."""
    edges: Tensor
    """Lower and upper edge of each bin, [2, m]."""
    limits: Tensor
    """Smallest and largest output of each bin, [2, m]: 0 and 1, or infinite at the ends."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        if in_features < 1:
            raise InvalidInputError(f"`in_features` must be at least 1, got {in_features}")
        self.in_features = in_features
        self.register_buffer("column", torch.zeros(0, dtype=torch.long))
        self.register_buffer("edges", torch.zeros(2, 0))
        self.register_buffer("limits", torch.zeros(2, 0))

    @property
    def out_features(self) -> int:
        """Width of the output, d + m."""
        return self.in_features + len(self.column)

    def fit(self, inputs: Tensor, bins: int = 8) -> PiecewiseLinearEncoding:
        """Take the bin edges from the quantiles of each feature; fewer where quantiles coincide.

        Args:
            inputs: Training rows.
            bins: Bins of a feature at most, at least 1; default 8.

        Shape:
            inputs: [n, d].

        Raises:
            InvalidInputError: There are no rows, their width is another, or `bins` is below 1.
        """
        if inputs.ndim != 2 or inputs.shape[1] != self.in_features or not len(inputs):
            raise InvalidInputError(
                f"the encoding takes rows of {self.in_features} features, got shape "
                f"{tuple(inputs.shape)}"
            )
        if bins < 1:
            raise InvalidInputError(f"`bins` must be at least 1, got {bins}")
        # sorting once gives the quantiles of all features
        ordered = inputs.sort(0).values
        at = torch.linspace(0, len(inputs) - 1, bins + 1).round().long()
        columns, edges, limits = [], [], []
        for index in numeric_columns(inputs).tolist():
            border = torch.unique_consecutive(ordered[at, index])
            count = len(border) - 1
            if count < 1:
                continue
            limit = torch.stack([border.new_zeros(count), border.new_ones(count)])
            limit[0, 0], limit[1, -1] = -torch.inf, torch.inf
            columns += [index] * count
            edges.append(torch.stack([border[:-1], border[1:]]))
            limits.append(limit)
        empty = inputs.new_zeros(2, 0)
        self.column = torch.tensor(columns, dtype=torch.long, device=inputs.device)
        self.edges = torch.cat([empty, *edges], 1)
        self.limits = torch.cat([empty, *limits], 1)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the features with their bins behind them."""
        if not len(self.column):
            return inputs
        lower, upper = self.edges
        passed = (inputs[:, self.column] - lower) / (upper - lower)
        return torch.cat([inputs, passed.clamp(self.limits[0], self.limits[1])], 1)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # the number of bins is learned, so stored edges say how many there are
        for name in ("column", "edges", "limits"):
            stored = state_dict.get(prefix + name)
            if stored is not None:
                setattr(self, name, torch.empty_like(getattr(self, name)).new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


def numeric_columns(inputs: Tensor) -> Tensor:
    """Return the numbers of the columns of `inputs`, [n, d], that hold more than two values."""
    low, high = inputs.min(0).values, inputs.max(0).values
    return ((inputs != low) & (inputs != high)).any(0).nonzero().squeeze(1)
