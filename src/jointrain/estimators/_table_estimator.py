"""TableEstimator: what the estimators have in common: settings, X, fitting."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, TypeAlias

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from jointrain.data import (
    ClassWeights,
    Column,
    SupervisedTable,
    TableSchema,
    as_table,
    check_weighted_labels,
    encode_targets,
    have_several_items,
    infer_columns,
    is_sparse,
    list_columns,
    lists_as_bags,
    numbers_as_text,
    resolve_class_weights,
    varying_columns,
)
from jointrain.errors import InvalidInputError, closest
from jointrain.estimators._estimator_data import (
    Targets,
    of_any_unit,
    plain_features,
    read_sample_weight,
    read_targets,
)
from jointrain.experiments import Recipe
from jointrain.options import options_of
from jointrain.tables import (
    BlendedModel,
    PartialFit,
    TableModel,
    evaluate_predictions,
    fit_blend,
    fit_table,
)
from jointrain.task import Task, known_labels, labels_of
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


Features: TypeAlias = pl.DataFrame | csr_array
"""X: a table, or a sparse matrix."""

LARGEST_DENSE = 50_000_000
"""Numbers up to which a sparse X becomes a dense table: 400 MB."""

COMPONENTS = ("auto", "network")
"""What predicts: networks beside cheap baselines, or networks alone."""

_BESIDE_RECIPE = (
    "recipe", "components", "tasks", "given", "class_weight", "warm_start", "said", "device",
    "random_state",
)  # fmt: skip
"""Parameters that say something else than how to train."""


class _NetworksNeededError(InvalidInputError, AttributeError):
    """A method is not there, as `hasattr` asks, for what is beside the networks."""


class of_networks_alone:
    """A method that an estimator has with components='network' only."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, estimator: TableEstimator | None, owner: Any = None) -> Callable[..., Any]:
        if estimator is None:
            return self.function
        if estimator.components != "network":
            raise _NetworksNeededError(
                f"`{self.function.__name__}` trains networks on, and components="
                f"{estimator.components!r} puts trees and lines beside them, which can't be; make "
                f"the estimator with components='network'"
            )
        return MethodType(self.function, estimator)


