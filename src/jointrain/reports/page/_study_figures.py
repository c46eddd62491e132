"""The figures of a study's page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from jointrain.baselines import CONSTANT
from jointrain.experiments import SEPARATE, AnyExperiment, LossCurve
from jointrain.reports._affinity import affinity_note, affinity_to_json
from jointrain.reports._saved_model import blend_text
from jointrain.reports._study_answer import answer, interim_answer
from jointrain.reports._summary import (
    folds_and_seeds,
    mean_and_spread,
    summary_tables,
)
from jointrain.reports.page._conflict_figures import conflict_figures
from jointrain.reports.page._figures import Figures, change_figures, circumstances
from jointrain.reports.page._saved_model_figures import saved_model_figures
from jointrain.studies import SHIPPED, StudyResult, mean_and_deviation
from jointrain.studies.searches import Affinity
from jointrain.tables import TableExperiment
from jointrain.task import Task


def study_figures(
    result: StudyResult,
    title: str,
    *,
    command: str | None = None,
    importance: Mapping[str, Any] | None = None,
    affinity: Affinity | None = None,
    planned: int | None = None,
    interim: bool = False,
) -> Figures:
    """Return the figures of a study's page.

    Args:
        result: What was measured.
        title: The heading.
        command: What makes it again.
        importance: Of columns, as `ColumnImportance.to_json`.
        affinity: Who helps whom, where it was measured.
        planned: As in `interim_answer`.
        interim: Whether the study is not over: there are no verdicts then.
    """
    study = result.study
    first = circumstances(title, "study", command)
    sentences = (
        [interim_answer(result, planned)]
        if interim
        else answer(result, weights_in="the section of the saved model below")
    )
    return first | {
        "finished": not interim,
        "answer": sentences,
        "measured_on": folds_and_seeds(result),
        "targets": [_target(result, task, interim) for task in study.tasks],
        "overall": [] if interim else _overall(result),
        "tables": [asdict(table) for table in summary_tables(result, interim=interim)],
        "saved": None
        if interim or not result.ships
        else {task: blend_text(blend) for task, blend in result.blends.items()},
        "affinity": None
        if affinity is None
        else affinity_to_json(affinity) | {"note": affinity_note(affinity)},
        "conflict": conflict_figures(affinity),
        "curves": curve_figures(result),
        "costs": result.costs().to_dicts() if result.fold_results else [],
        "checks": {} if interim or not result.ships else saved_model_figures(result),
        "importance": importance,
        "data": data_figures(study.experiment),
        "notes": [*result.notes],
        "recipes": [
            {name: value for name, value in recipe.to_words().items() if value is not None}
            for recipe in study.recipes
        ],
        "seed": study.seed,
        "seeds": study.seeds,
        "margin": result.margin,
    }


def _target(result: StudyResult, task: Task, interim: bool) -> Figures:
    """Return the figures of a target: of each recipe and baseline, and of the saved model."""
    metric = task.primary_metric
    names = [*result.recipe_names, *([SHIPPED] if result.ships and not interim else [])]
    labels = result.study.experiment.label_counts().get(task.name)
    rows = []
    for name in names:
        values = result.values(name, task.name, metric.name)
        row: Figures = {"name": name, "role": _role(result, name), "text": mean_and_spread(values)}
        row |= mean_and_deviation(values)
        if name != SEPARATE and not interim:
            by_task = result.shipped_comparisons if name == SHIPPED else result.comparisons[name]
            row |= change_figures(by_task[task.name])
        rows.append(row)
    return {
        "name": task.name,
        "kind": task.rules.in_words(),
        "labels": labels,
        "metric": metric.name,
        "higher_is_better": metric.higher_is_better,
        "constant": CONSTANT in names,
        "rows": rows,
    }


def _overall(result: StudyResult) -> list[Figures]:
    found = dict(result.delta_m)
    if result.ships:
        found[SHIPPED] = result.shipped_delta_m
    return [
        {"name": name, "role": _role(result, name)} | change_figures(one)
        for name, one in found.items()
    ]


def _role(result: StudyResult, name: str) -> str:
    if name == SHIPPED:
        return "saved model"
    return "baseline" if name in result.study.baseline_names else "recipe"


_POINTS = 60
"""Points of a curve, at most."""


def curve_figures(result: StudyResult) -> list[Figures]:
    """Return the mean losses and weights by recipe, task and epoch, over all runs of a recipe."""
    found = []
    for recipe in result.study.recipes:
        for task in result.study.tasks:
            curves = [
                LossCurve.of_plain(one.curves[task.name])
                for (name, _, _), one in result.fold_results.items()
                if name == recipe.name and task.name in one.curves
            ]
            if curves:
                mean = LossCurve.mean(curves)
                length = len(mean.training)
                shown = np.unique(np.linspace(1, length, min(length, _POINTS)).round().astype(int))
                parts = {
                    part: [getattr(mean, part)[epoch - 1] for epoch in shown]
                    for part in ("training", "validation", "weight")
                }
                found.append(
                    {
                        "recipe": recipe.name,
                        "task": task.name,
                        "epochs": shown.tolist(),
                        "kept": mean.kept,
                        "runs": mean.runs,
                        **parts,
                    }
                )
    return found


def data_figures(experiment: AnyExperiment) -> Figures:
    """Return what is known of the data, in words and figures."""
    labels = experiment.label_counts()
    rows = experiment.row_count
    found: Figures = {
        "rows": rows,
        "labels": labels,
        "missing": {name: rows - count for name, count in labels.items()},
        "notes": list(experiment.notes),
        "columns": [],
    }
    if isinstance(experiment, TableExperiment):
        found["columns"] = [[column.name, column.kind] for column in experiment.table.columns]
    return found
