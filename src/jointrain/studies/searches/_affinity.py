"""Affinity: how much a step for one task helps another, measured while all are trained jointly."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import polars as pl
import torch
from torch import Tensor

from jointrain.charts import Chart, InNotebook
from jointrain.data import SupervisedTable
from jointrain.errors import InvalidInputError, NotFittedError, closest
from jointrain.experiments import AnyExperiment, Fold, Recipe
from jointrain.networks import Network
from jointrain.studies._cuts import Cuts
from jointrain.studies._job_runner import run_jobs
from jointrain.studies._pace import TRIAL, Level, Pace, chosen_level, epochs_of
from jointrain.studies._plan import as_experiment
from jointrain.system.own_code import check_same_code, digests_of_code
from jointrain.task import Task
from jointrain.training import Trainer, one_thread
from jointrain.training.callbacks import Callback
from jointrain.training.sampling import Batch, Joint

Measure = Literal["lookahead", "gradient"]
Rows = Literal["training", "held-out"]

SHARED_ENOUGH = 0.3
"""Affinities of tasks with a smaller overlap of labelled rows are not read."""

_KEPT_COSINES = 60
"""Of so many steps cosines are kept, at most."""

SHARE_OF_AFFINITIES = 0.15
"""Share of a budget that is meant for affinities."""


@dataclass(frozen=True)
class Affinity(InNotebook):
    """Who helps whom, by one or more runs.

    Args:
        tasks: Names of the tasks.
        runs: [r, t, t]: entry (i, j) of a run is the mean affinity of task i onto task j.
        measure: ``lookahead`` or ``gradient``.
        shared: [t, t], in how many rows two tasks both have a label; None if that is not known.
        cosines: Steps, [m], and the cosines of the tasks' gradients there, [m, t, t], of the first
            run; None if they were not kept.
    """

    tasks: tuple[str, ...]
    runs: np.ndarray
    measure: Measure
    shared: np.ndarray | None = None
    cosines: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def mean(self) -> np.ndarray:
        """The mean over runs, [t, t]: row i helps column j."""
        return np.asarray(self.runs.mean(0))

    @property
    def overlap(self) -> np.ndarray:
        """Shared rows over rows with a label of either task, [t, t]; NaN if not known."""
        if self.shared is None:
            return np.full((len(self.tasks), len(self.tasks)), np.nan)
        own = np.diag(self.shared)
        return np.asarray(self.shared / np.maximum(own[:, None] + own - self.shared, 1))

    @property
    def readable(self) -> np.ndarray:
        """Whether an affinity may be read as help or harm, [t, t] of bool.

        Gradients tell of tasks only where they are taken on the same rows. Below an overlap of
        about 30 % affinities are noise: what looks like harm may be other rows.

        Source: Zhang & Cheng, "Information-Theoretic Requirements for Gradient-Based Task Affinity
            Estimation in Multi-Task Learning", arXiv 2604.07848, 2026.
        """
        enough = ~(self.overlap < SHARED_ENOUGH) | np.eye(len(self.tasks), dtype=bool)
        return np.asarray(enough & np.isfinite(self.mean))

    @property
    def spread(self) -> np.ndarray:
        """The standard deviation over runs, [t, t]; NaN for one run."""
        if len(self.runs) < 2:
            return np.full(self.runs.shape[1:], np.nan)
        return np.asarray(self.runs.std(0, ddof=1))

    def onto(self, task: int, others: Sequence[int]) -> float:
        """Return the mean affinity of other tasks onto a task; 0 if none is `readable`.

        Source: the extension of both measures to groups, as in Fifty et al. (2021), section 4.2.
        """
        known = [other for other in others if self.readable[other, task]]
        return float(self.mean[known, task].mean()) if known else 0.0

    def table(self) -> pl.DataFrame:
        """Return a row for each ordered pair.

        Columns: source, target, affinity, spread, runs; shared_rows and overlap (null if not
        known), and whether the affinity is readable.
        """
        overlap, readable = self.overlap, self.readable
        return pl.DataFrame(
            [
                {
                    "source": source,
                    "target": target,
                    "affinity": float(self.mean[i, j]),
                    "spread": float(self.spread[i, j]),
                    "runs": len(self.runs),
                    "shared_rows": None if self.shared is None else int(self.shared[i, j]),
                    "overlap": None if self.shared is None else float(overlap[i, j]),
                    "readable": bool(readable[i, j]),
                }
                for i, source in enumerate(self.tasks)
                for j, target in enumerate(self.tasks)
            ]
        )

    def to_frame(self) -> pl.DataFrame:
        """Return `table`."""
        return self.table()

    def plot(self) -> Chart:
        """Return a heat map: rows help columns.

        Raises:
            MissingDependencyError: altair is not installed.
        """
        from jointrain.studies.searches._affinity_plot import plot_affinity

        return plot_affinity(self.tasks, self.runs, self.readable)


class AffinityTrainer(Trainer):
    r"""A trainer that measures, while it trains, how each task's steps change the others' losses.

    At a step with shared parameters :math:`\theta`, task i's affinity onto task j is, by
    ``lookahead``, :math:`Z_{i \to j} = 1 - L_j(\theta - \eta g_i) / L_j(\theta)`, the share of j's
    loss that a gradient step for i alone would take away; ``gradient`` is its first-order estimate
    :math:`\eta\, g_i \cdot g_j / L_j`, which needs no further forward passes. Dropout is off in the
    measurement, and training itself goes on as if there were none.

    Args:
        network: As for `Trainer`; its shared parameters are the ones stepped on.
        tasks: As for `Trainer`.
        measure: ``lookahead`` or ``gradient``.
        rows: Whose losses :math:`L_j` are: the ``training`` batch's, as in the papers (default), or
            a ``held-out`` batch's, of the validation data.
        every: Measure at every so many-th step; default 1.
        **settings: What else `Trainer` takes.

    Raises:
        InvalidInputError: The measure is unknown, there is one task, nothing is shared, or rows are
            ``held-out`` and `fit` is given no validation data.

    Source: Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS
        2021, eq. 1 and 2 (lookahead, its mean over training); Ayman et al., "Ensemble Prediction of
        Task Affinity for Efficient Multi-Task Learning", ICLR 2026 (gradient).
    Differs from the source: the step is the plain gradient's, whatever the optimiser (both papers
        train with momentum); dropout is off; ``gradient`` is not divided by the learning rate, so
        that both measures are of one unit.
    """

    def __init__(
        self,
        network: Network,
        tasks: Sequence[Task],
        *,
        measure: Measure = "lookahead",
        rows: Rows = "training",
        every: int = 1,
        **settings: Any,
    ) -> None:
        super().__init__(network, tasks, **settings)
        for name, value, known in (("measure", measure, Measure), ("rows", rows, Rows)):
            if value not in get_args(known):
                raise InvalidInputError(
                    f"`{name}` must be one of {', '.join(get_args(known))}, got {value!r}"
                    f"{closest(value, get_args(known))}"
                )
        if len(tasks) < 2:
            raise InvalidInputError("affinity is between tasks; give two or more")
        if every < 1:
            raise InvalidInputError(f"`every` must be at least 1, got {every}")
        self.measure = measure
        self.rows = rows
        self.every = every
        # what is frozen has no gradient
        self._shared = [p for p in network.shared_parameters() if p.requires_grad]
        if not self._shared:
            frozen = " that are trained" if network.shared_parameters() else ""
            raise InvalidInputError(
                f"the network shares no parameters{frozen}; affinity needs some"
            )
        self._steps = 0
        self._measured: list[Tensor] = []
        self._cosines: list[tuple[int, Tensor]] = []

    @property
    def affinity(self) -> Affinity:
        """The mean over the steps measured so far, as one run.

        Raises:
            NotFittedError: `fit` has not run.
        """
        if not self._measured:
            raise NotFittedError("nothing has been measured yet; call fit() first")
        mean = torch.stack(self._measured).nanmean(0)
        steps, cosines = zip(*self._cosines, strict=True)
        kept = np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _KEPT_COSINES)).astype(int))
        found = np.array(steps)[kept], torch.stack(cosines)[kept].numpy()
        return Affinity(tuple(self.tasks), mean.numpy()[None], self.measure, cosines=found)

    def training_step(self, batches: Sequence[Batch]) -> Mapping[str, Tensor]:
        """Measure, then make the step."""
        if self._steps % self.every == 0:
            names = tuple(self.tasks)
            checked = batches
            if self.rows == "held-out":
                checked = self.session.draw_held_out(names)
                if not checked:
                    raise InvalidInputError("rows 'held-out' need validation data; give fit() some")
            self._measured.append(self._measure(batches, checked))
        self._steps += 1
        return super().training_step(batches)

    def _measure(self, batches: Sequence[Batch], checked: Sequence[Batch]) -> Tensor:
        """Return the affinity of each task (row) onto each (column), [t, t]; NaN: undefined."""
        self.network.eval()
        gradients = self._gradients(batches)
        self._cosines.append((self._steps + 1, self._cosines_of(gradients)))
        rate = self.optimizers.learning_rate
        if checked is batches:
            before_gradients = gradients
        elif self.measure == "gradient":
            before_gradients = self._gradients(checked)
        with torch.no_grad():
            before = self._losses(checked)
            if self.measure == "gradient":
                flat = [
                    {name: _flat(grads) for name, grads in found.items()}
                    for found in (gradients, before_gradients)
                ]
                result = torch.full((len(self.tasks), len(self.tasks)), torch.nan).double()
                for i, source in enumerate(self.tasks):
                    for j, target in enumerate(self.tasks):
                        if source in flat[0] and target in flat[1]:
                            result[i, j] = rate * flat[0][source].dot(flat[1][target])
                result /= before
            else:
                rows = [self._after_step(gradients.get(name), rate, checked) for name in self.tasks]
                result = 1 - torch.stack(rows) / before
        self.network.train()
        result[~result.isfinite()] = torch.nan
        return result

    def _cosines_of(self, gradients: Mapping[str, list[Tensor]]) -> Tensor:
        """Return the cosines between the tasks' gradients, [t, t]; NaN: undefined."""
        flat = {name: _flat(own) for name, own in gradients.items()}
        like = next(iter(flat.values()))
        rows = torch.stack(
            [flat.get(name, torch.full_like(like, torch.nan)) for name in self.tasks]
        )
        unit = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        found: Tensor = unit @ unit.T
        return found

    def _gradients(self, batches: Sequence[Batch]) -> dict[str, list[Tensor]]:
        losses = self.compute_losses(batches)
        return {
            name: list(
                torch.autograd.grad(
                    loss, self._shared, retain_graph=True, allow_unused=True, materialize_grads=True
                )
            )
            for name, loss in losses.items()
        }

    def _losses(self, batches: Sequence[Batch]) -> Tensor:
        """Return each task's loss, [t], NaN for tasks that are not in the batches."""
        losses = self.compute_losses(batches)
        nothing = torch.tensor(torch.nan)
        return torch.stack([losses.get(name, nothing).double().cpu() for name in self.tasks])

    def _after_step(
        self, gradients: list[Tensor] | None, rate: float, batches: Sequence[Batch]
    ) -> Tensor:
        if gradients is None:
            return torch.full((len(self.tasks),), torch.nan, dtype=torch.float64)
        kept = [parameter.clone() for parameter in self._shared]
        for parameter, gradient in zip(self._shared, gradients, strict=True):
            parameter.sub_(gradient, alpha=rate)
        after = self._losses(batches)
        for parameter, value in zip(self._shared, kept, strict=True):
            parameter.copy_(value)
        return after


