"""The estimators behind the baselines: fitted by their libraries, kept as plain arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import numpy as np

from jointrain.baselines._tree_arrays import Arrays, SymmetricTrees, TreeEnsemble
from jointrain.baselines._tree_conversion import (
    boosting_arrays,
    catboost_arrays,
    forest_arrays,
    lightgbm_arrays,
)
from jointrain.errors import MissingDependencyError
from jointrain.system import array_file
from jointrain.system.stored_files import DamagedError

_FILE = "baseline.safetensors"


def one_thread() -> AbstractContextManager[Any]:
    """Keep numerical libraries to one thread: same bits everywhere, and folds run in processes."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits


class Estimator(ABC):
    """One kind of model of one target. Classes are numbered from 0; `classes` 0 is regression."""

    arrays: ClassVar[type[Arrays]] = TreeEnsemble
    """What a fitted model is."""

    @abstractmethod
    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        """Return a fitted model; the target takes at least two values.

        Shape:
            inputs: [n, d]. target: [n].
        """

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        """Return values [m], or probabilities [m, classes]."""
        return _linked(model.predict(inputs.astype(np.float64)), classes)

    def to_files(self, models: Mapping[str, Any], inputs: int) -> dict[str, bytes]:
        """Return named models, fitted to a number of inputs, as named files.

        Raises:
            DamagedError: `from_files` would refuse them.
        """
        arrays: dict[str, np.ndarray] = {}
        for name, model in models.items():
            self.arrays.from_arrays(model.to_arrays(), inputs)
            arrays |= {f"{name}.{key}": array for key, array in model.to_arrays().items()}
        return {_FILE: array_file.to_bytes(arrays)} if arrays else {}

    def from_files(self, files: Mapping[str, bytes], inputs: int) -> dict[str, Any]:
        """Return the models in files, fitted to a number of inputs.

        Raises:
            DamagedError: The files hold something else.
        """
        if not files:
            return {}
        grouped: dict[str, dict[str, np.ndarray]] = {}
        for name, array in array_file.from_bytes(files[_FILE])[1].items():
            model, _, key = name.partition(".")
            grouped.setdefault(model, {})[key] = array
        return {name: self.arrays.from_arrays(arrays, inputs) for name, arrays in grouped.items()}


def _linked(found: np.ndarray, classes: int) -> np.ndarray:
    """Return the values, or the probabilities of one or several sums."""
    if not classes:
        return found[:, 0]
    from scipy.special import expit, softmax

    if classes == 2 and found.shape[1] == 1:
        positive = expit(found[:, 0])
        return np.stack([1 - positive, positive], axis=1)
    return np.asarray(softmax(found, axis=1))


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


class _Linear(Estimator):
    arrays = _Lines

    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:  # noqa: ARG002
        from sklearn.linear_model import LogisticRegression, RidgeCV
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(inputs.astype(np.float64))
        line = LogisticRegression(max_iter=1000) if classes else RidgeCV(np.logspace(-3, 3, 13))
        line.fit(scaler.transform(inputs.astype(np.float64)), target)
        return _Lines(
            scaler.mean_,
            scaler.scale_,
            np.atleast_2d(line.coef_).astype(np.float64),
            np.atleast_1d(line.intercept_).astype(np.float64),
        )


class Forest(Estimator):
    """Forests of scikit-learn.

    Args:
        kind: ``RandomForest`` or ``ExtraTrees``.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        """Return the trees of a forest; `target` may also be [n, t], of one kind."""
        from sklearn import ensemble

        forest = getattr(ensemble, self._kind + ("Classifier" if classes else "Regressor"))(
            n_estimators=TREES, random_state=seed
        )
        return forest_arrays([member.tree_ for member in forest.fit(inputs, target).estimators_])

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        found = model.predict(inputs.astype(np.float32))
        return np.asarray(found if classes else found[:, 0])


TREES = 100
"""Trees of a forest: scikit-learn's default."""


class _GradientBoosting(Estimator):
    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

        kind = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
        model = kind(random_state=seed)
        if classes and np.bincount(target).min() < 2:
            # early stopping, the default beyond 10,000 rows, can't split off a class of one row
            model.set_params(early_stopping=False)
        return boosting_arrays(model.fit(inputs.astype(np.float64), target))


class _LightGBM(Estimator):
    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        lightgbm = _package("lightgbm")
        settings = {
            "objective": ("regression", "", "binary")[classes] if classes < 3 else "multiclass",
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
            "seed": seed % 2**31,
        }
        if classes > 2:
            settings["num_class"] = classes
        return lightgbm_arrays(lightgbm.train(settings, lightgbm.Dataset(inputs, target), 100))


class _CatBoost(Estimator):
    arrays = SymmetricTrees

    def fit(self, inputs: np.ndarray, target: np.ndarray, classes: int, seed: int) -> Any:
        catboost = _package("catboost")
        model = catboost.CatBoost(
            {
                "loss_function": ("RMSE", "", "Logloss")[classes] if classes < 3 else "MultiClass",
                "thread_count": 1,
                "random_seed": seed % 2**31,
                "verbose": False,
                "allow_writing_files": False,
            }
        )
        return catboost_arrays(model.fit(inputs, target))


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingDependencyError(
            f"baseline {name!r} needs the package {name}; pip install 'jointrain[boosting]'"
        ) from None


ESTIMATORS: dict[str, Estimator] = {
    "linear": _Linear(),
    "random forest": Forest("RandomForest"),
    "extra trees": Forest("ExtraTrees"),
    "gradient boosting": _GradientBoosting(),
    "catboost": _CatBoost(),
    "lightgbm": _LightGBM(),
}
"""By name of the baseline."""

ONE_HOT = ("linear",)
"""Baselines that need a 0/1 column for each category, where trees take ordinal codes."""
