"""Candidates: recipes measured on the same inner folds, and an honest choice among them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import polars as pl

from jointrain.errors import InvalidInputError, closest
from jointrain.experiments import SEPARATE, AnyExperiment, Recipe
from jointrain.studies._measured import Measured
from jointrain.studies._measurements import Measurements
from jointrain.studies._pace import NOTHING_LARGER, Clock, Cuts, FirstLooks, Pace
from jointrain.studies._plan import StudyPlan
from jointrain.studies._statistics import (
    MARGIN,
    Comparison,
    check_margin,
    estimate_change,
    judge_all,
    mean_estimate,
)
from jointrain.system.worker_processes import warm_up
from jointrain.task import Task
from jointrain.training.sampling import Separate

CLEARLY_CHEAPER = 0.6
"""A candidate is clearly cheaper with less than this share of the work: stopping early varies."""

SHARE_OF_FIRST = 0.5
"""Share of the budget that is meant for what has to be measured; the rest is for the search."""


@dataclass(frozen=True)
class Candidates:
    """What was measured of each candidate on the folds, and which one it speaks for.

    Args:
        measured: The figures of all that was measured.
        choices: Those that may be chosen; the earlier of two that are equally good is.
        baseline: The candidate that Delta-m is relative to.
        reference: The candidate that is kept unless another one is shown to be better.
        importance: How much a task's change counts in Delta-m, by task; 1 for tasks left out.
        seconds: Time spent on each candidate.
        work: What the training of each cost, counted and not timed; see
            `jointrain.training.training_work`.
        notes: What a budget cut, in words.
    """

    measured: Measured
    choices: tuple[str, ...]
    baseline: str
    reference: str
    importance: Mapping[str, float] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    work: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks."""
        return self.measured.tasks

    @property
    def names(self) -> tuple[str, ...]:
        """All that was measured."""
        return self.measured.names

    @property
    def table(self) -> pl.DataFrame:
        """A row for each candidate, task, metric, fold and seed, with its value."""
        return self.measured.table

    def values(self, name: str, task: str, metric: str) -> np.ndarray:
        """Return a metric of a candidate over seeds and folds, [J], NaN where it is undefined."""
        return self.measured.values(name, task, metric)

    def changes(self, name: str, against: str | None = None) -> dict[str, np.ndarray]:
        """Return the changes of the first metric by task, [J] each: in percent, see `unit_of`.

        Args:
            name: A candidate.
            against: Another one; default the baseline.

        Raises:
            InvalidInputError: There is no such candidate.
        """
        found = self.measured.changes(name, self.baseline if against is None else against)
        return {task: one.values for task, one in found.items()}

    def judge(
        self, names: Sequence[str], against: str | None = None
    ) -> tuple[dict[str, dict[str, Comparison]], dict[str, Comparison]]:
        """Return how candidates compare with another one, all judged together (see `judge_all`).

        The figures of the chosen candidate are flattered by the choice all the same:
        `gain_of_choosing` is free of it.

        Args:
            names: Candidates.
            against: Another one; default the reference.

        Returns:
            By candidate and task; and Delta-m by candidate, by importance.

        Raises:
            InvalidInputError: There is no such candidate.
        """
        other = self.reference if against is None else against
        return self.measured.judge(names, other, self.importance)

    def mean_changes(self, name: str) -> dict[str, float]:
        """Return each task's mean change against the baseline, as `changes`; NaN: undefined."""
        return {task: _nanmean(values) for task, values in self.changes(name).items()}

    def score(self, name: str) -> float:
        """Return Delta-m against the baseline in percent: the mean change, by importance."""
        return self._score(self.mean_changes(name))

    @cached_property
    def _counted(self) -> set[str]:
        """The tasks that Delta-m is a mean over, see `mean_estimate`."""
        itself = self.measured.changes(self.baseline, self.baseline)
        each = {task: estimate_change(changes) for task, changes in itself.items()}
        return set(each) - set(mean_estimate(each).left_out)

    def _score(self, changes: Mapping[str, float]) -> float:
        pairs = [
            (self.importance.get(task, 1.0), change)
            for task, change in changes.items()
            if math.isfinite(change) and task in self._counted
        ]
        total = sum(weight for weight, _ in pairs)
        return sum(weight * change for weight, change in pairs) / total if total else -math.inf

    @property
    def chosen(self) -> str:
        """The candidate with the highest Delta-m on all folds."""
        return max(self.choices, key=self.score)

    @cached_property
    def recommended(self) -> str:
        """The chosen candidate if choosing is shown to pay, else a plain one.

        Where nothing is shown, that is the cheapest of the candidates that are clearly cheaper than
        the reference, and not shown to be worse. Without one it is the reference; if that comes
        last of three or more, no figure speaks for it, and the chosen one is taken. From too few
        folds for an interval it is the reference: a first look is no ground to leave it.
        """
        if self.first_look:
            return self.reference
        if self.gain_of_choosing.verdict == "better":
            return self.chosen
        verdicts = self.judge([name for name in self.choices if name != self.reference])[1]
        cheaper = [
            name
            for name, comparison in verdicts.items()
            if comparison.verdict != "worse" and self.clearly_cheaper(name)
        ]
        if cheaper:
            return min(cheaper, key=lambda name: self.work[name])
        last = min(self.choices, key=self.score)
        if len(self.choices) > 2 and last == self.reference:
            return self.chosen
        return self.reference

    @property
    def first_look(self) -> bool:
        """Whether there are too few folds to tell whether choosing pays."""
        return not math.isfinite(self.gain_of_choosing.low)

    def clearly_cheaper(self, name: str) -> bool:
        """Return whether a candidate takes less than `CLEARLY_CHEAPER` of the reference's work."""
        least, of = self.work.get(name, math.inf), self.work.get(self.reference, 0.0)
        return name != self.reference and least < CLEARLY_CHEAPER * of

    @cached_property
    def gains_of_choosing(self) -> dict[str, np.ndarray]:
        """What choosing the best candidate changes against the reference, free of its luck.

        On each fold, the candidate is taken that is best on the other folds of the same seed, and
        compared with the reference on the fold, which had no say. The best of many candidates by
        the same figures would look better than it is.

        Shape:
            returns: [J] for each task, in percent, NaN where undefined.

        Source: Varma & Simon, "Bias in error estimation when using cross-validation for model
            selection", BMC Bioinformatics 7, 2006; Tsamardinos et al., "Bootstrapping the
            out-of-sample predictions for efficient and accurate cross-validation", Machine Learning
            107, 2018 (on folds that are there already).
        """
        order = self.measured.runs
        seeds, folds = order["seed"].to_numpy(), order["fold"].to_numpy()
        gains = {task.name: np.full(len(order), np.nan) for task in self.tasks}
        changes = {name: self.changes(name) for name in self.choices}
        against = {name: self.changes(name, self.reference) for name in self.choices}
        for position, (seed, fold) in enumerate(zip(seeds, folds, strict=True)):
            others = (seeds == seed) & (folds != fold)
            scores = {
                name: self._score({task: _nanmean(v[others]) for task, v in changes[name].items()})
                for name in self.choices
            }
            best = max(self.choices, key=scores.__getitem__)
            for task, values in gains.items():
                values[position] = against[best][task][position]
        return gains

    @cached_property
    def _judged_gains(self) -> tuple[dict[str, Comparison], Comparison]:
        known = [self.measured.changes(name, self.reference) for name in self.choices]
        kept = self.measured.changes(self.reference, self.reference)
        gains = {
            task: replace(
                kept[task],
                values=values,
                one_sided=any(changes[task].one_sided for changes in known),
            )
            for task, values in self.gains_of_choosing.items()
        }
        tasks, overall = judge_all({"chosen": gains}, self.importance)
        return tasks["chosen"], overall["chosen"]

    @property
    def gain_of_choosing(self) -> Comparison:
        """Delta-m, by importance, of `gains_of_choosing`, with its interval."""
        return self._judged_gains[1]

    @property
    def gain_of_choosing_by_task(self) -> dict[str, Comparison]:
        """`gains_of_choosing` of each task with its interval."""
        return self._judged_gains[0]


