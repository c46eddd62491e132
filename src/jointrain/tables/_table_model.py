"""TableModel: networks fitted to the target columns of a table, with what is needed to predict."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import numpy as np
import polars as pl
import torch
from torch import Tensor

from jointrain.data import (
    Column,
    SparseRows,
    SupervisedTable,
    TableEncoder,
    TableSchema,
    TensorData,
    as_table,
    check_target_scale,
    checked_row_weights,
    encode_targets,
    is_sparse,
    outer_folds,
    query_columns,
    query_numbers,
    read_row_weights,
    validation_halves,
    validation_split,
)
from jointrain.errors import InvalidInputError, closest
from jointrain.experiments import Members, Recipe, gradient_weights, requested_recipes, size_weights
from jointrain.networks import Network, ParetoSet, checked_preference
from jointrain.tables._calibration import Calibration, scale_probabilities
from jointrain.task import (
    CodeColumns,
    Task,
    conditional_metrics,
    conditionals,
    given_name,
    labels_of,
    only_labels,
)
from jointrain.training import (
    CrossFittedWeights,
    FitRuns,
    FittedNetwork,
    Merge,
    Phases,
    Run,
    Strategy,
    Trainer,
    fit_one_by_one,
    mean_validation,
    predict,
)
from jointrain.training.callbacks import Callback
from jointrain.training.population import fit_together
from jointrain.training.sampling import EVALUATION_ROWS, Separate, derived_seed

Splits = Sequence[tuple[np.ndarray, np.ndarray]]
"""For each member of an ensemble the rows to train on and those for early stopping."""

_ONE_TRADE_OFF = (
    "the model has one trade-off between its targets; `jointrain fit --network pareto-set` makes "
    "one that takes a preference"
)


class TablePredictor(ABC):
    """What predicts target columns: predictions as a table, and how good they are."""

    calibration: Calibration = Calibration()
    """What rows that a model was not trained on tell of its predictions; by default nothing."""

    columns: tuple[Column, ...]
    """The feature columns of the table that it was fitted on."""

    schema: TableSchema | None = None
    """How the columns of that table were read; None if an older jointrain fitted it."""

    @property
    @abstractmethod
    def predicted_tasks(self) -> tuple[Task, ...]:
        """The tasks that it predicts."""

    @abstractmethod
    def predict(self, frame: Any) -> dict[str, np.ndarray]:
        """Return the predictions of each task."""

    def preferring(self, preference: Mapping[str, float]) -> Self:
        """Return the model for another trade-off between its tasks, if it has such.

        Raises:
            InvalidInputError: It has none.
        """
        del preference
        raise InvalidInputError(_ONE_TRADE_OFF)

    def predict_interval(self, frame: Any, coverage: float = 0.9) -> dict[str, np.ndarray]:
        """Return intervals for the values of each regression task.

        They reach from the prediction to quantiles of the errors on rows that a network was not
        trained on, below and above apart: of plain errors, or of ratios where labels are positive
        and spread over a factor of ten or more. A target that was never negative has no interval
        below 0. With an ensemble these are errors of single networks, which are somewhat larger
        than those of its mean, so the intervals are rather too wide than too narrow.

        Args:
            frame: As in `predict`.
            coverage: Which share of the true values the intervals are to hold, in (0, 1); default
                0.9. It holds over all rows together, not for each kind of row.

        Shape:
            returns: [n, 2], lower and upper end in the target's unit; infinite where there were too
            few rows for such a coverage.

        Raises:
            InvalidInputError: No task is of kind regression, or as in `predict`.
        """
        tasks = self._tasks_with_intervals(coverage)
        return self._interval_ends(tasks, self.predict(frame), coverage)

    def _tasks_with_intervals(self, coverage: float) -> list[Task]:
        """Return the tasks of kind regression; refuse a coverage that none can have."""
        tasks = [t for t in self.predicted_tasks if t.in_table.calibrated_by == "errors"]
        if not tasks:
            what = "has classes"
            if not all(task.has_classes for task in self.predicted_tasks):
                kinds = dict.fromkeys(task.kind for task in self.predicted_tasks)
                what = f"is {' or '.join(kinds)}"
            raise InvalidInputError(f"intervals are for numbers, and every task {what}")
        for task in tasks:  # a fault is said before the work is done
            self.calibration.interval(task.name, np.zeros(0), coverage)
        return tasks

    def _interval_ends(
        self, tasks: Sequence[Task], predictions: Mapping[str, np.ndarray], coverage: float
    ) -> dict[str, np.ndarray]:
        return {
            task.name: self.calibration.interval(task.name, predictions[task.name], coverage)
            for task in tasks
        }

    def predict_given(self, frame: Any) -> dict[str, np.ndarray]:
        """Return the probabilities of tasks that are given another one, where that one is.

        Args:
            frame: As in `predict`.

        Returns:
            [n] by names such as ``purchase|click``; p(purchase) is p(click) times it.

        Raises:
            InvalidInputError: As in `predict`.
        """
        return conditionals(self.predicted_tasks, self.predict(frame))

    def predict_table(self, frame: Any, intervals: float | None = None) -> pl.DataFrame:
        """Return the predictions as a table, a row for each row of `frame`.

        A regression task gives a column of its name. A class task gives a column of its name with
        the most probable class, and a column ``name=class`` with the probability of each class.
        Several labels give a column ``name=label`` each, proportions ``name=part``. Quantiles give
        ``name``, the one in the middle, and each as ``name_q0.05``. Survival gives ``name``, the
        mean time until the last end, and ``name>30``, the probability of more than 30. A task that
        is given another one has ``purchase|click``, its probability where that one is. Where a
        task has the name of such a further column, the column's name ends in ``(probability)``,
        ``(share)``, ``(quantile)`` or ``(interval)``.

        Args:
            frame: As in `predict`.
            intervals: Coverage of intervals of the regression tasks, in columns ``name_low`` and
                ``name_high``; None (default) for none.

        Raises:
            InvalidInputError: As in `predict` and `predict_interval`.
        """
        bounded = [] if intervals is None else self._tasks_with_intervals(intervals)
        predictions = self.predict(frame)
        ends = {} if intervals is None else self._interval_ends(bounded, predictions, intervals)
        return predictions_as_table(self.predicted_tasks, predictions, ends)

    def evaluate(
        self, frame: Any, weights: str | Sequence[float] | np.ndarray | None = None
    ) -> dict[str, dict[str, float]]:
        """Return each task's metrics over the rows of `frame` that have its label.

        Args:
            frame: A table with the feature and target columns.
            weights: How much each row counts: a column of the frame by its name, [n], or [n, t];
                default all the same.

        Raises:
            InvalidInputError: A feature or target column is missing or of another type, or a weight
                is not a number of 0 or more.
        """
        tasks = self.predicted_tasks
        read = [name for task in tasks for name in task.target_columns]
        table = self.conformed(frame, [*read, *query_columns(tasks)])
        labels = encode_targets(table, list(tasks))
        of_rows = None if weights is None else _given_weights(weights, table, len(tasks))
        queries = query_numbers(table, tasks)
        return evaluate_predictions(tasks, self.predict(table), labels, queries, of_rows)

    def conformed(self, frame: Any, others: Sequence[str] = ()) -> pl.DataFrame:
        """Return a table with the types that the features had in training, and the named columns.

        Args:
            frame: As in `predict`.
            others: More columns to treat so.

        Raises:
            InvalidInputError: A column has a type that can't be turned into its own exactly.
        """
        table = as_table(frame)
        if self.schema is None:
            return table
        return self.schema.only([*(column.name for column in self.columns), *others]).conform(table)


@dataclass(frozen=True)
class TableModel(TablePredictor):
    """A fitted model for the target columns of a table.

    Args:
        tasks: What it predicts.
        columns: The feature columns of the table it was fitted on.
        encoder: Turns a table into network inputs.
        scaling: Mean and standard deviation of each regression target, in the target's unit.
        parts: The networks.
        recipe: How they were trained.
        seed: The seed of all random choices.
        calibration: What rows that a network was not trained on tell of its predictions.
        schema: How the columns of its table were read.
    """

    tasks: tuple[Task, ...]
    columns: tuple[Column, ...]
    encoder: TableEncoder
    scaling: Mapping[str, tuple[float, float]]
    parts: tuple[FittedNetwork, ...]
    recipe: Recipe
    seed: int
    calibration: Calibration = field(default_factory=Calibration)
    schema: TableSchema | None = None

    @property
    def validation(self) -> dict[str, float]:
        """Validation loss of each task, the mean over the networks that predict it."""
        return mean_validation(self.parts)

    @property
    def predicted_tasks(self) -> tuple[Task, ...]:
        """The tasks that are not auxiliary."""
        return tuple(task for task in self.tasks if task.name not in self.recipe.auxiliary)

    def preferring(self, preference: Mapping[str, float]) -> Self:
        """Return the model for another trade-off between its tasks.

        Temperatures and errors, from which intervals are made, stay those that were measured with
        equal shares.

        Args:
            preference: How much each task counts, >= 0, by name; only the shares matter.

        Raises:
            InvalidInputError: Its networks are no Pareto sets, or the preference is all zero, has a
                negative entry, or does not fit the tasks.
        """
        shares = checked_preference(preference, [task.name for task in self.tasks])
        parts = []
        for part in self.parts:
            if not isinstance(part.network, ParetoSet):
                raise InvalidInputError(_ONE_TRADE_OFF)
            network = copy.deepcopy(part.network)
            network.prefer({name: shares[name] for name in network.task_names})
            parts.append(replace(part, network=network))
        return replace(self, parts=tuple(parts))

    def predict(
        self,
        frame: Any,
        *,
        auxiliary: bool = False,
        preference: Mapping[str, float] | None = None,
    ) -> dict[str, np.ndarray]:
        """Return the predictions of each task.

        Args:
            frame: A table with the feature columns (Polars, pandas, Arrow); other columns are
                not looked at. Of a model of numbers alone also a sparse matrix of scipy with its
                columns.
            auxiliary: Predict auxiliary tasks, too.
            preference: How much each task counts, as in `preferring`; for Pareto sets.

        Shape:
            returns: [n] for regression (in the target's unit), [n] for binary (probability of the
            second class), [n, c] for multiclass. Class probabilities are calibrated.

        Raises:
            InvalidInputError: A feature column is missing or of another type, or as in
                `preferring`.
        """
        if preference is not None:
            return self.preferring(preference).predict(frame, auxiliary=auxiliary)
        inputs = encoded_features(self, frame)
        tasks = self.tasks if auxiliary else self.predicted_tasks
        return checked_predictions(
            predict_parts(self.parts, tasks, self.scaling, inputs, self.calibration.temperatures)
        )


def encoded_features(model: TableModel, frame: Any) -> Tensor | SparseRows:
    """Return the features of a table, or of a sparse matrix, as the model's networks take them.

    Raises:
        InvalidInputError: A feature column is missing or of another type.
    """
    if is_sparse(frame):
        return model.encoder.transform_sparse(frame)
    return torch.from_numpy(model.encoder.transform(model.conformed(frame)))


def _given_weights(
    given: str | Sequence[float] | np.ndarray, table: pl.DataFrame, tasks: int
) -> np.ndarray:
    """Return the weights of rows, [n, t]."""
    if isinstance(given, str):
        if given not in table.columns:
            raise InvalidInputError(
                f"there is no column {given!r} of weights{closest(given, table.columns)}"
            )
        weights = read_row_weights(table[given])
    else:
        weights = checked_row_weights(np.asarray(given, dtype=np.float64), "`weights`")
    if weights.shape == (len(table),):
        weights = np.repeat(weights[:, None], tasks, axis=1)
    if weights.shape != (len(table), tasks):
        raise InvalidInputError(
            f"`weights` must be one number a row, [{len(table)}], or one for each task, got shape "
            f"{list(weights.shape)}"
        )
    return weights


def checked_predictions(predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return predictions of which each is a number.

    Raises:
        InvalidInputError: One is not: the model's weights are too large to compute with.
    """
    for name, values in predictions.items():
        if not np.isfinite(values).all():
            row = int(np.argwhere(~np.isfinite(values))[0][0])
            raise InvalidInputError(
                f"the model gives no number for {name!r} in row {row + 1}: its weights are too "
                "large to compute with; use another copy or fit it again"
            )
    return dict(predictions)


