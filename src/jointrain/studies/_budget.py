"""Studies within a budget of time: how many recipes, folds, seeds and networks it pays for."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from jointrain.errors import InvalidInputError
from jointrain.studies._catalogue import FURTHER, SEPARATE, named_recipes
from jointrain.studies._study import Measurements, Study, open_store
from jointrain.studies._study_result import StudyResult
from jointrain.training._recipe import Recipe
from jointrain.training._schedule import Alternating

FURTHER_BASELINES = ("gradient boosting", "random forest")

FIRST_ANSWER_SECONDS = 10.0
"""A first answer that would take longer comes from single networks, and from fewer folds."""

SHARE_OF_FIRST = 0.3
"""Share of the budget, at most, for the recipes without which there is no answer."""

SHARE_OF_RECIPES = 0.5
"""Share of the budget after which no recipe is added; the rest is for seeds and the last fit."""

_Answer = Callable[[StudyResult, float], None]


def run_within_budget(
    study: Study,
    seconds: float,
    *,
    base: Recipe | None = None,
    further: bool = True,
    workers: int | None = None,
    store: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_answer: _Answer | None = None,
    started: float | None = None,
) -> StudyResult:
    """Run as much of a study as a budget pays for.

    A fold in each of two processes, with single networks, shows what things cost; where more would
    take long, they are the first answer. Then come the study's own recipes, on one seed; then, with
    `further`, recipes and baselines in a fixed order, as long as half of the budget is not spent;
    then more seeds of all of them, up to the study's. What is run is decided by what it costs
    alone, never by what it shows, so that the figures stay those of a study that was planned so.
    Part of the time is kept for the last fit.

    Args:
        study: Its recipes and baselines are the first; its folds and seeds are the most.
        seconds: The budget, with the last fit.
        base: Settings of further recipes; default those of the study's joint recipe.
        further: Whether to add recipes and baselines.
        workers: As in `Study.run`.
        store: As in `Study.run`.
        progress: As in `Study.run`.
        on_answer: Called with what is known so far, and the seconds spent, after each stage.
        started: `time.monotonic()` of the beginning; default now.

    Raises:
        InvalidInputError: The budget is too small for the first recipes.
    """
    plan = _Plan(study, seconds, workers, time.monotonic() if started is None else started)
    opened = open_store(study, store)

    def measurements(of: Study) -> Measurements:
        return Measurements(of, workers=workers, store=opened, progress=progress)

    first = [recipe for recipe in study.recipes if not isinstance(recipe.schedule, Alternating)]
    later = [recipe for recipe in study.recipes if recipe not in first]
    trial = replace(study, recipes=[replace(recipe, ensemble=1) for recipe in first])
    pilot = measurements(trial)

    def try_out(count: int) -> None:
        # one fold for each process: the first ones are done soon, and the others may follow
        pilot.run(trial.recipes, study.baselines, [study.seed], folds=count, apart=True)

    try_out(min(2, plan.workers))
    plan.learn(pilot)
    size, folds = plan.affordable_size(first)
    if plan.first_seconds(size, folds) > FIRST_ANSWER_SECONDS:
        count = int(FIRST_ANSWER_SECONDS / max(plan.first_seconds(1, 1), 1e-9))
        try_out(min(max(count, 2), study.folds))
        plan.answer(pilot, on_answer)
    if (size, folds) == (1, study.folds):
        try_out(folds)
        measured = pilot
    else:
        study = replace(study, folds=folds, recipes=_sized(study.recipes, size))
        measured = measurements(study)
        measured.run(_sized(first, size), study.baselines, [study.seed])
    plan.learn(measured)
    plan.answer(measured, on_answer)
    queue: list[Recipe | str] = list(_sized(later, size))
    if further:
        base = base or next((one for one in study.recipes if one.name != SEPARATE), first[0])
        known = {recipe.name for recipe in study.recipes}
        labelled = set(np.isfinite(study.table.labels()).sum(0).tolist())
        names = [
            name
            for name in FURTHER
            if name not in known and not (name == "weights-size" and len(labelled) == 1)
        ]
        queue += _interleaved(_sized(named_recipes(names, base), size), FURTHER_BASELINES)
    while batch := plan.next_batch(queue):
        recipes = [one for one in batch if isinstance(one, Recipe)]
        measured.run(recipes, [one for one in batch if isinstance(one, str)], [study.seed])
        plan.learn(measured)
        plan.answer(measured, on_answer)
    recipes, baselines = measured.recipes, measured.baselines
    for seed in range(study.seed + 1, study.seed + study.seeds):
        if not plan.affords(plan.folds_seconds([*recipes, *baselines], folds)):
            break
        measured.run(recipes, baselines, [seed])
        plan.learn(measured)
    return measured.result()


class _Plan:
    """What was spent, what things cost, and what is left.

    Args:
        study: The study.
        seconds: The budget.
        workers: Processes.
        started: When the clock began.
    """

    def __init__(self, study: Study, seconds: float, workers: int | None, started: float) -> None:
        self.study = study
        self.seconds = seconds
        self.workers = workers or os.cpu_count() or 1
        self.started = started
        # processor seconds of a fold, by name
        self.costs: dict[str, float] = {}
        self._pilot: dict[str, float] = {}

    @property
    def spent(self) -> float:
        return time.monotonic() - self.started

    def learn(self, measured: Measurements) -> None:
        self.costs |= measured.seconds_of_a_fold()

    def answer(self, measured: Measurements, on_answer: _Answer | None) -> None:
        if on_answer is not None:
            on_answer(measured.result(), self.spent)

    def first_seconds(self, size: int, folds: int) -> float:
        """Return what the first recipes take with so many networks, by what one network took."""
        networks = sum(self._pilot[recipe.name] for recipe in self.study.recipes
                       if recipe.name in self._pilot)  # fmt: skip
        baselines = sum(self._pilot[name] for name in self.study.baselines)
        # a baseline is also fitted on parts of the rows, for the choice of the blend
        return folds * (networks * size + baselines * (1 + min(size, 4)) / 2) / self.workers

    def affordable_size(self, first: Sequence[Recipe]) -> tuple[int, int]:
        """Return how many networks an ensemble may have, and the number of folds."""
        self._pilot = dict(self.costs)
        largest = max(
            replace(recipe, ensemble=None).chosen_ensemble(len(self.study.table.frame))
            if recipe.ensemble in (None, 1)
            else recipe.ensemble
            for recipe in first
        )
        folds = self.study.folds
        for size in (8, 4, 2):
            if size <= largest and self.first_seconds(size, folds) <= SHARE_OF_FIRST * self.seconds:
                return size, folds
        for fewer in (folds, 3, 2):
            least = min(2, largest)
            for size in (least, 1):
                if fewer <= folds and self.first_seconds(size, fewer) <= self.seconds / 2:
                    return size, fewer
        needed = 2 * self.first_seconds(1, 2) + self.spent
        raise InvalidInputError(
            f"a budget of {self.seconds:g} s is too small for {' and '.join(r.name for r in first)}"
            f" on 2 folds; give {math.ceil(1.2 * needed)} s or more, or fewer rows, columns or "
            f"--epochs"
        )

    def folds_seconds(self, what: Iterable[Recipe | str], folds: int) -> float:
        return folds * sum(self._cost(one) for one in what) / self.workers

    def affords(self, seconds: float) -> bool:
        return self.spent + seconds + self._last_fit() <= self.seconds

    def next_batch(self, queue: list[Recipe | str]) -> list[Recipe | str]:
        """Take from the queue what is run next: enough to be worth a stage, not more than there is.

        What is too dear is left out.
        """
        batch: list[Recipe | str] = []
        left = SHARE_OF_RECIPES * self.seconds - self.spent
        while queue and self.folds_seconds(batch, self.study.folds) < max(left / 3, 1.0):
            one = queue.pop(0)
            wanted = self.folds_seconds([*batch, one], self.study.folds)
            if wanted <= left and self.affords(wanted):
                batch.append(one)
        return batch

    def _last_fit(self) -> float:
        """Return what the last fit may take: of the dearest four components, in one process."""
        return 2 + 1.3 * sum(sorted(self.costs.values())[-4:])

    def _cost(self, what: Recipe | str) -> float:
        """Return the seconds of a fold: as measured, or guessed from those of the joint recipe."""
        name = what if isinstance(what, str) else what.name
        if name in self.costs:
            return self.costs[name]
        if isinstance(what, str):
            return 3 * self.costs["extra trees"]
        joint = self.costs.get("joint", max(self.costs.values()))
        tasks = len(self.study.table.tasks)
        if isinstance(what.schedule, Alternating):
            return joint * min(tasks, 4)
        if what.weights == "difficulty":
            return joint + self.costs[SEPARATE]
        if what.weights == "searched":
            return 8 * joint
        plain = what.network == "hard" and what.balancer in (None, "uncertainty")
        return joint * (1.5 if plain else 15)


def _sized(recipes: Sequence[Recipe], size: int) -> list[Recipe]:
    """Return recipes with ensembles of a size."""
    return [replace(recipe, ensemble=size) for recipe in recipes]


def _interleaved(recipes: Sequence[Recipe], baselines: Sequence[str]) -> list[Recipe | str]:
    """Return recipes with a baseline after each of the first."""
    mixed: list[Recipe | str] = []
    rest = list(baselines)
    for recipe in recipes:
        mixed.append(recipe)
        if rest:
            mixed.append(rest.pop(0))
    return mixed + rest
