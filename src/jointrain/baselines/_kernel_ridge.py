"""Kernel ridge regression: smooth functions of all inputs, of all targets at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from jointrain.baselines._baseline import JointBaseline
from jointrain.baselines._tree_arrays import Arrays
from jointrain.system import array_file
from jointrain.system.stored_files import DamagedError
from jointrain.task import Task

CENTRES = 1000
"""Rows that a function is made of at most; beyond, they are drawn."""

SAMPLED = 400
"""Rows by which kernel and penalties are chosen at most: a choice among a few needs no more."""

KERNELS = ("exponential", "gaussian")
FACTORS = (0.05, 0.2, 1.0, 3.0)
"""Of squared distances in units of their median."""

PENALTIES = 10.0 ** np.arange(-4, 2.1, 0.5)

ROUNDING = 1e-12
"""Of the squared lengths of two rows: a squared distance below is rounding."""

_FILE = "kernels.safetensors"
_ROWS = 4096
"""Rows that are predicted at a time."""


def kernel_of(kind: str, distances: np.ndarray) -> np.ndarray:
    r"""Return :math:`\exp(-\sqrt d)` (exponential) or :math:`\exp(-d)` of squared distances d."""
    return np.asarray(np.exp(-(np.sqrt(distances) if kind == "exponential" else distances)))


def squared_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the squared distances between rows, [n, m] of [n, d] and [m, d]."""
    lengths = (one**2).sum(1)[:, None] + (other**2).sum(1)[None]
    found = lengths - 2 * one @ other.T
    # a row has none from itself, whatever rounding says; a row far out says nothing of others
    found[found < ROUNDING * lengths] = 0.0
    return np.asarray(found)


