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

from jointrain.data import (
    ClassWeights,
    encode_targets,
    infer_tasks,
    notes_on_tasks,
    said_kind,
    with_joint_labels,
)
from jointrain.errors import InvalidInputError, closest
from jointrain.estimators._estimator_data import (
    Targets,
    accuracies,
    check_keys,
    label_column,
    mean_score,
    of_any_unit,
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
from jointrain.estimators._target_layout import (
    ColumnsOf,
    PredictedTarget,
    columns_by_target,
    has_own_score,
    in_order_of_y,
    label_frame,
    levels_around,
    own_score,
    predicted_targets,
    values_of,
    with_names,
    words_for_yes,
)
from jointrain.experiments import Recipe
from jointrain.tables import predictions_as_table
from jointrain.task import ClassKind, Task, conditionals, labels_of, with_given
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

    Takes the same parameters as `JointRegressor`, and three more:

    Args:
        tasks: The kind of each target by its name, such as ``{"price": "regression", "sold":
            "binary"}``; any kind that a table's target can have (``regression``, ``mean-variance``,
            ``count``, ``negative-binomial``, ``binary``, ``multiclass``, ``ordinal``, or
            ``ordinal:low:mid:high`` with the order, ``quantiles:0.05:0.5:0.95``, ``censored``), or
            None for a kind that is to be inferred. Kinds of several columns name those of y:
            ``{"death": "survival:years:dead", "tags": "multilabel:a:b", "cells":
            "proportions:x:y:z", "crp": "censored:LOWER:UPPER"}``.
            None (default) infers all, as a table's are: two distinct values make a binary target,
            text and categories a multiclass one, other numbers a regression; `notes_` says where
            this may be wrong.
        given: What a binary target needs, by target: ``{"purchase": "click"}``, or with a
            correction, ``"click:doubly-robust"``; see `Task`. Rows without a click are labelled no.
            Default None: nothing.
        class_weight: What rows count by the class of a target in training, see
            `JointClassifier`: ``balanced``, a mapping from classes to weights, or either of these
            by target. Default None: all classes the same.

    Attributes:
        tasks_: What is predicted: a `Task` for each target that has more than one value.
        classes_: The classes of each target that has classes, and the labels of each multilabel
            one, by its name; of y [n] the classes themselves, if it has some.
        notes_: What was inferred and may be wrong, a sentence each.
        model_: The fitted `BlendedModel`, or `TableModel`, as of `JointRegressor`; None if every
            target has one value only.
        n_features_in_, feature_names_in_: As everywhere in scikit-learn.

    Shape:
        fit: X [n, d] (array, sparse matrix or data frame; NaN allowed); y a data frame (pandas,
            Polars, Arrow) or mapping with a column for each target, or an array [n, t] whose
            columns are in the order of `tasks` and of what they name, or [n] for one target. A
            structured array has its columns in its fields. NaN, None, null or masked = missing
            label. A sparse y [n, t] of scipy says by 1 which labels hold; none is missing.
        predict: as y was: a data frame gives a data frame of the same kind and names. Classes have
            the type of y's column; numbers too if it is one of fractions or durations, else they
            are float64. Several labels and proportions fill the columns that they were read from;
            other kinds have one column of the target's name: survival the mean time until the last
            end, quantiles the one in the middle, censored the number.
        predict_proba: {target: [n, c]} of the targets that have classes, in their order, and of
            several labels, the probability of each; [n, c] if y was [n].

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
        given: Mapping[str, str] | None = None,
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
        self.given = given
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
        columns_of = columns_by_target(kinds)
        targets = _read(y, columns_of)
        form = TargetForm.of(y, targets)
        self._check_rows(features.shape[0], targets)
        targets.check_labelled()
        places = in_order_of_y(targets, columns_of)
        names = list(places)
        weights = read_sample_weight(sample_weight, targets.rows, names, named=targets.named)
        of_groups = read_groups(groups, targets.rows)
        constants: dict[str, Any] = {}
        are_classes: list[bool] = []
        columns: dict[str, pl.Series] = {}
        tasks: list[Task] = []
        for name in names:
            read = [label_column(targets, place, form.order(place)) for place in places[name]]
            said = kinds.get(name) or form.kind(places[name][0], _value_count(read[0]))
            if _is_varied(read, said):
                columns |= {column.name: column for column in read}
                tasks.append(_task(name, read, said))
                _check_order(tasks[-1], said, rises=form.rises(places[name][0]))
                are_classes.append(tasks[-1].has_classes)
            else:
                _check_only_value(read[0], said)
                constants[name] = _only_value(read[0], said)
                are_classes.append(_is_class(read[0], said))
        tasks = self._with_given(tasks, constants)
        start = self._former(names, tasks)
        labels = pl.DataFrame(columns)
        if self.given:
            labels = with_joint_labels(labels, tasks, encode_targets(labels, tasks))
        self._set_targets(targets, columns_of, form, tasks, labels, constants, are_classes)
        kept = [names.index(task.name) for task in tasks]
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
        given = self._read_again(y)
        targets = self._as_fitted(given)
        self._check_rows(features.shape[0], targets)
        targets.check_labelled()
        weights = self._weights(given, sample_weight)
        kept = [self._targets.index(task.name) for task in self.tasks_]
        of_tasks = None if weights is None else weights[:, kept]
        if first or self.model_ is not None:
            labels = label_frame(self._learned_columns(targets))
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
        columns_of = columns_by_target(kinds)
        targets = _read(y, columns_of)
        form = TargetForm.of(y, targets)
        self._check_rows(features.shape[0], targets)
        targets.check_labelled()
        places = in_order_of_y(targets, columns_of)
        given = _by_target(classes, list(places))
        tasks: list[Task] = []
        columns: dict[str, pl.Series] = {}
        for name, own_places in places.items():
            said, own = kinds.get(name), targets.at(own_places)
            if _reads_several(said):
                read = [label_column(targets, place) for place in own_places]
                columns |= {column.name: column for column in read}
                tasks.append(_task(name, read, said))
                continue
            if name in given:
                own = _with_labels(own, given[name])
            columns[name] = column = label_column(own, 0, form.order(own_places[0]))
            said = said or form.kind(own_places[0], _value_count(column))
            if name not in given and _needs_classes(column, said):
                raise InvalidInputError(
                    "classes must be passed on the first call to partial_fit, as a batch may lack "
                    f"some: give classes={{{name!r}: [...]}}"
                )
            if _value_count(column) < 2 and ":" not in (said or ""):
                raise InvalidInputError(
                    f"{name} of y has one value only in the first batch, whose rows decide how it "
                    "is read; give a first batch that is representative"
                )
            tasks.append(_task(name, [column], said))
            _check_order(tasks[-1], said, rises=form.rises(own_places[0]))
            if name in given and not tasks[-1].has_classes:
                raise InvalidInputError(
                    f"`classes` names {name!r}, which is {tasks[-1].kind} and has none; leave it "
                    "out, or give its kind in `tasks`"
                )
        tasks = self._with_given(tasks, {})
        labels = pl.DataFrame({name: column[: targets.rows] for name, column in columns.items()})
        are_classes = [task.has_classes for task in tasks]
        self._set_targets(targets, columns_of, form, tasks, labels, {}, are_classes)

    def _with_given(self, tasks: Sequence[Task], constants: Mapping[str, Any]) -> list[Task]:
        """Return the tasks with what each is given.

        Raises:
            InvalidInputError: A target of a chain has one value only, or as `with_given`.
        """
        given = self.given or {}
        if not isinstance(given, Mapping):
            raise InvalidInputError(
                "`given` gives what a target needs by its name, such as {'purchase': 'click'}, got "
                f"{given!r}"
            )
        for name, other in given.items():
            for one in (name, str(other).partition(":")[0]):
                if one in constants:
                    raise InvalidInputError(
                        f"{name!r} is given {other!r}, and {one} of y has one value only; leave "
                        "`given` out, or give rows with both"
                    )
        return with_given(tasks, given)

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
        columns_of: ColumnsOf,
        form: TargetForm,
        tasks: Sequence[Task],
        labels: pl.DataFrame,
        constants: dict[str, Any],
        are_classes: list[bool],
    ) -> None:
        self._target_columns, self._places = columns_of, in_order_of_y(targets, columns_of)
        self._targets = list(self._places)
        self._constants, self._are_classes = constants, are_classes
        self.tasks_ = tuple(tasks)
        by_name = {task.name: task for task in tasks}
        filled: list[PredictedTarget] = []
        for (name, places), is_class in zip(self._places.items(), are_classes, strict=True):
            filled += predicted_targets(name, places, targets, by_name.get(name), is_class=is_class)
        self._form = form.of_predictions(filled)
        self._filled = filled
        self._words = {
            task.name: [words_for_yes(targets, at, task.name) for at in self._places[task.name]]
            for task in tasks
            if task.in_table.cells == "yes or no"
        }
        named = {name: kind for name, kind in self._kinds().items() if kind is not None}
        self.notes_ = tuple(map(_in_python, notes_on_tasks(labels, tasks, named)))
        by_task = {task.name: task.classes for task in tasks}
        self._classes = {
            name: np.asarray(by_task.get(name) or [constants[name]])
            for name, is_class in zip(self._targets, are_classes, strict=True)
            if is_class or name in self._words
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
        check_keys(self.tasks, "`tasks`")
        return {str(name): kind for name, kind in self.tasks.items()}

    def predict(self, X: ArrayLike) -> Any:
        """Return the predicted values and classes, in the form that y had.

        Of an ordinal target it is the median class, of other classes the most probable one, of
        several labels those of more than one half.
        """
        found, rows = self._found(X)
        columns = [column for each in self._values(found, rows) for column in each]
        are_classes = [column.is_class for column in self._filled]
        return self._form.filled(columns, are_classes, _index_of(X))

    def _values(self, found: Mapping[str, np.ndarray], rows: int) -> list[list[np.ndarray]]:
        """Return values or classes of each target, [n] in each of its columns."""
        tasks = {task.name: task for task in self.tasks_}
        each = []
        for name in self._targets:
            if name in self._constants:
                column = np.empty(rows, dtype=object if name in self._classes else np.float64)
                column[:] = self._constants[name]
                each.append([column])
            else:
                each.append(values_of(tasks[name], found[name], self._words.get(name, ())))
        return each

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
            if name in self._words:
                probabilities[name] = found[name]
            elif isinstance(kind, ClassKind):
                probabilities[name] = kind.probabilities(found[name])
            else:
                probabilities[name] = np.ones((rows, 1))
        return next(iter(probabilities.values())) if self._form.one_dimensional else probabilities

    def predict_interval(self, X: ArrayLike, coverage: float = 0.9) -> Any:
        """Return intervals that hold the share `coverage` of the values of each number.

        See `TableModel.predict_interval`. Of a target of kind quantiles they are the two whose
        levels leave out as much on each side, such as 0.05 and 0.95 for 0.9; it is left out if it
        has none such. Nor have survival, censored, proportions and classes intervals, nor what had
        one value only in fitting.

        Shape:
            returns: {target: [n, 2]}; [n, 2] if y was [n].

        Raises:
            InvalidInputError: No target has an interval.
        """
        check_is_fitted(self)
        if self.model_ is None:
            raise InvalidInputError("every target has one value only: there are no intervals")
        levels = {
            task.name: levels_around(task, coverage)
            for task in self.tasks_
            if task.kind == "quantiles"
        }
        found: dict[str, NDArray[np.float64]] = {}
        if not any(levels.values()):
            if len(levels) == len(self.tasks_):
                outside = (1 - coverage) / 2
                raise InvalidInputError(
                    f"{self.tasks_[0].name} has no quantiles around a share of {coverage:g}; fit "
                    f"it as quantiles:{outside:g}:0.5:{1 - outside:g}, or ask for another coverage"
                )
            found = self.model_.predict_interval(self._prepared(X), coverage)
        else:
            if any(task.in_table.calibrated_by == "errors" for task in self.tasks_):
                found = self.model_.predict_interval(self._prepared(X), coverage)
            predictions = self._predict(X)
            found |= {
                name: predictions[name][:, list(both)] for name, both in levels.items() if both
            }
            found = {name: found[name] for name in self._targets if name in found}
        return next(iter(found.values())) if self._form.one_dimensional else found

    def score(self, X: ArrayLike, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the mean over the targets of R2 (numbers) and accuracy (classes).

        Each over its labelled rows; a class that fitting did not see is a wrong prediction. Of
        several labels it is their mean accuracy, of survival the C-index, of quantiles, censored
        and proportions D2: the part of a constant's loss that is explained, as R2 is of squares.
        What is given another target is judged over all rows.

        Raises:
            InvalidInputError: y has no label, other targets, or another number of rows.
        """
        found, rows = self._found(X)
        targets, weights = self._scored(y, sample_weight, rows)
        predicted = [columns[0] for columns in self._values(found, rows)]
        own = {task.name for task in self.tasks_ if has_own_score(task)}
        plain = np.array([name not in own for name in self._targets])
        is_class = np.array(self._are_classes)
        firsts = targets.at([places[0] for places in self._places.values()])
        scores = accuracies(*_some(firsts, predicted, weights, is_class & plain))
        scores += r2_scores(*_some(firsts, predicted, weights, ~is_class & plain))
        if own:
            labels = encode_targets(label_frame(self._learned_columns(targets)), self.tasks_)
            for task, of_task in zip(self.tasks_, labels_of(labels, self.tasks_), strict=True):
                if task.name in own:
                    place = self._targets.index(task.name)
                    of_rows = None if weights is None else weights[:, place]
                    score = own_score(task, found[task.name], of_task, of_rows)
                    scores += [] if score is None else [score]
        return mean_score(scores)

    def predict_given(self, X: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Return the probabilities of targets that are given another one, where that one is.

        Shape:
            returns: [n] by names such as ``purchase|click``; p(purchase) is p(click) times it.
        """
        found, _ = self._found(X)
        return conditionals(self.tasks_, found)

    def predict_table(self, X: ArrayLike, intervals: float | None = None) -> pl.DataFrame:
        """Return all that is predicted as a Polars table, a row for each row of X.

        Its columns are those of `TableModel.predict_table`: each quantile (``days_q0.05``), the
        chance of more than each end (``death>5``), each class's, label's and part's share
        (``sold=yes``), and p(purchase | click).

        Args:
            X: Features, [n, d].
            intervals: Coverage of intervals of numbers (``price_low``, ``price_high``); default
                none.
        """
        found, rows = self._found(X)
        ends = {}
        if intervals is not None and self.model_ is not None:
            ends = self.model_.predict_interval(self._prepared(X), intervals)
        table = predictions_as_table(self.tasks_, found, ends)
        only = {name: [value] * rows for name, value in self._constants.items()}
        return pl.DataFrame(only) if not self.tasks_ else table.with_columns(**_series(only))

    def _read_again(self, y: Any) -> Targets:
        """Return the columns of y, which are those of fitting, in their own order."""
        return _read(y, self._target_columns or {name: (name,) for name in self._targets})

    def _as_fitted(self, targets: Targets) -> Targets:
        """Return the columns of y in the order of fitting."""
        order = sorted(
            (place, column)
            for name, places in self._places.items()
            for place, column in zip(places, self._target_columns.get(name, (name,)), strict=True)
        )
        return targets.at([targets.names.index(column) for _, column in order])

    def _learned_columns(self, targets: Targets) -> Targets:
        """Return the columns of y that tasks are read from."""
        return targets.at([place for task in self.tasks_ for place in self._places[task.name]])

    def _scored(self, y: Any, sample_weight: Any, rows: int) -> tuple[Targets, np.ndarray | None]:
        """Return the columns of y in the order of fitting, and the weights of their targets."""
        given = self._read_again(y)
        targets = self._as_fitted(given)
        self._check_rows(rows, targets)
        weights = self._weights(given, sample_weight)
        return targets, None if weights is None else of_any_unit(weights)

    def _weights(self, given: Targets, sample_weight: Any) -> np.ndarray | None:
        """Return the weights of the labels, whose columns are as y's, in the order of fitting."""
        names = list(in_order_of_y(given, self._target_columns))
        weights = read_sample_weight(sample_weight, given.rows, names, named=given.named)
        return None if weights is None else weights[:, [names.index(n) for n in self._targets]]

    def _labels(self, targets: Targets) -> np.ndarray:
        return encode_targets(label_frame(self._learned_columns(targets)), self.tasks_)


def _series(columns: Mapping[str, list[Any]]) -> dict[str, pl.Series]:
    return {name: pl.Series(name, values) for name, values in columns.items()}


def _read(y: Any, columns_of: ColumnsOf) -> Targets:
    """Return the columns of y, which must be those that targets are read from, if any are named."""
    targets = read_targets(y, indicators=True)
    return with_names(targets, columns_of) if columns_of else targets


def _task(name: str, columns: Sequence[pl.Series], said: str | None) -> Task:
    """Return the task of a target whose labels are known.

    Raises:
        InvalidInputError: The kind is unknown or does not fit.
    """
    (task,) = infer_tasks(pl.DataFrame(list(columns)), [name], {name: said} if said else {})
    return task


def _check_order(task: Task, said: str | None, *, rises: bool) -> None:
    """Refuse ranks that are numbers where the type of y's column has them in another order.

    Args:
        task: The target.
        said: Its kind as it is given, which may have the order.
        rises: Whether numbers, if they have an order in the type, rise in it.

    Raises:
        InvalidInputError: They don't, and no order is given.
    """
    is_text = any(isinstance(label, str) for label in task.classes)
    if task.kind == "ordinal" and not is_text and not rises and ":" not in (said or ""):
        raise InvalidInputError(
            f"{task.name} of y has ordered categories of numbers in another order than that of the "
            f"numbers; give it in `tasks`, such as {{{task.name!r}: 'ordinal:3:1:2'}}, or write "
            "them as text"
        )


def _reads_several(said: str | None) -> bool:
    """Return whether a kind has several numbers a row, which it checks itself."""
    return said is not None and said_kind("y", said).kind.cells not in ("numbers", "classes")


def _is_varied(columns: Sequence[pl.Series], said: str | None) -> bool:
    """Return whether a target is to be learned; else it is a constant."""
    if _reads_several(said):
        return True
    return columns[0].drop_nulls().n_unique() > 1 or not _can_be(columns[0], said)


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
    return _task(column.name, [column], said).has_classes


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


def _value_count(column: pl.Series) -> int:
    return column.n_unique() - (column.null_count() > 0)


def _index_of(X: Any) -> Any:
    """Return the index of what pandas made; None for others, such as lists with that method."""
    return X.index if hasattr(X, "iloc") else None


def _check_only_value(column: pl.Series, said: str | None) -> None:
    """Refuse a target with one value only that would be refused with several.

    Raises:
        InvalidInputError: It is infinite, or none of its kind.
    """
    if not _is_class(column, said):
        kind, _, levels = said_kind(column.name, said or "regression")
        task = Task(column.name, kind.name, tuple(map(float, levels)))
        encode_targets(column.to_frame(), [task])


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
