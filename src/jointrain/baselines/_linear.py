"""Linear models: ridge, Poisson, quantile and logistic regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np

from jointrain.baselines._baseline import TargetBaseline
from jointrain.baselines._id_means import IdMeans, class_outputs, cross_fitted, id_arrays, means_of
from jointrain.baselines._tree_arrays import Arrays
from jointrain.system.stored_files import DamagedError


@dataclass(frozen=True)
class _Lines(Arrays):
    """Standardised inputs, with means in place of ids, and a line for each output.

    Shape:
        mean, scale: [d]. coefficients: [k, d]. intercept: [k].
    """

    mean: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray
    ids: IdMeans = field(default_factory=IdMeans)

    dtypes: ClassVar[Mapping[str, type]] = {
        "mean": np.float64, "scale": np.float64, "coefficients": np.float64,
        "intercept": np.float64,
    }  # fmt: skip

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Return the outputs, [n, k]."""
        inputs = self.ids.put_in(inputs)
        return np.asarray(
            ((inputs - self.mean) / self.scale) @ self.coefficients.T + self.intercept
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays by name; those of ids if there are some."""
        return {name: getattr(self, name) for name in self.dtypes} | id_arrays(self.ids)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], inputs: int) -> Self:
        """Return what `to_arrays` gave, after checking it.

        Raises:
            DamagedError: The arrays hold something else.
        """
        ids, others = means_of(arrays)
        width = ids.width(inputs)
        return replace(super().from_arrays(others, width), ids=ids)

    def _check(self, inputs: int) -> None:
        if self.mean.shape != (inputs,) or self.scale.shape != (inputs,) or not self.scale.all():
            raise DamagedError("its scales have another number of inputs")
        if self.coefficients.ndim != 2 or self.coefficients.shape[1] != inputs:
            raise DamagedError("its coefficients have another number of inputs")
        if self.intercept.shape != self.coefficients.shape[:1]:
            raise DamagedError("its lines have not an intercept each")


class Linear(TargetBaseline):
    """Ridge, Poisson, quantile or logistic regression of scikit-learn, on standardised inputs.

    Ids are replaced by the mean of the target for each value, see `IdMeans`: a 0/1 column for each
    of 20,000 values would be a matrix that ridge regression and scikit-learn's scaler can't hold.
    """

    name = "linear"
    in_words = "a linear model"
    imports = ("sklearn.linear_model", "sklearn.preprocessing")
    log_rates = True
    has_quantiles = True
    arrays = _Lines
    codes: tuple[int, ...] = ()

    def told_codes(self, places: Sequence[int]) -> Self:
        """Return it, with means in place of these inputs."""
        made = copy(self)
        made.codes = tuple(places)
        return made

    def fit(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        classes: int,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> _Lines:
        """Return the lines of `RidgeCV`, with 13 penalties, or `LogisticRegression`."""
        from sklearn.linear_model import LogisticRegression, RidgeCV

        line = LogisticRegression(max_iter=1000) if classes else RidgeCV(np.logspace(-3, 3, 13))
        return self._fitted(line, inputs, target, seed, weights, classes)

    def fit_counts(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> _Lines:
        """Return the line of `PoissonRegressor`, with the penalty of `LogisticRegression`."""
        from sklearn.linear_model import PoissonRegressor

        # the mean of losses here is the sum there
        line = PoissonRegressor(alpha=1 / len(target), max_iter=1000)
        return self._fitted(line, inputs, target, seed, weights, log=True)

    def fit_quantile(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        level: float,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> _Lines:
        """Return the line of `QuantileRegressor` on standardised labels, its penalty being 1/n."""
        from sklearn.linear_model import QuantileRegressor

        mean, deviation = float(target.mean()), float(target.std()) or 1.0
        line = QuantileRegressor(quantile=level, alpha=1 / len(target))
        found = self._fitted(line, inputs, (target - mean) / deviation, seed, weights)
        return replace(
            found,
            coefficients=found.coefficients * deviation,
            intercept=found.intercept * deviation + mean,
        )

    def _fitted(
        self,
        line: Any,
        inputs: np.ndarray,
        target: np.ndarray,
        seed: int,
        weights: np.ndarray | None,
        classes: int = 0,
        log: bool = False,
    ) -> _Lines:
        from sklearn.preprocessing import StandardScaler

        outputs = class_outputs(target, classes)
        numbers, ids = cross_fitted(inputs, outputs, self.codes, seed, weights, log=log)
        scaler = StandardScaler().fit(numbers, sample_weight=weights)
        line.fit(scaler.transform(numbers), target, sample_weight=weights)
        return _Lines(
            scaler.mean_,
            scaler.scale_,
            # as they come back from a file: the order decides on the last bit of products
            np.ascontiguousarray(np.atleast_2d(line.coef_), dtype=np.float64),
            np.atleast_1d(line.intercept_).astype(np.float64),
            ids,
        )
