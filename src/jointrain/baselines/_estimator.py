"""Estimators with the interface of scikit-learn as baselines; fitted ones are not saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from jointrain.baselines._baseline import TargetBaseline
from jointrain.errors import InvalidInputError
from jointrain.system.own_code import path_of, version_of
from jointrain.task import Task

_BOTH = "give both, as EstimatorBaseline(regressor, classifier) or sklearn.ensemble:ExtraTrees"

GUARDED = ("tabpfn", "tabicl")
"""Packages that download weights by themselves; the baselines of their names do not."""


def is_estimator(given: object) -> bool:
    """Return whether an object has `fit` and `predict`; classes are none."""
    return not isinstance(given, type) and hasattr(given, "fit") and hasattr(given, "predict")


@dataclass(frozen=True)
class EstimatorBaseline(TargetBaseline):
    """An estimator with the interface of scikit-learn for each target.

    Each target gets a copy, with the seed as ``random_state`` and one thread where these are not
    set. A fitted estimator can't be saved without pickle, so it is measured, and no part of a saved
    model.

    Args:
        regressor: Predicts numbers; None if there are none.
        classifier: Predicts classes, with ``predict_proba``; None if there are none.
        name: What reports call it; default the name of its class.
        one_hot: Whether its inputs have a 0/1 column for each category (default), or codes.
    """

    regressor: Any = None
    classifier: Any = None
    name: str = ""
    one_hot: bool = True

    saved: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for role in ("regressor", "classifier"):
            given = getattr(self, role)
            if given is not None and not is_estimator(given):
                raise InvalidInputError(
                    f"`{role}` must be an estimator with fit and predict, got {given!r}"
                )
        if not self._given():
            raise InvalidInputError("an EstimatorBaseline needs a `regressor` or a `classifier`")
        if not self.name:
            names = [_name_of(one) for one in self._given()]
            stems = {name.removesuffix("Regressor").removesuffix("Classifier") for name in names}
            name = names[0] if len(names) == 1 else stems.pop() if len(stems) == 1 else ""
            object.__setattr__(self, "name", name or " or ".join(names))

    @classmethod
    def of(cls, estimator: Any) -> EstimatorBaseline:
        """Return the baseline of one estimator, a regressor or a classifier."""
        if _is_classifier(estimator):
            return cls(classifier=estimator)
        return cls(regressor=estimator)

    @classmethod
    def summary(cls) -> str:
        return "Estimators with the interface of scikit-learn."

    def _given(self) -> list[Any]:
        return [one for one in (self.regressor, self.classifier) if one is not None]

    def why_not(self, tasks: Sequence[Task]) -> str | None:
        classes = next((task.name for task in tasks if _of_classes(task)), None)
        numbers = next((task.name for task in tasks if not _of_classes(task)), None)
        if classes is not None and self.classifier is None:
            return (
                f"target {classes!r} has classes, and {_name_of(self.regressor)} is a regressor; "
                + _BOTH
            )
        if numbers is not None and self.regressor is None:
            return (
                f"target {numbers!r} is a number, and {_name_of(self.classifier)} is a classifier; "
                + _BOTH
            )
        if classes is not None and not hasattr(self.classifier, "predict_proba"):
            return (
                f"{_name_of(self.classifier)} has no predict_proba for the classes of {classes!r}; "
                "wrap it in sklearn.calibration.CalibratedClassifierCV"
            )
        return super().why_not(tasks)

    def versions(self) -> dict[str, str | None]:
        found = {}
        for estimator in self._given():
            for one in _nested(estimator):
                path = path_of(one)
                found[path] = version_of(path)
        return found

    def own_code(self) -> list[Any]:
        nested = [one for estimator in self._given() for one in _nested(estimator)]
        return [one for one in nested if version_of(path_of(one)) is None]

    def check_weights(self) -> None:
        for estimator in self._given():
            if _weights_argument(estimator) is None:
                raise InvalidInputError(
                    f"baseline {self.name!r} takes no weights of rows: {_name_of(estimator)}.fit "
                    "has no sample_weight; leave it out"
                )

    def guarded_by(self) -> str | None:
        """Return the name of the baseline to use in its place, for it may download weights."""
        tops = [
            path_of(one).partition(".")[0].partition(":")[0]
            for estimator in self._given()
            for one in _nested(estimator)
        ]
        return next((top for top in tops if top in GUARDED), None)

    def fit(
        self,
        inputs: np.ndarray,
        target: np.ndarray,
        classes: int,
        seed: int,
        weights: np.ndarray | None = None,
    ) -> Any:
        """Return a fitted copy of the estimator for the target's kind."""
        made = _copy(self.classifier if classes else self.regressor, seed)
        given = {} if weights is None else {str(_weights_argument(made)): weights}
        made.fit(inputs.astype(np.float64), target, **given)
        return made

    def predict(self, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
        """Return values [m], or probabilities [m, classes].

        Raises:
            InvalidInputError: The estimator gives another shape, or what is no number.
        """
        return estimated(self.name, model, inputs.astype(np.float64), classes)


def estimated(name: str, model: Any, inputs: np.ndarray, classes: int) -> np.ndarray:
    """Return the values [m], or probabilities [m, classes], of a fitted estimator.

    Args:
        name: What its baseline is called.
        model: The estimator.
        inputs: In the precision that it was fitted in.
        classes: Number of classes, 0 for a regression.

    Raises:
        InvalidInputError: The estimator gives another shape, or what is no number.
    """
    found = np.asarray(model.predict_proba(inputs) if classes else model.predict(inputs))
    found = found.astype(np.float64)
    if not classes and found.shape == (len(inputs), 1):
        found = found[:, 0]
    shape = (len(inputs), classes) if classes else (len(inputs),)
    if found.shape != shape:
        raise InvalidInputError(
            f"{_name_of(model)} of baseline {name!r} predicts shape {found.shape}, not {shape}"
        )
    if not np.isfinite(found).all():
        raise InvalidInputError(
            f"{_name_of(model)} of baseline {name!r} predicts what is no number"
        )
    return found


def _of_classes(task: Task) -> bool:
    """Return whether a target is one of classes, or stands for such problems."""
    return task.has_classes or task.in_table.cells in ("times", "shares", "yes or no")


def _name_of(estimator: Any) -> str:
    """Return the name of an estimator's class; of a pipeline, that of its last step."""
    steps = getattr(estimator, "steps", None)
    return _name_of(steps[-1][1]) if steps else type(estimator).__name__


def _is_classifier(estimator: Any) -> bool:
    """Return whether it predicts classes; one that does not say so, by its `predict_proba`."""
    from sklearn.base import is_classifier, is_regressor

    try:
        return is_classifier(estimator) or (
            not is_regressor(estimator) and hasattr(estimator, "predict_proba")
        )
    except (AttributeError, TypeError):  # of no scikit-learn base
        return hasattr(estimator, "predict_proba")


def _parameters(estimator: Any) -> dict[str, Any]:
    return dict(estimator.get_params(deep=True)) if hasattr(estimator, "get_params") else {}


def _nested(estimator: Any) -> list[Any]:
    """Return an estimator and those within it."""
    found = [estimator]
    for value in _parameters(estimator).values():
        if hasattr(value, "get_params") and not any(value is one for one in found):
            found.append(value)
    return found


def _copy(estimator: Any, seed: int) -> Any:
    """Return an estimator like it that is not fitted, with what was left open set."""
    from sklearn.base import clone

    made = clone(estimator, safe=False)
    settings = {"random_state": seed % 2**31, "n_jobs": 1}
    open_ones = {
        name: settings[name.rpartition("__")[2]]
        for name, value in _parameters(made).items()
        if value is None and name.rpartition("__")[2] in settings
    }
    return made.set_params(**open_ones) if open_ones else made


def _weights_argument(estimator: Any) -> str | None:
    """Return the argument of `fit` that takes weights of rows, None if there is none."""
    from sklearn.utils.validation import has_fit_parameter

    steps = getattr(estimator, "steps", None)
    if steps:
        name, last = steps[-1]
        return f"{name}__sample_weight" if has_fit_parameter(last, "sample_weight") else None
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None
