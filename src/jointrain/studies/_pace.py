"""The pace of a machine: first looks at a study, and what that says of what more of it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

from jointrain.baselines import Baseline
from jointrain.errors import InvalidInputError
from jointrain.experiments import SEPARATE, AnyExperiment, Recipe
from jointrain.studies._cuts import ROWS, Cuts
from jointrain.studies._job_runner import workers_of
from jointrain.studies._measurements import Measurements, OnInterim
from jointrain.studies._plan import StudyPlan
from jointrain.studies._run_store import RunStore

TRIAL_ROWS = 400
TRIAL_EPOCHS = 3
"""The trial that shows the pace before anything else, and is the answer if time is over then."""

SHARE_OF_TRIAL = 0.15
"""Share of the budget that the trial may take; where it would take more, it is of one epoch."""

FEWEST_EPOCHS = 12
"""Epochs are cut down to so many before rows are left out."""

SHARE_OF_LATE = 0.4
"""With less than this share of the budget left, no pilot is tried again."""

NOTHING_LARGER = "nothing larger was done in time; these figures are a first look"


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

    def experiment(self, experiment: AnyExperiment, seed: int) -> AnyExperiment:
        """Return the experiment on the rows that are used."""
        return experiment if self.rows is None else experiment.sample(self.rows, seed)

    def recipe(self, recipe: Recipe, rows: int) -> Recipe:
        """Return a recipe of single networks that are trained no longer, on so many rows."""
        epochs = recipe.epochs
        if self.epochs is not None:
            epochs = min(self.epochs, recipe.chosen_epochs(rows))
        return replace(recipe, ensemble=1, epochs=epochs)


TRIAL = Level(TRIAL_ROWS, TRIAL_EPOCHS)


def epochs_of(level: Level, planned: int) -> str:
    """Return how many of the planned epochs are trained, in words."""
    return f"{level.epochs} epoch{'s' if level.epochs != 1 else ''} of {planned}"


def chosen_level(recipe: Recipe, rows: int, seconds_per_row_epoch: float, seconds: float) -> Level:
    """Return the level at which a fold takes no longer than so many seconds.

    Args:
        recipe: How many epochs there are without a cut.
        rows: Rows of the experiment.
        seconds_per_row_epoch: Of a fold.
        seconds: What it may take.
    """
    epochs = recipe.chosen_epochs(rows)
    affordable = seconds / max(seconds_per_row_epoch, 1e-12)
    if rows * epochs <= affordable:
        return Level()
    fewer = int(affordable / rows)
    if fewer >= FEWEST_EPOCHS:
        return Level(None, fewer)
    least = min(epochs, FEWEST_EPOCHS)
    fewer_rows = max(int(affordable / least), TRIAL_ROWS)
    return Level(fewer_rows if fewer_rows < rows else None, least if least < epochs else None)


class Pace:
    """What things cost, as the clock has it, on the machine as it is.

    Args:
        study: The study.
        clock: Its time.
        workers: Processes; None for one for each core, or as many as the executor has.
        executor: As in `Study.run`.
    """

    def __init__(
        self,
        study: StudyPlan,
        clock: Clock,
        workers: int | None,
        executor: Executor | None = None,
    ) -> None:
        self.study, self.clock, self.executor = study, clock, executor
        self.workers = workers or workers_of(executor)
        # seconds of a fold in a process, by name
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

    def folds_seconds(self, what: Iterable[Recipe | Baseline | str], folds: int) -> float:
        """Return what recipes and baselines take on folds."""
        work = folds * sum(self.cost(one) for one in what)
        return self._more * work / min(self.workers, folds)

    def cost(self, what: Recipe | Baseline | str) -> float:
        """Return the seconds of a fold, as measured."""
        return self.costs[what if isinstance(what, str) else what.name]

    def reserve(self) -> float:
        """Return what is kept for what comes after the measurements: a tenth, 2 s at most."""
        return min(2.0, 0.1 * self.clock.seconds)

    def end(self) -> float:
        """Return the `time.monotonic()` at which a stage is ended."""
        return self.clock.started + self.clock.seconds - self.reserve()


class FirstLooks:
    """Trial and pilot of a study: they show the pace, and are the answer where time is over then.

    Args:
        study: The study.
        recipes: The recipes of it without which there is no answer.
        pace: What is learned of the pace goes there.
        cuts: What was cut is noted there.
        trial_baselines: What the trial fits beside them.
        needed: Names of the recipes that a fold is worth nothing without.
        store: As in `Measurements`.
        progress: As in `Study.run`.
        on_interim: Likewise.
    """

    def __init__(
        self,
        study: StudyPlan,
        recipes: Sequence[Recipe],
        pace: Pace,
        cuts: Cuts,
        *,
        trial_baselines: Sequence[Baseline] = (),
        needed: Sequence[str] = (SEPARATE,),
        store: RunStore | None = None,
        progress: Callable[[int, int], None] | None = None,
        on_interim: OnInterim | None = None,
    ) -> None:
        self._study, self._recipes, self._pace, self._cuts = study, recipes, pace, cuts
        self._trial_baselines, self._needed = trial_baselines, needed
        self._store, self._progress, self._on_interim = store, progress, on_interim
        self._seconds_per_row_epoch = 0.0  # of a fold

    def trial(self) -> Measurements:
        """Train for a few epochs on a few rows, in this process: it can't be lost.

        It is one epoch where more would take too much of the budget.

        Raises:
            InvalidInputError: The rows can't be split into so many folds.
        """
        # one epoch first: nothing is known yet of the machine, nor of the table
        cut = self._study.experiment.cuts_training
        level = replace(TRIAL, epochs=1) if cut else Level()
        before = time.monotonic()
        try:
            trial = self._trained(level)
        except InvalidInputError:  # so few rows can't be split as all of them can
            level = replace(level, rows=None)
            before = time.monotonic()
            trial = self._trained(level)
        planned = (TRIAL.epochs or 1) if cut else 1
        more = planned * (time.monotonic() - before)
        clock = self._pace.clock
        if planned > 1 and clock.spent + more <= SHARE_OF_TRIAL * clock.seconds:
            level = replace(level, epochs=planned)
            trial = self._trained(level)
        rows = max(trial.study.experiment.row_count, 1)
        epochs = trial.study.recipes[0].chosen_epochs(rows)
        self._seconds_per_row_epoch = self._pace.seconds_together(trial) / (rows * epochs)
        self._describe(trial, level)
        return trial

    def pilot(self, share_of_left: float) -> Measurements | None:
        """Measure a fold in each process, cut as the pace demands; None if none is done in time.

        Args:
            share_of_left: Share of what is left of the budget that one fold with single networks
                may take.

        Raises:
            InvalidInputError: The rows can't be split into so many folds.
        """
        clock = self._pace.clock
        found = None
        rows = max(self._study.experiment.row_count, 1)
        level: Level | None = None
        for attempt in range(3):
            share = share_of_left * (clock.left - self._pace.reserve())
            # ended processes take their time to start again
            late = clock.left < SHARE_OF_LATE * clock.seconds
            if share <= 0 or (late and attempt > 0):
                break
            wanted = Level()
            if self._study.experiment.cuts_training:
                wanted = chosen_level(self._recipes[0], rows, self._seconds_per_row_epoch, share)
            if found is not None and not _worth_it(wanted, level, self._recipes[0], rows):
                break
            level = wanted
            study = self._at(level)
            pilot = self.measurements(study)
            before = time.monotonic()
            # waited for are a fold that takes twice as long as thought, and processes that start:
            # to end them and start others takes longer
            wait = max(2 * share, (clock.left - self._pace.reserve()) / 2)
            until = min(before + wait, self._pace.end())
            self.train(pilot, folds=min(2, self._pace.workers), until=until)
            used = max(study.experiment.row_count, 1)
            used *= study.recipes[0].chosen_epochs(used)
            left_out = pilot.keep_whole(self._needed)
            if not pilot.folds_done:
                self._seconds_per_row_epoch = 2 * max(
                    self._seconds_per_row_epoch, (time.monotonic() - before) / used
                )
                continue
            found = pilot
            self._cuts.leave_out(left_out)
            self._describe(pilot, level)
            self._seconds_per_row_epoch = self._pace.seconds_together(pilot) / used
            self._pace.start_again(pilot, time.monotonic() - before)
            if level == Level():
                break
        return found

    def measurements(self, study: StudyPlan) -> Measurements:
        """Return measurements in processes, with the store."""
        return Measurements(
            study,
            workers=self._pace.workers,
            store=self._store,
            executor=self._pace.executor,
            progress=self._progress,
            on_interim=self._on_interim,
        )

    def train(
        self, measured: Measurements, *, folds: int | None = None, until: float | None = None
    ) -> None:
        """Measure the first recipes and the baselines on folds of the first seed."""
        study = measured.study
        baselines = measured.baselines or study.baselines
        measured.run(study.recipes, baselines, [study.seed], folds=folds, apart=True, until=until)

    def _trained(self, level: Level) -> Measurements:
        """Return what a fold shows at a level, trained in this process."""
        study = replace(self._at(level), baselines=self._trial_baselines)
        trial = Measurements(study, workers=1, progress=self._progress)
        self.train(trial, folds=1)
        return trial

    def _at(self, level: Level) -> StudyPlan:
        """Return the study of the first recipes, as single networks, at a level."""
        used = level.experiment(self._study.experiment, self._study.seed)
        recipes = self._recipes
        if used.cuts_training:
            recipes = [level.recipe(recipe, used.row_count) for recipe in recipes]
        return replace(self._study, experiment=used, recipes=recipes)

    def _describe(self, measured: Measurements, level: Level) -> None:
        """Note what a level cut."""
        self._cuts.take_back("epochs", ROWS)
        rows, used = self._study.experiment.row_count, measured.study.experiment.row_count
        epochs = self._recipes[0].chosen_epochs(max(used, 1))
        if level.epochs is not None and level.epochs < epochs:
            self._cuts.say("epochs", f"networks were trained for {epochs_of(level, epochs)}")
        if used < rows:
            self._cuts.say(ROWS, f"a sample of {used:,} of {rows:,} rows was used")


def _worth_it(wanted: Level, level: Level | None, recipe: Recipe, rows: int) -> bool:
    """Return whether another level trains so much more that it is worth another pilot."""
    assert level is not None

    def work(of: Level) -> int:
        used = min(of.rows or rows, rows)
        epochs = recipe.chosen_epochs(used)
        return used * min(of.epochs or epochs, epochs)

    return work(wanted) > 1.7 * work(level)
