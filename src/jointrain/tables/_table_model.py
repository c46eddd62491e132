"""TableModel: networks fitted to the target columns of a table, with what is needed to predict."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, pad
from torch.overrides import TorchFunctionMode

from jointrain.data import (
    Column,
    SparseRows,
    TableEncoder,
    TableSchema,
    is_sparse,
)
from jointrain.errors import InvalidInputError
from jointrain.experiments import Recipe
from jointrain.networks import Network, ParetoSet, checked_preference
from jointrain.tables._calibration import Calibration, scale_probabilities
from jointrain.tables._table_predictor import ONE_TRADE_OFF, TablePredictor, checked_predictions
from jointrain.task import (
    Task,
)
from jointrain.training import (
    FittedNetwork,
    mean_validation,
    predict,
)
from jointrain.training.sampling import EVALUATION_ROWS

_BLOCK = 64
"""Rows, a multiple of those that any kernel of a matrix product takes at once."""

_ALIGNED = 8
"""Numbers in a row, a multiple of which are at addresses that kernels treat alike."""


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
        shares = self.preferred_shares(preference)
        parts = []
        for part in self.parts:
            network = copy.deepcopy(part.network)
            assert isinstance(network, ParetoSet)
            network.prefer({name: shares[name] for name in network.task_names})
            parts.append(replace(part, network=network))
        return replace(self, parts=tuple(parts))

    def preferred_shares(self, preference: Mapping[str, float]) -> dict[str, float]:
        """Return the shares of the tasks, which sum to 1.

        Args:
            preference: As in `preferring`.

        Raises:
            InvalidInputError: As in `preferring`.
        """
        if not all(isinstance(part.network, ParetoSet) for part in self.parts):
            raise InvalidInputError(ONE_TRADE_OFF)
        return checked_preference(preference, [task.name for task in self.tasks])

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
        predictions = [_predict_rows(network, part_tasks, rows.double()) for rows in slices]
        for name in predictions[0]:
            mean, deviation = scaling.get(name, (0.0, 1.0))
            values = torch.cat([rows[name] for rows in predictions]).numpy()
            if name in scaling:
                values = values * deviation + mean
            temperature = (temperatures or {}).get(name, 1.0)
            found[name].append(scale_probabilities(values, temperature, by_name[name]))
    return {name: np.mean(values, axis=0) for name, values in found.items()}


def _predict_rows(
    network: Network, tasks: Sequence[Task], rows: Tensor | SparseRows
) -> dict[str, Tensor]:
    """Return the predictions of rows, whose bits do not depend on how many there are.

    A product's last rows that do not fill a block are computed in another way, so that blocks are
    filled up; and so are its rows that begin at odd addresses, so that rows are filled up.
    """
    if isinstance(rows, SparseRows):
        return predict(network, tasks, rows)
    count = len(rows)
    filled = torch.cat([rows, rows.new_zeros(-count % _BLOCK, rows.shape[1])])
    with _FilledRows():
        found = predict(network, tasks, filled)
    return {name: values[:count] for name, values in found.items()}


class _FilledRows(TorchFunctionMode):
    """Fills up the rows of linear layers' inputs and weights with zeros, which change no sum."""

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of PyTorch, a linear one with full rows."""
        if function is linear and len(args) > 1 and (lacking := -args[0].shape[-1] % _ALIGNED):
            inputs, weight, *bias = args
            args = (pad(inputs, (0, lacking)), pad(weight, (0, lacking)), *bias)
        return function(*args, **(kwargs or {}))


def in_double_precision(network: Network) -> Network:
    """Return a copy in float64, or the network itself if it is.

    There the rounding of a row does not depend on the rows beside it.
    """
    if all(parameter.dtype == torch.float64 for parameter in network.parameters()):
        return network
    return copy.deepcopy(network).double()
