"""Means of a target by the values of id columns: what a line can do with ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from jointrain.baselines._tree_arrays import rising
from jointrain.system.stored_files import DamagedError

FOLDS = 5
"""The rows that a line is fitted to get means of the other folds' rows."""

_MOST_SMOOTH = 1e9
"""So many rows of the mean of all rows: the values of a column tell nothing."""


def _no_places() -> np.ndarray:
    return np.zeros(0, dtype=np.int64)


def _one_start() -> np.ndarray:
    return np.zeros(1, dtype=np.int64)


def _no_means() -> np.ndarray:
    return np.zeros((0, 1))


@dataclass(frozen=True)
class IdMeans:
    """The shrunken mean of the target for each value of each column of codes.

    A mean of n rows is drawn to the mean of all rows as if it had m rows more with that one,
    m being the variance within values over that between them (one-way analysis of variance, by
    column and output): scikit-learn's ``TargetEncoder(smooth=m)``. Source: Micci-Barreca, "A
    Preprocessing Scheme for High-Cardinality Categorical Attributes", SIGKDD Explorations 2001.

    Args:
        places: The inputs that are codes, from -1 on for what is missing or unknown.
        starts: Where each column's means begin, and the end of the last.
        means: Of the codes -1, 0, 1, ... of each column.

    Shape:
        places: [k]. starts: [k + 1]. means: [values, s], s outputs.
    """

    places: np.ndarray = field(default_factory=_no_places)
    starts: np.ndarray = field(default_factory=_one_start)
    means: np.ndarray = field(default_factory=_no_means)

    @classmethod
    def fit(
        cls,
        inputs: np.ndarray,
        outputs: np.ndarray,
        places: Sequence[int],
        weights: np.ndarray | None = None,
        *,
        log: bool = False,
    ) -> Self:
        """Return the means of all rows.

        Args:
            inputs: Codes among other numbers.
            outputs: What means are taken of.
            places: The inputs that are codes.
            weights: How much each row counts.
            log: Whether to take their logarithms: for a line of the logarithms of rates. A mean
                counts as a thousandth of that of all rows at least.

        Shape:
            inputs: [n, d]. outputs: [n, s]. weights: [n], default all 1.
        """
        counted = np.ones(len(outputs)) if weights is None else weights
        tables = [_shrunken(inputs[:, place], outputs, counted) for place in places]
        starts = np.cumsum([0, *map(len, tables)], dtype=np.int64)
        means = np.concatenate([_no_means()[:, :0].reshape(0, outputs.shape[1]), *tables])
        if log:
            least = 1e-3 * np.average(outputs, axis=0, weights=weights)
            means = np.log(np.maximum(means, np.maximum(least, np.finfo(np.float64).tiny)))
        return cls(np.array(places, dtype=np.int64), starts, means)

    def put_in(self, inputs: np.ndarray) -> np.ndarray:
        """Return the inputs without codes, then the means in their place.

        Shape:
            inputs: [n, d]. returns: [n, d - k + k * s].
        """
        if not len(self.places):
            return inputs
        plain = np.delete(inputs, self.places, axis=1).astype(np.float64)
        looked_up = []
        for index, place in enumerate(self.places.tolist()):
            own = self.means[self.starts[index] : self.starts[index + 1]]
            rows = inputs[:, place] + 1
            # a code that fitting never saw is as one that is missing
            inside = (rows >= 0) & (rows < len(own))
            looked_up.append(own[np.where(inside, rows, 0).astype(np.int64)])
        return np.concatenate([plain, *looked_up], axis=1)

    def width(self, inputs: int) -> int:
        """Return the number of columns of `put_in`.

        Raises:
            DamagedError: These are no means of codes among so many inputs.
        """
        places, starts = self.places, self.starts
        if (
            places.ndim != 1
            or self.means.ndim != 2
            or not rising(places)
            or (len(places) and not 0 <= places[0] <= places[-1] < inputs)
        ):
            raise DamagedError("its means of ids have another number of inputs")
        if (
            starts.shape != (len(places) + 1,)
            or starts[0] != 0
            or starts[-1] != len(self.means)
            or not rising(starts)
        ):
            raise DamagedError("its means of ids do not fill their array")
        return inputs - len(places) + len(places) * int(self.means.shape[1])


