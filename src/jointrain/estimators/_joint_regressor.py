"""JointRegressor: several numbers at once, in scikit-learn's interface."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from sklearn.base import RegressorMixin
from sklearn.utils.validation import check_is_fitted

from jointrain.estimators._estimator_data import (
    Targets,
    mean_score,
    r2_scores,
    read_groups,
    read_targets,
)
from jointrain.estimators._table_estimator import (
    Features,
    TableEstimator,
    of_networks_alone,
)
from jointrain.task import Task


class JointRegressor(RegressorMixin, TableEstimator):  # type: ignore[misc]
    """Predicts several numbers at once; missing labels (NaN) are allowed.

    Networks of all targets, a line, extra trees and kernels predict together, weighed by rows that
    they have not seen.

    Args:
        schedule: ``joint`` (default), ``alternating``, ``separate`` or ``merge-METHOD``, or a
            schedule such as
            `Alternating("proportional")`.
        weights: Loss weights: ``equal`` (default), ``size``, ``difficulty``, ``gradients``,
            ``searched``, or a mapping from the targets' names to numbers. The targets of an array
            are named ``target 0``, ...; a data frame's by its columns.
        width, depth: The trunk: units of a layer (128), layers (2).
        dropout, input_dropout: Dropout of the trunk's layers and of its inputs; None (default) is
            0.1 and 0, of a `JointClassifier` 0.5, and 0.3 from 300 inputs on.
        learning_rate, weight_decay: Of AdamW: 4e-3 and 1e-2.
        l1, l2: Factors of the penalties of the weights: 0.
        batch_size, epochs, patience: None (default) chooses by the number of rows, see `Recipe`.
        validation_fraction: Share of the rows kept for early stopping by a single network: 0.15.
        bins: Pieces that each number is cut into for the network; None (default) chooses by how
            many numbers there are; 0 for none.
        ensemble: How many networks are averaged, each stopped early by another part of the rows;
            None (default) chooses by the number of rows: 8 up to 10,000, 4 up to 20,000, else 1.
        components: What predicts: ``auto`` (default), networks and cheap baselines, see
            `jointrain.tables.fit_blend`; or ``network``, networks alone. A sparse X that stays
            sparse has networks alone.
        recipe: How to train networks, in place of all parameters above but ``components``:
            balancers, networks and phases are to be had by it, as in ``Recipe(balancer="upgrad",
            network="mmoe")``. Default None.
        warm_start: Whether `fit` starts from the weights of the former fit, whose encoder and
            scaling it keeps; columns, targets and classes must be the same. It needs
            components="network". Default False.
        said: What columns of X are, by name (of an array ``x0``, ``x1``, ...), where it is not to
            be inferred: ``category`` (whole numbers, too; ids if they are more than 100), ``text``,
            ``bag`` or ``bag:;`` with a separator. Default None. Lists are bags by themselves.
        device: cpu (default), cuda or auto. The default is no GPU, which the processes of
            scikit-learn's searches would share.
        random_state: Seed; None draws one.

    Attributes:
        model_: The fitted `BlendedModel`, whose first component are the networks; with
            components="network" the fitted `TableModel`.
        n_features_in_, feature_names_in_: As everywhere in scikit-learn.

    Shape:
        fit: X [n, d] (array, sparse matrix or data frame; NaN allowed), y [n] or [n, t], NaN, None
            or masked = missing label.
        predict: [n] or [n, t], in the targets' units.

    Raises:
        InvalidInputError: A target is infinite or without labels, a parameter lies outside its
            range, or both a recipe and parameters that it has are given.

    Examples:
        >>> from sklearn.datasets import load_linnerud
        >>> X, y = load_linnerud(return_X_y=True)
        >>> JointRegressor(epochs=20, random_state=0).fit(X, y).predict(X).shape
        (20, 3)
    """

    _reads_indicators = False

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        groups: ArrayLike | None = None,
    ) -> JointRegressor:
        """Fit all targets.

        A target with one value only is predicted as that value, with a warning.

        Args:
            X: Features, [n, d].
            y: Labels, [n] or [n, t], NaN where one is missing.
            sample_weight: How much each row counts, [n], or each label, [n, t]; 0 leaves it out.
                Default all the same. Their unit is of no account.
            groups: The group of each row, [n]: rows of a group stay together where rows are kept
                for early stopping and calibration. Default none.
        """
        features = self._frame(X, reset=self._begins)
        targets, labels = self._read(features, y)
        tasks = [Task.regression(name) for name in targets.names]
        start = self._former(targets.names, tasks)
        self._one_dimensional = targets.one_dimensional
        self._targets, self._are_named = targets.names, targets.named
        weights = targets.weights(sample_weight)
        of_groups = read_groups(groups, targets.rows)
        self.model_ = self._fit(features, labels, tasks, weights, groups=of_groups, start=start)
        self._constants = _only_values(labels, weights)
        return self

    @of_networks_alone
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> JointRegressor:
        """Train on with one pass over a batch of rows; there with components="network" only.

        The first call's rows decide how features are read and how numbers are scaled, so let them
        be representative, or `fit` before. The learning rate is constant; nothing stops early, and
        `predict_interval` needs a `fit`.

        Args:
            X: Features, [n, d], with the columns of the calls before.
            y: Labels, [n] or [n, t], NaN where one is missing; of each target at least one.
            sample_weight: How much each row counts within this batch, [n] or [n, t].

        Raises:
            InvalidInputError: Columns or targets are others than before, a target has no label, or
                the recipe can't be trained by single passes: phases, merging, and weights by
                difficulty, gradients or search.
        """
        first = not hasattr(self, "model_")
        features = self._frame(X, reset=first)
        targets, labels = self._read(features, y)
        if first:
            self._targets, self._one_dimensional = targets.names, targets.one_dimensional
            self._are_named = targets.named
        self._check_names(targets)
        tasks = [Task.regression(name) for name in targets.names]
        weights = targets.weights(sample_weight)
        self.model_ = self._partial_fit(features, labels, tasks, weights)
        self._constants = {}
        return self

    def _read(self, X: Features, y: Any) -> tuple[Targets, pl.DataFrame]:
        """Return the targets of as many rows as X has, and their labels as a table."""
        targets = read_targets(y)
        self._check_rows(X.shape[0], targets)
        values = targets.numbers()
        targets.check_labelled()
        labels = {
            name: pl.Series(values[:, i]).fill_nan(None) for i, name in enumerate(targets.names)
        }
        return targets, pl.DataFrame(labels)

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
        for name, value in self._constants.items():
            intervals[name] = np.full_like(intervals[name], value)
        found = [intervals[task.name] for task in self.model_.tasks]
        return found[0] if self._one_dimensional else np.stack(found, axis=1)

    def score(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return R2 averaged over the targets that have two labels or more.

        Each over its labelled rows; NaN if no target has two labels.

        Raises:
            InvalidInputError: y has no label, other targets, or another number of rows.
        """
        found, rows = self._found(X)
        targets, weights = self._scored(y, sample_weight, rows)
        return mean_score(r2_scores(targets, [found[name] for name in self._targets], weights))

    def _predict(self, X: Any) -> dict[str, NDArray[np.float64]]:
        found = super()._predict(X)
        constants = {
            name: np.full_like(found[name], value) for name, value in self._constants.items()
        }
        return {**found, **constants}

    def _labels(self, targets: Targets) -> np.ndarray:
        return targets.numbers()


def _only_values(labels: pl.DataFrame, weights: np.ndarray | None) -> dict[str, float]:
    """Return the value of each target that has one only, with a warning.

    Args:
        labels: A column for each target.
        weights: Of the labels, [n, t]; those of weight 0 do not count.
    """
    found = {}
    for index, column in enumerate(labels):
        counted = column if weights is None else column.filter(pl.Series(weights[:, index] > 0))
        values = counted.drop_nulls().unique()
        if len(values) == 1:
            found[column.name] = float(values[0])
            warnings.warn(
                f"{column.name} of y has one value only, {values[0]!r}; it is predicted for every "
                "row",
                stacklevel=3,
            )
    return found
