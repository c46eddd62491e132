from __future__ import annotations

import numpy as np

from jointrain.balancing.solvers._dense import (
    FLOAT64,
    Array,
    cholesky,
    components,
    cutoff,
    solve_positive,
)


def equal_cosine_weights(gramian: Array, lengths: Array, rounding: float = FLOAT64) -> Array:
    r"""Return v with :math:`G v = \ell`, the lengths: an update with equal shares of all gradients.

    :math:`J^\top v` has the same projection onto every unit gradient. The least-squares solution
    of least length if G is singular.

    Shape:
        gramian: [t, t], float64; lengths: [t], its diagonal's square root; rounding: that of an
        entry over its two lengths; returns [t].
    """
    t = len(lengths)
    if t == 2 and lengths.all():
        cosine = gramian[0, 1] / lengths[0] / lengths[1]
        if abs(cosine) < 1.0 - max(1e-10, cutoff(t, rounding)):
            return np.asarray(1.0 / (lengths * (1.0 + cosine)))
    scale = np.divide(1.0, lengths, out=np.zeros(t), where=lengths > 0.0)
    if scale.all():
        cosines = gramian * scale[:, None] * scale
        factor = cholesky(cosines)
        # well above what rounding could have made of a singular matrix
        least = max(1e-10, 100.0 * cutoff(t, rounding))
        if factor is not None and factor.diagonal().min() ** 2 > least:
            return solve_positive(cosines, np.ones(t))[0] * scale
    top = lengths.max()
    if top == 0.0:
        return np.zeros(t)
    # lengths relative to the longest: entries of 1e300 would overflow
    values, part = components(gramian / top / top, rounding)
    wanted = part.T @ (lengths / top)
    # rounding turns a component that is to be had by no means into one that is hard to have
    found = np.abs(wanted) * values > cutoff(t, rounding) * np.linalg.norm(lengths / top)
    return np.asarray(part @ np.where(found, wanted / values, 0.0) / top)
