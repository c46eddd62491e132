"""Studies within a budget of time: how many recipes, folds, seeds and networks it pays for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jointrain._cores import available_cores
from jointrain._worker_processes import warm_up
from jointrain.data import SupervisedTable
from jointrain.errors import InvalidInputError
from jointrain.studies._baselines import CONSTANT
from jointrain.studies._catalogue import FURTHER, SEPARATE, named_recipes
from jointrain.studies._joint_forest import JOINT, why_not_joint
from jointrain.studies._row_sample import sample_rows
from jointrain.studies._study import Measurements, Study, open_store
from jointrain.studies._study_result import StudyResult
from jointrain.training._recipe import Recipe
from jointrain.training._schedule import Alternating

FURTHER_BASELINES = ("extra trees joint", "gradient boosting", "random forest")
"""What a budget pays for after the first baselines."""

FIRST_ANSWER_SECONDS = 10.0
"""A first answer that would take longer comes from single networks, and from fewer folds."""

SHARE_OF_FIRST = 0.3
"""Share of the budget, at most, for the recipes without which there is no answer."""

SHARE_OF_RECIPES = 0.5
"""Share of the budget after which no recipe is added; the rest is for seeds and the last fit."""

SHARE_OF_LAST_FIT = 0.35
"""Share of the budget, at most, that is kept for the last fit."""

SHARE_OF_LATE = 0.4
"""With less than this share of the budget left, no pilot is tried again."""

SHARE_OF_PILOT = 0.25
"""Share of what is left of the budget that one fold with single networks may take."""

TRIAL_ROWS = 400
TRIAL_EPOCHS = 3
"""The trial that shows the pace before anything else, and is the answer if time is over then."""

FEWEST_EPOCHS = 12
"""Epochs are cut down to so many before rows are left out."""

_Answer = Callable[[StudyResult, float, int], None]


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
    """Run as much of a study as a budget pays for; there is always an answer.

    A few epochs on a few rows show the pace of the machine as it is. Then a fold in each process,
    with single networks, shows what things cost; where more would take long, these are the first
    answer. Then come the study's own recipes, on one seed; then, with `further`, recipes and
    baselines in a fixed order, as long as half of the budget is not spent; then more seeds of all
    of them, up to the study's. What is run is decided by what it costs alone, never by what it
    shows, so that the figures stay those of a study that was planned so. Part of the time is kept
    for the last fit; what is not done when the rest is over is ended.

    Where that is too much, less is run, in this order: fewer recipes and seeds; smaller ensembles;
    no alternation, and no baseline that is not done in time; fewer folds, at last one; fewer
    epochs; a sample of the rows. What was cut stands in the result's notes.

    Args:
        study: Its recipes and baselines are the first; its folds and seeds are the most.
        seconds: The budget, with the last fit.
        base: Settings of further recipes; default those of the study's joint recipe.
        further: Whether to add recipes and baselines.
        workers: As in `Study.run`.
        store: As in `Study.run`.
        progress: As in `Study.run`.
        on_answer: Called with what is known so far, the seconds spent, and how many folds x seeds
            are to be measured, after each stage.
        started: `time.monotonic()` of the beginning; default now.

    Raises:
        InvalidInputError: The table can't be split into so many folds.
    """
    clock = Clock(seconds, time.monotonic() if started is None else started)
    return _BudgetedStudy(study, clock, base, further, workers, store, progress, on_answer).run()


@dataclass(frozen=True)
class Clock:
    """The time of a budget.

    Args:
        seconds: All of it.
        started: `time.monotonic()` of the beginning.
    """

    seconds: float
    started: float

    @property
    def spent(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float:
        """Seconds until the end, negative after it."""
        return self.seconds - self.spent


@dataclass(frozen=True)
class Level:
    """How much one fold trains: what is cut of the epochs and of the rows.

    Args:
        rows: Rows that are used at most; None for all.
        epochs: Epochs that are trained at most; None for as many as the recipe says.
    """

    rows: int | None = None
    epochs: int | None = None


def chosen_level(recipe: Recipe, rows: int, pace: float, seconds: float) -> Level:
    """Return the level at which a fold takes no longer than so many seconds.

    Args:
        recipe: How many epochs there are without a cut.
        rows: Rows of the table.
        pace: Seconds of a fold by row and epoch.
        seconds: What it may take.
    """
    epochs = recipe.chosen_epochs(rows)
    affordable = seconds / max(pace, 1e-12)
    if rows * epochs <= affordable:
        return Level()
    fewer = int(affordable / rows)
    if fewer >= FEWEST_EPOCHS:
        return Level(None, fewer)
    least = min(epochs, FEWEST_EPOCHS)
    fewer_rows = max(int(affordable / least), TRIAL_ROWS)
    return Level(fewer_rows if fewer_rows < rows else None, least if least < epochs else None)


class _BudgetedStudy:
    """The stages of `run_within_budget`, whose arguments it takes."""

    def __init__(
        self,
        study: Study,
        clock: Clock,
        base: Recipe | None,
        further: bool,
        workers: int | None,
        store: str | Path | None,
        progress: Callable[[int, int], None] | None,
        on_answer: _Answer | None,
    ) -> None:
        self._study, self._clock, self._workers = study, clock, workers
        self._progress, self._on_answer, self._further = progress, on_answer, further
        self._store = open_store(study, store)
        recipes = study.recipes
        self._first = [one for one in recipes if not isinstance(one.schedule, Alternating)]
        self._later = [one for one in recipes if one not in self._first]
        self._base = base or next((one for one in recipes if one.name != SEPARATE), self._first[0])
        self._notes: dict[str, str] = {}
        self._answer: StudyResult | None = None
        self._plan = _Plan(study, clock, workers)

    def run(self) -> StudyResult:
        """Run all stages."""
        warm_up(self._plan.workers)
        trial = self._trial()
        pilot = self._pilot()
        if pilot is None:
            self._say("trial", "nothing larger was done in time; these figures are a first look")
            return self._result(trial)
        measured = self._whole_folds(pilot)
        self._more(measured)
        return self._result(measured)

    # --- stages ----------------------------------------------------------------------------------

    def _trial(self) -> Measurements:
        """Train for a few epochs on a few rows, in this process: it can't be lost."""
        small = self._at(Level(TRIAL_ROWS, TRIAL_EPOCHS))
        trial = self._measurements(replace(small, baselines=(CONSTANT,)), here=True)
        try:
            self._train(trial, folds=1)
        except InvalidInputError:  # so few rows can't be split as all of them can
            small = self._at(Level(None, TRIAL_EPOCHS))
            trial = self._measurements(replace(small, baselines=(CONSTANT,)), here=True)
            self._train(trial, folds=1)
        rows = len(trial.study.table.frame)
        epochs = trial.study.recipes[0].chosen_epochs(rows)
        self._pace = self._plan.seconds_together(trial) / (rows * epochs)
        self._describe(trial, Level(TRIAL_ROWS, TRIAL_EPOCHS))
        return trial

    def _pilot(self) -> Measurements | None:
        """Measure a fold in each process, cut as the pace demands; None if none is done in time."""
        found = None
        rows = len(self._study.table.frame)
        level: Level | None = None
        for attempt in range(3):
            share = SHARE_OF_PILOT * (self._clock.left - self._plan.reserve())
            # ended processes take their time to start again
            late = self._clock.left < SHARE_OF_LATE * self._clock.seconds
            if share <= 0 or (late and attempt > 0):
                break
            wanted = chosen_level(self._first[0], rows, self._pace, share)
            if found is not None and not _worth_it(wanted, level, self._first[0], rows):
                break
            level = wanted
            study = self._at(level)
            pilot = self._measurements(study)
            before = time.monotonic()
            # a fold that takes twice as long as thought is waited for, and the start of processes
            self._train(pilot, folds=min(2, self._plan.workers), until=before + 2 * share)
            used = len(study.table.frame) * study.recipes[0].chosen_epochs(len(study.table.frame))
            left_out = pilot.keep_whole()
            if not pilot.folds_done:
                self._pace = 2 * max(self._pace, (time.monotonic() - before) / used)
                continue
            found = pilot
            self._leave_out(left_out)
            self._describe(pilot, level)
            self._pace = self._plan.seconds_together(pilot) / used
            self._plan.start_again(pilot, time.monotonic() - before)
            if level == Level():
                break
        return found

    def _whole_folds(self, pilot: Measurements) -> Measurements:
        """Measure the first recipes on as many folds, with as large ensembles, as there is time."""
        plan = self._plan
        size, folds = plan.affordable_size(self._first)
        if folds < 2 or plan.first_seconds(size, folds) > FIRST_ANSWER_SECONDS:
            count = int(FIRST_ANSWER_SECONDS / max(plan.first_seconds(1, 1), 1e-9))
            if folds >= 2 and count > pilot.folds_done:
                self._train(pilot, folds=min(count, pilot.study.folds), until=plan.end())
            self._tell(pilot, pilot.study.folds)
        if folds < 2:
            return pilot
        if (size, folds) == (1, pilot.study.folds):
            self._train(pilot, folds=folds, until=plan.end())
            self._leave_out(pilot.keep_whole())
            measured = pilot
        else:
            study = replace(
                pilot.study,
                folds=folds,
                recipes=_sized(pilot.study.recipes, size),
                baselines=pilot.baselines,
            )
            measured = self._measurements(study)
            before = time.monotonic()
            self._train(measured, until=plan.end())
            left_out = measured.keep_whole()
            if measured.folds_done < min(2, pilot.folds_done):
                return pilot
            self._leave_out(left_out)
            plan.learn(measured, time.monotonic() - before)
        plan.learn(measured)
        self._tell(measured, measured.study.folds)
        return measured

    def _more(self, measured: Measurements) -> None:
        """Measure alternation, further recipes and baselines, and more seeds."""
        plan, seed = self._plan, self._study.seed
        if measured.folds_done < 2:
            self._leave_out([recipe.name for recipe in self._later])
            return
        epochs, size = measured.study.recipes[0].epochs, measured.study.recipes[0].ensemble
        queue: list[Recipe | str] = list(_cut(self._later, epochs, size))
        if self._further:
            queue += self._queue(epochs, size)
        folds = measured.folds_done
        while batch := plan.next_batch(queue, folds):
            recipes = [one for one in batch if isinstance(one, Recipe)]
            baselines = [one for one in batch if isinstance(one, str)]
            before = time.monotonic()
            measured.run(recipes, baselines, [seed], folds=folds, until=plan.end())
            # what was not done in time is not tried again, and its cost is not known
            measured.keep_whole()
            plan.learn(measured, time.monotonic() - before)
            self._tell(measured, folds)
        done = {recipe.name for recipe in measured.recipes}
        self._leave_out([recipe.name for recipe in self._later if recipe.name not in done])
        recipes, baselines = measured.recipes, measured.baselines
        for more in range(seed + 1, seed + self._study.seeds):
            if not plan.affords(plan.folds_seconds([*recipes, *baselines], folds)):
                break
            before = time.monotonic()
            measured.run(recipes, baselines, [more], folds=folds, until=plan.end())
            measured.keep_whole()
            plan.learn(measured, time.monotonic() - before)

    def _queue(self, epochs: int | None, size: int | None) -> list[Recipe | str]:
        """Return further recipes and baselines in their order."""
        table = self._study.table
        known = {recipe.name for recipe in self._study.recipes}
        labelled = set(np.isfinite(table.labels()).sum(0).tolist())
        names = [
            name
            for name in FURTHER
            if name not in known and not (name == "weights-size" and len(labelled) == 1)
        ]
        apart = why_not_joint(table.tasks) is not None
        baselines = [
            name
            for name in FURTHER_BASELINES
            if name not in self._study.baselines and not (apart and name in JOINT)
        ]
        return _interleaved(_cut(named_recipes(names, self._base), epochs, size), baselines)

    # --- what the stages share -------------------------------------------------------------------

    def _at(self, level: Level) -> Study:
        """Return the first recipes, as single networks, at a level."""
        table: SupervisedTable = self._study.table
        if level.rows is not None:
            table = sample_rows(table, level.rows, self._study.seed)
        recipes = [
            replace(
                recipe,
                ensemble=1,
                epochs=recipe.epochs
                if level.epochs is None
                else min(level.epochs, recipe.chosen_epochs(len(table.frame))),
            )
            for recipe in self._first
        ]
        return replace(self._study, table=table, recipes=recipes)

    def _measurements(self, study: Study, *, here: bool = False) -> Measurements:
        workers, store = (1, None) if here else (self._workers, self._store)
        return Measurements(study, workers=workers, store=store, progress=self._progress)

    def _train(
        self, measured: Measurements, *, folds: int | None = None, until: float | None = None
    ) -> None:
        """Measure the first recipes and the baselines on folds of the first seed."""
        study = measured.study
        baselines = measured.baselines or study.baselines
        measured.run(study.recipes, baselines, [study.seed], folds=folds, apart=True, until=until)

    def _describe(self, measured: Measurements, level: Level) -> None:
        """Note what a level cut."""
        for key in ("epochs", "rows"):
            self._notes.pop(key, None)
        rows, used = len(self._study.table.frame), len(measured.study.table.frame)
        epochs = self._first[0].chosen_epochs(used)
        if level.epochs is not None and level.epochs < epochs:
            self._say("epochs", f"networks were trained for {level.epochs} epochs of {epochs}")
        if used < rows:
            self._say("rows", f"a sample of {used:,} of {rows:,} rows was used")

    def _leave_out(self, names: Iterable[str]) -> None:
        for name in names:
            self._say(name, f"{name} was left out")

    def _say(self, key: str, text: str) -> None:
        self._notes[key] = f"budget of {self._clock.seconds:g} s: {text}"

    def _tell(self, measured: Measurements, planned: int) -> None:
        if self._on_answer is not None and measured.folds_done:
            # a baseline that is not done on all folds yet counts from the next answer on
            self._on_answer(measured.result_of_whole(), self._clock.spent, planned)

    def _result(self, measured: Measurements) -> StudyResult:
        measured.keep_whole()
        folds, planned = measured.folds_done, self._study.folds
        if folds < planned:
            self._say("folds", f"{folds} fold{'s' if folds > 1 else ''} of {planned} were measured")
        return measured.result(tuple(self._notes.values()))