@dataclass(frozen=True)
class KernelFunctions(Arrays):
    """Sums of kernels around centres, one for each of some targets.

    Shape:
        targets: [t]. kind: [1], a place in `KERNELS`. mean, scale: [d]; an input is standardised by
        them, and multiplied by the root of its distances' factor. centres: [m, d], so scaled.
        coefficients: [m, t]. intercept: [t].
    """

    targets: np.ndarray
    kind: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    centres: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray

    dtypes: ClassVar[Mapping[str, type]] = {
        "targets": np.int64, "kind": np.int64, "mean": np.float64, "scale": np.float64,
        "centres": np.float64, "coefficients": np.float64, "intercept": np.float64,
    }  # fmt: skip

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Return the values of its targets, [n, t]."""
        kind = KERNELS[int(self.kind[0])]
        found = [
            kernel_of(kind, squared_distances((rows - self.mean) / self.scale, self.centres))
            @ self.coefficients
            for rows in np.split(inputs.astype(np.float64), range(_ROWS, len(inputs), _ROWS))
        ]
        return np.asarray(np.concatenate(found) + self.intercept)

    def _check(self, inputs: int) -> None:
        shapes = [
            self.kind.shape == (1,) and 0 <= self.kind[0] < len(KERNELS),
            self.mean.shape == self.scale.shape == (inputs,) and bool((self.scale > 0).all()),
            self.centres.ndim == 2 and self.centres.shape[1] == inputs and len(self.centres) > 0,
            self.targets.ndim == 1 and self.intercept.shape == self.targets.shape,
            self.coefficients.shape == (len(self.centres), len(self.targets)),
        ]
        if not all(shapes):
            raise DamagedError("its kernels have another number of inputs, centres or targets")


class _Choice(NamedTuple):
    """A kernel: its kind, the factor of squared distances, and the penalty of each target."""

    kind: str
    factor: float
    penalties: np.ndarray


def _chosen(inputs: np.ndarray, values: np.ndarray, weights: np.ndarray) -> _Choice:
    """Return the kernel of the lowest error on rows left out one at a time, over all targets.

    With S the roots of the weights on a diagonal and K the kernel, a row's error without it is
    :math:`u_i / (s_i [(SKS + a I)^{-1}]_{ii})` for :math:`u = (SKS + a I)^{-1} S y`.

    Shape:
        inputs: [n, d], standardised. values: [n, t], of deviation 1. weights: [n].

    Source: Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, section 5.4.2.
    """
    distances = squared_distances(inputs, inputs)
    apart = distances[distances > 0]
    unit = float(np.median(apart)) if len(apart) else 1.0
    roots = np.sqrt(weights)[:, None]
    best, choice = np.inf, _Choice(KERNELS[0], 1 / unit, np.full(values.shape[1], 1.0))
    for kind in KERNELS:
        for factor in FACTORS:
            kernel = kernel_of(kind, distances * (factor / unit))
            lengths, directions = np.linalg.eigh(kernel * roots * roots.T)
            turned, squares = directions.T @ (values * roots), directions**2
            errors = np.empty((len(PENALTIES), values.shape[1]))
            for index, penalty in enumerate(PENALTIES):
                inverse = 1 / (np.maximum(lengths, 0) + penalty)
                left_out = directions @ (inverse[:, None] * turned)
                left_out /= roots * (squares @ inverse)[:, None]
                errors[index] = np.average(left_out**2, axis=0, weights=weights)
            total = float(errors.min(0).sum())
            if total < best:
                best, choice = total, _Choice(kind, factor / unit, PENALTIES[errors.argmin(0)])
    return choice


def fit_kernels(
    inputs: np.ndarray,
    values: np.ndarray,
    targets: Sequence[int],
    seed: int,
    weights: np.ndarray | None = None,
) -> KernelFunctions:
    """Fit a sum of kernels to each target, all with the same kernel and centres.

    Args:
        inputs: Encoded features.
        values: No label is missing.
        targets: What the targets are numbered.
        seed: Decides which rows are drawn where there are many.
        weights: How much each row counts; default all the same.

    Shape:
        inputs: [n, d]. values: [n, t]. targets: [t]. weights: [n].
    """
    counted = np.ones(len(inputs)) if weights is None else weights / weights.mean()
    numbers = inputs.astype(np.float64)
    mean, scale = _mean_and_scale(numbers, counted)
    middle, spread = _mean_and_scale(values, counted)
    scaled, wanted = (numbers - mean) / scale, (values - middle) / spread
    order = np.random.default_rng(seed).permutation(len(inputs))
    drawn = order[:SAMPLED]
    choice = _chosen(scaled[drawn], wanted[drawn], counted[drawn])
    root = np.sqrt(choice.factor)
    every = len(inputs) <= CENTRES
    centres = root * (scaled if every else scaled[order[:CENTRES]])
    between = kernel_of(choice.kind, squared_distances(centres, centres))
    if not every:
        # the function of these centres with the lowest penalised error over all rows
        squares, product = np.zeros_like(between), np.zeros((len(centres), values.shape[1]))
        for rows in np.split(np.arange(len(inputs)), range(_ROWS, len(inputs), _ROWS)):
            kernel = kernel_of(choice.kind, squared_distances(root * scaled[rows], centres))
            squares += kernel.T @ (counted[rows, None] * kernel)
            product += kernel.T @ (counted[rows, None] * wanted[rows])
        ridge = 1e-8 * np.trace(squares) / len(centres) * np.eye(len(centres))
    coefficients = np.empty((len(centres), values.shape[1]))
    for penalty in np.unique(choice.penalties):
        own = choice.penalties == penalty
        if every:
            system = between + penalty * np.diag(1 / counted)
            coefficients[:, own] = np.linalg.solve(system, wanted[:, own])
        else:
            system = squares + penalty * between + ridge
            coefficients[:, own] = np.linalg.solve(system, product[:, own])
    return KernelFunctions(
        np.array(targets, dtype=np.int64),
        np.array([KERNELS.index(choice.kind)]),
        mean,
        scale / root,
        centres,
        coefficients * spread,
        middle,
    )


def _mean_and_scale(values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column, 1 of a constant one."""
    mean = np.average(values, axis=0, weights=weights)
    deviation = np.sqrt(np.average((values - mean) ** 2, axis=0, weights=weights))
    return mean, np.where(deviation > 0, deviation, 1.0)


