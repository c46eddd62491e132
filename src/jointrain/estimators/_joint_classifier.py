"""JointClassifier: several classes at once, in scikit-learn's interface."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import isspmatrix
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from jointrain.data import ClassWeights, check_weighted_labels, encode_targets
from jointrain.errors import InvalidInputError
from jointrain.estimators._estimator_data import (
    Targets,
    accuracies,
    is_indicator,
    mean_score,
    read_groups,
    read_targets,
    side_by_side,
    sorted_classes,
    sparse_labels,
)
from jointrain.estimators._table_estimator import TableEstimator, of_networks_alone
from jointrain.experiments import Recipe
from jointrain.task import Task, checked_class_weight
from jointrain.training import AnySchedule


class JointClassifier(ClassifierMixin, TableEstimator):  # type: ignore[misc]
    """Predicts several classes at once; missing labels are allowed.

    Networks of all targets, a line and extra trees predict together, see `JointRegressor`.

    Takes the same parameters as `JointRegressor`, and one more:

    Args:
        class_weight: What rows count by their class in training, calibration included, beside
            ``sample_weight``: ``balanced``, a mapping from classes to weights, or one of these for
            each target: a list in their order, or a mapping from their names. Default None: all
            classes the same.

    Attributes:
        classes_: The classes, or a list of them for each target when y is [n, t].
        model_: The fitted `BlendedModel`, or `TableModel`, as of `JointRegressor`.
        n_features_in_, feature_names_in_: As everywhere in scikit-learn.

    Shape:
        fit: X [n, d] (array, sparse matrix or data frame; NaN allowed), y [n] or [n, t]; NaN, None
            or masked = missing label. A sparse y [n, t] of scipy says by 1 which labels hold; none
            is missing.
        predict: [n] or [n, t], sparse (CSR) if y was. predict_proba: [n, c], or a list of them for
            each target.

    Raises:
        InvalidInputError: A target has no label or labels of several types, or a parameter lies
            outside its range. A target with one class only, as in a part of a cross-validation, is
            predicted as that class, with a warning.

    Examples:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> JointClassifier(epochs=20, random_state=0).fit(X, y).predict_proba(X).shape
        (150, 3)
    """

    def __init__(
        self,
        *,
        schedule: str | AnySchedule = "joint",
        weights: str | Mapping[str, float] = "equal",
        width: int = 128,
        depth: int = 2,
        dropout: float | None = None,
        input_dropout: float | None = None,
        learning_rate: float = 4e-3,
        weight_decay: float = 1e-2,
        l1: float = 0.0,
        l2: float = 0.0,
        batch_size: int | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        validation_fraction: float = 0.15,
        bins: int | None = None,
        ensemble: int | None = None,
        components: str = "auto",
        recipe: Recipe | None = None,
        warm_start: bool = False,
        said: Mapping[str, str] | None = None,
        class_weight: str | Mapping[Any, Any] | Sequence[Any] | None = None,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        super().__init__(
            schedule=schedule,
            weights=weights,
            width=width,
            depth=depth,
            dropout=dropout,
            input_dropout=input_dropout,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            l1=l1,
            l2=l2,
            batch_size=batch_size,
            epochs=epochs,
            patience=patience,
            validation_fraction=validation_fraction,
            bins=bins,
            ensemble=ensemble,
            components=components,
            recipe=recipe,
            warm_start=warm_start,
            said=said,
            device=device,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> JointClassifier:
        """Fit all targets.

        Args:
            X: Features, [n, d].
            y: Labels, [n] or [n, t], NaN or None where one is missing.
            sample_weight: How much each row counts, [n], or each label, [n, t]; 0 leaves it out.
                Default all the same. Their unit is of no account.
            groups: The group of each row, [n]: rows of a group stay together where rows are kept
                for early stopping and calibration. Default none.
        """
        features = self._frame(X, reset=self._begins)
        targets = read_targets(y, indicators=True)
        self._sparse_as_matrix = isspmatrix(y) if is_indicator(y) else None
        self._check_rows(features.shape[0], targets)
        targets.check_labelled()
        each, codes = [], np.full((targets.rows, len(targets.names)), np.nan)
        for index, name in enumerate(targets.names):
            classes, of_known = sorted_classes(name, targets.known(index))
            each.append(classes)
            codes[~targets.missing[index], index] = of_known
        start = self._former(targets.names, _tasks(targets.names, each))
        if start is not None and not _are_same(each, self._classes):
            raise InvalidInputError(
                "y has other classes than in the former fit, whose weights `warm_start` starts "
                "from; give the same, or set warm_start=False"
            )
        self._set_targets(targets, each)
        several = [len(own) > 1 for own in each]
        tasks, labels, weights = self._learned(targets, codes[:, several], sample_weight)
        if weights is not None:
            # here, where classes are known by their labels
            named = [
                replace(task, classes=tuple(own.tolist()))
                for task, own in zip(tasks, (c for c in self._classes if len(c) > 1), strict=True)
            ]
            check_weighted_labels(named, encode_targets(labels, tasks), weights)
        of_groups = read_groups(groups, targets.rows)
        class_weights = self._class_weights()
        self.model_ = (
            self._fit(features, labels, tasks, weights, class_weights, of_groups, start)
            if tasks
            else None
        )
        return self

    @of_networks_alone
    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> JointClassifier:
        """Train on with one pass over a batch of rows; there with components="network" only.

        The first call's rows decide how features are read, so let them be representative, or `fit`
        before. The learning rate is constant; nothing stops early, and probabilities are calibrated
        by `fit` alone.

        Args:
            X: Features, [n, d], with the columns of the calls before.
            y: Labels, [n] or [n, t], NaN or None where one is missing; of each target at least one.
            classes: All classes that y may have, as a batch may lack some: [c] for y [n]; for
                y [n, t] a list of such, or a mapping from the targets' names. Needed in the first
                call, unless `fit` came before.
            sample_weight: How much each row counts within this batch, [n] or [n, t].

        Raises:
            InvalidInputError: Columns, targets or classes are others than before, or as for
                `JointRegressor.partial_fit`; or class weights are to be balanced.
        """
        first = not hasattr(self, "model_")
        features = self._frame(X, reset=first)
        targets = read_targets(y, indicators=True)
        self._check_rows(features.shape[0], targets)
        targets.check_labelled()
        if first:
            self._sparse_as_matrix = isspmatrix(y) if is_indicator(y) else None
            if classes is None:
                raise InvalidInputError(
                    "classes must be passed on the first call to partial_fit: all that y may have, "
                    "as a batch may lack some"
                )
            self._set_targets(targets, _given_classes(classes, targets))
        self._check_names(targets)
        if classes is not None and not _are_same(_given_classes(classes, targets), self._classes):
            raise InvalidInputError(
                "`classes` are others than before; give the same, or leave them out"
            )
        _, codes = self._codes(targets)
        for index, own in enumerate(self._classes):
            only = own.tolist()
            if len(only) > 1:
                continue
            others = [label for label in targets.known(index).tolist() if label not in only]
            if others:
                raise InvalidInputError(
                    f"{targets.names[index]} of y holds {others[0]!r}, and had one class only, "
                    f"{only[0]!r}, when it was fitted first; begin anew with all classes"
                )
        tasks, labels, weights = self._learned(targets, codes, sample_weight)
        class_weights = self._class_weights()
        if not tasks:
            self.model_ = None
        elif first or self.model_ is not None:
            self.model_ = self._partial_fit(features, labels, tasks, weights, class_weights)
        return self

    def _set_targets(self, targets: Targets, classes: list[np.ndarray]) -> None:
        for name, own in zip(targets.names, classes, strict=True):
            if len(own) < 2:
                warnings.warn(
                    f"{name} of y has one class only, {own.tolist()[0]!r}; it is predicted for "
                    "every row",
                    stacklevel=3,
                )
        self._classes = classes
        self._targets, self._are_named = targets.names, targets.named
        self._one_dimensional = targets.one_dimensional
        self.classes_ = self._classes[0] if self._one_dimensional else self._classes

    def _learned(
        self, targets: Targets, codes: np.ndarray, sample_weight: Any
    ) -> tuple[list[Task], pl.DataFrame, np.ndarray | None]:
        """Return the tasks of the targets with several classes, their labels and weights.

        Shape:
            codes: [n, t] of these targets, NaN where a label is missing.
        """
        tasks = _tasks(self._targets, self._classes)
        labels = {
            task.name: pl.Series(column, nan_to_null=True).cast(pl.Int64)
            for task, column in zip(tasks, codes.T, strict=True)
        }
        weights = targets.weights(sample_weight)
        places = [targets.names.index(task.name) for task in tasks]
        return tasks, pl.DataFrame(labels), None if weights is None else weights[:, places]

    def _class_weights(self) -> ClassWeights | None:
        """Return `class_weight` by target, of codes in place of classes."""
        given = self.class_weight
        if given is None or isinstance(given, str):
            return given  # type: ignore[return-value]
        names = self._targets
        if isinstance(given, Mapping):
            by_target = set(given) <= set(names) and any(
                isinstance(one, (Mapping, str)) for one in given.values()
            )
            each = given if by_target else dict.fromkeys(names, given)
        else:
            if len(given) != len(names):
                raise InvalidInputError(
                    f"`class_weight` has {len(given)} entries for {len(names)} targets; give one "
                    "for each"
                )
            each = dict(zip(names, given, strict=True))
        found: dict[str, Any] = {}
        for name, of_one in each.items():
            classes = self._classes[names.index(name)].tolist()
            if of_one is None or len(classes) < 2:
                continue
            if not isinstance(of_one, Mapping):
                found[name] = of_one
                continue
            unknown = [label for label in of_one if label not in classes]
            if unknown:
                raise InvalidInputError(
                    f"`class_weight` names {unknown[0]!r}, which is no class of {name}"
                )
            found[name] = {
                code: checked_class_weight(label, of_one.get(label, 1.0), f" of {name}")
                for code, label in enumerate(classes)
            }
        return found

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64] | list[NDArray[np.float64]]:
        """Return calibrated probabilities of the classes, [n, c], a list if y was [n, t]."""
        check_is_fitted(self)
        if self.model_ is None:
            found: dict[str, NDArray[np.float64]] = {}
            rows = self._frame(X, reset=False).shape[0]
        else:
            found = self._predict(X)
            rows = len(next(iter(found.values())))
        probabilities = []
        for name in self._targets:
            p = found.get(name, np.ones((rows, 1)))
            probabilities.append(np.stack([1 - p, p], axis=1) if p.ndim == 1 else p)
        return probabilities[0] if self._one_dimensional else probabilities

    def predict(self, X: ArrayLike) -> Any:
        """Return the most probable classes, [n] or [n, t] as y was; sparse ones of a sparse y.

        They are objects where one type for all targets would change a class.
        """
        chosen = self._most_probable(X)
        if self._one_dimensional:
            return chosen[0]
        together = side_by_side(chosen)
        if self._sparse_as_matrix is None:
            return together
        return sparse_labels(together, as_matrix=self._sparse_as_matrix)

    def _most_probable(self, X: ArrayLike) -> list[NDArray[Any]]:
        probabilities = self.predict_proba(X)
        each = probabilities if isinstance(probabilities, list) else [probabilities]
        return [
            np.asarray(classes[p.argmax(1)]) for classes, p in zip(self._classes, each, strict=True)
        ]

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return accuracy averaged over the targets that have labels, each over its labelled rows.

        A label that fitting did not see is a wrong prediction.

        Raises:
            InvalidInputError: y has no label, other targets, or another number of rows.
        """
        chosen = self._most_probable(X)
        targets, weights = self._scored(y, sample_weight, len(chosen[0]))
        return mean_score(accuracies(targets, chosen, weights))

    def _labels(self, targets: Targets) -> np.ndarray:
        return self._codes(targets)[1]

    def _codes(self, targets: Targets) -> tuple[Targets, np.ndarray]:
        """Return the targets that have several classes, and the numbers of their labels' classes.

        Shape:
            returns: [n, t], NaN where a label is missing.
        """
        found = []
        for index, name in enumerate(targets.names):
            classes = self._classes[index]
            if len(classes) < 2:
                continue
            codes = {label: code for code, label in enumerate(classes.tolist())}
            column = np.full(targets.rows, np.nan)
            for row in np.flatnonzero(~targets.missing[index]).tolist():
                label = targets.columns[index][row]
                if label not in codes:
                    raise InvalidInputError(
                        f"{name} of y holds {label!r} in row {row}, which fitting has not seen"
                    )
                column[row] = codes[label]
            found.append(column)
        kept = [index for index, classes in enumerate(self._classes) if len(classes) > 1]
        return targets.at(kept), np.stack(found, axis=1) if found else np.zeros((targets.rows, 0))