def target_scaling(
    labels: np.ndarray, tasks: Sequence[Task], weights: np.ndarray | None = None
) -> dict[str, tuple[float, float]]:
    """Return mean and standard deviation of each regression target; 1 for a constant one.

    Shape:
        labels: [n, w], NaN where one is missing. weights: [n, t].

    Raises:
        InvalidInputError: Values are too large or too close for double precision.
    """
    scaling = {}
    for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True)):
        if task.in_table.has_scale:
            values = own.astype(np.float64)
            check_target_scale(task.name, values.ravel())
            of_rows = None if weights is None else weights[:, index]
            found = task.in_table.scaling(values, of_rows)
            if found is not None:
                scaling[task.name] = found
    return scaling


def make_data(
    inputs: Tensor | SparseRows,
    labels: np.ndarray,
    tasks: Sequence[Task],
    scaling: Mapping[str, tuple[float, float]],
    weights: np.ndarray | None = None,
    codes: Sequence[CodeColumns] = (),
) -> TensorData:
    """Return tensors to train on: inputs, standardised values, class indices and weights.

    Args:
        inputs: What an encoder gave.
        labels: Of all tasks.
        tasks: The tasks.
        scaling: Mean and standard deviation of regression targets.
        weights: How much each label counts.
        codes: Which inputs are codes, `TableEncoder.code_columns`.

    Shape:
        inputs: [n, d]. labels: [n, w], NaN where one is missing. weights: [n, t].
    """
    targets = {}
    for task, own in zip(tasks, labels_of(labels, tasks), strict=True):
        values = task.in_table.training_target(
            own.astype(np.float64), scaling.get(task.name, (0.0, 1.0))
        )
        targets[task.name] = torch.from_numpy(values.astype(np.float32))
    if weights is None:
        return TensorData(inputs, targets, None, tuple(codes))
    of_rows = [torch.from_numpy(np.ascontiguousarray(column)) for column in weights.T]
    return TensorData(
        inputs,
        targets,
        {task.name: of_rows[index] for index, task in enumerate(tasks)},
        tuple(codes),
    )