def cross_fitted(
    inputs: np.ndarray,
    outputs: np.ndarray,
    places: Sequence[int],
    seed: int,
    weights: np.ndarray | None = None,
    *,
    log: bool = False,
) -> tuple[np.ndarray, IdMeans]:
    """Return the inputs of the rows with means that their own labels are no part of, and all means.

    A line that were fitted to means of the very labels would trust them too much: a value in one
    row would tell its label.

    Shape:
        inputs: [n, d]. outputs: [n, s]. weights: [n]. returns: [n, d - k + k * s].
    """
    means = IdMeans.fit(inputs, outputs, places, weights, log=log)
    if not places:
        return inputs.astype(np.float64), means
    fold = np.random.default_rng(seed).permutation(len(inputs)) % FOLDS
    found = np.empty((len(inputs), means.width(inputs.shape[1])))
    for number in range(min(FOLDS, len(inputs))):
        own, others = fold == number, fold != number
        of_others = None if weights is None else weights[others]
        fitted = IdMeans.fit(inputs[others], outputs[others], places, of_others, log=log)
        found[own] = fitted.put_in(inputs[own])
    return found, means


def class_outputs(codes: np.ndarray, classes: int) -> np.ndarray:
    """Return 0/1 for each class, of two for the second alone, [n, s]; of numbers themselves."""
    if not classes:
        return codes[:, None].astype(np.float64)
    first = 1 if classes == 2 else 0
    return np.asarray(codes[:, None] == np.arange(first, classes), dtype=np.float64)


def id_arrays(ids: IdMeans) -> dict[str, np.ndarray]:
    """Return the means as arrays by name; none where there are no ids."""
    if not len(ids.places):
        return {}
    return {stored: getattr(ids, name) for stored, name in _NAMES.items()}


def means_of(arrays: Mapping[str, np.ndarray]) -> tuple[IdMeans, dict[str, np.ndarray]]:
    """Return the means among arrays, and the other arrays.

    Raises:
        DamagedError: They are of other types, or some are missing.
    """
    own = {name: arrays[stored] for stored, name in _NAMES.items() if stored in arrays}
    others = {name: array for name, array in arrays.items() if name not in _NAMES}
    if not own:
        return IdMeans(), others
    if set(own) != set(_DTYPES) or any(own[name].dtype != _DTYPES[name] for name in own):
        raise DamagedError("its means of ids have other names or types")
    if not np.isfinite(own["means"]).all():
        raise DamagedError("its means of ids hold a value that is no number")
    return IdMeans(**own), others


_DTYPES: dict[str, type] = {"places": np.int64, "starts": np.int64, "means": np.float64}
_NAMES = {f"id_{name}": name for name in _DTYPES}


def _shrunken(codes: np.ndarray, outputs: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the mean for each of the codes -1, 0, 1, ..., shrunken, [v, s].

    Shape:
        codes, weights: [n]. outputs: [n, s].
    """
    rows = codes.astype(np.int64) + 1
    total = weights.sum()
    mean = weights @ outputs / total
    counts = np.bincount(rows, weights)
    sums = np.stack([np.bincount(rows, weights * column) for column in (outputs - mean).T], axis=1)
    held = counts > 0
    own = np.zeros_like(sums)
    own[held] = sums[held] / counts[held, None]
    # one-way analysis of variance
    between = (counts[:, None] * own**2).sum(0)
    within = np.maximum(weights @ (outputs - mean) ** 2 - between, 0.0)
    values = int(held.sum())
    spread = total - (counts**2).sum() / total
    smooth = np.full(outputs.shape[1], _MOST_SMOOTH)
    if total > values > 1 and spread > 0:
        noise = within / (total - values)
        variance = (between - (values - 1) * noise) / spread
        told = variance * _MOST_SMOOTH > noise
        smooth[told] = noise[told] / variance[told]
    shares = counts[:, None] / np.maximum(counts[:, None] + smooth, np.finfo(np.float64).tiny)
    return np.asarray(mean + shares * own)
