from __future__ import annotations

import numpy as np

from jointrain.balancing.solvers._dense import Array


def linear_program(cost: Array, rows: Array, low: Array, free: int = 0) -> Array | None:
    r"""Minimise :math:`c^\top x` over the simplex with :math:`A x \ge b`; None if nothing fits.

    By scipy's HiGHS, the only solver of this folder that is not of our own.

    Args:
        cost: c.
        rows: A.
        low: b; minus infinity where there is no bound.
        free: How many unknowns, the last ones, are no part of the simplex, but any number.

    Shape:
        cost: [n], rows: [m, n], low: [m], float64; returns [n].
    """
    from scipy.optimize import linprog  # most methods do without it

    whole = np.ones(len(cost))
    whole[len(cost) - free :] = 0.0
    bounded = np.isfinite(low)
    found = linprog(
        cost,
        A_ub=-rows[bounded],
        b_ub=-low[bounded],
        A_eq=whole[None],
        b_eq=np.ones(1),
        bounds=[(0.0, None)] * (len(cost) - free) + [(None, None)] * free,
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if found.x is None or found.status != 0:
        return None
    x = np.asarray(found.x, dtype=np.float64)
    simplex = np.maximum(x[: len(x) - free], 0.0)
    return np.concatenate([simplex / simplex.sum(), x[len(x) - free :]])
