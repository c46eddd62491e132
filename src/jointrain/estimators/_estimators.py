"""scikit-learn estimators: several targets at once, missing labels allowed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from jointrain.data import (
    ClassWeights,
    SupervisedTable,
    as_table,
    check_weighted_labels,
    infer_columns,
    resolve_class_weights,
)
from jointrain.errors import InvalidInputError
from jointrain.estimators._estimator_data import (
    Targets,
    dense,
    mean_accuracy,
    mean_r2,
    plain_features,
    read_sample_weight,
    read_targets,
    sorted_classes,
)
from jointrain.experiments import Recipe
from jointrain.options import options_of
from jointrain.tables import TableModel, fit_table
from jointrain.task import Task
from jointrain.training import AnySchedule, OptimizerSettings
from jointrain.training.merging import merges_by_name
from jointrain.training.population import fit_together
from jointrain.training.sampling import Alternating, Joint, Separate

_SCHEDULES: dict[str, AnySchedule] = {
    "joint": Joint(),
    "alternating": Alternating(),
    "separate": Separate(),
    **merges_by_name(),
}


class _JointEstimator(BaseEstimator):  # type: ignore[misc]
    """What the regressor and the classifier have in common."""

    def __init__(
        self,
        *,
        schedule: str | AnySchedule = "joint",
        weights: str | Mapping[str, float] = "equal",
        width: int = 128,
        depth: int = 2,
        dropout: float | None = None,
        input_dropout: float | None = None,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        l1: float = 0.0,
        l2: float = 0.0,
        batch_size: int | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        validation_fraction: float = 0.15,
        bins: int | None = None,
        ensemble: int | None = None,
        recipe: Recipe | None = None,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.schedule = schedule
        self.weights = weights
        self.width = width
        self.depth = depth
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.l1 = l1
        self.l2 = l2
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.bins = bins
        self.ensemble = ensemble
        self.recipe = recipe
        self.device = device
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        tags.target_tags.required = True
        tags.non_deterministic = False
        return tags

    def _recipe(self) -> Recipe:
        if self.recipe is not None:
            defaults = type(self)().get_params()
            own = [
                name
                for name, value in self.get_params(deep=False).items()
                if name not in ("recipe", "class_weight", "device", "random_state")
                and value != defaults[name]
            ]
            if own:
                raise InvalidInputError(
                    f"`recipe` and {', '.join(own)} both say how to train: set it in the recipe"
                )
            return self.recipe
        schedule = self.schedule
        if isinstance(schedule, str):
            if schedule not in _SCHEDULES:
                raise InvalidInputError(
                    f"`schedule` must be one of {', '.join(_SCHEDULES)} or a schedule, got "
                    f"{schedule!r}"
                )
            schedule = _SCHEDULES[schedule]
        weights = self.weights if isinstance(self.weights, str) else tuple(self.weights.items())
        optimizer = OptimizerSettings(
            learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )
        values = {name: getattr(self, name) for name in options_of(Recipe) if hasattr(self, name)}
        return Recipe(
            name=schedule.kind, schedule=schedule, weights=weights, optimizer=optimizer, **values
        )

    def _frame(self, X: Any, *, reset: bool) -> pl.DataFrame:
        """Return the features as a table; arrays are checked as scikit-learn does."""
        if hasattr(X, "columns"):
            frame = as_table(X)
            validate_data(self, X, reset=reset, skip_check_array=True)
            if reset and not len(frame):
                raise InvalidInputError("X has no rows; give at least two")
            return frame
        array = validate_data(
            self,
            plain_features(X),
            reset=reset,
            dtype="numeric",
            ensure_all_finite="allow-nan",
            accept_sparse=True,
        )
        return _array_to_frame(dense(array) if hasattr(array, "toarray") else array, "x")

    def _fit(
        self,
        features: pl.DataFrame,
        labels: pl.DataFrame,
        tasks: list[Task],
        weights: np.ndarray | None,
        class_weights: ClassWeights | None = None,
    ) -> TableModel:
        if len(features) < 2:
            raise InvalidInputError(
                f"fitting needs at least 2 samples, got n_samples = {len(features)}"
            )
        if weights is not None:
            known = labels.select(pl.all().is_not_null()).to_numpy()
            numbers = np.where(known, labels.fill_null(0).to_numpy().astype(np.float64), np.nan)
            check_weighted_labels(tasks, numbers, weights)
            counted = (weights > 0).any(1)
            features, labels = (part.filter(pl.Series(counted)) for part in (features, labels))
            weights = weights[counted]
        renamed = {name: f"feature {i}: {name}" for i, name in enumerate(features.columns)}
        features = features.rename(renamed)
        columns = infer_columns(features, features.columns)
        if not columns:
            raise InvalidInputError("every feature column is constant; there is nothing to learn")
        labelled = labels.select(~pl.all_horizontal(pl.all().is_null())).to_series()
        frame = pl.concat([features, labels], how="horizontal").filter(labelled)
        self._columns = list(renamed.values())
        random_state = self.random_state
        seed = (
            int(random_state)
            if isinstance(random_state, (int, np.integer))
            else int(check_random_state(random_state).randint(2**31 - 1))
        )
        table = SupervisedTable(
            frame,
            tuple(tasks),
            tuple(columns),
            weights=None if weights is None else weights[labelled.to_numpy()],
            class_weights=resolve_class_weights(class_weights, tasks),
        )
        return fit_table(
            table, self._recipe(), seed=seed, device=self.device, fit_runs=fit_together
        )

    def _prepared(self, X: Any) -> pl.DataFrame:
        # the number of columns and their names are checked: what is left is the place
        frame = self._frame(X, reset=False)
        return frame.rename(dict(zip(frame.columns, self._columns, strict=True)))

    def _predict(self, X: Any) -> dict[str, NDArray[np.float64]]:
        check_is_fitted(self)
        found: dict[str, NDArray[np.float64]] = self.model_.predict(self._prepared(X))
        return found


class JointRegressor(RegressorMixin, _JointEstimator):  # type: ignore[misc]
    """Predicts several numbers at once with one network; missing labels (NaN) are allowed.

    Args:
        schedule: ``joint`` (default), ``alternating``, ``separate`` or ``merge-METHOD``, or a
            schedule such as
            `Alternating("proportional")`.
        weights: Loss weights: ``equal`` (default), ``size``, ``difficulty``, or a mapping from the
            targets' names to numbers. The targets of an array are named ``target 0``, ...; a data
            frame's by its columns.
        width, depth: The trunk: units of a layer (128), layers (2).
        dropout, input_dropout: Dropout of the trunk's layers and of its inputs; None (default) is
            0.1 and 0, of a `JointClassifier` 0.5 and 0.3.
        learning_rate, weight_decay: Of AdamW: 2e-3 and 1e-2.
        l1, l2: Factors of the penalties of the weights: 0.
        batch_size, epochs, patience: None (default) chooses by the number of rows, see `Recipe`.
        validation_fraction: Share of the rows kept for early stopping by a single network: 0.15.
        bins: Pieces that each number is cut into for the network; None (default) chooses by how
            many numbers there are; 0 for none.
        ensemble: How many networks are averaged, each stopped early by another part of the rows;
            None (default) chooses by the number of rows: 8 up to 10,000, 4 up to 20,000, else 1.
        recipe: How to train, in place of all parameters above: balancers, networks and phases are
            to be had by it, as in ``Recipe(balancer="upgrad", network="mmoe")``. Default None.
        device: cpu (default), cuda or auto.
        random_state: Seed; None draws one.

    Attributes:
        model_: The fitted `TableModel`.
        n_features_in_, feature_names_in_: As everywhere in scikit-learn.

    Shape:
        fit: X [n, d] (array, sparse matrix or data frame; NaN allowed), y [n] or [n, t], NaN, None
            or masked = missing label.
        predict: [n] or [n, t], in the targets' units.

    Raises:
        InvalidInputError: A target is constant, infinite or without labels, a parameter lies
            outside its range, or both a recipe and parameters that it has are given.

    Example:
        >>> from sklearn.datasets import load_linnerud
        >>> X, y = load_linnerud(return_X_y=True)
        >>> JointRegressor(epochs=20, random_state=0).fit(X, y).predict(X).shape
        (20, 3)
    """

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> JointRegressor:
        """Fit all targets.

        Args:
            X: Features, [n, d].
            y: Labels, [n] or [n, t], NaN where one is missing.
            sample_weight: How much each row counts, [n], or each label, [n, t]; 0 leaves it out.
                Default all the same. Their unit is of no account.
        """
        features = self._frame(X, reset=True)
        targets = read_targets(y)
        _check_rows(features, targets)
        values = targets.numbers()
        targets.check_labelled()
        labels = pl.DataFrame(
            {name: pl.Series(values[:, i]).fill_nan(None) for i, name in enumerate(targets.names)}
        )
        self._one_dimensional = targets.one_dimensional
        tasks = [Task.regression(name) for name in targets.names]
        weights = read_sample_weight(sample_weight, targets)
        self.model_ = self._fit(features, labels, tasks, weights)
        return self

    def predict(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the predicted values, [n] or [n, t] as y was."""
        found = self._predict(X)
        predictions = [found[task.name] for task in self.model_.tasks]
        return predictions[0] if self._one_dimensional else np.stack(predictions, axis=1)

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> NDArray[np.float64]:
        """Return intervals that hold the share `coverage` of the values, [n, 2] or [n, t, 2].

        See `TableModel.predict_interval`.
        """
        check_is_fitted(self)
        intervals = self.model_.predict_interval(self._prepared(X), coverage)
        found = [intervals[task.name] for task in self.model_.tasks]
        return found[0] if self._one_dimensional else np.stack(found, axis=1)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return R2 averaged over the targets that have two labels or more.

        Each over its labelled rows; NaN if no target has two labels.

        Raises:
            InvalidInputError: y has no label.
        """
        targets = read_targets(y)
        predicted = self.predict(X).reshape(targets.rows, -1)
        return mean_r2(targets, predicted, read_sample_weight(sample_weight, targets))


class JointClassifier(ClassifierMixin, _JointEstimator):  # type: ignore[misc]
    """Predicts several classes at once with one network; missing labels are allowed.

    Takes the same parameters as `JointRegressor`, and one more:

    Args:
        class_weight: What rows count by their class in training, calibration included, beside
            ``sample_weight``: ``balanced``, a mapping from classes to weights, or one of these for
            each target: a list in their order, or a mapping from their names. Default None: all
            classes the same.

    Attributes:
        classes_: The classes, or a list of them for each target when y is [n, t].
        model_: The fitted `TableModel`.
        n_features_in_, feature_names_in_: As everywhere in scikit-learn.

    Shape:
        fit: X [n, d] (array, sparse matrix or data frame; NaN allowed), y [n] or [n, t]; NaN, None
            or masked = missing label.
        predict: [n] or [n, t]. predict_proba: [n, c], or a list of them for each target.

    Raises:
        InvalidInputError: A target has no label or labels of several types, or a parameter lies
            outside its range. A target with one class only, as in a part of a cross-validation, is
            predicted as that class, with a warning.

    Example:
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
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-2,
        l1: float = 0.0,
        l2: float = 0.0,
        batch_size: int | None = None,
        epochs: int | None = None,
        patience: int | None = None,
        validation_fraction: float = 0.15,
        bins: int | None = None,
        ensemble: int | None = None,
        recipe: Recipe | None = None,
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
            recipe=recipe,
            device=device,
            random_state=random_state,
        )
        self.class_weight = class_weight

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> JointClassifier:
        """Fit all targets.

        Args:
            X: Features, [n, d].
            y: Labels, [n] or [n, t], NaN or None where one is missing.
            sample_weight: How much each row counts, [n], or each label, [n, t]; 0 leaves it out.
                Default all the same. Their unit is of no account.
        """
        features = self._frame(X, reset=True)
        targets = read_targets(y)
        _check_rows(features, targets)
        targets.check_labelled()
        tasks, columns, self._classes = [], {}, []
        for index, name in enumerate(targets.names):
            classes, codes = sorted_classes(name, targets.known(index))
            self._classes.append(classes)
            if len(classes) < 2:
                warnings.warn(
                    f"{name} of y has one class only, {classes.tolist()[0]!r}; it is predicted for "
                    "every row",
                    stacklevel=2,
                )
                continue
            column = np.full(targets.rows, -1)
            column[~targets.missing[index]] = codes
            columns[name] = pl.Series(column, dtype=pl.Int64).replace(-1, None)
            indices = tuple(range(len(classes)))
            make = Task.binary if len(classes) == 2 else Task.multiclass
            tasks.append(make(name, indices))
        self._targets = targets.names
        self._one_dimensional = targets.one_dimensional
        self.classes_ = self._classes[0] if self._one_dimensional else self._classes
        weights = read_sample_weight(sample_weight, targets)
        class_weights = self._class_weights()
        kept = [targets.names.index(task.name) for task in tasks]
        of_tasks = None if weights is None else weights[:, kept]
        self.model_ = None
        if tasks:
            labels = pl.DataFrame(columns)
            self.model_ = self._fit(features, labels, tasks, of_tasks, class_weights)
        return self

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
            found[name] = {code: of_one.get(label, 1.0) for code, label in enumerate(classes)}
        return found

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64] | list[NDArray[np.float64]]:
        """Return calibrated probabilities of the classes, [n, c], a list if y was [n, t]."""
        check_is_fitted(self)
        if self.model_ is None:
            found: dict[str, NDArray[np.float64]] = {}
            rows = len(self._frame(X, reset=False))
        else:
            found = self._predict(X)
            rows = len(next(iter(found.values())))
        probabilities = []
        for name in self._targets:
            p = found.get(name, np.ones((rows, 1)))
            probabilities.append(np.stack([1 - p, p], axis=1) if p.ndim == 1 else p)
        return probabilities[0] if self._one_dimensional else probabilities

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable classes, [n] or [n, t] as y was."""
        chosen = self._most_probable(X)
        return chosen[0] if self._one_dimensional else np.stack(chosen, axis=1)

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
            InvalidInputError: y has no label.
        """
        targets = read_targets(y)
        weights = read_sample_weight(sample_weight, targets)
        return mean_accuracy(targets, self._most_probable(X), weights)


def _array_to_frame(array: np.ndarray, prefix: str) -> pl.DataFrame:
    columns = {f"{prefix}{i}": pl.Series(array[:, i]) for i in range(array.shape[1])}
    return pl.DataFrame(columns).with_columns(pl.selectors.float().fill_nan(None))


def _check_rows(features: pl.DataFrame, targets: Targets) -> None:
    if len(features) != targets.rows:
        raise InvalidInputError(
            f"X has {len(features)} rows and y has {targets.rows}; they must be the same"
        )