def inner_splits(
    recipe: Recipe,
    labels: np.ndarray,
    tasks: Sequence[Task],
    seed: int,
    groups: np.ndarray | None = None,
    time: np.ndarray | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the rows to train on and those for early stopping, of each member of the ensemble.

    A single network keeps `Recipe.validation_fraction` of the rows. The members of an ensemble keep
    the folds of a cross-validation in turn; by time, or where a task has too few labels for that,
    they keep parts like the single network's.

    Shape:
        labels: [n, t], NaN where a label is missing. groups, time: [n].
    """
    count = min(recipe.chosen_ensemble(len(labels)), max(1, len(labels) // 2))
    if count > 1 and time is None:
        # fewer groups than members, or a task without a label on one side
        with suppress(InvalidInputError):
            return outer_folds(labels, tasks, count, seed, groups=groups)
    return [
        validation_split(
            labels, tasks, recipe.validation_fraction, member_seed(seed, member), groups, time
        )
        for member in range(count)
    ]


def member_seed(seed: int, member: int) -> int:
    """Return the seed of a member of an ensemble; the first has the ensemble's own."""
    return seed if member == 0 else derived_seed(seed, f"member {member}")


def fit_parts(
    recipe: Recipe,
    data: TensorData,
    tasks: Sequence[Task],
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    seed: int,
    device: str | torch.device = "cpu",
    callbacks: Sequence[Callback] = (),
    fit_runs: FitRuns = fit_one_by_one,
    start: Sequence[FittedNetwork] = (),
    first_halves: Sequence[int] = (),
    strategy: Strategy | None = None,
) -> tuple[FittedNetwork, ...]:
    """Train the networks of a recipe.

    Args:
        recipe: What to train.
        data: Inputs and standardised targets of all rows.
        tasks: The tasks.
        splits: For each member of the ensemble the rows to train on and those for early stopping,
            which may be none.
        seed: Seed of the initial weights, batches, task order and dropout.
        device: Where to train.
        callbacks: Hooks of the trainers.
        fit_runs: Fits the trainers.
        start: Networks whose weights the training begins with, one for each that it leaves;
            default fresh ones.
        first_halves: For each member, `first_half` of `prepare_runs`; default no halves.
        strategy: Of the trainers, see `Trainer`.

    Raises:
        InvalidInputError: A task has no label in the training rows, a loss is not finite, or the
            networks to start from are others.
    """

    def fit(recipes: Sequence[Recipe]) -> list[Members]:
        runs = [
            [
                prepare_runs(
                    chosen,
                    data.take(torch.from_numpy(train)),
                    data.take(torch.from_numpy(validation)) if len(validation) else None,
                    tasks,
                    seed=member_seed(seed, member),
                    device=device,
                    callbacks=callbacks,
                    first_half=first_halves[member] if first_halves else 0,
                    make_trainer=partial(Trainer, strategy=strategy),
                )
                for member, (train, validation) in enumerate(splits)
            ]
            for chosen in recipes
        ]
        every = [run for of_recipe in runs for of_member in of_recipe for run in of_member]
        if start:
            start_from(every, start)
        fit_runs(every)
        return [
            [[part for run in of_member for part in run.parts()] for of_member in of_recipe]
            for of_recipe in runs
        ]

    wanted = requested_recipes(recipe, tasks)
    recipes = next(wanted)
    while True:
        try:
            recipes = wanted.send(fit(recipes))
        except StopIteration as end:
            return tuple(part for parts in end.value for part in parts)


def start_from(runs: Sequence[Run], parts: Sequence[FittedNetwork]) -> None:
    """Give the networks of runs, which are not fitted yet, the weights of others, one for one.

    Raises:
        InvalidInputError: The others are of another number, or have other tasks or layers.
    """
    if [tuple(run.trainer.tasks) for run in runs] != [part.tasks for part in parts]:
        raise InvalidInputError(
            f"there are {len(parts)} networks to go on from, and those to be trained are "
            f"{len(runs)} or divide the tasks otherwise; keep `schedule`, `partition` and "
            "`ensemble` as they were, or begin anew"
        )
    weights = [part.network.state_dict() for part in parts]
    for run, given in zip(runs, weights, strict=True):
        own = run.trainer.network.state_dict()
        if _shapes(own) != _shapes(given):
            raise InvalidInputError(
                "the networks to go on from have other layers than those to be trained; keep "
                "`width`, `depth` and the recipe's network as they were, or begin anew"
            )
    for run, given in zip(runs, weights, strict=True):
        run.trainer.network.load_state_dict(given)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in state.items()}


