from __future__ import annotations

import numpy as np

from jointrain.balancing.solvers._dense import Array, cholesky, eigen, solve_positive


def equal_cosine_weights(gramian: Array, lengths: Array) -> Array:
    r"""Return v with :math:`G v = \ell`, the lengths: an update with equal shares of all gradients.

    :math:`J^\top v` has the same projection onto every unit gradient. The least-squares solution
    of least length if G is singular.

    Shape:
        gramian: [t, t], float64; lengths: [t], its diagonal's square root; returns [t].
    """
    t = len(lengths)
    if t == 2 and lengths.all():
        cosine = gramian[0, 1] / lengths[0] / lengths[1]
        if abs(cosine) < 1.0 - 1e-10:
            return np.asarray(1.0 / (lengths * (1.0 + cosine)))
    scale = np.divide(1.0, lengths, out=np.zeros(t), where=lengths > 0.0)
    if scale.all():
        cosines = gramian * scale[:, None] * scale
        factor = cholesky(cosines)
        if factor is not None and factor.diagonal().min() > 1e-5:
            return solve_positive(cosines, np.ones(t))[0] * scale
    top = lengths.max()
    if top == 0.0:
        return np.zeros(t)
    # lengths relative to the longest: entries of 1e300 would overflow
    values, vectors = eigen(gramian / top / top)
    kept = values > t * np.finfo(np.float64).eps * values[-1]
    part = vectors[:, kept]
    return np.asarray(part @ ((part.T @ (lengths / top)) / values[kept]) / top)
