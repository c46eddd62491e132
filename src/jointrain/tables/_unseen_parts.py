"""Parts of the rows that a baseline predicts without having been fitted to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import groupby

import numpy as np

BASELINE_FITS = 4
"""How often a baseline is fitted, at most, to predict rows that it has not seen."""


def unseen_parts(
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield row numbers to fit to and others to predict, at most `BASELINE_FITS` times.

    Args:
        splits: For each member of an ensemble the rows trained on and those held out. Neighbours
            are taken together where there are more members than fits: their held-out rows are
            predicted by a fit to the rows that all of them train on.
    """
    count = min(BASELINE_FITS, len(splits))
    for _, numbers in groupby(range(len(splits)), lambda member: member * count // len(splits)):
        members = [splits[number] for number in numbers]
        # by group and time, some rows are neither trained on nor held out
        known = reduce(np.intersect1d, [train for train, _ in members])
        yield known, np.unique(np.concatenate([held_out for _, held_out in members]))
