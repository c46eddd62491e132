"""The model that a study speaks for, fitted on all rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from jointrain.baselines import BASELINES, CONSTANT, Baseline, JointBaseline
from jointrain.data import SupervisedTable
from jointrain.errors import WorkerDiedError
from jointrain.experiments import Recipe
from jointrain.studies._job_runner import Job, check_workers, run_jobs
from jointrain.studies._study_result import StudyResult
from jointrain.system.cores import available_cores
from jointrain.tables import (
    BlendedModel,
    Calibration,
    FittedBaseline,
    TableModel,
    fit_baseline_to,
    fit_table,
    sample_rows,
)
from jointrain.training import one_thread, resolve_device
from jointrain.training.population import fit_together
from jointrain.training.sampling import Separate


def fit_shipped(
    result: StudyResult,
    *,
    device: str | torch.device = "auto",
    workers: int | None = None,
    executor: Executor | None = None,
    seconds: float | None = None,
    until: float | None = None,
    progress: Callable[[int, int], None] | None = None,
    table: SupervisedTable | None = None,
    beside: Job | None = None,
    on_beside: Callable[[Any], None] | None = None,
) -> TableModel | BlendedModel:
    """Fit the model that a study speaks for on all rows: the blend of each task.

    Components without weight are not fitted, nor are single-task networks of tasks that other
    components predict. Where one recipe predicts all tasks alone, its own model is returned.

    Args:
        result: What the study measured.
        device: Where to train networks: auto, cpu or cuda.
        workers: Processes to fit components in, on a CPU; default one for each core.
        executor: As in `Study.run`; the device is then one of its workers'.
        seconds: What the fit may take, by what the study's runs took. Where the study had single
            networks, it decides how large an ensemble takes their place, unless these are to be
            kept (`StudyResult.single`); None (default) chooses by the number of rows.
        until: `time.monotonic()` at which components that are not fitted are ended and left
            out; the others take their weights. Where a task has none left, its cheapest
            component is fitted all the same if it is a matter of seconds, else the best of all
            that are, or a constant. Default never.
        progress: Called at the beginning, and then with the number of fitted components and of all.
        table: The rows to fit on, where the study had a sample of them, see `rows_to_fit`; default
            those of the study.
        beside: Something else to be run where a worker has no component left to fit. It must not
            raise; if its processes die, the model is there all the same.
        on_beside: Called with what came out of it.

    Raises:
        InvalidInputError: There is no such device.
        WorkerDiedError: Processes died again and again, most often for want of memory.
    """
    workers = check_workers(workers)
    study = result.study
    table = study.table if table is None else table
    weights = {name: dict(blend.weights) for name, blend in result.blends.items()}
    needed = _needed(result)
    recipes = {recipe.name: recipe for recipe in study.recipes}
    # on other machines there may be other devices
    chosen = str(resolve_device(device) if executor is None else device)
    singles = [name for name in needed if name in recipes and recipes[name].ensemble == 1]
    shipped = {
        name: recipes[name] if result.single else replace(recipes[name], ensemble=None)
        for name in singles
    }
    processes = workers if executor is not None or chosen == "cpu" else 1
    if seconds is not None:
        # of the rows of the study
        seconds *= len(study.table.frame) / len(table.frame)
        cost = _last_fit_seconds(result, singles, workers)
        size = 1 if result.single else _affordable_size(result, cost, seconds)
        # processes may take longer to start than the fit, and be ended while they do
        here = _size_here(result, list(needed), size, seconds)
        if here is not None and executor is None:
            size, processes, until = here, 1, None
        shipped = {
            name: _shortened(recipes[name], size, len(table.frame), seconds / max(cost, 1e-9))
            for name in singles
        }
    shipped = recipes | shipped
    made = {CONSTANT: BASELINES[CONSTANT]} | {one.name: one for one in study.baselines} | shipped

    def job_of(name: str, tasks: Sequence[str]) -> _ComponentJob:
        return _ComponentJob(name, table, tuple(tasks), made[name], study.seed, chosen)

    jobs = [job_of(name, tasks) for name, tasks in needed.items()]
    # cheap ones first: when the time is over, something is there
    jobs.sort(key=lambda job: result.seconds.get(job.key, 0.0))
    run = partial(run_jobs, workers=processes, until=until, executor=executor)
    fitted = _fitted(jobs, beside, on_beside, run, progress or (lambda *_: None))
    if len(fitted) < len(needed):
        weights = _with_what_is_there(result, job_of, fitted, weights)
    used = {name: None for of_task in weights.values() for name in of_task}
    components = {name: fitted[name] for name in used}
    only = next(iter(components.values()))
    if len(components) == 1 and isinstance(only, TableModel):
        return only
    # the temperatures of the blends were found with those of the networks left out
    plain = {
        name: replace(component, calibration=Calibration(), schema=None)
        if isinstance(component, TableModel)
        else component
        for name, component in components.items()
    }
    held_out, seen = result.held_out_blends(weights), study.table
    if CONSTANT in plain:
        held_out |= _by_saved_constant(plain[CONSTANT], weights, held_out, seen)
    calibration = Calibration.fit(
        seen.tasks, held_out, seen.labels(), seen.weights, seen.fit_weights()
    )
    return BlendedModel(table.tasks, table.columns, plain, weights, calibration, table.schema)


def _fitted(
    jobs: Sequence[_ComponentJob],
    beside: Job | None,
    on_beside: Callable[[Any], None] | None,
    run: Callable[[list[Job]], Iterator[tuple[str, Any]]],
    progress: Callable[[int, int], None],
) -> dict[str, TableModel | FittedBaseline]:
    """Return the components that were fitted in time, by name; see `fit_shipped`."""
    fitted: dict[str, TableModel | FittedBaseline] = {}
    every: list[Job] = [*jobs] if beside is None else [*jobs, beside]
    progress(0, len(jobs))
    try:
        for name, made in run(every):
            if beside is None or name != beside.key:
                fitted[name] = made
                progress(len(fitted), len(jobs))
            elif on_beside is not None:
                on_beside(made)
    except WorkerDiedError:
        if len(fitted) < len(jobs):
            raise
    return fitted


def _by_saved_constant(
    constant: TableModel | FittedBaseline,
    weights: Mapping[str, Mapping[str, float]],
    held_out: Mapping[str, np.ndarray],
    table: SupervisedTable,
) -> dict[str, np.ndarray]:
    """Return what the saved constant says of held-out rows, for numbers that it alone predicts.

    The folds' constants are a little lower or higher. Where most rows have one value, an interval
    moved by so little would leave it out.
    """
    predicted = constant.predict(table.frame)
    return {
        task.name: np.where(np.isnan(held_out[task.name]), np.nan, predicted[task.name])
        for task in table.tasks
        if task.in_table.calibrated_by == "errors" and set(weights[task.name]) == {CONSTANT}
    }


def rows_to_fit(
    result: StudyResult, whole: SupervisedTable, seconds: float, workers: int | None = None
) -> SupervisedTable:
    """Return as many rows of a table as there is time for, where a study had a sample of them.

    Args:
        result: What the study measured.
        whole: The table that the study's rows were drawn from.
        seconds: What `fit_shipped` may take, by what the study's runs took.
        workers: Processes to fit components in; default one for each core.
    """
    used = len(result.study.table.frame)
    cost = _last_fit_seconds(result, list(_needed(result)), workers)
    more = seconds / max(cost, 1e-9)
    return (
        sample_rows(whole, int(used * more), result.study.seed) if more > 1 else result.study.table
    )


def _needed(result: StudyResult) -> dict[str, list[str]]:
    """Return the components that have a weight, and the tasks that they are to predict."""
    needed: dict[str, list[str]] = {}
    for task, blend in result.blends.items():
        for name in blend.weights:
            needed.setdefault(name, []).append(task)
    return needed


@dataclass(frozen=True)
class _ComponentJob:
    """The fit of one component on all rows.

    Args:
        key: Its name.
        table: All rows.
        tasks: The tasks that it is to predict.
        made_by: The recipe, or the baseline.
        seed: Seed of all random choices.
        device: Where to train.
    """

    key: str
    table: SupervisedTable
    tasks: tuple[str, ...]
    made_by: Recipe | Baseline
    seed: int
    device: str

    def run(self) -> TableModel | FittedBaseline:
        """Return the fitted component."""
        with one_thread():
            if isinstance(self.made_by, Baseline):
                joint = isinstance(self.made_by, JointBaseline)
                table = self.table if joint else self.table.only(self.tasks)
                return fit_baseline_to(self.made_by, table, self.seed)
            alone = isinstance(self.made_by.schedule, Separate)
            return fit_table(
                self.table.only(self.tasks) if alone else self.table,
                self.made_by,
                seed=self.seed,
                device=self.device,
                fit_runs=fit_together,
            )


RESCUE_SECONDS = 3.0
"""What a component took on a fold, at most, to be fitted though the time is over."""


def _with_what_is_there(
    result: StudyResult,
    job_of: Callable[[str, Sequence[str]], _ComponentJob],
    fitted: dict[str, TableModel | FittedBaseline],
    weights: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, float]]:
    """Add to the fitted components what no target can be without, and return the weights."""
    rescued = _rescued(result, fitted, weights)
    left = {
        task: of_task if rescued.get(task) in {None, *of_task} else {rescued[task]: 1.0}
        for task, of_task in weights.items()
    }
    for name in {*rescued.values()} - {CONSTANT}:
        fitted[name] = job_of(name, [task for task in left if name in left[task]]).run()
    shared = _weights_of_fitted(left, fitted)
    if any(CONSTANT in of_task for of_task in shared.values()):
        # for all targets: one may be there that was chosen for some
        fitted[CONSTANT] = fit_baseline_to(CONSTANT, result.study.table, result.study.seed)
    return shared


def _rescued(
    result: StudyResult, fitted: Mapping[str, object], weights: Mapping[str, Mapping[str, float]]
) -> dict[str, str]:
    """Return what is to predict the targets that have nothing: a moment beats a constant.

    The cheapest component of a target's own, else the best of all that were measured, of those that
    take a moment.
    """
    costs = {
        name: result.seconds.get(name, math.inf) / max(result.runs(name), 1)
        for name in result.components
    }
    cheap = [name for name, seconds in costs.items() if seconds <= RESCUE_SECONDS]
    chosen: dict[str, str] = {}
    for task in result.study.table.tasks:
        of_task = weights[task.name]
        if any(name in fitted or name in chosen.values() for name in of_task):
            continue
        own = [name for name in cheap if name in of_task]
        chosen[task.name] = (
            min(own, key=lambda name: costs[name]) if own else result.best_component(task, cheap)
        )
    return chosen


def _weights_of_fitted(
    weights: Mapping[str, Mapping[str, float]], fitted: Mapping[str, object]
) -> dict[str, dict[str, float]]:
    """Return the weights of the components that are there, of sum 1."""
    shared = {}
    for task, of_task in weights.items():
        there = {name: weight for name, weight in of_task.items() if name in fitted}
        total = sum(there.values())
        shared[task] = {name: weight / total for name, weight in there.items()} or {CONSTANT: 1.0}
    return shared


SHARE_HERE = 0.5
"""A last fit that takes less than this share of its time is made in this process."""


def _size_here(result: StudyResult, names: Sequence[str], size: int, seconds: float) -> int | None:
    """Return the size of ensembles that this process fits soon; None if they would be too small."""
    for fewer in (size, size // 2):
        if fewer and _last_fit_seconds(result, names, 1, fewer) <= SHARE_HERE * seconds:
            return fewer
    return None


def _last_fit_seconds(
    result: StudyResult, names: Sequence[str], workers: int | None, size: int = 1
) -> float:
    """Return what components take on all rows, by what the folds took."""
    folds = result.study.folds
    # from the training part of a fold to all rows
    costs = [
        size * result.seconds.get(name, 0.0) / max(result.runs(name), 1) * folds / (folds - 1)
        for name in names
    ]
    # components are fitted side by side, each in one process
    return max(max(costs, default=0.0), sum(costs) / (workers or available_cores()))


def _affordable_size(result: StudyResult, cost: float, seconds: float) -> int:
    """Return how many networks may take the place of a single one of so many seconds."""
    largest = Recipe(ensemble=None).chosen_ensemble(len(result.study.table.frame))
    return next((n for n in (8, 4, 2) if n <= largest and n * cost <= seconds), 1)


def _shortened(recipe: Recipe, size: int, rows: int, share: float) -> Recipe:
    """Return a recipe for an ensemble of a size, of fewer epochs where one takes too long.

    Args:
        recipe: Of a single network.
        size: How many take its place.
        rows: Rows of the table.
        share: Which part of the time of one network there is.
    """
    recipe = replace(recipe, ensemble=size)
    if share >= 1:
        return recipe
    return replace(recipe, epochs=max(1, int(share * recipe.chosen_epochs(rows))))
