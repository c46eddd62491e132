"""A search: recipes measured on the same folds, as many as a budget pays for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import TypedDict, Unpack

from jointrain.data import SupervisedTable
from jointrain.errors import InvalidInputError
from jointrain.experiments import SEPARATE, AnyExperiment, Recipe
from jointrain.studies._cuts import Cuts
from jointrain.studies._job_runner import check_workers
from jointrain.studies._measurements import Measurements, OnInterim
from jointrain.studies._pace import NOTHING_LARGER, Clock, FirstLooks, Pace
from jointrain.studies._plan import StudyPlan, as_experiment
from jointrain.studies._statistics import MARGIN, check_margin
from jointrain.studies.searches._candidates import Candidates, check_importance
from jointrain.system.worker_processes import warm_up
from jointrain.training.sampling import Separate

SHARE_OF_FIRST = 0.5
"""Share of the budget that is meant for what has to be measured; the rest is for the search."""


class SearchOptions(TypedDict, total=False):
    """How the candidates of a search are measured: keywords of all searches.

    Args:
        folds: Folds of a table on which all candidates are measured; default 5.
        seeds: Repetitions of the folds, each with initial weights of its own; default 2.
        seed: Seed of the first repetition and of the search; default 0.
        importance: How much a task's change counts in Delta-m, by task; default 1 each.
        margin: Changes up to this many percent do not matter, see `StudyResult`; default 1.
        budget: Seconds for everything; None (default) is no limit. With one, the result depends on
            the speed of the machine, and there is always one: what was cut is in its notes.
        started: `time.monotonic()` of the budget's beginning; default now.
        workers: Processes; default one for each core, or as many as the executor has.
        executor: As in `Study.run`.
        progress: Called with the number of finished folds and of all, of each round.
        on_interim: Called now and then with what is known so far of the candidates.
    """

    folds: int | None
    seeds: int
    seed: int
    importance: Mapping[str, float] | None
    margin: float
    budget: float | None
    started: float | None
    workers: int | None
    executor: Executor | None
    progress: Callable[[int, int], None] | None
    on_interim: OnInterim | None


def open_search(
    experiment: AnyExperiment | SupervisedTable,
    recipe: Recipe | None,
    why_not_separate: str,
    *,
    trials: int = 1,
    **options: Unpack[SearchOptions],
) -> tuple[Recipe, Evaluator]:
    """Return the recipe that a search varies, and what measures its variants.

    Args:
        experiment: A table, or an experiment.
        recipe: As given by the user; default `Recipe()`, joint training.
        why_not_separate: What is wrong with a recipe that trains tasks apart.
        trials: How many candidates the user wants.
        **options: How it is measured.

    Raises:
        InvalidInputError: There is one task, the recipe trains tasks separately, or a number lies
            outside its range.
    """
    evaluator = Evaluator(experiment, **options)
    recipe = recipe or Recipe()
    if evaluator.given.fixed_test:
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
    return recipe, evaluator


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
        folds: Folds of a table; default 5.
        seeds: Number of repetitions, each with folds and initial weights of its own; default 2.
        seed: The first repetition's seed.
        importance, margin: As in `SearchOptions`.
        workers: Processes; default one for each core, or as many as the executor has.
        executor: As in `Study.run`.
        budget: Seconds for everything; None is no limit.
        started: `time.monotonic()` of the budget's beginning; default now.
        progress: Called with the number of finished folds and of all, of each round.
        on_interim: As in `SearchOptions`.

    Raises:
        InvalidInputError: The budget is not positive, there is one task, or the margin or an
            importance is none.
    """

    def __init__(
        self,
        experiment: AnyExperiment | SupervisedTable,
        *,
        folds: int | None = None,
        seeds: int = 2,
        seed: int = 0,
        importance: Mapping[str, float] | None = None,
        margin: float = MARGIN,
        workers: int | None = None,
        executor: Executor | None = None,
        budget: float | None = None,
        started: float | None = None,
        progress: Callable[[int, int], None] | None = None,
        on_interim: OnInterim | None = None,
    ) -> None:
        experiment = as_experiment(experiment, folds)
        if budget is not None and not budget > 0:
            raise InvalidInputError(
                f"the budget must be a positive number of seconds, got {budget}"
            )
        if len(experiment.tasks) < 2:
            raise InvalidInputError(
                f"there is one task, {experiment.tasks[0].name!r}; name two targets or more"
            )
        check_importance(importance or {}, [task.name for task in experiment.tasks])
        check_margin(margin)
        self._importance, self._margin = dict(importance or {}), margin
        self.folds, self.seeds, self.seed = experiment.folds, seeds, seed
        self.workers, self.executor, self.progress = check_workers(workers), executor, progress
        self._on_interim = on_interim
        self.cuts = Cuts(0.0 if budget is None else budget)
        """What the budget cut."""
        self.given = experiment
        """The experiment on all rows."""
        self._clock: Clock | None = None
        if budget is not None:
            self._clock = Clock(budget, time.monotonic() if started is None else started)
        self._plan: Pace | None = None
        self._folds: int | None = None
        self._needed: Sequence[str] = (SEPARATE,)
        self._asked: dict[str, Recipe] = {}
        self._in_time = True
        self._recipe_seconds = 0.0  # on all folds and seeds

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
        """What has been measured, but for what failed."""
        failed = self._measured.failed
        return [recipe.name for recipe in self._measured.recipes if recipe.name not in failed]

    @property
    def recipes(self) -> dict[str, Recipe]:
        """What has been measured by name, as it was asked for: a budget may shorten it."""
        return {name: self._asked[name] for name in self.names}

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
        study = StudyPlan(self.given, recipes, (), seeds=self.seeds, seed=self.seed)
        self._needed = tuple(dict.fromkeys((SEPARATE, reference)))
        self._asked = {recipe.name: recipe for recipe in recipes}
        if self._clock is None:
            self._measured = Measurements(
                study,
                workers=self.workers,
                executor=self.executor,
                progress=self.progress,
                on_interim=self._on_interim,
            )
            self.run(recipes)
            return
        plan = self._plan = Pace(study, self._clock, self.workers, self.executor)
        if self.executor is None:
            warm_up(plan.workers, "jointrain.studies")
        looks = FirstLooks(
            study,
            recipes,
            plan,
            self.cuts,
            needed=self._needed,
            progress=self.progress,
            on_interim=self._on_interim,
        )
        self._measured, self._folds = looks.trial(), 1
        # pilot and folds come one after the other
        pilot = looks.pilot(share / (1 + math.ceil(self.folds / plan.workers)))
        if pilot is None:
            self.cuts.say("trial", NOTHING_LARGER)
            self._recipe_seconds = math.inf
        else:
            self._measured = self._whole_folds(looks, pilot, recipes, share)
            self._folds = self._measured.folds_done
            if self._folds > 1:
                self._more_seeds(share)
            seconds = plan.folds_seconds(self.names, self._folds)
            self._recipe_seconds = len(self._measured.seeds_done) * seconds / len(self.names)
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
        self._asked |= {recipe.name: recipe for recipe in recipes}
        if self._plan is None:
            measured.run(recipes, (), range(self.seed, self.seed + self.seeds))
        else:
            first, seeds = measured.study.recipes[0], measured.seeds_done
            made = [replace(one, epochs=first.epochs, ensemble=first.ensemble) for one in recipes]
            before = time.monotonic()
            measured.run(made, (), seeds, folds=self._folds, until=self._plan.end())
            measured.keep_whole(self._needed, seeds)
            self._recipe_seconds = (time.monotonic() - before) / len(recipes)
        measured.forget_predictions()
        tried, done = {recipe.name for recipe in measured.recipes}, set(self.names)
        self._in_time = all(recipe.name in tried for recipe in recipes)
        return [recipe.name for recipe in recipes if recipe.name in done]

    def batches(
        self, wanted: int, size: int, what: str, *, first: int | None = None
    ) -> Iterator[int]:
        """Yield how many candidates to propose and `run` next, as long as the budget pays for them.

        A search that knows no further candidate leaves the loop; if the budget ends it, that is
        noted in `cuts`.

        Args:
            wanted: How many candidates there are to be, beside the first recipes.
            size: How many are measured at once, at most.
            what: What they are, for the note.
            first: The size of the first batch; default the same.
        """
        before, tried, most = len(self.names), len(self._measured.recipes), first or size
        while (left := wanted + tried - len(self._measured.recipes)) > 0:
            count = self.affordable(min(most, left))
            if not count:
                break
            yield count
            if not self._in_time:
                break
            most = size
        self.fewer_candidates(len(self.names) - before, wanted, what)

    def affordable(self, wanted: int) -> int:
        """Return how many of the wanted recipes the rest of the budget pays for."""
        if self._plan is None:
            return wanted
        left = self._plan.clock.left - self._plan.reserve()
        return max(0, min(wanted, int(0.9 * left / max(self._recipe_seconds, 1e-6))))

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
        self, baseline: str, reference: str, choices: Sequence[str] | None = None
    ) -> Candidates:
        """Return what has been measured so far.

        Args:
            baseline: The candidate that Delta-m is relative to.
            reference: The candidate that is kept unless another one is shown to be better.
            choices: What may be chosen, the preferred of equals first; default everything. What has
                not been measured is passed over.

        Raises:
            InvalidInputError: The reference failed.
        """
        if error := self._measured.failed.get(reference):
            raise InvalidInputError(
                f"recipe {reference!r} failed, with which the others are compared: {error}"
            )
        result, names = self._measured.result(), self.names
        return Candidates(
            measured=replace(result.measured, margin=self._margin),
            choices=tuple(
                name for name in (names if choices is None else choices) if name in names
            ),
            baseline=baseline,
            reference=reference,
            importance=self._importance,
            seconds=dict(result.seconds),
            work=dict(result.work),
            notes=(*self.cuts.texts, *self._measured.failures),
            cuts=self.cuts.all,
        )
