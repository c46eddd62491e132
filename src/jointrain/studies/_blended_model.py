"""BlendedModel: each target predicted by the weighted mean of the components that suit it best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from jointrain.data import Column, SupervisedTable, TableEncoder, as_table
from jointrain.studies._baselines import BaselineModel, fit_baseline
from jointrain.studies._blend import blended
from jointrain.studies._study_result import StudyResult
from jointrain.studies.population import fit_together
from jointrain.task import Task
from jointrain.training._recipe import Recipe
from jointrain.training._schedule import Separate
from jointrain.training._table_model import FitRuns, TableModel, TablePredictor, fit_table


@dataclass(frozen=True)
class FittedBaseline:
    """A baseline fitted to a table.

    Args:
        tasks: What it predicts.
        encoder: Turns a table into the baseline's inputs.
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
    """

    tasks: tuple[Task, ...]
    columns: tuple[Column, ...]
    components: Mapping[str, TableModel | FittedBaseline]
    weights: Mapping[str, Mapping[str, float]]

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
        table = as_table(frame)
        found = {name: component.predict(table) for name, component in self.components.items()}
        return {
            task.name: blended(
                np.stack([found[name][task.name] for name in self.weights[task.name]], axis=1),
                np.array(list(self.weights[task.name].values())),
            )
            for task in self.tasks
        }


def fit_shipped(
    result: StudyResult,
    *,
    device: str | torch.device = "auto",
    fit_runs: FitRuns = fit_together,
) -> TableModel | BlendedModel:
    """Fit the model that a study speaks for on all rows: the blend of each task.

    Components without weight are not fitted, nor are single-task networks of tasks that other
    components predict. Where one recipe predicts all tasks alone, its own model is returned.

    Args:
        result: What the study measured.
        device: Where to train networks: auto, cpu or cuda.
        fit_runs: Fits the trainers.
    """
    study = result.study
    table = study.table
    weights = {name: dict(blend.weights) for name, blend in result.blends.items()}
    needed: dict[str, list[str]] = {}
    for task, of_task in weights.items():
        for name in of_task:
            needed.setdefault(name, []).append(task)
    recipes = {recipe.name: recipe for recipe in study.recipes}
    components: dict[str, TableModel | FittedBaseline] = {}
    for name, tasks in needed.items():
        if name not in recipes:
            components[name] = _fit_baseline_to(name, _only(table, tasks), study.seed)
            continue
        recipe = recipes[name]
        alone = isinstance(recipe.schedule, Separate)
        components[name] = fit_table(
            _only(table, tasks) if alone else table,
            _as_shipped(recipe),
            seed=study.seed,
            device=device,
            fit_runs=fit_runs,
        )
    if len(components) == 1:
        only = next(iter(components.values()))
        if isinstance(only, TableModel):
            return only
    return BlendedModel(table.tasks, table.columns, components, weights)


def _as_shipped(recipe: Recipe) -> Recipe:
    """Return the recipe with an ensemble chosen by the rows where the study had single networks."""
    return replace(recipe, ensemble=None) if recipe.ensemble == 1 else recipe


def _only(table: SupervisedTable, tasks: list[str]) -> SupervisedTable:
    """Return the table with some of its tasks, and the rows that have a label of them."""
    kept = tuple(task for task in table.tasks if task.name in tasks)
    if len(kept) == len(table.tasks):
        return table
    fewer = replace(table, tasks=kept)
    labelled = np.isfinite(fewer.labels()).any(1)
    return replace(
        fewer,
        frame=table.frame.filter(labelled),
        groups=None if table.groups is None else table.groups[labelled],
        time=None if table.time is None else table.time[labelled],
    )


def _fit_baseline_to(name: str, table: SupervisedTable, seed: int) -> FittedBaseline:
    encoder = TableEncoder(0).fit(table.frame, list(table.columns), seed)
    model = fit_baseline(
        name, encoder.transform(table.frame), table.labels(), list(table.tasks), seed
    )
    return FittedBaseline(table.tasks, encoder, model)
