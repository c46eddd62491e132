"""Runs on the folds of a study: what one worker does at a time, and what comes out of it."""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch

from jointrain.baselines import (
    BASELINES,
    DEFINITION,
    Baseline,
    baseline_encoder,
    predict_with_baseline,
)
from jointrain.data import (
    SupervisedTable,
    TableEncoder,
    TensorData,
    effective_rows,
    query_numbers,
    validation_halves,
)
from jointrain.errors import InvalidInputError
from jointrain.experiments import (
    Fold,
    FoldResult,
    Members,
    Recipe,
    Spent,
    array_digest,
    fold_in_words,
    job_parts,
    recipe_in_words,
    run_recipes,
)
from jointrain.system.own_code import CodeReference, check_same_code, digests_of_code, one_line
from jointrain.tables._fit_table import inner_splits, make_data, target_scaling
from jointrain.tables._network_runs import member_seed, prepare_runs
from jointrain.tables._table_model import in_double_precision, predict_parts
from jointrain.tables._table_predictor import evaluate_predictions
from jointrain.tables._unseen_parts import unseen_parts
from jointrain.task import Task, known_labels
from jointrain.training import Run, Trainer, fit_one_by_one, one_thread
from jointrain.training.population import fit_population, why_not_stacked

MOST_INNER_ROWS = 10_000
"""More inner rows than these are sampled: weights of a few components need no more."""


@dataclass(frozen=True)
class TableFoldResult(FoldResult):
    """What a recipe or a baseline did on a fold of a table.

    Args:
        name, fold, seed, rows, seconds, work: As in `FoldResult`.
        test: Predictions of the test rows, by task.
        inner_rows: Training rows, as positions in the table, that a part of the networks was not
            trained on.
        inner: Their predictions, by those networks alone; by task.
    """

    test: dict[str, np.ndarray]
    inner_rows: np.ndarray
    inner: dict[str, np.ndarray]

    def without_predictions(self) -> TableFoldResult:
        """Return the figures alone: what is not shipped needs no predictions."""
        return replace(self, test={}, inner_rows=self.inner_rows[:0], inner={})

    def check(self, tasks: Sequence[Task], fold: Fold) -> None:
        """Refuse what no run of a fold gives; a store may hold anything.

        Raises:
            ValueError: It is such a result.
        """
        super().check(tasks, fold)
        if self.error is not None:
            return
        if self.inner_rows.dtype.kind not in "iu" or not np.isin(self.inner_rows, fold.train).all():
            raise ValueError("rows that are none of the training part")
        for predicted, count in ((self.test, len(fold.test)), (self.inner, len(self.inner_rows))):
            shapes = {
                task.name: (count, *task.in_table.prediction_shape())
                for task in (tasks if predicted is self.test or count else ())
            }
            if {name: values.shape for name, values in predicted.items()} != shapes:
                raise ValueError("predictions of other rows or tasks")
            if any(values.dtype.kind != "f" for values in predicted.values()):
                raise ValueError("predictions that are no numbers")


