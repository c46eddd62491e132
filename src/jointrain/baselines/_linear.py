"""Linear models: ridge, Poisson, quantile and logistic regression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from jointrain.baselines._baseline import TargetBaseline
from jointrain.baselines._tree_arrays import Arrays
from jointrain.system.stored_files import DamagedError


@dataclass(frozen=True)
class _Lines(Arrays):
    """Standardised inputs, and a line for each output.

    Shape:
        mean, scale: [d]. coefficients: [k, d]. intercept: [k].
    """

    mean: np.ndarray
    scale: np.ndarray
    coefficients: np.ndarray
    intercept: np.ndarray

    dtypes: ClassVar[Mapping[str, type]] = {
        "mean": np.float64, "scale": np.float64, "coefficients": np.float64,
        "intercept": np.float64,
    }  # fmt: skip

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Return the outputs, [n, k]."""
        return np.asarray(
            ((inputs - self.mean) / self.scale) @ self.coefficients.T + self.intercept
        )

    def _check(self, inputs: int) -> None:
        if self.mean.shape != (inputs,) or self.scale.shape != (inputs,) or not self.scale.all():
            raise DamagedError("its scales have another number of inputs")
        if self.coefficients.ndim != 2 or self.coefficients.shape[1] != inputs:
            raise DamagedError("its coefficients have another number of inputs")
        if self.intercept.shape != self.coefficients.shape[:1]:
            raise DamagedError("its lines have not an intercept each")


class Linear(TargetBaseline):
    """Ridge, Poisson, quantile or logistic regression of scikit-learn, on standardised inputs."""

    name = "linear"
    one_hot = True
    log_rates = True
    has_quantiles = True
    arrays = _Lines

    def fit(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        classes: int,
        seed: int,  # noqa: ARG002
        weights: np.ndarray | None = None,
    ) -> _Lines:
        """Return the lines of `RidgeCV`, with 13 penalties, or `LogisticRegression`."""
        from sklearn.linear_model import LogisticRegression, RidgeCV

        line = LogisticRegression(max_iter=1000) if classes else RidgeCV(np.logspace(-3, 3, 13))
        return _fitted(line, inputs, target, weights)

    def fit_counts(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        seed: int,  # noqa: ARG002
        weights: np.ndarray | None = None,
    ) -> _Lines:
        """Return the line of `PoissonRegressor`, with the penalty of `LogisticRegression`."""
        from sklearn.linear_model import PoissonRegressor

        # the mean of losses here is the sum there
        line = PoissonRegressor(alpha=1 / len(target), max_iter=1000)
        return _fitted(line, inputs, target, weights)

    def fit_quantile(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        level: float,
        seed: int,  # noqa: ARG002
        weights: np.ndarray | None = None,
    ) -> _Lines:
        """Return the line of `QuantileRegressor` on standardised labels, its penalty being 1/n."""
        from sklearn.linear_model import QuantileRegressor

        mean, deviation = float(target.mean()), float(target.std()) or 1.0
        line = QuantileRegressor(quantile=level, alpha=1 / len(target))
        found = _fitted(line, inputs, (target - mean) / deviation, weights)
        return replace(
            found,
            coefficients=found.coefficients * deviation,
            intercept=found.intercept * deviation + mean,
        )


def _fitted(
    line: Any, inputs: np.ndarray, target: np.ndarray, weights: np.ndarray | None
) -> _Lines:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(inputs.astype(np.float64), sample_weight=weights)
    line.fit(scaler.transform(inputs.astype(np.float64)), target, sample_weight=weights)
    return _Lines(
        scaler.mean_,
        scaler.scale_,
        np.atleast_2d(line.coef_).astype(np.float64),
        np.atleast_1d(line.intercept_).astype(np.float64),
    )
