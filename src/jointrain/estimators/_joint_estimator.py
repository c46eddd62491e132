"""JointEstimator: targets of several kinds at once, in scikit-learn's interface."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from jointrain.data import ClassWeights, encode_targets, infer_tasks, notes_on_tasks, said_kind
from jointrain.errors import InvalidInputError, closest
from jointrain.estimators._estimator_data import (
    Targets,
    accuracies,
    label_column,
    mean_score,
    r2_scores,
    read_groups,
    read_sample_weight,
    read_targets,
)
from jointrain.estimators._table_estimator import (
    Features,
    TableEstimator,
    of_networks_alone,
)
from jointrain.estimators._target_frame import TargetForm
from jointrain.experiments import Recipe
from jointrain.task import ClassKind, Task
from jointrain.training import AnySchedule


def _may_have_classes(estimator: JointEstimator) -> bool:
    """Return whether a target has classes, as far as that is known.

    Raises:
        AttributeError: None has.
    """
    if not getattr(estimator, "_classes", True):
        raise AttributeError("no target has classes, so there are no probabilities")
    return True


class JointEstimator(TableEstimator):
    """Predicts targets of several kinds at once: numbers, counts, classes, ranks.

    Networks of all targets, lines, extra trees and kernels predict together, see `JointRegressor`.

    Takes the same parameters as `JointRegressor`, and two more:

    Args:
        tasks: The kind of each target by its name, such as ``{"price": "regression", "sold":
            "binary"}``; any kind that a table's column can have (``regression``, ``mean-variance``,
            ``count``, ``negative-binomial``, ``binary``, ``multiclass``, ``ordinal``, or
            ``ordinal:low:mid:high`` with the order), or None for a kind that is to be inferred.
            None (default) infers all, as a table's are: two distinct values make a binary target,
            text and categories a multiclass one, other numbers a regression; `notes_` says where
            this may be wrong.
        class_weight: What rows count by the class of a target in training, see
            `JointClassifier`: ``balanced``, a mapping from classes to weights, or either of these
            by target. Default None: all classes the same.

    Attributes:
        tasks_: What is predicted: a `Task` for each target that has more than one value.
        classes_: The classes of each target that has classes, by its name; of y [n] the classes
            themselves, if it has some.
        notes_: What was inferred and may be wrong, a sentence each.
        model_: The fitted `BlendedModel`, or `TableModel`, as of `JointRegressor`; None if every
            target has one value only.
        n_features_in_, feature_names_in_: As everywhere in scikit-learn.

    Shape:
        fit: X [n, d] (array, sparse matrix or data frame; NaN allowed); y a data frame (pandas,
            Polars, Arrow) or mapping with a column for each target, or an array [n, t] whose
            columns are in the order of `tasks`, or [n] for one target. NaN, None, null or masked =
            missing label.
        predict: as y was: a data frame gives a data frame of the same kind and names. Classes have
            the type of y's column; numbers too if it is one of fractions or durations, else they
            are float64.
        predict_proba: {target: [n, c]} of the targets that have classes, in their order; [n, c] if
            y was [n].

    Raises:
        InvalidInputError: A kind is unknown, `tasks` and y name different targets, a target does
            not fit its kind or has no label, or as for `JointRegressor`. A target with one value
            only, as in a part of a cross-validation, is predicted as that value, with a warning.

    Examples:
        >>> import pandas as pd
        >>> from sklearn.datasets import load_iris
        >>> X, species = load_iris(return_X_y=True, as_frame=True)
        >>> y = pd.DataFrame({"width": X.pop("petal width (cm)"), "species": species})
        >>> tasks = {"width": "regression", "species": "multiclass"}
        >>> model = JointEstimator(tasks, epochs=20, random_state=0).fit(X, y)
        >>> model.predict(X).dtypes.astype(str).to_dict()
        {'width': 'float64', 'species': 'int64'}
    """

    def __init__(
        self,
        tasks: Mapping[str, str | None] | None = None,
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
        components: str = "auto",
        recipe: Recipe | None = None,
        warm_start: bool = False,
        said: Mapping[str, str] | None = None,
        class_weight: ClassWeights | None = None,
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
        self.tasks = tasks
        self.class_weight = class_weight

    def fit(
        self,
        X: ArrayLike,
        y: Any,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> JointEstimator:
        """Fit all targets.

        Args:
            X: Features, [n, d].
            y: Labels: a data frame, a mapping of arrays, or [n, t] or [n].
            sample_weight: How much each row counts, [n], or each label, [n, t]; 0 leaves it out.
                Default all the same. Their unit is of no account.
            groups: The group of each row, [n]: rows of a group stay together where rows are kept
                for early stopping and calibration. Default none.
        """
        features = self._frame(X, reset=self._begins)
        kinds = self._kinds()
        targets = self._read(y, kinds)
        form = TargetForm.of(y, targets)
        self._check_rows(features, targets)
        targets.check_labelled()
        weights = read_sample_weight(sample_weight, targets)
        of_groups = read_groups(groups, targets.rows)
        constants: dict[str, Any] = {}
        are_classes: list[bool] = []
        columns: dict[str, pl.Series] = {}
        tasks: list[Task] = []
        for index, name in enumerate(targets.names):
            column, said = label_column(targets, index, form.order(index)), kinds.get(name)
            if column.drop_nulls().n_unique() > 1 or not _can_be(column, said):
                columns[name] = column
                tasks.append(_task(column, said))
                are_classes.append(tasks[-1].has_classes)
            else:
                constants[name] = _only_value(column, said)
                are_classes.append(_is_class(column, said))
        start = self._former(targets.names, tasks)
        labels = pl.DataFrame(columns)
        self._set_targets(targets, form, tasks, labels, constants, are_classes)
        kept = [targets.names.index(task.name) for task in tasks]
        of_tasks = None if weights is None else weights[:, kept]
        self.model_ = (
            self._fit(features, labels, tasks, of_tasks, self.class_weight, of_groups, start)
            if tasks
            else None
        )
        return self

    @of_networks_alone
    def partial_fit(
        self,
        X: ArrayLike,
        y: Any,
        classes: Any = None,
        sample_weight: ArrayLike | None = None,
    ) -> JointEstimator:
        """Train on with one pass over a batch of rows; there with components="network" only.

        The first call's rows decide how features are read, what kinds are inferred and how numbers
        are scaled, so let them be representative, or `fit` before. The learning rate is constant;
        nothing stops early, and probabilities and intervals are calibrated by `fit` alone.

        Args:
            X: Features, [n, d], with the columns of the calls before.
            y: Labels as for `fit`; of each target at least one. The form of the first call's is
                what `predict` returns.
            classes: All classes that a target may have, as a batch may lack some: a mapping from
                the names of the targets with classes; of y [n] also [c]. Needed in the first call,
                unless `fit` came before or `tasks` gives them (``ordinal:low:mid:high``).
            sample_weight: How much each row counts within this batch, [n] or [n, t].

        Raises:
            InvalidInputError: Columns, targets or classes are others than before, or as for
                `JointClassifier.partial_fit`. A target that had one value only in `fit` stays what
                it was.
        """
        first = not hasattr(self, "model_")
        features = self._frame(X, reset=first)
        if first:
            self._begin_targets(y, features, classes)
        elif classes is not None:
            self._check_classes(classes)
        targets = self._as_fitted(y)
        self._check_rows(features, targets)
        targets.check_labelled()
        weights = read_sample_weight(sample_weight, targets)
        kept = [self._targets.index(task.name) for task in self.tasks_]
        of_tasks = None if weights is None else weights[:, kept]
        if first or self.model_ is not None:
            labels = _label_frame(targets.at(kept))
            self.model_ = self._partial_fit(
                features, labels, list(self.tasks_), of_tasks, self.class_weight
            )
        return self

    def _begin_targets(self, y: Any, features: Features, classes: Any) -> None:
        """Take kinds and classes from the first batch of `partial_fit`.

        Raises:
            InvalidInputError: The classes of a target are not given, or `classes` names others.
        """
        kinds = self._kinds()
        targets = self._read(y, kinds)
        form = TargetForm.of(y, targets)
        self._check_rows(features, targets)
        targets.check_labelled()
        given = _by_target(classes, targets.names)
        tasks: list[Task] = []
        columns: dict[str, pl.Series] = {}
        for index, name in enumerate(targets.names):
            said, own = kinds.get(name), targets.at([index])
            if name in given:
                own = _with_labels(own, given[name])
            columns[name] = column = label_column(own, 0, form.order(index))
            if name not in given and _needs_classes(column, said):
                raise InvalidInputError(
                    "classes must be passed on the first call to partial_fit, as a batch may lack "
                    f"some: give classes={{{name!r}: [...]}}"
                )
            if column.n_unique() - (column.null_count() > 0) < 2 and ":" not in (said or ""):
                raise InvalidInputError(
                    f"{name} of y has one value only in the first batch, whose rows decide how it "
                    "is read; give a first batch that is representative"
                )
            tasks.append(_task(column, said))
            if name in given and not tasks[-1].has_classes:
                raise InvalidInputError(
                    f"`classes` names {name!r}, which is {tasks[-1].kind} and has none; leave it "
                    "out, or give its kind in `tasks`"
                )
        labels = pl.DataFrame({name: column[: targets.rows] for name, column in columns.items()})
        are_classes = [task.has_classes for task in tasks]
        self._set_targets(targets, form, tasks, labels, {}, are_classes)

    def _check_classes(self, classes: Any) -> None:
        """Refuse classes that are others than before."""
        for name, labels in _by_target(classes, self._targets).items():
            known = self._classes[name].tolist() if name in self._classes else []
            if set(map(str, labels)) != set(map(str, known)):
                raise InvalidInputError(
                    f"`classes` of {name} are others than before; give the same, or leave them out"
                )

    def _set_targets(
        self,
        targets: Targets,
        form: TargetForm,
        tasks: Sequence[Task],
        labels: pl.DataFrame,
        constants: dict[str, Any],
        are_classes: list[bool],
    ) -> None:
        self._targets, self._form = targets.names, form
        self._constants, self._are_classes = constants, are_classes
        self.tasks_ = tuple(tasks)
        named = {name: kind for name, kind in self._kinds().items() if kind is not None}
        self.notes_ = tuple(map(_in_python, notes_on_tasks(labels, tasks, named)))
        by_task = {task.name: task.classes for task in tasks}
        self._classes = {
            name: np.asarray(by_task.get(name) or [constants[name]])
            for name, is_class in zip(targets.names, are_classes, strict=True)
            if is_class
        }
        flat = form.one_dimensional and self._classes
        self.classes_ = next(iter(self._classes.values())) if flat else self._classes

    def _kinds(self) -> dict[str, str | None]:
        """Return `tasks` by names that are text; none if all are to be inferred."""
        if self.tasks is None:
            return {}
        if not isinstance(self.tasks, Mapping) or not self.tasks:
            raise InvalidInputError(
                "`tasks` gives the kind of each target by its name, such as {'price': "
                f"'regression'}}, got {self.tasks!r}"
            )
        return {str(name): kind for name, kind in self.tasks.items()}

    def _read(self, y: Any, kinds: Mapping[str, Any]) -> Targets:
        """Return the columns of y, which must be those that are named in `kinds`, if any are."""
        targets = read_targets(y)
        if not kinds:
            return targets
        names = list(kinds)
        if not hasattr(y, "columns") and not isinstance(y, Mapping):
            if len(names) != len(targets.names):
                raise InvalidInputError(
                    f"y has {len(targets.names)} columns without names, and `tasks` names "
                    f"{len(names)}: {', '.join(names[:8])}; give a column for each, in their order"
                )
            return replace(targets, names=names)
        for name in names:
            if name not in targets.names:
                raise InvalidInputError(
                    f"`tasks` names {name!r}, which y lacks{closest(name, targets.names)}; y has "
                    f"{', '.join(targets.names[:8])}"
                )
        for name in targets.names:
            if name not in kinds:
                raise InvalidInputError(
                    f"y has a column {name!r} that `tasks` does not name{closest(name, names)}; "
                    "give its kind there, or drop it"
                )
        return targets

    def predict(self, X: ArrayLike) -> Any:
        """Return the predicted values and classes, in the form that y had.

        Of an ordinal target it is the median class, of other classes the most probable one.
        """
        found, rows = self._found(X)
        columns = self._values(found, rows)
        return self._form.filled(columns, self._are_classes, getattr(X, "index", None))

    def _found(self, X: Any) -> tuple[dict[str, NDArray[np.float64]], int]:
        """Return the model's predictions, and the number of rows."""
        check_is_fitted(self)
        if self.model_ is None:
            return {}, self._frame(X, reset=False).shape[0]
        found = self._predict(X)
        return found, len(next(iter(found.values())))

    def _values(self, found: Mapping[str, np.ndarray], rows: int) -> list[np.ndarray]:
        """Return values or classes of each target, [n]."""
        tasks = {task.name: task for task in self.tasks_}
        columns = []
        for name in self._targets:
            if name in self._constants:
                column = np.empty(rows, dtype=object if name in self._classes else np.float64)
                column[:] = self._constants[name]
            else:
                kind = tasks[name].in_table
                column = found[name]
                if isinstance(kind, ClassKind):
                    labels = np.empty(len(kind.task.classes), dtype=object)
                    labels[:] = kind.task.classes
                    column = labels[kind.chosen(column)]
            columns.append(column)
        return columns

    @available_if(_may_have_classes)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: ArrayLike) -> Any:
        """Return calibrated probabilities of the classes of each target that has some.

        Shape:
            returns: {target: [n, c]} in the order of y's columns, those of `classes_`; [n, c] if y
            was [n].

        Raises:
            AttributeError: No target has classes.
        """
        check_is_fitted(self)
        found, rows = self._found(X)
        tasks = {task.name: task.in_table for task in self.tasks_}
        probabilities = {}
        for name in self._classes:
            kind = tasks.get(name)
            probabilities[name] = (
                kind.probabilities(found[name])
                if isinstance(kind, ClassKind)
                else np.ones((rows, 1))
            )
        return next(iter(probabilities.values())) if self._form.one_dimensional else probabilities

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> Any:
        """Return intervals that hold the share `coverage` of the values of each number.

        See `TableModel.predict_interval`.

        Shape:
            returns: {target: [n, 2]} of the targets without classes; [n, 2] if y was [n].
        """
        check_is_fitted(self)
        if self.model_ is None:
            raise InvalidInputError("every target has one value only: there are no intervals")
        found = self.model_.predict_interval(self._prepared(X), coverage)
        return next(iter(found.values())) if self._form.one_dimensional else found

    def score(self, X: ArrayLike, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean over the targets of R2 (numbers) and accuracy (classes).

        Each over its labelled rows; a class that fitting did not see is a wrong prediction.

        Raises:
            InvalidInputError: y has no label, or other targets.
        """
        targets = self._as_fitted(y)
        weights = read_sample_weight(sample_weight, targets)
        found, rows = self._found(X)
        predicted = self._values(found, rows)
        is_class = np.array(self._are_classes)
        scores = accuracies(*_some(targets, predicted, weights, is_class))
        scores += r2_scores(*_some(targets, predicted, weights, ~is_class))
        return mean_score(scores)

    def _as_fitted(self, y: Any) -> Targets:
        """Return the columns of y in the order of fitting."""
        targets = self._read(y, dict.fromkeys(self._targets))
        places = [targets.names.index(name) for name in self._targets]
        return targets.at(places)

    def _labels(self, y: Any) -> tuple[Targets, np.ndarray]:
        targets = self._as_fitted(y)
        kept = targets.at([self._targets.index(task.name) for task in self.tasks_])
        return kept, encode_targets(_label_frame(kept), self.tasks_)


def _label_frame(targets: Targets) -> pl.DataFrame:
    return pl.DataFrame([label_column(targets, index) for index in range(len(targets.names))])


def _task(column: pl.Series, said: str | None) -> Task:
    """Return the task of a target whose labels are known.

    Raises:
        InvalidInputError: The kind is unknown, does not fit, or has several numbers a row.
    """
    (task,) = infer_tasks(column.to_frame(), [column.name], {column.name: said} if said else {})
    if task.in_table.label_shape() or task.kind == "quantiles":
        raise InvalidInputError(
            f"target {task.name!r} is {task.kind}, which has several numbers a row; use "
            "SupervisedTable.prepare and fit_table"
        )
    return task


def _by_target(classes: Any, names: Sequence[str]) -> dict[str, list[Any]]:
    """Return classes by target as they were passed.

    Raises:
        InvalidInputError: They are of no target, or of several in no mapping.
    """
    if classes is None:
        return {}
    if not isinstance(classes, Mapping):
        if len(names) != 1:
            raise InvalidInputError(
                "`classes` gives the classes of each target by its name, such as {'sold': "
                f"[False, True]}}, got {classes!r}"
            )
        classes = {names[0]: classes}
    for name in classes:
        if name not in names:
            raise InvalidInputError(
                f"`classes` names {name!r}, which is no target{closest(str(name), names)}"
            )
    return {name: list(labels) for name, labels in classes.items()}


def _with_labels(target: Targets, labels: Sequence[Any]) -> Targets:
    """Return a target with further rows that have these labels."""
    (column,), (missing,) = target.columns, target.missing
    further = np.empty(len(labels), dtype=object)
    further[:] = labels
    longer = np.concatenate([column.astype(object), further])
    none = np.zeros(len(labels), dtype=bool)
    return replace(target, columns=[longer], missing=[np.concatenate([missing, none])])


def _needs_classes(column: pl.Series, said: str | None) -> bool:
    """Return whether a target has classes that nobody has named."""
    if said is not None and ":" in said:
        return False
    if said is not None or column.n_unique() - (column.null_count() > 0) < 2:
        return _is_class(column, said)
    return _task(column, said).has_classes


def _some(
    targets: Targets, predicted: Sequence[np.ndarray], weights: np.ndarray | None, kept: np.ndarray
) -> tuple[Targets, list[np.ndarray], np.ndarray | None]:
    """Return some of the targets with their predictions and weights."""
    places = np.flatnonzero(kept).tolist()
    of_rows = None if weights is None else weights[:, places]
    return targets.at(places), [predicted[place] for place in places], of_rows


def _is_class(column: pl.Series, said: str | None) -> bool:
    """Return whether a target with one value only has classes."""
    if said is None:
        return not column.dtype.is_float()
    kind = said_kind(column.name, said).kind
    return issubclass(kind, ClassKind)


def _can_be(column: pl.Series, said: str | None) -> bool:
    """Return whether a target with one value only can be of the kind that is said of it."""
    return said is None or _is_class(column, said) or column.dtype != pl.String


def _only_value(column: pl.Series, said: str | None) -> Any:
    value = column.drop_nulls()[0]
    warnings.warn(
        f"{column.name} of y has one value only, {value!r}; it is predicted for every row",
        stacklevel=3,
    )
    return value if _is_class(column, said) else float(value)


def _in_python(note: str) -> str:
    """Return a note with `tasks` in place of the command line's flags."""
    note = re.sub(r"--task (\S+)=(\S+)", r"tasks={'\1': '\2'}", note)
    return re.sub(r" =(\w+)", r" '\1'", note)