def check_search(
    experiment: AnyExperiment,
    recipe: Recipe | None,
    why_not_separate: str,
    importance: Mapping[str, float] | None = None,
    trials: int = 1,
) -> Recipe:
    """Return the recipe that a search varies, default `Recipe()`.

    Args:
        experiment: What is to be learned.
        recipe: As given by the user.
        why_not_separate: What is wrong with a recipe that trains tasks apart.
        importance: As given by the user.
        trials: As given by the user.

    Raises:
        InvalidInputError: The recipe trains tasks separately, there are no trials, or an importance
            is none.
    """
    recipe = recipe or Recipe()
    if experiment.fixed_test:
        raise InvalidInputError(
            "a search would choose by the test rows; give it folds of the training rows, such as "
            "Folds(5), and keep the test set for what it finds"
        )
    if recipe.trains_apart:
        raise InvalidInputError(
            f"{why_not_separate}; give a recipe with schedule Joint() or Alternating()"
        )
    if trials < 1:
        raise InvalidInputError(f"`trials` must be at least 1, got {trials}")
    check_importance(importance or {}, [task.name for task in experiment.tasks])
    return recipe


def apart(recipe: Recipe) -> Recipe:
    """Return the recipe of separate models with the same network and training."""
    return replace(
        recipe, name=SEPARATE, schedule=Separate(), weights="equal", partition=None, balancer=None,
        balancer_options=(),
    )  # fmt: skip