def _flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients]).double().cpu()


def measure_affinity(
    experiment: AnyExperiment | SupervisedTable,
    recipe: Recipe | None = None,
    *,
    measure: Measure = "lookahead",
    rows: Rows = "training",
    every: int = 1,
    folds: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    workers: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Affinity:
    """Measure who helps whom, by a joint run on the training rows of each fold.

    Args:
        experiment: A table, or an `Experiment`.
        recipe: What to train; its schedule is taken as joint, its weights as given or equal.
        measure: ``lookahead`` (default) or ``gradient``, see `AffinityTrainer`.
        rows: ``training`` (default) or ``held-out``, see `AffinityTrainer`.
        every: Measure at every so many-th step; default 1.
        folds: Folds of a table, each gives a run; default 5.
        seeds: Repetitions of the folds; default 1.
        seed: Seed of the first repetition.
        workers: Processes; default one for each core.
        executor: As in `Study.run`.
        progress: Called with the number of finished runs and of all.

    Raises:
        InvalidInputError: There is one task, or the table can't be split into so many folds.
    """
    recipe = recipe or Recipe()
    experiment = as_experiment(experiment, folds)
    if len(experiment.tasks) < 2:
        raise InvalidInputError(
            f"affinity is between tasks, and there is one, {experiment.tasks[0].name!r}; name two "
            f"targets or more"
        )
    settings = {"measure": measure, "rows": rows, "every": every}
    jobs = _jobs(experiment, recipe, settings, seeds, seed)
    runs = _finished(jobs, workers, executor, progress=progress)
    return _measured(experiment, runs, measure)


@dataclass(frozen=True)
class AffinityGlance:
    """A look at who helps whom, by the gradients of one short joint run.

    Args:
        experiment: What is to be learned.
        recipe: As in `measure_affinity`.
        seed: Of the folds, of which the first is taken.
        steps: The run ends after so many; gradients are measured about forty times.
    """

    experiment: AnyExperiment
    recipe: Recipe
    seed: int = 0
    steps: int = 300

    key: ClassVar[str] = "a glance at who helps whom"

    def run(self) -> Affinity | None:
        """Return who helps whom; None where the experiment can't be looked into.

        Nothing is raised: the model that it is run beside must not be lost by it.
        """
        settings = {"measure": "gradient", "every": max(1, self.steps // 40)}
        try:
            job = _jobs(self.experiment, self.recipe, settings, 1, self.seed)[0]
            run = replace(job, steps=self.steps).run()
            return _measured(self.experiment, [run], "gradient")
        except Exception:  # of a network of one's own it may be any
            return None


class _StopAfter(Callback):
    """Ends a run after some steps."""

    def __init__(self, steps: int) -> None:
        self._steps = steps

    def on_step_end(self, trainer: Trainer, step: int, losses: Mapping[str, Tensor]) -> None:  # noqa: ARG002
        """End it."""
        if step >= self._steps:
            trainer.stop()


def measure_affinity_in_time(
    experiment: AnyExperiment,
    recipe: Recipe,
    *,
    measure: Measure,
    seed: int,
    workers: int | None,
    executor: Executor | None,
    plan: Pace | None,
    cuts: Cuts,
) -> Affinity:
    """Measure who helps whom as `measure_affinity`, in a share of a budget if there is one.

    A run of a few epochs on a few rows, in this process, shows the pace, and is the answer where
    the time is over then. Else epochs, then rows, are cut until all runs take no more than the
    share; runs that are not done in twice that are left out.

    Args:
        experiment: What is to be learned.
        recipe: As in `measure_affinity`.
        measure: As in `measure_affinity`.
        seed: Seed of the folds.
        workers: As in `measure_affinity`.
        executor: As in `measure_affinity`.
        plan: The budget; None for no limit.
        cuts: What was cut is noted there.

    Raises:
        InvalidInputError: The table can't be split into so many folds.
    """
    if plan is None:
        return measure_affinity(
            experiment, recipe, measure=measure, seed=seed, workers=workers, executor=executor
        )
    folds = experiment.folds
    settings = {"measure": measure, "rows": "training", "every": 1}

    def jobs_at(level: Level) -> list[_AffinityJob]:
        used = level.experiment(experiment, seed)
        cut = level.recipe(recipe, used.row_count)
        return _jobs(used, cut, settings, 1, seed)

    level = TRIAL if time.monotonic() < plan.end() else replace(TRIAL, epochs=1)
    try:
        first = jobs_at(level)[0]
    except InvalidInputError:  # so few rows can't be split as all of them can
        level = replace(level, rows=None)
        first = jobs_at(level)[0]
    before = time.monotonic()
    trial = first.run()
    used = first.experiment.row_count
    pace = (time.monotonic() - before) / (used * first.recipe.chosen_epochs(used))
    rounds = math.ceil(folds / plan.workers)
    share = min(SHARE_OF_AFFINITIES * plan.clock.seconds, plan.end() - time.monotonic())
    runs: list[Affinity] = []
    if share > 0:
        chosen = chosen_level(recipe, experiment.row_count, pace, share / rounds)
        until = min(time.monotonic() + 2 * share, plan.end())
        runs = _finished(jobs_at(chosen), plan.workers, executor, until=until)
        level = chosen if runs else level
    kept = level.experiment(experiment, seed)
    rows, epochs = kept.row_count, recipe.chosen_epochs(kept.row_count)
    cut = []
    if level.epochs is not None and level.epochs < epochs:
        cut.append(epochs_of(level, epochs))
    if rows < experiment.row_count:
        cut.append(f"{rows:,} rows")
    count = len(runs) or 1
    if cut or count < folds:
        text = f"{count} run{'s' if count > 1 else ''} of {folds}"
        cuts.say("affinity", f"affinities are of {', '.join([text, *cut])}")
    return _measured(kept, runs or [trial], measure)


@dataclass(frozen=True)
class _AffinityJob:
    """A joint run on the training rows of a fold that measures affinities."""

    experiment: AnyExperiment
    recipe: Recipe
    fold: Fold
    settings: Mapping[str, Any]
    code: Mapping[str, str]
    steps: int | None = None
    """The run ends after so many; None for as many as the recipe says."""

    @property
    def key(self) -> str:
        return f"affinity of fold {self.fold.number}, seed {self.fold.seed}"

    def run(self) -> Affinity:
        """Return the affinities of the run."""
        check_same_code(self.code, self.recipe.own_code)
        make_trainer = partial(AffinityTrainer, **self.settings)
        with one_thread():
            (run,) = self.experiment.runs(self.fold, self.recipe, make_trainer)
            if self.steps is not None:
                # the experiment says which callbacks a trainer is made with
                run.trainer.callbacks = (*run.trainer.callbacks, _StopAfter(self.steps))
            run.fit()
        assert isinstance(run.trainer, AffinityTrainer)
        return run.trainer.affinity


def _jobs(
    experiment: AnyExperiment,
    recipe: Recipe,
    settings: Mapping[str, Any],
    seeds: int,
    seed: int,
) -> list[_AffinityJob]:
    code = digests_of_code(recipe.own_code)
    joint = replace(
        recipe, schedule=Joint(), partition=None, balancer=None, balancer_options=(),
        optimizer_layout="one",
        ensemble=1, weights="equal" if isinstance(recipe.weights, str) else recipe.weights,
    )  # fmt: skip
    return [
        _AffinityJob(experiment, joint, fold, settings, code)
        for of in range(seed, seed + seeds)
        for fold in experiment.folds_of(of)
    ]


def _finished(
    jobs: Sequence[_AffinityJob],
    workers: int | None,
    executor: Executor | None,
    *,
    progress: Callable[[int, int], None] | None = None,
    until: float | None = None,
) -> list[Affinity]:
    """Return what came out of the jobs that were done in time, in their order."""
    runs: dict[str, Affinity] = {}
    for key, run in run_jobs(jobs, workers=workers, until=until, executor=executor):
        runs[key] = run
        if progress is not None:
            progress(len(runs), len(jobs))
    return [runs[job.key] for job in jobs if job.key in runs]


def _measured(experiment: AnyExperiment, runs: Sequence[Affinity], measure: Measure) -> Affinity:
    labelled = experiment.labelled()
    known = None if labelled is None else labelled.astype(np.int64)
    names = tuple(task.name for task in experiment.tasks)
    shared = None if known is None else known.T @ known
    values = np.concatenate([one.runs for one in runs])
    return Affinity(names, values, measure, shared, runs[0].cosines)