def refuse_rules_of_other_runs(recipe: Recipe, what: str) -> None:
    """Refuse rules of weights that train fresh networks first, where others are to go on.

    Raises:
        InvalidInputError: The recipe has such a rule.
    """
    if recipe.weights in ("difficulty", "gradients", "searched") and not recipe.trains_apart:
        raise InvalidInputError(
            f"{what} goes on with networks, and weights by {recipe.weights!r} need runs of fresh "
            "ones; use 'equal', 'size' or a number for each target"
        )


def prepare_runs(
    recipe: Recipe,
    train: TensorData,
    validation: TensorData | None,
    tasks: Sequence[Task],
    *,
    seed: int,
    device: str | torch.device = "cpu",
    callbacks: Sequence[Callback] = (),
    first_half: int = 0,
    make_trainer: Callable[..., Trainer] = Trainer,
) -> list[Run]:
    """Return the runs of a recipe, one for each network, ready to be fitted.

    Args:
        recipe: What to train; a rule of weights that needs other runs is left to
            `requested_recipes`.
        train: Rows to train on.
        validation: Rows for early stopping, None for none.
        tasks: The tasks.
        seed: Seed of the initial weights, batches, task order and dropout.
        device: Where to train.
        callbacks: Hooks of the trainers.
        first_half: How many of the validation rows, the first ones, are a half whose predictions
            are to come from weights that the others have chosen, see `CrossFittedWeights`; 0 for
            no halves.
        make_trainer: Makes the trainers, of what `Trainer` takes.
    """
    recipe = recipe.for_tasks(tasks)
    names = [task.name for task in tasks]
    weights = recipe.given_weights(names)
    recipe.auxiliary_among(names)
    _check_given_is_predicted(tasks, recipe.auxiliary)
    if recipe.weights == "size":
        weights = size_weights(
            {task.name: int(task.labelled(train.targets[task.name]).sum()) for task in tasks}
        )
    elif recipe.weights == "gradients" and not recipe.trains_apart:
        weights = _explored_weights(recipe, train, tasks, seed, device)
    by_name = {task.name: task for task in tasks}
    return [
        _prepare_run(
            recipe,
            train,
            validation,
            [by_name[name] for name in group],
            by_name.keys() - set(group),
            weights,
            seed,
            device,
            callbacks,
            first_half,
            make_trainer,
        )
        for group in recipe.groups(names)
    ]


