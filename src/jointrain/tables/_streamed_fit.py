"""A table model fitted to a table larger than memory."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from jointrain.data import RowStream, StreamedTable, TableEncoder, TensorData, TypedRows
from jointrain.errors import InvalidInputError
from jointrain.experiments import Recipe, size_weights
from jointrain.tables._calibration import Calibration
from jointrain.tables._fit_table import make_data
from jointrain.tables._network_runs import recipe_trainer, with_main_labels
from jointrain.tables._table_model import TableModel, predict_parts
from jointrain.task import labels_of, only_labels
from jointrain.training import (
    Checkpoints,
    FittedNetwork,
    Phases,
    Strategy,
    Trainer,
    one_thread,
    threads_for,
)
from jointrain.training.callbacks import Callback
from jointrain.training.population import multiplications


class TimeLimit(Callback):
    """Ends the training of the networks of a fit when their time is over, with the best weights.

    Each network has an equal part of what is left when it begins, and makes at least a step.

    Args:
        until: `time.monotonic()` at which the last one is to end.
        networks: How many there are.

    Attributes:
        cut: For each network that was ended, the steps that it made and those that it was to make.
    """

    def __init__(self, until: float, networks: int) -> None:
        self._until = until
        self._left = networks
        self._end = until
        self.cut: list[tuple[int, int]] = []

    def on_fit_start(self, trainer: Trainer) -> None:  # noqa: ARG002
        """Take the network's part of the time."""
        now = time.monotonic()
        self._end = now + max(self._until - now, 0.0) / max(self._left, 1)
        self._left -= 1

    def on_step_end(
        self,
        trainer: Trainer,
        step: int,
        losses: Mapping[str, Tensor],  # noqa: ARG002
    ) -> None:
        """End the training when the time is over."""
        steps = trainer.session.steps
        if time.monotonic() >= self._end and step < steps:
            self.cut.append((step, steps))
            trainer.stop()


def fit_streamed(
    table: StreamedTable,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    buffer_rows: int | None = None,
    workers: int = 1,
    strategy: Strategy | None = None,
) -> TableModel:
    """Fit a recipe to the rows of a table larger than memory.

    As `fit_table`, but rows are read and encoded while the network trains on them, and there is one
    network in place of each, no ensemble.

    Args:
        table: The rows, with tasks and feature columns.
        recipe: How.
        seed: Seed of all random choices.
        device: Where to train: auto, cpu or cuda.
        callbacks: Hooks of the trainers.
        checkpoints: Where and how often to save all that a run needs to go on; with several
            networks, each has a folder in it.
        resume: Go on where the newest checkpoint was written, on the same files; names and order
            of the files, `workers`, and the number of ranks may differ.
        buffer_rows: See `RowStream`.
        workers: Likewise.
        strategy: ``ddp`` trains on all processes that torchrun has started, each of which reads its
            part of the rows; see `Trainer`. Default: on one.

    Raises:
        InvalidInputError: The recipe can't be trained so, a file has changed or can't be read, or a
            loss is not finite.
    """
    check_streamable(recipe)
    tasks = table.tasks
    names = [task.name for task in tasks]
    recipe.check_tasks(names)
    recipe = replace(recipe, ensemble=1)
    groups = recipe.groups(names)
    encoder = table.encoder(recipe.bins, seed)
    stream = row_stream(table, encoder, buffer_rows=buffer_rows, workers=workers)
    validation = _validation_data(table, encoder)
    by_name = {task.name: task for task in tasks}
    parts: list[FittedNetwork] = []
    for number, group in enumerate(groups):
        own = checkpoints
        if checkpoints is not None and len(groups) > 1:
            own = replace(checkpoints, folder=Path(checkpoints.folder) / f"network-{number + 1}")
        held_out = with_main_labels(validation, recipe, [by_name[name] for name in group])
        trainer = _trainer(
            table,
            recipe,
            stream,
            group,
            validates=held_out is not None,
            seed=seed,
            device=device,
            callbacks=callbacks,
            checkpoints=own,
            strategy=strategy,
        )
        # small products on one thread: faster, and the same bits however many there are
        with threads_for(multiplications(trainer.network, trainer.settings.batch_size)):
            trainer.fit(stream, held_out, resume=resume)
        parts += [
            replace(part, network=part.network.to("cpu")) for part in trainer.fitted_networks()
        ]
    with one_thread():
        calibration = _calibration(table, recipe, parts, validation)
    return TableModel(
        tasks,
        table.columns,
        encoder,
        dict(table.scaling),
        tuple(parts),
        recipe,
        seed,
        calibration,
        table.schema,
    )


def check_streamable(recipe: Recipe) -> None:
    """Refuse a recipe that needs all rows in memory, or fits others beside.

    Raises:
        InvalidInputError: It does.
    """
    if recipe.ensemble not in (None, 1):
        raise InvalidInputError(
            f"an ensemble of {recipe.ensemble} would go through a table larger than memory "
            f"{recipe.ensemble} times; leave `ensemble` out"
        )
    if recipe.weighs_by_other_runs:
        raise InvalidInputError(
            f"weights by {recipe.weights!r} need further runs, which a table larger than memory "
            "can't have; use 'equal', 'size' or a number for each target, or compare a sample "
            "first and take its weights"
        )
    if isinstance(recipe.schedule, Phases) and recipe.schedule.pretrains:
        raise InvalidInputError(
            "phases that pretrain need all rows in memory, and these are streamed; leave such "
            "phases out"
        )