@dataclass(frozen=True)
class FoldJob:
    """What one process does at a time: some recipes and baselines on some folds.

    Args:
        table: All rows.
        folds: The folds.
        stacked: Recipes whose runs are trained as one population.
        single: Recipes whose runs are trained one after the other.
        baselines: What is fitted beside them.
        reference: The recipe whose inner rows the baselines are seen on.
        data: `table_digest` of the table.
    """

    table: SupervisedTable
    folds: Sequence[Fold]
    stacked: Sequence[Recipe]
    single: Sequence[Recipe]
    baselines: Sequence[Baseline]
    reference: Recipe
    data: str

    device: ClassVar[str] = "cpu"
    """Networks of tables are too small for a GPU, but for the last fit."""

    @cached_property
    def key(self) -> str:
        """A hash of data, recipes and seeds: equal keys have equal results."""
        _ = self.code  # kept in what is sent
        plain = {
            "data": self.data,
            "folds": [fold_in_words(fold) for fold in self.folds],
            "recipes": [recipe_in_words(recipe) for recipe in (*self.stacked, *self.single)],
            "baselines": [_definition(one) for one in self.baselines],
            "reference": recipe_in_words(self.reference) if self.baselines else None,
        }
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @cached_property
    def code(self) -> dict[str, str]:
        """Hashes of one's own code in the recipes, as it is where the job is made."""
        return digests_of_code(self._own_code())

    def _own_code(self) -> list[Any]:
        recipes = [one for recipe in (*self.stacked, *self.single) for one in recipe.own_code]
        return recipes + [one for baseline in self.baselines for one in baseline.own_code()]

    def run(self) -> list[dict[str, Any]]:
        """Return what was measured, by recipe and fold, as fields of `TableFoldResult`.

        Folds run side by side, and bits do not change with the number of threads: it is one.

        Raises:
            ChangedCodeError: A balancer or a network is of other code here than where the job was
                made.
        """
        check_same_code(self.code, self._own_code())
        for baseline in self.baselines:
            baseline.load()
        with one_thread():
            folds = [_EncodedFold(self.table, fold) for fold in self.folds]
            results = run_recipes(self.stacked, folds, fit_population) if self.stacked else []
            for fold in folds:
                for recipe in self.single:
                    results += run_recipes([recipe], [fold], fit_one_by_one)
                results += [fold.run_baseline(one, self.reference) for one in self.baselines]
        return [vars(result) for result in results]


def table_digest(table: SupervisedTable) -> str:
    """Return a hash of rows, tasks and columns of a table."""
    buffer = io.BytesIO()
    table.frame.write_ipc(buffer)
    said = [
        [[task.name, task.kind, [str(c) for c in task.classes]] for task in table.tasks],
        [[[metric.name, metric.query] for metric in task.metrics or ()] for task in table.tasks],
        [[column.name, column.kind] for column in table.columns],
        *([[task.columns for task in table.tasks]] if any(t.columns for t in table.tasks) else []),
        [None if ids is None else array_digest(ids) for ids in (table.groups, table.time)],
    ]
    if any(task.given for task in table.tasks):
        said.append([[task.given, task.correction] for task in table.tasks])
    if table.weights is not None or table.class_weights:
        weights = None if table.weights is None else array_digest(table.weights)
        said.append([weights, dict(table.class_weights)])
    return hashlib.sha256(buffer.getvalue() + json.dumps(said).encode()).hexdigest()


def _definition(baseline: Baseline) -> list[Any]:
    """Return what tells a baseline from others of its name."""
    if baseline is BASELINES.get(baseline.name):
        return [baseline.name, DEFINITION]
    return [baseline.name, asdict(CodeReference.of(baseline)), baseline.versions()]


def fold_jobs(
    table: SupervisedTable,
    folds: Sequence[Fold],
    recipes: Sequence[Recipe],
    baselines: Sequence[Baseline],
    reference: Recipe,
    data: str = "",
    *,
    apart: bool = False,
) -> list[FoldJob]:
    """Return the parts of a study, see `job_parts`.

    Args:
        table: All rows.
        folds: The folds.
        recipes: What to train.
        baselines: What to fit beside them.
        reference: The recipe whose inner rows the baselines are seen on.
        data: `table_digest` of the table.
        apart: Whether each fold, and each baseline, has jobs of its own, so that some are done soon
            and a slow one keeps none of the others waiting.
    """
    names = [task.name for task in table.tasks]
    features = len(table.columns)
    # embeddings are not stacked
    codes = any(column.kind in ("id", "bag") for column in table.columns)
    stacked = [r for r in recipes if not codes and _stackable(r, table.tasks, features)]
    single = [recipe for recipe in recipes if recipe not in stacked]
    rows = len(table.frame)
    runs = sum(len(recipe.groups(names)) * recipe.chosen_ensemble(rows) for recipe in stacked)
    parts = job_parts(folds, stacked, single, baselines, runs, apart=apart)
    return [FoldJob(table, *part, reference, data) for part in parts]


