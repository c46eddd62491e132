"""Krum where two tasks are each other's nearest."""

from __future__ import annotations

import torch

from jointrain.balancing import Krum


def test_of_equal_scores_the_one_nearer_to_all_counts_in_any_order():
    rows = torch.tensor([[1.0], [1.125], [1.5], [3.0]], dtype=torch.float64)
    for order in ([0, 1, 2, 3], [1, 0, 3, 2]):
        some = rows[order]
        weights = Krum(byzantine=1).weights(some @ some.T, torch.ones(4))
        assert weights.tolist() == [float(i == 1) for i in order]