def _check_given_is_predicted(tasks: Sequence[Task], auxiliary: Sequence[str]) -> None:
    """Refuse an auxiliary task that another one is given: without it, that has no labels.

    Raises:
        InvalidInputError: There is such a task.
    """
    for task in tasks:
        if task.given in auxiliary and task.name not in auxiliary:
            raise InvalidInputError(
                f"{task.name!r} is given {task.given!r}, so {task.given!r} can't be auxiliary; "
                "take it as a target like the others"
            )


def _explored_weights(
    recipe: Recipe, train: TensorData, tasks: Sequence[Task], seed: int, device: str | torch.device
) -> dict[str, float]:
    """Return the rule ``gradients``' weights: group by group, from a part of a joint run."""
    by_name = {task.name: task for task in tasks}
    weights: dict[str, float] = {}
    for group in recipe.groups(list(by_name)):
        members = [by_name[name] for name in group]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = recipe.make_network(train.inputs.shape[1], members, train.codes)
        weights |= gradient_weights(
            network,
            members,
            train,
            epochs=recipe.chosen_epochs(len(train)),
            settings=recipe.settings(
                len(train),
                validates=False,
                calibrated=True,
                explores=True,
                absent=by_name.keys() - set(group),
            ),
            seed=seed,
            device=device,
        )
    return weights


def _prepare_run(
    recipe: Recipe,
    train: TensorData,
    validation: TensorData | None,
    tasks: Sequence[Task],
    absent: Collection[str],
    weights: Mapping[str, float] | None,
    seed: int,
    device: str | torch.device,
    callbacks: Sequence[Callback],
    first_half: int,
    make_trainer: Callable[..., Trainer],
) -> Run:
    """Return the run of tasks that share a network."""
    names = tuple(task.name for task in tasks)
    rows = int(
        torch.stack([task.labelled(train.targets[task.name]) for task in tasks]).any(0).sum()
    )
    auxiliary = auxiliary_in_group(recipe, names)
    if validation is not None and not any(
        bool(task.labelled(validation.targets[task.name]).any())
        for task in tasks
        if task.name not in auxiliary
    ):
        validation = None
    trainer = recipe_trainer(
        recipe,
        tasks,
        in_features=train.inputs.shape[1],
        codes=train.codes,
        rows=rows,
        weights=weights,
        auxiliary=auxiliary,
        absent=absent,
        validates=validation is not None,
        seed=seed,
        device=device,
        callbacks=callbacks,
        make_trainer=make_trainer,
    )
    phased = isinstance(recipe.schedule, Phases)
    merged = isinstance(recipe.schedule, Merge)
    # phases stop by rows of their own, and may end with several networks; a merged network is not
    # one of those that an epoch has left
    if validation is None or phased or merged or not first_half:
        return Run(trainer, train, validation)
    return Run(trainer, train, validation, CrossFittedWeights(validation, first_half))


def auxiliary_in_group(recipe: Recipe, group: Sequence[str]) -> tuple[str, ...]:
    """Return which of the tasks that share a network only help the others."""
    helping = tuple(name for name in group if name in recipe.auxiliary)
    # a group of tasks that only help others has none to help
    return () if len(helping) == len(group) else helping