def row_stream(
    table: StreamedTable,
    encoder: TableEncoder,
    *,
    buffer_rows: int | None = None,
    workers: int = 1,
) -> RowStream:
    """Return the rows to train on, as a trainer takes them.

    Args:
        table: The table.
        encoder: Its encoder, `StreamedTable.encoder`.
        buffer_rows: See `RowStream`.
        workers: Likewise.
    """

    def encode(rows: TypedRows) -> TensorData:
        return _encoded(table, encoder, rows.frame, rows.labels, rows.weights)

    return RowStream(
        table.read,
        encode,
        table.training_rows,
        table.labels,
        len(encoder.feature_names),
        encoder.code_columns,
        buffer_rows,
        workers,
    )


def _encoded(
    table: StreamedTable,
    encoder: TableEncoder,
    frame: Any,
    labels: np.ndarray,
    weights: np.ndarray | None,
) -> TensorData:
    """Return rows as tensors; weights are divided by their means over all rows trained on.

    Shape:
        labels: [n, w]. weights: [n].
    """
    return make_data(
        torch.from_numpy(encoder.transform(frame)),
        labels,
        table.tasks,
        table.scaling,
        _weights(table, labels, weights),
        encoder.code_columns,
    )


def _weights(
    table: StreamedTable, labels: np.ndarray, weights: np.ndarray | None
) -> np.ndarray | None:
    """Return what each label counts in training, [n, t]; None where all count the same."""
    if not table.mean_weights:
        return None
    rows = np.ones(len(labels)) if weights is None else weights
    found = np.repeat(rows[:, None], len(table.tasks), axis=1)
    for index, (task, own) in enumerate(
        zip(table.tasks, labels_of(labels, table.tasks), strict=True)
    ):
        factors = table.class_factors.get(task.name)
        if factors is not None:
            known = np.isfinite(own)
            codes = np.where(known, own, 0).astype(np.int64)
            found[:, index] *= np.where(known, factors[codes], 1.0)
        found[:, index] /= table.mean_weights[task.name]
    return found


def _validation_data(table: StreamedTable, encoder: TableEncoder) -> TensorData | None:
    kept = table.validation
    if kept is None:
        return None
    weights = None if kept.weights is None else kept.weights[:, 0]
    return _encoded(table, encoder, kept.frame, kept.labels(), weights)


def stream_trainer(
    table: StreamedTable,
    recipe: Recipe,
    stream: RowStream,
    group: Sequence[str],
    encoder: TableEncoder,
    *,
    seed: int = 0,
    device: str | torch.device = "auto",
    callbacks: Sequence[Callback] = (),
    checkpoints: Checkpoints | None = None,
) -> tuple[Trainer, TensorData | None]:
    """Return the trainer of tasks that share a network, and the rows that it validates by.

    Args:
        table: The table.
        recipe: How it trains.
        stream: The rows, of `row_stream`.
        group: Names of the tasks.
        encoder: The table's.
        seed: As for `fit_streamed`, like all that follow.
        device: Likewise.
        callbacks: Likewise.
        checkpoints: Likewise.
    """
    own = [task for task in table.tasks if task.name in group]
    validation = with_main_labels(_validation_data(table, encoder), recipe, own)
    trainer = _trainer(
        table,
        recipe,
        stream,
        group,
        validates=validation is not None,
        seed=seed,
        device=device,
        callbacks=callbacks,
        checkpoints=checkpoints,
        strategy=None,
    )
    return trainer, validation


def _trainer(
    table: StreamedTable,
    recipe: Recipe,
    stream: RowStream,
    group: Sequence[str],
    *,
    validates: bool,
    seed: int,
    device: str | torch.device,
    callbacks: Sequence[Callback],
    checkpoints: Checkpoints | None,
    strategy: Strategy | None,
) -> Trainer:
    """Return the trainer of the tasks that share a network."""
    names = [task.name for task in table.tasks]
    weights = recipe.given_weights(names)
    if recipe.weights == "size":
        weights = size_weights(dict(table.labels))
    return recipe_trainer(
        recipe.for_tasks(table.tasks, stream.in_features, stream.codes),
        [task for task in table.tasks if task.name in group],
        in_features=stream.in_features,
        codes=stream.codes,
        rows=stream.rows,
        weights=None if weights is None else {name: weights.get(name, 1.0) for name in group},
        every=names,
        validates=validates,
        seed=seed,
        device=device,
        callbacks=callbacks,
        make_trainer=partial(Trainer, checkpoints=checkpoints, strategy=strategy),
    )


def _calibration(
    table: StreamedTable,
    recipe: Recipe,
    parts: Sequence[FittedNetwork],
    validation: TensorData | None,
) -> Calibration:
    """Return what the validation rows tell of the predictions."""
    kept = table.validation
    if kept is None or validation is None:
        return Calibration()
    predicted = [task for task in table.tasks if task.name not in recipe.auxiliary]
    names = [task.name for task in predicted]
    labels = kept.labels()
    places = [index for index, task in enumerate(table.tasks) if task.name in names]
    weights = None if kept.weights is None else kept.weights[:, places]
    of_classes = _weights(table, labels, None if kept.weights is None else kept.weights[:, 0])
    return Calibration.fit(
        predicted,
        predict_parts(parts, predicted, table.scaling, validation.inputs),
        only_labels(labels, table.tasks, names),
        weights,
        None if of_classes is None else of_classes[:, places],
    )
