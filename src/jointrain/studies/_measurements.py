"""Measurements: what was measured of a study so far, and the means to measure more."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import torch

from jointrain.baselines import Baseline
from jointrain.errors import InvalidInputError
from jointrain.experiments import SEPARATE, ExperimentJob, Fold, FoldResult, Recipe
from jointrain.studies._cuts import Cut
from jointrain.studies._job_runner import check_workers, run_jobs
from jointrain.studies._plan import StudyPlan
from jointrain.studies._run_store import RunStore
from jointrain.studies._study_result import StudyResult
from jointrain.system.stored_files import MISFIT
from jointrain.task import Task

FREE = ("seeds", "baselines")
"""What may differ from the study that a store was made with: more of it is more runs."""


def open_store(study: StudyPlan, place: str | Path | None) -> RunStore | None:
    """Return the store of a study at a place as in `Study.run`, None for no place.

    Raises:
        InvalidInputError: The store can't be reached or holds another study.
    """
    if place is None:
        return None
    description = {
        "data": study.experiment.digest(),
        "targets": [task.name for task in study.tasks],
        "folds": study.folds,
        "seed": study.seed,
        "seeds": study.seeds,
        "recipes": {one.name: one.to_json() | one.sources() for one in study.recipes},
        "baselines": study.baseline_names,
        # all runs have one thread, but the bits of another release may differ
        "torch": torch.__version__,
    }
    return RunStore.open(place, description, free=FREE)


_FEWEST_SECONDS, _SHARE_OF_INTERIM = 2.0, 0.05
"""Interim results come no more often, and take no more of the time."""

OnInterim = Callable[[StudyResult], None]


class StudyInterrupted(KeyboardInterrupt):
    """A study was stopped by Ctrl-C; what was finished is not lost.

    Args:
        result: What was measured until then.
    """

    def __init__(self, result: StudyResult) -> None:
        super().__init__("the study was stopped")
        self.result = result


class Measurements:
    """What was measured of a study so far, and the means to measure more.

    Args:
        study: The experiment, its folds, and what may be shipped.
        workers: As in `Study.run`.
        store: Keeps finished runs.
        executor: As in `Study.run`.
        progress: As in `Study.run`.
        on_interim: Likewise.
    """

    def __init__(
        self,
        study: StudyPlan,
        *,
        workers: int | None = None,
        store: RunStore | None = None,
        executor: Executor | None = None,
        progress: Callable[[int, int], None] | None = None,
        on_interim: OnInterim | None = None,
    ) -> None:
        self.study = study
        self.workers = check_workers(workers)
        self.store = store
        self.executor = executor
        self.progress = progress
        self.on_interim = on_interim
        self._next_interim = 0.0
        self._folds: dict[int, list[Fold]] = {}
        self._results: dict[tuple[str, int, int], FoldResult] = {}
        self._recipes: dict[str, Recipe] = {}
        self._baselines: dict[str, Baseline] = {}
        self.newest_seconds = 0.0
        """What the results of the last `run` took, each in its process."""
        self.newest_jobs = 0
        """How many jobs it had."""

    def folds(self, seed: int) -> list[Fold]:
        """Return the folds of a repetition."""
        if seed not in self._folds:
            self._folds[seed] = self.study.experiment.folds_of(seed)
        return self._folds[seed]

    @property
    def recipes(self) -> list[Recipe]:
        """The recipes that were measured."""
        return list(self._recipes.values())

    @property
    def baselines(self) -> list[Baseline]:
        """The baselines that were measured."""
        failed = self.failed
        return [one for name, one in self._baselines.items() if name not in failed]

    def seconds_of_a_fold(self) -> dict[str, float]:
        """Return the mean seconds of each recipe and baseline on a fold."""
        spent: dict[str, list[float]] = {}
        for result in self._results.values():
            spent.setdefault(result.name, []).append(result.seconds)
        return {name: sum(seconds) / len(seconds) for name, seconds in spent.items()}

    def run(
        self,
        recipes: Sequence[Recipe],
        baselines: Sequence[Baseline],
        seeds: Iterable[int],
        *,
        folds: int | None = None,
        apart: bool = False,
        until: float | None = None,
    ) -> None:
        """Measure recipes and baselines on the folds of some seeds where they were not yet.

        Args:
            recipes: What to train.
            baselines: What to fit beside them.
            seeds: Seeds of the repetitions.
            folds: How many folds of each seed; default all.
            apart: As in `AnyExperiment.jobs`.
            until: As in `run_jobs`; what is not done by then is missing, see `keep_whole`.

        Raises:
            InvalidInputError: The recipe that all are compared with failed.
        """
        names = [*(recipe.name for recipe in recipes), *(one.name for one in baselines)]
        chosen = [
            fold
            for seed in seeds
            for fold in self.folds(seed)[:folds]
            if any((name, seed, fold.number) not in self._results for name in names)
        ]
        reference = next(recipe for recipe in self.study.recipes if recipe.name == SEPARATE)
        jobs = self.study.experiment.jobs(chosen, recipes, baselines, reference, apart=apart)
        total = len(chosen) * len(names)
        self._recipes |= {recipe.name: recipe for recipe in recipes}
        self._baselines |= {baseline.name: baseline for baseline in baselines}
        self.newest_seconds, self.newest_jobs = 0.0, len(jobs)
        done = 0
        if jobs and self.progress is not None:
            self.progress(done, total)

        def take(jobs: Sequence[ExperimentJob]) -> list[FoldResult]:
            """Run jobs and keep their results, but for failures of an earlier call."""
            nonlocal done
            failed = []
            running = run_jobs(
                jobs,
                workers=self.workers,
                store=self.store,
                until=until,
                executor=self.executor,
            )
            for key, results in running:
                old = self.store is not None and self.store.is_old(key)
                for result in self._checked(results):
                    if old and result.error is not None:
                        failed.append(result)
                        continue
                    _check_reference(result)
                    self._results[result.name, result.seed, result.fold] = result
                    done += 1
                    self.newest_seconds += result.seconds
                if self.progress is not None:
                    self.progress(done, total)
                self._tell_interim()
            return failed

        try:
            if failed := take(jobs):
                take(self._second_tries(failed, reference))
        except KeyboardInterrupt:
            if not self._results:
                raise
            raise StudyInterrupted(self.result()) from None

    def _tell_interim(self) -> None:
        """Tell what is known so far, if somebody wants it and it is time."""
        started = time.monotonic()
        if self.on_interim is None or not self.folds_done or started < self._next_interim:
            return
        self.on_interim(self.result_of_whole())
        now = time.monotonic()
        self._next_interim = now + max(_FEWEST_SECONDS, (now - started) / _SHARE_OF_INTERIM)

    def _second_tries(self, failed: Sequence[FoldResult], reference: Recipe) -> list[ExperimentJob]:
        """Return jobs of what failed in an earlier call, each by itself on each fold."""
        assert self.store is not None
        jobs = [
            job
            for result in failed
            for job in self.study.experiment.jobs(
                [self.folds(result.seed)[result.fold]],
                [self._recipes[result.name]] if result.name in self._recipes else (),
                [self._baselines[result.name]] if result.name in self._baselines else (),
                reference,
            )
        ]
        tried = self.store.finished([job.key for job in jobs])
        self.store.try_again(
            key
            for key, results in tried.items()
            if any(result.error is not None for result in self._checked(results))
        )
        return jobs

    def _checked(self, results: Any) -> list[FoldResult]:
        """Return the results of a job; those of a store may come from a stranger."""
        try:
            made = [self.study.experiment.result(fields) for fields in results]
            tasks = self.study.tasks
            for result in made:
                result.check(tasks, self.folds(result.seed)[result.fold])
        except MISFIT:
            where = "a worker" if self.store is None else self.store.place
            raise InvalidInputError(
                f"{where} holds a result that jointrain did not write; choose another place for "
                "the runs, or remove it"
            ) from None
        return made

    def keep_whole(
        self, needed: Sequence[str] = (SEPARATE,), seeds: Iterable[int] = ()
    ) -> list[str]:
        """Forget what was ended too soon, and return what is left out altogether.

        The folds that the needed recipes were trained on are what is compared. A recipe or baseline
        that lacks one of them is left out; so is a later seed that lacks a run of the others.

        Args:
            needed: Names of the recipes without which a fold is worth nothing.
            seeds: Later seeds that stay: what lacks a run of theirs is left out, too.
        """
        seed = self.study.seed
        numbers = {
            fold
            for name, of, fold in self._results
            if of == seed and all((one, seed, fold) in self._results for one in needed)
        }
        settled = {seed, *seeds}
        names = [*self._recipes, *self._baselines]
        whole = [
            name
            for name in names
            if all((name, of, fold) in self._results for of in settled for fold in numbers)
        ]
        seeds = {
            of
            for of in self._folds
            if all((name, of, fold) in self._results for name in whole for fold in numbers)
        }
        self._results = {
            key: result
            for key, result in self._results.items()
            if key[0] in whole and key[1] in seeds and key[2] in numbers
        }
        self._folds = {of: folds for of, folds in self._folds.items() if of in seeds}
        self._recipes = {name: one for name, one in self._recipes.items() if name in whole}
        self._baselines = {n: one for n, one in self._baselines.items() if n in whole}
        return [name for name in names if name not in whole]

    def forget_predictions(self) -> None:
        """Keep metrics alone: what is not shipped needs no predictions."""
        for key, result in self._results.items():
            self._results[key] = result.without_predictions()

    def result_of_whole(self) -> StudyResult:
        """Return what was measured on all folds of separate models, and forget nothing."""
        whole = copy.copy(self)
        whole.keep_whole()
        return whole.result()

    @property
    def folds_done(self) -> int:
        """On how many folds of the first seed separate models were trained."""
        return sum((name, of) == (SEPARATE, self.study.seed) for name, of, _ in self._results)

    @property
    def seeds_done(self) -> list[int]:
        """The seeds that were measured."""
        return sorted(self._folds)

    def result(self, cuts: Sequence[Cut] = ()) -> StudyResult:
        """Return what was measured so far.

        Args:
            cuts: What a budget cut; default nothing.
        """
        failed = self.failed
        kept = {key: one for key, one in self._results.items() if one.name not in failed}
        recipes = [one for name, one in self._recipes.items() if name not in failed]
        names = [*(recipe.name for recipe in recipes), *(one.name for one in self.baselines)]
        seconds, work = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
        for result in kept.values():
            seconds[result.name] += result.seconds
            work[result.name] += result.work
        tasks = [task.name for task in self.study.tasks]
        held_out = [row for result in kept.values() for row in result.validation]
        left_out = self.failures
        if self.study.experiment.ships and self.study.ship == "any":
            left_out += [
                f"baseline {one.name} is measured only: a saved model holds arrays and no code "
                "of others, so it is no part of it"
                for one in self.baselines
                if not one.saved
            ]
        if not self.study.experiment.ships:
            left_out += _undefined(self.study.tasks, kept.values())
        return StudyResult(
            study=replace(
                self.study,
                recipes=tuple(recipes),
                baselines=tuple(self.baselines),
                seeds=len(self._folds),
            ),
            table=_sorted_rows([row for one in kept.values() for row in one.rows], names, tasks),
            seconds=seconds,
            folds=[fold for seed in sorted(self._folds) for fold in self._folds[seed]],
            fold_results=kept,
            margin=self.study.margin,
            notes=(*(cut.text for cut in cuts), *left_out),
            work=work,
            failed=failed,
            validation=_sorted_rows(held_out, names, tasks) if held_out else None,
            cuts=tuple(cuts),
        )

    @property
    def failed(self) -> dict[str, str]:
        """The recipes and baselines that failed on a fold, with the error."""
        failed: dict[str, str] = {}
        for result in self._results.values():
            if result.error is not None:
                failed.setdefault(result.name, result.error)
        return failed

    @property
    def failures(self) -> list[str]:
        """The same in words."""
        return [
            f"{'recipe' if name in self._recipes else 'baseline'} {name} failed and was left out: "
            f"{error}"
            for name, error in self.failed.items()
        ]


def _check_reference(result: FoldResult) -> None:
    """Refuse a study whose reference fails: nothing can be compared.

    Raises:
        InvalidInputError: It is such.
    """
    if result.name == SEPARATE and result.error is not None:
        raise InvalidInputError(
            f"recipe {SEPARATE!r} failed, with which all others are compared: {result.error}"
        )


def _undefined(tasks: Sequence[Task], results: Iterable[FoldResult]) -> list[str]:
    """Say of which tasks the metric that decides is undefined in some runs."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for one in sorted(
        results, key=lambda one: (one.name != SEPARATE, one.name, one.seed, one.fold)
    ):
        for row in one.rows:
            if not math.isfinite(row["value"]):
                of_metric = lacking.setdefault((row["task"], row["metric"]), [])
                of_metric.append(f"split {row['fold']} of seed {row['seed']}, by {one.name}")
    notes = []
    for task in tasks:
        metric = task.primary_metric.name
        if runs := lacking.get((task.name, metric)):
            count = len(runs) - 1
            more = f", and in {count} more run{'s' * (count > 1)}" if count else ""
            notes.append(
                f"{metric} of {task.name} is undefined on {runs[0]}{more}: test rows may lack a "
                "class, or labels, or a run has diverged"
            )
    return notes


def _sorted_rows(
    rows: list[dict[str, Any]], names: Sequence[str], tasks: Sequence[str]
) -> pl.DataFrame:
    return (
        pl.DataFrame(rows)
        .with_columns(
            pl.col("recipe").replace_strict(names, range(len(names))).alias("_recipe"),
            pl.col("task").replace_strict(tasks, range(len(tasks))).alias("_task"),
        )
        .sort("_recipe", "_task", "metric", "seed", "fold")
        .drop("_recipe", "_task")
    )