def recipe_trainer(
    recipe: Recipe,
    tasks: Sequence[Task],
    *,
    in_features: int,
    codes: Sequence[CodeColumns],
    rows: int,
    weights: Mapping[str, float] | None,
    auxiliary: Sequence[str],
    absent: Collection[str],
    validates: bool,
    seed: int,
    device: str | torch.device,
    callbacks: Sequence[Callback] = (),
    make_trainer: Callable[..., Trainer] = Trainer,
) -> Trainer:
    """Return the trainer of tasks that share a network, as a recipe says.

    Args:
        recipe: For all tasks, see `Recipe.for_tasks`.
        tasks: Those of the network.
        in_features: Number of its inputs.
        codes: Which of them are codes.
        rows: Rows to train on that have a label.
        weights: Of the losses by task.
        auxiliary: Which tasks only help.
        absent: Names of the other tasks.
        validates: Whether there are validation rows.
        seed: Seed of the initial weights, batches, task order and dropout.
        device: Where to train.
        callbacks: Hooks of the trainer.
        make_trainer: Makes it, of what `Trainer` takes.
    """
    alone = len(tasks) == 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = recipe.make_network(in_features, tasks, codes)
    phased = isinstance(recipe.schedule, Phases)
    weighed = not (alone or isinstance(recipe.schedule, Merge))
    return make_trainer(
        network,
        tasks,
        schedule=Separate() if alone and not phased else recipe.schedule,
        auxiliary=auxiliary,
        # the weight of a task that is trained alone would only change its learning rate
        weights=weights if weighed else None,
        balancer=recipe.make_balancer() if weighed else None,
        settings=recipe.settings(rows, validates=validates, calibrated=True, absent=absent),
        seed=seed,
        device=device,
        callbacks=callbacks,
    )


def predict_parts(
    parts: Sequence[FittedNetwork],
    tasks: Sequence[Task],
    scaling: Mapping[str, tuple[float, float]],
    inputs: Tensor | SparseRows,
    temperatures: Mapping[str, float] | None = None,
) -> dict[str, np.ndarray]:
    """Return the predictions of each task, regression in the target's unit.

    Where several parts predict a task, the mean of their values or probabilities.

    Args:
        parts: The networks.
        tasks: The tasks to predict.
        scaling: Mean and standard deviation of each regression target.
        inputs: Encoded features.
        temperatures: Of class tasks; each part's probabilities are calibrated by it. Default 1.

    Shape:
        inputs: [n, d]. returns: as `TableModel.predict`.
    """
    by_name = {task.name: task for task in tasks}
    found: dict[str, list[np.ndarray]] = {task.name: [] for task in tasks}
    # a slice at a time: in float64, a large table would take twice its size
    slices = [inputs] if isinstance(inputs, SparseRows) else torch.split(inputs, EVALUATION_ROWS)
    for part in parts:
        part_tasks = [by_name[name] for name in part.tasks if name in by_name]
        network = in_double_precision(part.network)
        predictions = [predict(network, part_tasks, rows.double()) for rows in slices]
        for name in predictions[0]:
            mean, deviation = scaling.get(name, (0.0, 1.0))
            values = torch.cat([rows[name] for rows in predictions]).numpy()
            if name in scaling:
                values = values * deviation + mean
            temperature = (temperatures or {}).get(name, 1.0)
            found[name].append(scale_probabilities(values, temperature, by_name[name]))
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def in_double_precision(network: Network) -> Network:
    """Return a copy in float64, or the network itself if it is.

    There the rounding of a row does not depend on the rows beside it.
    """
    if all(parameter.dtype == torch.float64 for parameter in network.parameters()):
        return network
    return copy.deepcopy(network).double()


