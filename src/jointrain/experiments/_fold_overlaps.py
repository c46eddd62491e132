"""How much the test rows of the folds of a study are the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jointrain.experiments._fold import Fold
from jointrain.task import Task, labels_of


def fold_overlaps(
    tasks: Sequence[Task],
    labels: np.ndarray,
    folds: Sequence[Fold],
    groups: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return by task how much the test rows of any two folds are the same.

    Rows that belong together count as one: a group's rows. Of a binary task, those of the rarer
    class count, for its ROC-AUC hangs on them. If each such unit had an effect of its own on a
    fold's metric, and nothing else had, the overlap would be the correlation of two folds.

    Args:
        tasks: The tasks.
        labels: NaN where one is missing.
        folds: The folds of all seeds.
        groups: Group of each row.

    Shape:
        labels: [n, w]. groups: [n]. returns: [J, J] each, in the order of the folds.

    Returns:
        1 on the diagonal, 0 between folds of one seed, which test different rows.
    """
    units = np.arange(len(labels)) if groups is None else np.unique(groups, return_inverse=True)[1]
    found = {}
    known: dict[bytes, np.ndarray] = {}
    for task, own in zip(tasks, labels_of(labels, tasks), strict=True):
        deciding = task.in_table.deciding(own)
        # many targets with all labels decide by the same rows
        key = deciding.tobytes()
        if key not in known:
            known[key] = _overlap(folds, units, deciding)
        found[task.name] = known[key]
    return found


def _overlap(folds: Sequence[Fold], units: np.ndarray, deciding: np.ndarray) -> np.ndarray:
    """Return the overlap of folds by the rows that decide, [J, J]."""
    from scipy.sparse import csr_matrix

    rows = [fold.test[deciding[fold.test]] for fold in folds]
    where = np.repeat(np.arange(len(folds)), [len(one) for one in rows])
    tested = units[np.concatenate(rows)] if rows else units[:0]
    # [J, u]: how many of a unit's rows each fold tests; equal entries are summed
    count = int(units.max()) + 1 if len(units) else 0
    weights = csr_matrix((np.ones(len(where)), (where, tested)), (len(folds), count))
    sizes = np.sqrt(np.asarray(weights.multiply(weights).sum(1)).ravel())
    shared = (weights @ weights.T).toarray()
    overlap = shared / np.maximum(np.outer(sizes, sizes), 1e-300)
    np.fill_diagonal(overlap, 1.0)
    return np.asarray(overlap)