class Evaluator:
    """Measures recipes on the folds of an experiment, as many as a budget of seconds pays for.

    Args:
        experiment: What is to be learned.
        seeds: Number of repetitions, each with folds and initial weights of its own.
        seed: The first repetition's seed.
        workers: Processes; default one for each core, or as many as the executor has.
        executor: As in `Study.run`.
        budget: Seconds for everything; None is no limit.
        started: `time.monotonic()` of the budget's beginning; default now.
        progress: Called with the number of finished folds and of all, of each round.

    Raises:
        InvalidInputError: The budget is not positive, or there is one task.
    """

    def __init__(
        self,
        experiment: AnyExperiment,
        *,
        seeds: int,
        seed: int = 0,
        workers: int | None = None,
        executor: Executor | None = None,
        budget: float | None = None,
        started: float | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if budget is not None and not budget > 0:
            raise InvalidInputError(
                f"the budget must be a positive number of seconds, got {budget}"
            )
        if len(experiment.tasks) < 2:
            raise InvalidInputError(
                f"there is one task, {experiment.tasks[0].name!r}; name two targets or more"
            )
        self.folds, self.seeds, self.seed = experiment.folds, seeds, seed
        self.workers, self.executor, self.progress = workers, executor, progress
        self.cuts = Cuts(0.0 if budget is None else budget)
        """What the budget cut."""
        self._experiment = experiment
        self._clock: Clock | None = None
        if budget is not None:
            self._clock = Clock(budget, time.monotonic() if started is None else started)
        self._plan: Pace | None = None
        self._folds: int | None = None
        self._needed: Sequence[str] = (SEPARATE,)
        self._pace = 0.0  # seconds of a recipe on all folds and seeds

    @property
    def plan(self) -> Pace | None:
        """What things cost within the budget; None without one."""
        return self._plan

    @property
    def experiment(self) -> AnyExperiment:
        """The experiment on the rows that are measured."""
        return self._measured.study.experiment

    @property
    def names(self) -> list[str]:
        """What has been measured."""
        return [recipe.name for recipe in self._measured.recipes]

    def run_first(
        self, recipes: Sequence[Recipe], reference: str, *, share: float = SHARE_OF_FIRST
    ) -> None:
        """Measure the recipes without which there is no answer.

        Within a budget, a few epochs on a few rows show the pace of the machine; if the time is
        over then, that is the answer. Else less is measured where all is too much, in this order:
        fewer seeds; smaller ensembles; fewer epochs; a sample of the rows; fewer folds; recipes
        that are not done in time are left out. What was cut is noted in `cuts`.

        Args:
            recipes: What to measure; one is named ``separate``.
            reference: The one of them that the others are compared with, beside ``separate``.
            share: Share of the budget, at most, that is meant for them.

        Raises:
            InvalidInputError: The table can't be split into so many folds.
        """
        study = StudyPlan(self._experiment, recipes, (), seeds=self.seeds, seed=self.seed)
        self._needed = tuple(dict.fromkeys((SEPARATE, reference)))
        if self._clock is None:
            self._measured = Measurements(
                study, workers=self.workers, executor=self.executor, progress=self.progress
            )
            self.run(recipes)
            return
        plan = self._plan = Pace(study, self._clock, self.workers, self.executor)
        if self.executor is None:
            warm_up(plan.workers)
        looks = FirstLooks(
            study, recipes, plan, self.cuts, needed=self._needed, progress=self.progress
        )
        self._measured, self._folds = looks.trial(), 1
        # pilot and folds come one after the other
        pilot = looks.pilot(share / (1 + math.ceil(self.folds / plan.workers)))
        if pilot is None:
            self.cuts.say("trial", NOTHING_LARGER)
            self._pace = math.inf
        else:
            self._measured = self._whole_folds(looks, pilot, recipes, share)
            self._folds = self._measured.folds_done
            if self._folds > 1:
                self._more_seeds(share)
            seconds = plan.folds_seconds(self.names, self._folds)
            self._pace = len(self._measured.seeds_done) * seconds / len(self.names)
        self._measured.forget_predictions()
        self._describe(recipes[0])

    def _describe(self, recipe: Recipe) -> None:
        """Note what was cut beside the recipe's epochs, and the rows."""
        study, seeds = self._measured.study, len(self._measured.seeds_done)
        rows = study.experiment.row_count
        size, wanted = study.recipes[0].chosen_ensemble(rows), recipe.chosen_ensemble(rows)
        if size < wanted:
            text = f"ensembles of {size} networks" if size > 1 else "single networks"
            self.cuts.say("ensembles", f"{text} were trained in place of ensembles of {wanted}")
        if self._folds is not None:
            self.cuts.fewer_folds(self._folds, study.folds, self.folds)
        self.cuts.fewer("seeds", seeds, self.seeds)

    def _whole_folds(
        self, looks: FirstLooks, pilot: Measurements, recipes: Sequence[Recipe], share: float
    ) -> Measurements:
        """Measure the first recipes on as many folds, with as large ensembles, as there is time."""
        plan = self._plan
        assert plan is not None
        clock, planned = plan.clock, pilot.study.folds
        wanted = recipes[0].chosen_ensemble(pilot.study.experiment.row_count)
        room = share * clock.seconds - clock.spent
        most = clock.left - plan.reserve()
        choices = [(size, planned, room) for size in (wanted, 8, 4, 2) if 1 < size <= wanted]
        choices += [(1, folds, most) for folds in (planned, 3, 2) if folds <= planned]
        size, folds = next(
            ((s, f) for s, f, seconds in choices if plan.first_seconds(s, f) <= seconds), (1, 1)
        )
        if folds < 2:
            return pilot
        before = time.monotonic()
        if (size, folds) == (1, planned):
            measured = pilot
        else:
            sized = [replace(recipe, ensemble=size) for recipe in pilot.study.recipes]
            measured = looks.measurements(
                replace(
                    pilot.study, recipes=sized, experiment=pilot.study.experiment.with_folds(folds)
                )
            )
        looks.train(measured, folds=folds, until=plan.end())
        left_out = measured.keep_whole(self._needed)
        if measured.folds_done < min(2, pilot.folds_done):
            return pilot
        self.cuts.leave_out(left_out)
        plan.learn(measured, time.monotonic() - before)
        return measured

    def _more_seeds(self, share: float) -> None:
        """Measure the first recipes on as many seeds as the share of the budget pays for."""
        plan, measured, folds = self._plan, self._measured, self._measured.folds_done
        assert plan is not None
        for seed in range(self.seed + 1, self.seed + self.seeds):
            room = share * plan.clock.seconds - plan.clock.spent
            if plan.folds_seconds(self.names, folds) > room:
                break
            before = time.monotonic()
            measured.run(measured.recipes, (), [seed], folds=folds, until=plan.end())
            measured.keep_whole(self._needed)
            plan.learn(measured, time.monotonic() - before)

    def run(self, recipes: Sequence[Recipe]) -> list[str]:
        """Measure recipes, all at once, as the first ones were; return the names of those done."""
        measured = self._measured
        if self._plan is None:
            measured.run(recipes, (), range(self.seed, self.seed + self.seeds))
        else:
            first, seeds = measured.study.recipes[0], measured.seeds_done
            made = [replace(one, epochs=first.epochs, ensemble=first.ensemble) for one in recipes]
            before = time.monotonic()
            measured.run(made, (), seeds, folds=self._folds, until=self._plan.end())
            measured.keep_whole(self._needed, seeds)
            self._pace = (time.monotonic() - before) / len(recipes)
        measured.forget_predictions()
        done = set(self.names)
        return [recipe.name for recipe in recipes if recipe.name in done]

    def affordable(self, wanted: int) -> int:
        """Return how many of the wanted recipes the rest of the budget pays for."""
        if self._plan is None:
            return wanted
        left = self._plan.clock.left - self._plan.reserve()
        return max(0, min(wanted, int(0.9 * left / max(self._pace, 1e-6))))

    def fewer_candidates(self, done: int, wanted: int, what: str) -> None:
        """Note that the search had to do with fewer candidates than it was to have.

        Args:
            done: How many were measured.
            wanted: How many there were to be.
            what: What they are.
        """
        if self._plan is not None and done < wanted:
            verb = "was" if done == 1 else "were"
            self.cuts.say("search", f"{done} of {wanted} {what} {verb} measured")

    def candidates(
        self,
        baseline: str,
        reference: str,
        importance: Mapping[str, float] | None = None,
        choices: Sequence[str] | None = None,
        margin: float = MARGIN,
    ) -> Candidates:
        """Return what has been measured so far.

        Args:
            baseline: The candidate that Delta-m is relative to.
            reference: The candidate that is kept unless another one is shown to be better.
            importance: How much a task's change counts, by task.
            choices: What may be chosen, the preferred of equals first; default everything. What has
                not been measured is passed over.
            margin: Changes up to this many percent do not matter.

        Raises:
            InvalidInputError: The margin or an importance is none.
        """
        result, names = self._measured.result(), self.names
        given = dict(importance or {})
        check_margin(margin)
        check_importance(given, [task.name for task in self.experiment.tasks])
        return Candidates(
            replace(result.measured, margin=margin),
            tuple(name for name in (names if choices is None else choices) if name in names),
            baseline,
            reference,
            given,
            dict(result.seconds),
            dict(result.work),
            self.cuts.texts,
        )


def check_importance(importance: Mapping[str, float], tasks: Sequence[str]) -> None:
    """Refuse importances of what is no task, or that are negative.

    Raises:
        InvalidInputError: One of both.
    """
    for name, value in importance.items():
        if name not in tasks:
            raise InvalidInputError(
                f"`importance` names {name!r}, which is no task{closest(name, tasks)}"
            )
        if not 0 <= value < math.inf:
            raise InvalidInputError(f"the importance of task {name!r} must be >= 0, got {value}")
    if importance and not any(importance.get(name, 1.0) for name in tasks):
        raise InvalidInputError("at least one task must have an importance above 0")


def _nanmean(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.nan