def predict_unseen(
    parts: Sequence[FittedNetwork],
    splits: Splits,
    tasks: Sequence[Task],
    scaling: Mapping[str, tuple[float, float]],
    inputs: Tensor | SparseRows,
    first_halves: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """Return predictions of each row by networks that were not trained on it; NaN if there is none.

    Args:
        parts: The networks, those of each member of the ensemble together.
        splits: For each member the rows trained on and those for early stopping.
        tasks: The tasks to predict.
        scaling: Mean and standard deviation of each regression target.
        inputs: Encoded features of all rows.
        first_halves: How many of each member's rows for early stopping, the first ones, are a half;
            parts that hold weights by half predict either with those of the other. Default none.

    Shape:
        inputs: [n, d]. returns: as `TableModel.predict`.
    """
    count = len(parts) // len(splits)
    totals: dict[str, np.ndarray] = {}
    times = np.zeros(len(inputs))
    for member, (_, rows) in enumerate(splits):
        own = parts[member * count : (member + 1) * count]
        first = first_halves[member] if first_halves else 0
        for half, held_out in enumerate((rows[:first], rows[first:])):
            if not len(held_out):
                continue
            times[held_out] += 1
            chosen = [_by_other_half(part, half) for part in own] if first else own
            for name, values in predict_parts(
                chosen, tasks, scaling, inputs.index_select(0, torch.from_numpy(held_out))
            ).items():
                total = totals.setdefault(name, np.zeros((len(inputs), *values.shape[1:])))
                total[held_out] += values
    times[times == 0] = np.nan
    if not totals:
        shapes = {task.name: task.in_table.prediction_shape() for task in tasks}
        return {name: np.full((len(inputs), *shape), np.nan) for name, shape in shapes.items()}
    return {
        name: total / times.reshape(-1, *[1] * (total.ndim - 1)) for name, total in totals.items()
    }


def _by_other_half(part: FittedNetwork, half: int) -> FittedNetwork:
    """Return a network with the weights that the other half of its validation rows has chosen."""
    if part.by_half is None:
        return part
    network = copy.deepcopy(part.network)
    network.load_state_dict(part.by_half[1 - half])
    return replace(part, network=network)


def predictions_as_table(
    tasks: Sequence[Task],
    predictions: Mapping[str, np.ndarray],
    ends: Mapping[str, np.ndarray],
) -> pl.DataFrame:
    """Return predictions as `TableModel.predict_table` does.

    Args:
        tasks: What is predicted.
        predictions: Of each, as `TableModel.predict`.
        ends: Intervals, [n, 2], of the tasks that have some.
    """
    given = conditionals(tasks, predictions)
    taken = {task.name for task in tasks}
    columns: dict[str, Any] = {}

    def add(name: str, kind: str, values: Any) -> None:
        while name in taken:
            name = f"{name} ({kind})"
        taken.add(name)
        columns[name] = values

    for task in tasks:
        for suffix, what, values in task.in_table.predicted_columns(predictions[task.name]):
            if suffix:
                add(task.name + suffix, what, values)
            else:
                columns[task.name] = values
        if given_name(task) in given:
            add(given_name(task), "probability", given[given_name(task)])
        for side, end in enumerate(("low", "high") if task.name in ends else ()):
            add(f"{task.name}_{end}", "interval", ends[task.name][:, side])
    return pl.DataFrame(columns)


def evaluate_predictions(
    tasks: Sequence[Task],
    predictions: Mapping[str, np.ndarray],
    labels: np.ndarray,
    queries: Mapping[str, np.ndarray],
    weights: np.ndarray | None = None,
) -> dict[str, dict[str, float]]:
    """Return each task's metrics over its labelled rows, by task and metric name.

    A task that is given another one of them has metrics of both its probabilities, see
    `conditional_metrics`.

    Shape:
        predictions: as `TableModel.predict`. labels: [n, w], NaN where one is missing. weights:
        [n, t]. queries: as `query_numbers`, [n] each.
    """
    of_rows = {name: torch.from_numpy(numbers) for name, numbers in queries.items()}
    whole = {
        task.name: (
            torch.from_numpy(np.asarray(predictions[task.name], dtype=np.float64)),
            torch.from_numpy(own.astype(np.float64)),
            None if weights is None else torch.from_numpy(weights[:, index].astype(np.float64)),
        )
        for index, (task, own) in enumerate(zip(tasks, labels_of(labels, tasks), strict=True))
    }
    found = {task.name: task.evaluate(*whole[task.name], queries=of_rows) for task in tasks}
    for task in tasks:
        if task.given in whole:
            (own, target, weight), (other, given, _) = whole[task.name], whole[task.given]
            found[task.name] |= conditional_metrics(task, own, target, other, given, weight)
    return found


def fit_table(
    table: SupervisedTable,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    callbacks: Sequence[Callback] = (),
    fit_runs: FitRuns = fit_together,
    sparse: Any = None,
    start: TableModel | None = None,
    strategy: Strategy | None = None,
) -> TableModel:
    """Fit a recipe on all rows of a table.

    A part of the rows is used for early stopping and not trained on, a different one by each member
    of an ensemble; see `inner_splits`.

    Args:
        table: The rows, with tasks and feature columns.
        recipe: How.
        seed: Seed of all random choices.
        device: Where to train: auto, cpu or cuda.
        callbacks: Hooks of the trainers.
        fit_runs: Fits the trainers; default `jointrain.training.population.fit_together`, which
            trains small networks as one program and others one after the other.
        sparse: The features, [n, c]: a sparse matrix of scipy with a column for each of the
            table's, which are all numeric; networks read it batch by batch. Default: those in the
            table's frame.
        start: A model of the same columns and tasks, whose weights the networks begin with; its
            encoder and its scaling of numbers are kept, and its number of networks if the recipe
            leaves that open. Default: fresh networks.
        strategy: ``ddp`` trains on all processes that torchrun has started, see `Trainer`; each of
            them gives the same table and gets the same model. Default: on one.

    Raises:
        InvalidInputError: The table or the recipe can't be used as they are, or `start` is of other
            columns, tasks or networks.
    """
    model, unseen, _ = fit_seen_and_unseen(
        table,
        recipe,
        seed=seed,
        device=device,
        callbacks=callbacks,
        fit_runs=fit_runs,
        sparse=sparse,
        start=start,
        strategy=strategy,
    )
    return replace(model, calibration=calibration_of(table, model.predicted_tasks, unseen))


def fit_seen_and_unseen(
    table: SupervisedTable,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    callbacks: Sequence[Callback] = (),
    fit_runs: FitRuns = fit_together,
    sparse: Any = None,
    start: TableModel | None = None,
    in_halves: bool = False,
    strategy: Strategy | None = None,
) -> tuple[TableModel, dict[str, np.ndarray], Splits]:
    """Fit a recipe as `fit_table`, and return also what its networks predict of unseen rows.

    Args:
        table: As in `fit_table`, and likewise the others but `in_halves`.
        recipe: How.
        seed: Seed of all random choices.
        device: Where to train.
        callbacks: Hooks of the trainers.
        fit_runs: Fits the trainers.
        sparse: The features.
        start: A model to begin with.
        in_halves: Whether each half of the rows for early stopping is predicted with the weights
            that the other half has chosen: early stopping flatters a network on the rows that it
            stops by. Default False.
        strategy: As in `fit_table`.

    Returns:
        The model, without calibration; the predictions of each row by networks that were not
        trained on it, by predicted task, NaN if there is none; the rows of each member.
    """
    tasks, labels = table.tasks, table.labels()
    names = [task.name for task in tasks]
    recipe.given_weights(names)
    recipe.groups(names)
    recipe.auxiliary_among(names)
    weights = table.fit_weights()
    if start is None:
        encoder, inputs = encode_table(table, recipe, seed, sparse)
        scaling: Mapping[str, tuple[float, float]] = target_scaling(labels, tasks, weights)
    else:
        _check_start(start, table, recipe)
        encoder, scaling = start.encoder, start.scaling
        inputs = encoded_features(start, table.frame if sparse is None else sparse)
        if recipe.ensemble is None:
            recipe = replace(recipe, ensemble=len(start.parts) // len(recipe.groups(names)))
    data = make_data(inputs, labels, tasks, scaling, weights, encoder.code_columns)
    splits = inner_splits(recipe, labels, tasks, seed, table.groups, table.time)
    first_halves = [0] * len(splits)
    if in_halves:
        for member, (train, rows) in enumerate(splits):
            halves = validation_halves(
                labels[rows],
                tasks,
                seed,
                None if table.groups is None else table.groups[rows],
                None if table.time is None else table.time[rows],
            )
            splits[member] = train, rows[np.concatenate(halves)]
            first_halves[member] = len(halves[0]) if len(halves[1]) else 0
    parts = fit_parts(
        recipe,
        data,
        tasks,
        splits,
        seed=seed,
        device=device,
        callbacks=callbacks,
        fit_runs=fit_runs,
        start=() if start is None else start.parts,
        first_halves=first_halves,
        strategy=strategy,
    )
    plain = tuple(replace(part, by_half=None) for part in parts)
    model = TableModel(
        tasks, table.columns, encoder, scaling, plain, recipe, seed, schema=table.schema
    )
    unseen = predict_unseen(
        parts, splits, model.predicted_tasks, scaling, data.inputs, first_halves
    )
    return model, unseen, splits


def calibration_of(
    table: SupervisedTable, tasks: Sequence[Task], unseen: Mapping[str, np.ndarray]
) -> Calibration:
    """Return what predictions of a table's rows by models without them tell.

    Args:
        table: The rows.
        tasks: Those of its tasks that are predicted.
        unseen: By task, NaN for rows that nothing has predicted so.
    """
    names = [task.name for task in table.tasks]
    weights, kept = table.fit_weights(), [names.index(task.name) for task in tasks]
    return Calibration.fit(
        tasks,
        unseen,
        only_labels(table.labels(), table.tasks, [task.name for task in tasks]),
        None if table.weights is None else table.weights[:, kept],
        None if weights is None else weights[:, kept],
    )


def encode_table(
    table: SupervisedTable, recipe: Recipe, seed: int, sparse: Any = None
) -> tuple[TableEncoder, Tensor | SparseRows]:
    """Return an encoder fitted to the rows of a table, and what it makes of them.

    Args:
        table: The rows.
        recipe: Says how numbers are cut.
        seed: Seed of random choices.
        sparse: The features as for `fit_table`.

    Raises:
        InvalidInputError: Phases pretrain, and the features are sparse.
    """
    encoder = TableEncoder(recipe.bins)
    if sparse is None:
        encoder.fit(table.frame, list(table.columns), seed)
        return encoder, torch.from_numpy(encoder.transform(table.frame))
    _check_reads_sparse(recipe)
    encoder.fit_sparse(sparse, table.columns)
    return encoder, encoder.transform_sparse(sparse)


def _check_start(start: TableModel, table: SupervisedTable, recipe: Recipe) -> None:
    refuse_rules_of_other_runs(recipe, "a start from former weights")
    if start.columns != table.columns or start.tasks != table.tasks:
        what = "tasks" if start.columns == table.columns else "feature columns"
        raise InvalidInputError(
            f"the model to start from has other {what} than the table; give the same, or begin anew"
        )
    if recipe.bins != start.recipe.bins:
        raise InvalidInputError(
            f"the model to start from has bins={start.recipe.bins}, and the recipe {recipe.bins}; "
            "keep `bins` as they were, or begin anew"
        )


def _check_reads_sparse(recipe: Recipe) -> None:
    if isinstance(recipe.schedule, Phases) and recipe.schedule.pretrains:
        raise InvalidInputError(
            "phases that pretrain need dense features, and these are sparse; leave such phases out"
        )