@dataclass(frozen=True)
class KernelModel:
    """Fitted functions of all targets; those whose labels are missing in the same rows together.

    Args:
        functions: The functions.
        targets: Number of targets.
    """

    functions: tuple[KernelFunctions, ...]
    targets: int

    def predict(self, inputs: np.ndarray) -> list[np.ndarray]:
        """Return values [n] of each target."""
        found = np.empty((self.targets, len(inputs)))
        for own in self.functions:
            found[own.targets] = own.predict(inputs).T
        return list(found)

    def to_files(self, inputs: int) -> dict[str, bytes]:
        """Return the arrays as a file."""
        arrays: dict[str, np.ndarray] = {}
        for index, own in enumerate(self.functions):
            KernelFunctions.from_arrays(own.to_arrays(), inputs)
            arrays |= {f"{index}.{name}": array for name, array in own.to_arrays().items()}
        return {_FILE: array_file.to_bytes(arrays)}

    def to_json(self) -> dict[str, Any]:
        """Return how many functions there are."""
        return {"functions": len(self.functions)}

    @classmethod
    def read(
        cls, files: Mapping[str, bytes], described: Mapping[str, Any], inputs: int, targets: int
    ) -> KernelModel:
        """Return the model that `to_files` and `to_json` made.

        Raises:
            DamagedError: The files hold something else.
        """
        grouped: dict[str, dict[str, np.ndarray]] = {}
        for name, array in array_file.from_bytes(files[_FILE])[1].items():
            index, _, key = name.partition(".")
            grouped.setdefault(index, {})[key] = array
        if set(grouped) != {str(index) for index in range(described["functions"])}:
            raise DamagedError("its kernels are of another number")
        functions = tuple(
            KernelFunctions.from_arrays(grouped[str(index)], inputs)
            for index in range(described["functions"])
        )
        predicted = sorted(np.concatenate([own.targets for own in functions]).tolist())
        if predicted != list(range(targets)):
            raise DamagedError("its kernels predict other targets")
        return cls(functions, targets)


class KernelRidge(JointBaseline):
    """Kernel ridge regression of all numbers, its kernel and penalties by rows left out.

    The inputs are standardised. The kernel is exp(-r) or exp(-r^2) of the distance r in one of four
    units, the same for all targets; each has one of 13 penalties. Both are those of the lowest
    squared error on 400 rows, each predicted without itself. Up to 1,000 rows the function is
    that of scikit-learn's `KernelRidge` on targets less their means; of more, 1,000 drawn ones are
    its centres, and all rows have a say (subset of regressors).

    Source: Saunders, Gammerman and Vovk, "Ridge Regression Learning Algorithm in Dual Variables",
        ICML 1998; Smola and Schölkopf, "Sparse Greedy Matrix Approximation for Machine Learning",
        ICML 2000 (drawn centres).
    """

    name = "kernel ridge"
    in_words = "kernel ridge regression"
    one_hot = True
    alone = None

    def why_not(self, tasks: Sequence[Task]) -> str | None:
        if any(task.in_table.objective == "problems" for task in tasks):
            return "some targets have several numbers a row"
        return "some targets are classes" if any(task.has_classes for task in tasks) else None

    def fit(
        self,
        inputs: np.ndarray,
        labels: np.ndarray,
        classes: Sequence[int],
        seed: int,
        weights: np.ndarray | None = None,
    ) -> KernelModel:
        values = labels.astype(np.float64)
        known = np.isfinite(values)
        patterns: dict[bytes, list[int]] = {}
        for target in range(len(classes)):
            patterns.setdefault(known[:, target].tobytes(), []).append(target)
        functions = []
        for targets in patterns.values():
            rows = known[:, targets[0]]
            of_rows = None if weights is None else weights[rows]
            functions.append(
                fit_kernels(inputs[rows], values[rows][:, targets], targets, seed, of_rows)
            )
        return KernelModel(tuple(functions), len(classes))

    def read(
        self,
        files: Mapping[str, bytes],
        described: Mapping[str, Any],
        inputs: int,
        classes: Sequence[int],
    ) -> KernelModel:
        return KernelModel.read(files, described, inputs, len(classes))