class _Plan:
    """What things cost, and what is left.

    Args:
        study: The study.
        clock: Its time.
        workers: Processes; None for one for each core.
    """

    def __init__(self, study: Study, clock: Clock, workers: int | None) -> None:
        self.study, self.clock = study, clock
        self.workers = workers or available_cores()
        # seconds of a fold in a process, by name; as the clock has it, on the machine as it is
        self.costs: dict[str, float] = {}
        self._single: Mapping[str, float] = {}
        # by how much more a stage took than the sum of its parts: start of processes, encoding
        self._more = 1.0

    def start_again(self, pilot: Measurements, wall: float) -> None:
        """Take in what single networks cost in a pilot, which took so many seconds."""
        self.costs = {}
        self.learn(pilot, wall)
        self._single = dict(self.costs)

    def learn(self, measured: Measurements, wall: float | None = None) -> None:
        """Take in what folds cost; `wall` is what the last stage took as a whole."""
        self.costs |= measured.seconds_of_a_fold()
        if wall is not None:
            expected = measured.newest_seconds / min(self.workers, max(measured.newest_jobs, 1))
            self._more = min(max(wall / max(expected, 0.1), 1.0), 3.0)

    def seconds_together(self, measured: Measurements) -> float:
        """Return what a fold of the first recipes takes, trained together in one process."""
        costs = measured.seconds_of_a_fold()
        return sum(costs[recipe.name] for recipe in measured.recipes)

    def first_seconds(self, size: int, folds: int) -> float:
        """Return what the first recipes take with so many networks, by what one network took."""
        names = {recipe.name for recipe in self.study.recipes}
        networks = sum(cost for name, cost in self._single.items() if name in names)
        baselines = sum(cost for name, cost in self._single.items() if name not in names)
        # a baseline is also fitted on parts of the rows, for the choice of the blend
        work = networks * size + baselines * (1 + min(size, 4)) / 2
        return self._more * folds * work / min(self.workers, folds)

    def affordable_size(self, first: Sequence[Recipe]) -> tuple[int, int]:
        """Return how many networks an ensemble may have, and on how many folds."""
        largest = max(
            replace(recipe, ensemble=None).chosen_ensemble(len(self.study.table.frame))
            if recipe.ensemble in (None, 1)
            else recipe.ensemble
            for recipe in first
        )
        folds, seconds = self.study.folds, self.clock.seconds
        room = seconds - self.clock.spent - self._last_fit()
        for size in (8, 4, 2):
            needed = self.first_seconds(size, folds)
            if size <= largest and needed <= min(SHARE_OF_FIRST * seconds, room):
                return size, folds
        for fewer in (folds, 3, 2):
            for size in (min(2, largest), 1):
                if fewer <= folds and self.first_seconds(size, fewer) <= min(seconds / 2, room):
                    return size, fewer
        return 1, 1

    def folds_seconds(self, what: Iterable[Recipe | str], folds: int) -> float:
        """Return what recipes and baselines take on folds."""
        work = folds * sum(self._cost(one) for one in what)
        return self._more * work / min(self.workers, folds)

    def affords(self, seconds: float) -> bool:
        """Return whether there is time for so many seconds, and the last fit."""
        return self.clock.spent + seconds + self._last_fit() <= self.clock.seconds

    def reserve(self) -> float:
        """Return what is kept for the last fit at most."""
        return min(self._last_fit(), SHARE_OF_LAST_FIT * self.clock.seconds)

    def end(self) -> float:
        """Return the `time.monotonic()` at which a stage is ended."""
        return self.clock.started + self.clock.seconds - self.reserve()

    def next_batch(self, queue: list[Recipe | str], folds: int) -> list[Recipe | str]:
        """Take from the queue what is run next: enough to be worth a stage, not more than there is.

        What is too dear is left out.
        """
        batch: list[Recipe | str] = []
        left = SHARE_OF_RECIPES * self.clock.seconds - self.clock.spent
        while queue and self.folds_seconds(batch, folds) < max(left / 3, 1.0):
            one = queue.pop(0)
            wanted = self.folds_seconds([*batch, one], folds)
            if wanted <= left and self.affords(wanted):
                batch.append(one)
        return batch

    def _last_fit(self) -> float:
        """Return what the last fit and the files take: of the dearest four, in one process."""
        return 5 + 1.3 * self._more * sum(sorted(self.costs.values())[-4:])

    def _cost(self, what: Recipe | str) -> float:
        """Return the seconds of a fold: as measured, or guessed from those of the joint recipe."""
        name = what if isinstance(what, str) else what.name
        if name in self.costs:
            return self.costs[name]
        if isinstance(what, str):
            # where trees are too slow, so are the others
            return 3 * self.costs.get("extra trees", math.inf)
        joint = self.costs.get("joint", self.costs[SEPARATE])
        tasks = len(self.study.table.tasks)
        if isinstance(what.schedule, Alternating):
            return joint * min(tasks, 4)
        if what.weights == "difficulty":
            return joint + self.costs[SEPARATE]
        if what.weights == "searched":
            return 8 * joint
        plain = what.network == "hard" and what.balancer in (None, "uncertainty")
        return joint * (1.5 if plain else 15)


