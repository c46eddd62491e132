from __future__ import annotations

import numpy as np

from jointrain.balancing.solvers._dense import Array
from jointrain.errors import NonFiniteError


def project_onto_simplex(point: Array) -> Array:
    r"""Return the point of the simplex :math:`w \ge 0,\ \sum_i w_i = 1` nearest to `point`.

    Shape:
        point: [t], float64; returns [t].

    Raises:
        NonFiniteError: The point is NaN or infinite.

    Source: Held, Wolfe, Crowder, "Validation of subgradient optimization", Mathematical
        Programming 1974. Written from the paper.
    """
    if not np.isfinite(point).all():
        raise NonFiniteError(
            "A step of the weights is NaN or infinite, though the gradients are finite. Divide the "
            "losses by a constant, or take smaller steps."
        )
    ordered = np.sort(point)[::-1]
    # relative to the largest entry, so that entries of 1e150 leave the 1 its weight
    ordered = ordered - ordered[0]
    levels = (np.cumsum(ordered) - 1.0) / np.arange(1, len(point) + 1)
    level = levels[np.flatnonzero(ordered > levels)[-1]]
    return np.asarray(np.maximum(point - point.max() - level, 0.0))