def _tasks(names: Sequence[str], classes: Sequence[np.ndarray]) -> list[Task]:
    """Return the tasks of the targets that have several classes, which are numbered."""
    return [
        (Task.binary if len(own) == 2 else Task.multiclass)(name, tuple(range(len(own))))
        for name, own in zip(names, classes, strict=True)
        if len(own) > 1
    ]


def _are_same(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> bool:
    return [own.tolist() for own in one] == [own.tolist() for own in other]


def _given_classes(classes: Any, targets: Targets) -> list[np.ndarray]:
    """Return the classes of each target as they were passed, in order.

    Raises:
        InvalidInputError: They are not one list for each target.
    """
    names = targets.names
    if isinstance(classes, Mapping):
        unnamed = [name for name in names if name not in classes]
        if unnamed or len(classes) != len(names):
            raise InvalidInputError(
                f"`classes` names {', '.join(map(str, classes))}, and y has {', '.join(names)}; "
                "give the classes of each"
            )
        each = [classes[name] for name in names]
    else:
        each = [classes] if targets.one_dimensional else list(classes)
        if len(each) != len(names):
            raise InvalidInputError(
                f"`classes` has {len(each)} lists for {len(names)} targets; give one for each"
            )
    found = []
    for name, own in zip(names, each, strict=True):
        if np.ndim(own) != 1 or not len(own):
            raise InvalidInputError(f"`classes` of {name} must be a list of at least one class")
        read = read_targets(own)
        found.append(sorted_classes(name, read.known(0))[0])
    return found