def _worth_it(wanted: Level, level: Level | None, recipe: Recipe, rows: int) -> bool:
    """Return whether another level trains so much more that it is worth another pilot."""
    assert level is not None

    def work(of: Level) -> int:
        used = min(of.rows or rows, rows)
        epochs = recipe.chosen_epochs(used)
        return used * min(of.epochs or epochs, epochs)

    return work(wanted) > 1.7 * work(level)


def _sized(recipes: Sequence[Recipe], size: int) -> list[Recipe]:
    """Return recipes with ensembles of a size."""
    return [replace(recipe, ensemble=size) for recipe in recipes]


def _cut(recipes: Sequence[Recipe], epochs: int | None, size: int | None) -> list[Recipe]:
    """Return recipes of so many epochs, with ensembles of a size."""
    return [
        replace(recipe, ensemble=size, epochs=recipe.epochs if epochs is None else epochs)
        for recipe in recipes
    ]


def _interleaved(recipes: Sequence[Recipe], baselines: Sequence[str]) -> list[Recipe | str]:
    """Return recipes with a baseline after each of the first."""
    mixed: list[Recipe | str] = []
    rest = list(baselines)
    for recipe in recipes:
        mixed.append(recipe)
        if rest:
            mixed.append(rest.pop(0))
    return mixed + rest
