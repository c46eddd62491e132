"""BlendedModel: each target predicted by the weighted mean of the components that suit it best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jointrain.baselines import AnyBaseline, BaselineModel, baseline_encoder, fit_baseline
from jointrain.data import Column, SupervisedTable, TableEncoder, TableSchema, as_table
from jointrain.tables._blend import blend_predictions
from jointrain.tables._calibration import Calibration, scale_probabilities
from jointrain.tables._table_model import TableModel
from jointrain.tables._table_predictor import TablePredictor, checked_predictions
from jointrain.task import Task


@dataclass(frozen=True)
class FittedBaseline:
    """A baseline fitted to a table.

    Args:
        tasks: What it predicts.
        encoder: Turns a table into the baseline's inputs; a `PlainEncoder`.
        model: The fitted baseline.
    """

    tasks: tuple[Task, ...]
    encoder: TableEncoder
    model: BaselineModel

    def predict(self, frame: Any) -> dict[str, np.ndarray]:
        """Return the predictions of each task, as `TableModel.predict`."""
        return self.model.predict(self.encoder.transform(as_table(frame)))


@dataclass(frozen=True)
class BlendedModel(TablePredictor):
    """Predicts each task by a weighted mean of fitted components.

    Args:
        tasks: What it predicts.
        columns: The feature columns of the table it was fitted on.
        components: Fitted recipes and baselines, by name.
        weights: For each task the weight of the components that predict it; they sum to 1.
        calibration: Temperatures and residuals of the blends, from held-out rows.
        schema: How the columns of its table were read.
    """

    tasks: tuple[Task, ...]
    columns: tuple[Column, ...]
    components: Mapping[str, TableModel | FittedBaseline]
    weights: Mapping[str, Mapping[str, float]]
    calibration: Calibration = field(default_factory=Calibration)
    schema: TableSchema | None = None

    @property
    def encoder(self) -> TableEncoder:
        """The encoder of the first component."""
        return next(iter(self.components.values())).encoder

    @property
    def predicted_tasks(self) -> tuple[Task, ...]:
        """All tasks."""
        return self.tasks

    def predict(self, frame: Any) -> dict[str, np.ndarray]:
        """Return the predictions of each task, as `TableModel.predict`.

        Raises:
            InvalidInputError: A feature column is missing or of another type.
        """
        table = self.conformed(frame)
        found = {name: component.predict(table) for name, component in self.components.items()}
        temperatures = self.calibration.temperatures
        blended = {
            task.name: scale_probabilities(
                blend_predictions(
                    {
                        name: values[task.name]
                        for name, values in found.items()
                        if name in self.weights[task.name]
                    },
                    self.weights[task.name],
                ),
                temperatures.get(task.name, 1.0),
                task,
            )
            for task in self.tasks
        }
        return checked_predictions(blended)


def fit_baseline_to(baseline: AnyBaseline, table: SupervisedTable, seed: int) -> FittedBaseline:
    """Return a baseline fitted to all rows of a table."""
    encoder = baseline_encoder(baseline).fit(table.frame, list(table.columns), seed)
    model = fit_baseline(
        baseline,
        encoder.transform(table.frame),
        table.labels(),
        list(table.tasks),
        seed,
        table.fit_weights(),
        encoder.code_places,
    )
    return FittedBaseline(table.tasks, encoder, model)