class TableEstimator(BaseEstimator):  # type: ignore[misc]
    """What all estimators have in common: settings, X as a table, a `TableModel`."""

    _targets: list[str]
    _are_named: bool
    """Whether the targets were named by y."""

    _reads_indicators = True
    """Whether y may be sparse."""

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
        self.components = components
        self.recipe = recipe
        self.warm_start = warm_start
        self.said = said
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
            if not isinstance(self.recipe, Recipe):
                raise InvalidInputError(f"`recipe` must be a Recipe or None, got {self.recipe!r}")
            defaults = type(self)().get_params()
            own = [
                name
                for name, value in self.get_params(deep=False).items()
                if name not in _BESIDE_RECIPE and value != defaults[name]
            ]
            if own:
                raise InvalidInputError(
                    f"`recipe` and {', '.join(own)} both say how to train: set it in the recipe"
                )
            return self.recipe
        schedule = self.schedule
        if isinstance(schedule, str):
            schedule = _SCHEDULES.get(schedule, schedule)
        if not isinstance(schedule, AnySchedule):
            hint = closest(schedule, _SCHEDULES) if isinstance(schedule, str) else ""
            raise InvalidInputError(
                f"`schedule` must be one of {', '.join(_SCHEDULES)} or a schedule, got "
                f"{schedule!r}{hint}"
            )
        if not isinstance(self.weights, (str, Mapping)):
            raise InvalidInputError(
                "`weights` is a rule such as 'equal', or gives the weight of each target by its "
                f"name, got {self.weights!r}"
            )
        weights = self.weights if isinstance(self.weights, str) else tuple(self.weights.items())
        optimizer = OptimizerSettings(
            learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )
        values = {name: getattr(self, name) for name in options_of(Recipe) if hasattr(self, name)}
        return Recipe(
            name=schedule.kind, schedule=schedule, weights=weights, optimizer=optimizer, **values
        )

    def _frame(self, X: Any, *, reset: bool) -> Features:
        """Return the features as a table, or as a sparse matrix where a dense one would be large.

        Arrays are checked as scikit-learn does.

        Args:
            X: The features.
            reset: Whether a new fit begins with them. The former one is forgotten.

        Raises:
            InvalidInputError: X is none of these, or has other columns than in fitting.
        """
        if reset:
            self._forget()
        if isinstance(X, pl.LazyFrame):
            X = X.collect()
        if hasattr(X, "columns"):
            frame = as_table(X)
            validate_data(self, X, reset=reset, skip_check_array=True)
            self._check_column_names(X, frame.columns, reset=reset)
            if reset and not len(frame):
                raise InvalidInputError("X has no rows; give at least two")
            return numbers_as_text(frame, self.said or {})
        array = validate_data(
            self,
            plain_features(X),
            reset=reset,
            dtype="numeric",
            ensure_all_finite="allow-nan",
            accept_sparse=True,
        )
        if is_sparse(array) and array.dtype == bool:
            array = array.astype(np.float64)
        if not is_sparse(array):
            return numbers_as_text(_array_to_frame(array, "x"), self.said or {})
        if array.shape[0] * array.shape[1] > LARGEST_DENSE:
            if self.said:
                raise InvalidInputError(
                    "a sparse X holds numbers, and `said` names columns of other kinds; give a "
                    "data frame"
                )
            return csr_array(array)
        # small ones are trained faster as dense ones, and as these are
        return numbers_as_text(_array_to_frame(array.toarray(), "x"), self.said or {})

    def _forget(self) -> None:
        """Leave nothing of a former fit, which could be taken for one to X if this one fails."""
        fitted = [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]
        for name in (*fitted, "_column_names", "_partial"):
            if hasattr(self, name):
                delattr(self, name)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    def _check_column_names(self, X: Any, names: list[str], *, reset: bool) -> None:
        """Refuse a data frame with other names than in fitting, also where they are no text.

        scikit-learn compares names that are text, and warns where one side only has such. Names
        from 0 on are those that an array gets.

        Raises:
            InvalidInputError: They are others, or in another order.
        """
        if reset:
            self._column_names = names
            return
        fitted = getattr(self, "_column_names", names)
        if names == fitted:
            return
        are_text = all(isinstance(name, str) for name in getattr(X, "column_names", X.columns))
        of_array = [str(place) for place in range(len(names))]
        if are_text != hasattr(self, "feature_names_in_") and of_array in (names, fitted):
            return
        raise InvalidInputError(
            f"X has {', '.join(names[:8])}, and fitting had {', '.join(fitted[:8])}; give columns "
            "with the same names in the same order"
        )

    def _former(self, names: list[str], tasks: list[Task]) -> TableModel | None:
        """Return the model that `fit` starts from with `warm_start`; None to begin anew.

        Raises:
            InvalidInputError: The former fit had other targets or classes.
        """
        self._check_components()
        if not self.warm_start:
            return None
        former = self._networks_alone("warm_start")
        if former is None:
            return None
        if names != self._targets or tuple(tasks) != former.tasks:
            what = "targets" if names != self._targets else "classes or kinds of targets"
            raise InvalidInputError(
                f"y has other {what} than in the former fit, whose weights `warm_start` starts "
                "from; give the same, or set warm_start=False"
            )
        return former

    def _check_components(self) -> None:
        if self.components not in COMPONENTS:
            raise InvalidInputError(
                f"`components` must be one of {', '.join(COMPONENTS)}, got {self.components!r}"
            )

    def _networks_alone(self, what: str) -> TableModel | None:
        """Return the networks of the former fit, None if there was none.

        Raises:
            InvalidInputError: There are baselines beside them, which can't be trained on.
        """
        self._check_components()
        former = getattr(self, "model_", None)
        if self.components != "network" or isinstance(former, BlendedModel):
            raise InvalidInputError(
                f"`{what}` goes on with networks, and components='auto' puts trees and lines "
                "beside them, which can't be trained on; fit with components='network'"
            )
        return former

    @property
    def _begins(self) -> bool:
        """Whether `fit` begins anew: no weights of a former one are started from."""
        return not (self.warm_start and getattr(self, "model_", None) is not None)

    def _fit(
        self,
        features: Features,
        labels: pl.DataFrame,
        tasks: list[Task],
        weights: np.ndarray | None,
        class_weights: ClassWeights | None = None,
        groups: np.ndarray | None = None,
        start: TableModel | None = None,
    ) -> TableModel | BlendedModel:
        table, matrix = self._rows(features, labels, tasks, weights, class_weights, groups, start)
        self._partial: PartialFit | None = None
        if self.components == "auto" and matrix is None:
            return fit_blend(
                table,
                self._recipe(),
                seed=self._seed(),
                device=self.device,
                fit_runs=fit_together,
            )
        return fit_table(
            table,
            self._recipe(),
            seed=self._seed(),
            device=self.device,
            fit_runs=fit_together,
            sparse=matrix,
            start=start,
        )

    def _partial_fit(
        self,
        features: Features,
        labels: pl.DataFrame,
        tasks: list[Task],
        weights: np.ndarray | None,
        class_weights: ClassWeights | None = None,
    ) -> TableModel:
        """Return the model after one more pass, over these rows."""
        former = self._networks_alone("partial_fit")
        table, matrix = self._rows(
            features, labels, tasks, weights, class_weights, None, former, 2 if not former else 1
        )
        partial: PartialFit | None = getattr(self, "_partial", None)
        if partial is None and former is not None:
            partial = PartialFit(former, self.device)
        elif partial is None:
            for task, own in zip(tasks, labels_of(table.labels(), tasks), strict=True):
                if not task.has_classes and len(np.unique(own[np.isfinite(own)])) < 2:
                    raise InvalidInputError(
                        f"{task.name} of y has one value only in the first batch, whose rows "
                        "decide the scaling; give a first batch that is representative"
                    )
            partial = PartialFit.begin(
                table, self._recipe(), seed=self._seed(), device=self.device, sparse=matrix
            )
        model = partial.train(table, matrix)
        self._partial = partial
        return model

    def _rows(
        self,
        features: Features,
        labels: pl.DataFrame,
        tasks: list[Task],
        weights: np.ndarray | None,
        class_weights: ClassWeights | None,
        groups: np.ndarray | None,
        former: TableModel | None,
        fewest: int = 2,
    ) -> tuple[SupervisedTable, csr_array | None]:
        """Return the rows to fit to, and their features if X is sparse; those of a former model."""
        if features.shape[0] < fewest:
            raise InvalidInputError(
                f"fitting needs at least {fewest} samples, got n_samples = {features.shape[0]}"
            )
        if weights is not None:
            check_weighted_labels(tasks, encode_targets(labels, tasks), weights)
            counted: np.ndarray = np.asarray((weights > 0).any(axis=1))
            if counted.sum() < fewest:
                raise InvalidInputError(
                    f"fitting needs at least {fewest} rows of weight above 0, got {counted.sum()}"
                )
            features, labels = _kept(features, counted), labels.filter(pl.Series(counted))
            weights = weights[counted]
            groups = None if groups is None else groups[counted]
        labelled = np.asarray(known_labels(encode_targets(labels, tasks), tasks).any(1))
        features, labels = _kept(features, labelled), labels.filter(pl.Series(labelled))
        said: dict[str, str] = {}
        lists: list[str] = []
        if isinstance(features, pl.DataFrame) and former is None:
            lists = list_columns(features)
            features, said = lists_as_bags(features, self.said or {})
            lists = have_several_items(features, lists)
        columns, matrix = self._feature_columns(features, former, said)
        if not columns:
            raise InvalidInputError("every feature column is constant; there is nothing to learn")
        frame, schema = labels, TableSchema()
        if matrix is None:
            renamed = self._renamed(features)
            if former is None or former.schema is None:
                places = dict(zip(features.columns, renamed.columns, strict=True))
                schema = TableSchema.of(renamed).with_lists(places[name] for name in lists)
            else:
                schema = former.schema
                renamed = schema.conform(renamed)
            both = [name for name in labels.columns if name in renamed.columns]
            if both:
                raise InvalidInputError(
                    f"y has a column {both[0]!r}, as a column of X is called in messages; give it "
                    "another name"
                )
            frame = pl.concat([renamed, labels], how="horizontal")
        table = SupervisedTable(
            frame,
            tuple(tasks),
            tuple(columns),
            groups=None if groups is None else groups[labelled],
            weights=None if weights is None else weights[labelled],
            class_weights=resolve_class_weights(class_weights, tasks),
            schema=schema,
        )
        return table, matrix

    def _seed(self) -> int:
        given = self.random_state
        if isinstance(given, (int, np.integer)):
            return int(given)
        return int(check_random_state(given).randint(2**31 - 1))

    def _feature_columns(
        self, features: Features, former: TableModel | None, said: Mapping[str, str]
    ) -> tuple[list[Column], csr_array | None]:
        """Return the columns that hold more than one value; of a sparse X also their matrix.

        Where there is a former model, they are those that it was fitted to.
        """
        if former is not None:
            if isinstance(features, pl.DataFrame):
                return list(former.columns), None
            return list(former.columns), self._columns_of(former, features)
        names = _names(features)
        self._columns = [f"feature {i}: {name}" for i, name in enumerate(names)]
        if isinstance(features, pl.DataFrame):
            places = dict(zip(names, self._columns, strict=True))
            of_places = {places[name]: kind for name, kind in said.items()}
            return infer_columns(self._renamed(features), self._columns, of_places), None
        varying = varying_columns(features)
        columns = [Column(self._columns[i], "numeric", "Float64") for i in varying.tolist()]
        return columns, features[:, varying]

    def _renamed(self, features: pl.DataFrame) -> pl.DataFrame:
        # the number of columns and their names are checked: what is left is the place
        return features.rename(dict(zip(features.columns, self._columns, strict=True)))

    def _check_rows(self, rows: int, targets: Targets) -> None:
        if rows != targets.rows:
            raise InvalidInputError(
                f"X has {rows} rows and y has {targets.rows}; they must be the same"
            )

    def _order_of(self, targets: Targets) -> list[int]:
        """Return where the columns of y are that fitting had, in the order of fitting.

        Raises:
            InvalidInputError: y has other columns; without names, here or there, another number.
        """
        names = targets.names if targets.named and self._are_named else self._targets
        if len(targets.names) != len(self._targets):
            raise InvalidInputError(
                f"y has {len(targets.names)} columns, and fitting had {len(self._targets)}: "
                f"{', '.join(self._targets[:8])}"
            )
        for name in self._targets:
            if name not in names:
                raise InvalidInputError(
                    f"y has no column {name!r}, which fitting had{closest(name, names)}; y has "
                    f"{', '.join(names[:8])}"
                )
        return [names.index(name) for name in self._targets]

    def _scored(self, y: Any, sample_weight: Any, rows: int) -> tuple[Targets, np.ndarray | None]:
        """Return the columns of y and their weights in the order of fitting, of so many rows of X.

        Raises:
            InvalidInputError: y has other columns than in fitting, or another number of rows.
        """
        targets = read_targets(y, indicators=self._reads_indicators)
        order = self._order_of(targets)
        self._check_rows(rows, targets)
        names = targets.names if targets.named else self._targets
        weights = read_sample_weight(sample_weight, targets.rows, names, named=targets.named)
        return targets.at(order), None if weights is None else of_any_unit(weights)[:, order]

    def _check_names(self, targets: Targets) -> None:
        """Refuse a batch whose targets are not those of the batches before, in their order."""
        if targets.names != self._targets:
            raise InvalidInputError(
                f"y has the targets {', '.join(targets.names[:8])}, and those before were "
                f"{', '.join(self._targets[:8])}; give the same"
            )

    @abstractmethod
    def _labels(self, targets: Targets) -> np.ndarray:
        """Return the labels of the targets that the model predicts as it knows them, [n, t]."""

    def evaluate(
        self, X: ArrayLike, y: Any, sample_weight: ArrayLike | None = None
    ) -> dict[str, dict[str, float]]:
        """Return the metrics of each target's kind over the rows that have its label, by its name.

        See `TableModel.evaluate`. A target with one value only in fitting is left out.

        Raises:
            InvalidInputError: y has other targets than in fitting, or a class that it had not.
        """
        check_is_fitted(self)
        found, rows = self._found(X)
        targets, weights = self._scored(y, sample_weight, rows)
        labels = self._labels(targets)
        if self.model_ is None:
            return {}
        if weights is not None:
            weights = weights[:, [self._targets.index(task.name) for task in self.model_.tasks]]
        return evaluate_predictions(self.model_.tasks, found, labels, {}, weights)

    def _prepared(self, X: Any) -> Features:
        """Return X as the model takes it."""
        features = self._frame(X, reset=False)
        if isinstance(features, pl.DataFrame):
            return self._renamed(features)
        return self._columns_of(self.model_, features)

    def _predict_sparse(self, model: BlendedModel, X: csr_array) -> dict[str, np.ndarray]:
        """Return predictions of a sparse matrix by a blend, which needs tables."""
        found: list[dict[str, np.ndarray]] = []
        rows = max(1, LARGEST_DENSE // X.shape[1])
        names = [column.name for column in model.columns]
        for start in range(0, X.shape[0], rows):
            frame = _array_to_frame(X[start : start + rows].toarray(), "x")
            found.append(model.predict(frame.rename(dict(zip(frame.columns, names, strict=True)))))
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    def _columns_of(self, model: TableModel | BlendedModel, features: csr_array) -> csr_array:
        known = {column.name for column in model.columns}
        return features[:, [i for i, name in enumerate(self._columns) if name in known]]

    def _found(self, X: Any) -> tuple[dict[str, NDArray[np.float64]], int]:
        """Return the model's predictions, and the number of rows."""
        check_is_fitted(self)
        if self.model_ is None:
            return {}, self._frame(X, reset=False).shape[0]
        found = self._predict(X)
        return found, len(next(iter(found.values())))

    def _predict(self, X: Any) -> dict[str, NDArray[np.float64]]:
        check_is_fitted(self)
        prepared = self._prepared(X)
        if is_sparse(prepared) and isinstance(self.model_, BlendedModel):
            return self._predict_sparse(self.model_, prepared)
        found: dict[str, NDArray[np.float64]] = self.model_.predict(prepared)
        return found


def _array_to_frame(array: np.ndarray, prefix: str) -> pl.DataFrame:
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    columns = {f"{prefix}{i}": pl.Series(array[:, i]) for i in range(array.shape[1])}
    return pl.DataFrame(columns).with_columns(pl.selectors.float().fill_nan(None))


def _names(features: Features) -> list[str]:
    if isinstance(features, pl.DataFrame):
        return features.columns
    return [f"x{i}" for i in range(features.shape[1])]


def _kept(features: Features, rows: np.ndarray) -> Features:
    """Return some of the rows, [n] of bool."""
    if isinstance(features, pl.DataFrame):
        return features.filter(pl.Series(rows))
    return features[np.flatnonzero(rows)]