def _stackable(recipe: Recipe, tasks: Sequence[Task], features: int = 1) -> bool:
    """Return whether all runs of a recipe can be part of a population, on so many features."""
    targets = {task.name: torch.zeros(1, *task.in_table.label_shape()) for task in tasks}
    # rules that need other runs first come to weights that are numbers
    plain = replace(recipe, weights="size" if recipe.weights == "size" else "equal")
    runs = prepare_runs(plain, TensorData(torch.zeros(1, features), targets), None, tasks, seed=0)
    return all(why_not_stacked(run) is None for run in runs)


class _Split(NamedTuple):
    """The rows of a member of an ensemble, and the numbers of its validation rows.

    The first `first_half` of the validation rows are one half of them, 0 if they have no halves.
    """

    train: TensorData
    validation: TensorData | None
    held_out: np.ndarray
    first_half: int


class _SplitRows(NamedTuple):
    """The row numbers of a member of an ensemble, as in `_Split`; `train` those to train on."""

    train: np.ndarray
    held_out: np.ndarray
    first_half: int


class _EncodedFold:
    """A fold with its data as numbers: encoder and scales learned from the training rows."""

    def __init__(self, table: SupervisedTable, fold: Fold) -> None:
        self.table, self.fold, self.tasks = table, fold, table.tasks
        self.labels = table.labels()
        self._queries = query_numbers(table.frame, table.tasks)
        self.train_labels = self.labels[fold.train]
        self.weights = table.fit_weights(fold.train)
        of_train = None if self.weights is None else self.weights[fold.train]
        self.scaling = target_scaling(self.train_labels, self.tasks, of_train)
        self._inputs: dict[int | None, TensorData] = {}
        self._plain: dict[bool, tuple[np.ndarray, tuple[int, ...]]] = {}
        self._splits: dict[object, list[_Split]] = {}
        self._rows: dict[object, list[_SplitRows]] = {}
        # the same rows of all recipes
        sampled = np.random.default_rng(fold.seed).permutation(len(fold.train))[:MOST_INNER_ROWS]
        self._sampled = np.zeros(len(self.labels), dtype=bool)
        self._sampled[fold.train[sampled]] = True

    def data(self, bins: int | None) -> TensorData:
        """Return all rows, encoded with so many bins."""
        if bins not in self._inputs:
            table, rows = self.table, self.fold.train
            encoder = TableEncoder(bins).fit(table.frame[rows], list(table.columns), self.fold.seed)
            inputs = torch.from_numpy(encoder.transform(table.frame))
            self._inputs[bins] = make_data(
                inputs, self.labels, self.tasks, self.scaling, self.weights, encoder.code_columns
            )
        return self._inputs[bins]

    def plain(self, baseline: Baseline) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return the inputs of a baseline for all rows, and which of them are codes."""
        encoder = baseline_encoder(baseline)
        if encoder.codes not in self._plain:
            table = self.table
            encoder.fit(table.frame[self.fold.train], list(table.columns), self.fold.seed)
            inputs = encoder.transform(table.frame)
            self._plain[encoder.codes] = inputs, encoder.code_places
        return self._plain[encoder.codes]

    def splits(self, recipe: Recipe) -> list[_Split]:
        """Return the rows to train on and those for early stopping, of each ensemble member."""
        key = (recipe.bins, recipe.ensemble, recipe.validation_fraction)
        if key not in self._splits:
            data = self.data(recipe.bins)
            self._splits[key] = [
                _Split(
                    data.take(torch.from_numpy(of_one.train)),
                    data.take(torch.from_numpy(of_one.held_out)) if len(of_one.held_out) else None,
                    of_one.held_out,
                    of_one.first_half,
                )
                for of_one in self.split_rows(recipe)
            ]
        return self._splits[key]

    def split_rows(self, recipe: Recipe) -> list[_SplitRows]:
        """Return the row numbers of what `splits` returns."""
        key = (recipe.ensemble, recipe.validation_fraction)
        if key not in self._rows:
            table, rows = self.table, self.fold.train
            found = inner_splits(
                recipe,
                self.train_labels,
                self.tasks,
                self.fold.seed,
                None if table.groups is None else table.groups[rows],
                None if table.time is None else table.time[rows],
            )
            self._rows[key] = [
                self._split_rows(rows[train], rows[validation]) for train, validation in found
            ]
        return self._rows[key]

    def _split_rows(self, train: np.ndarray, validation: np.ndarray) -> _SplitRows:
        groups, time = self.table.groups, self.table.time
        first, second = validation_halves(
            self.labels[validation],
            self.tasks,
            self.fold.seed,
            None if groups is None else groups[validation],
            None if time is None else time[validation],
        )
        held_out = validation[np.concatenate([first, second])]
        return _SplitRows(train, held_out, len(first) if len(second) else 0)

    def runs(
        self, recipe: Recipe, make_trainer: Callable[..., Trainer] = Trainer
    ) -> list[list[Run]]:
        """Return the runs of a recipe, member by member of the ensemble."""
        return [
            prepare_runs(
                recipe,
                split.train,
                split.validation,
                self.tasks,
                seed=member_seed(self.fold.seed, member),
                first_half=split.first_half,
                make_trainer=make_trainer,
            )
            for member, split in enumerate(self.splits(recipe))
        ]

    def result_of(self, recipe: Recipe, members: Members, spent: Spent) -> TableFoldResult:
        """Measure the fitted networks of a recipe, given member by member of its ensemble."""
        start = time.perf_counter()
        inputs = self.data(recipe.bins).inputs
        members = [
            [replace(part, network=in_double_precision(part.network)) for part in parts]
            for parts in members
        ]
        everything = [part for parts in members for part in parts]
        test = predict_parts(everything, self.tasks, self.scaling, inputs[self.fold.test])
        inner = _InnerPredictions()
        for split, parts in zip(self.splits(recipe), members, strict=True):
            halves = split.held_out[: split.first_half], split.held_out[split.first_half :]
            for half, held_out in enumerate(halves):
                rows = held_out[self._sampled[held_out]]
                if len(rows):
                    # early stopping flatters a network on the rows that it stops by
                    for part in parts:
                        part.choose_half(1 - half)
                    inner.add(rows, predict_parts(parts, self.tasks, self.scaling, inputs[rows]))
        seconds = spent.seconds + time.perf_counter() - start
        result = self.result(recipe.name, test, inner, seconds)
        cost, curves = spent.cost(everything), spent.curves()
        return replace(result, work=spent.work, cost=cost, curves=curves)

    def run_baseline(self, baseline: Baseline, reference: Recipe) -> TableFoldResult:
        """Fit a baseline and measure it; one that raises gives its error."""
        start = time.perf_counter()
        try:
            return self._run_baseline(baseline, reference, start)
        except Exception as error:  # code of others may raise anything
            words = str(error) if isinstance(error, InvalidInputError) else one_line(error)
            return TableFoldResult(
                baseline.name, self.fold.number, self.fold.seed, [], time.perf_counter() - start,
                {}, np.zeros(0, dtype=np.int64), {}, error=words,
            )  # fmt: skip

    def _run_baseline(self, baseline: Baseline, reference: Recipe, start: float) -> TableFoldResult:
        fold = self.fold
        inputs, codes = self.plain(baseline)

        def predict(rows: np.ndarray, wanted: np.ndarray) -> dict[str, np.ndarray]:
            return predict_with_baseline(
                baseline,
                inputs[rows],
                self.labels[rows],
                inputs[wanted],
                self.tasks,
                fold.seed,
                None if self.weights is None else self.weights[rows],
                codes,
            )

        splits = [(split.train, split.held_out) for split in self.split_rows(reference)]
        inner = _InnerPredictions()
        for known, unseen in unseen_parts(splits):
            rows = unseen[self._sampled[unseen]]
            if len(rows) and len(known):
                inner.add(rows, predict(known, rows))
        test = predict(fold.train, fold.test)
        return self.result(baseline.name, test, inner, time.perf_counter() - start)

    def result(
        self, name: str, test: dict[str, np.ndarray], inner: _InnerPredictions, seconds: float
    ) -> TableFoldResult:
        """Return the measured result."""
        fold = self.fold
        weights = self.table.weights
        rows = measured_rows(name, self.tasks, test, self.labels, fold, self._queries, weights)
        inner_rows, inner_predictions = inner.mean()
        small = {task: values.astype(np.float32) for task, values in test.items()}
        return TableFoldResult(
            name, fold.number, fold.seed, rows, seconds, small, inner_rows, inner_predictions
        )


def fold_runs(
    table: SupervisedTable, fold: Fold, recipe: Recipe, make_trainer: Callable[..., Trainer]
) -> list[Run]:
    """Return the runs of a recipe on a fold as a study prepares them, ready to be fitted.

    Args:
        table: All rows.
        fold: Its training part is what encoders and networks see.
        recipe: What to train; a rule of weights that needs other runs is not followed.
        make_trainer: Makes the trainers, of what `Trainer` takes.
    """
    runs = _EncodedFold(table, fold).runs(recipe, make_trainer)
    return [run for of_member in runs for run in of_member]


class _InnerPredictions:
    """Predictions of rows by networks that were not trained on them; their mean, if several."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = []
        self._predictions: list[dict[str, np.ndarray]] = []

    def add(self, rows: np.ndarray, predictions: dict[str, np.ndarray]) -> None:
        self._rows.append(rows)
        self._predictions.append(predictions)

    def mean(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return the rows in order, and their predictions by task."""
        if not self._rows:
            return np.zeros(0, dtype=np.int64), {}
        rows, places, counts = np.unique(
            np.concatenate(self._rows), return_inverse=True, return_counts=True
        )
        means = {}
        for task in self._predictions[0]:
            given = np.concatenate([of_member[task] for of_member in self._predictions])
            total = np.zeros((len(rows), *given.shape[1:]))
            np.add.at(total, places, given)
            shape = (-1,) + (1,) * (given.ndim - 1)
            means[task] = (total / counts.reshape(shape)).astype(np.float32)
        return rows, means


def measured_rows(
    name: str,
    tasks: Sequence[Task],
    predictions: Mapping[str, np.ndarray],
    labels: np.ndarray,
    fold: Fold,
    queries: Mapping[str, np.ndarray],
    weights: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Return rows of the result table: the metrics of predictions of the test rows.

    Where rows weigh, they are counted by their effective number.

    Shape:
        labels: [n, w] of all rows, NaN where one is missing. weights: [n, t]. queries: of all rows,
        as `query_numbers`.
    """
    known = known_labels(labels, tasks)
    of_test = None if weights is None else weights[fold.test]
    tested = {column: numbers[fold.test] for column, numbers in queries.items()}
    metrics = evaluate_predictions(tasks, predictions, labels[fold.test], tested, of_test)

    def count(rows: np.ndarray, index: int) -> int:
        labelled = rows[known[rows, index]]
        if weights is None:
            return len(labelled)
        return round(effective_rows(weights[labelled, index]))

    # of labels, not of rows: their ratio is what the test corrects its variance by
    counts = [(count(fold.train, index), count(fold.test, index)) for index in range(len(tasks))]
    return [
        fold.row(name, task.name, metric, value, *counts[index])
        for index, task in enumerate(tasks)
        for metric, value in metrics[task.name].items()
    ]
