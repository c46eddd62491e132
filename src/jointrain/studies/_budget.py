"""Studies within a budget of time: how many recipes, folds, seeds and networks it pays for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from numbers import Real
from pathlib import Path

from jointrain.baselines import BASELINES, CONSTANT, JOINT, Baseline
from jointrain.errors import InvalidInputError
from jointrain.experiments import FURTHER, SEPARATE, Recipe, named_recipes
from jointrain.studies._cuts import Cuts
from jointrain.studies._job_runner import check_workers
from jointrain.studies._measurements import Measurements, open_store
from jointrain.studies._pace import NOTHING_LARGER, Clock, FirstLooks, Pace
from jointrain.studies._plan import StudyPlan
from jointrain.studies._study_result import StudyResult
from jointrain.system.worker_processes import warm_up
from jointrain.training.sampling import Alternating

FOREST = "extra trees"

FURTHER_BASELINES = (
    FOREST,
    "extra trees joint",
    "kernel ridge",
    "gradient boosting",
    "random forest",
)
"""What a budget pays for after the first baselines."""

MANY_ROWS = 20_000
"""From here on gradient boosting takes the place of forests among the first baselines: these take
long, and gigabytes."""

CHEAP = ("extra trees joint", "kernel ridge")
"""These come right after the first baselines: they take no longer than a forest for each target,
and less where there are many targets or rows."""

DEAR_FORESTS = 3
"""How many times as long as that other baselines take where they were not measured."""

BOOSTINGS_A_FOREST = 10
"""How many times as long as gradient boosting a forest takes where it was not measured."""

FIRST_ANSWER_SECONDS = 10.0
"""A first answer that would take longer comes from single networks, and from fewer folds."""

SHARE_OF_FIRST = 0.3
"""Share of the budget, at most, for the recipes without which there is no answer."""

SHARE_OF_RECIPES = 0.5
"""Share of the budget after which no recipe is added; the rest is for seeds and the last fit."""

SHARE_OF_LAST_FIT = 0.35
"""Share of the budget, at most, that is kept for the last fit."""

SHARE_OF_PILOT = 0.25
"""Share of what is left of the budget that one fold with single networks may take."""

_Answer = Callable[[StudyResult, float, int], None]


def run_within_budget(
    study: StudyPlan,
    seconds: float,
    *,
    base: Recipe | None = None,
    further: bool = True,
    workers: int | None = None,
    store: str | Path | None = None,
    executor: Executor | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_answer: _Answer | None = None,
    started: float | None = None,
    single: bool = False,
) -> StudyResult:
    """Run as much of a study as a budget pays for; there is always an answer.

    A few epochs on a few rows show the pace of the machine as it is. Then a fold in each process,
    with single networks, shows what things cost; where more would take long, these are the first
    answer. Then come, on one seed and as long as half of the budget is not spent, cheap baselines
    (with `further`), the study's other recipes, and further recipes and baselines in turn, in a
    fixed order; then more seeds of all of them, up to the study's. What is run is decided by what
    it costs alone, never by what it shows, so that the figures stay those of a study that was
    planned so. Part of the time is kept for the last fit; what is not done when the rest is over is
    ended.

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
        executor: As in `Study.run`; a first trial that shows the pace runs in this process.
        progress: As in `Study.run`.
        on_answer: Called with what is known so far, the seconds spent, and how many folds x seeds
            are to be measured, after each stage.
        started: `time.monotonic()` of the beginning; default now.
        single: Whether recipes of single networks keep them; by default an ensemble takes the place
            of each where there is time.

    Raises:
        InvalidInputError: The rows can't be split into so many folds, or there is no time.
    """
    if not isinstance(seconds, Real) or not seconds > 0:
        raise InvalidInputError(f"`seconds` must be a number above 0, got {seconds!r}")
    clock = Clock(seconds, time.monotonic() if started is None else started)
    plan = _Plan(study, clock, check_workers(workers), executor)
    plan.single = single
    return _BudgetedStudy(study, plan, base, further, store, progress, on_answer).run()


class _BudgetedStudy:
    """The stages of `run_within_budget`, whose arguments it takes, with a plan of the time."""

    def __init__(
        self,
        study: StudyPlan,
        plan: _Plan,
        base: Recipe | None,
        further: bool,
        store: str | Path | None,
        progress: Callable[[int, int], None] | None,
        on_answer: _Answer | None,
    ) -> None:
        study = _for_many_rows(study, further=further)
        self._study, self._plan, self._clock = study, plan, plan.clock
        self._on_answer, self._further = on_answer, further
        recipes = study.recipes
        self._first = [one for one in recipes if not isinstance(one.schedule, Alternating)]
        self._later = [one for one in recipes if one not in self._first]
        self._base = base or next((one for one in recipes if one.name != SEPARATE), self._first[0])
        self._cuts = Cuts(plan.clock.seconds)
        self._looks = FirstLooks(
            study,
            self._first,
            self._plan,
            self._cuts,
            trial_baselines=(BASELINES[CONSTANT],) if study.experiment.first_baselines else (),
            store=open_store(study, store),
            progress=progress,
        )

    def run(self) -> StudyResult:
        """Run all stages."""
        if self._plan.executor is None:
            warm_up(self._plan.workers, "jointrain.studies")
        trial = self._looks.trial()
        pilot = self._looks.pilot(SHARE_OF_PILOT)
        if pilot is None:
            self._cuts.say("trial", NOTHING_LARGER)
            return self._result(trial)
        measured = self._whole_folds(pilot)
        self._more(measured)
        return self._result(measured)

    # --- stages ----------------------------------------------------------------------------------

    def _whole_folds(self, pilot: Measurements) -> Measurements:
        """Measure the first recipes on as many folds, with as large ensembles, as there is time."""
        plan = self._plan
        size, folds = plan.affordable_size(self._first)
        if folds < 2 or plan.first_seconds(size, folds) > FIRST_ANSWER_SECONDS:
            count = int(FIRST_ANSWER_SECONDS / max(plan.first_seconds(1, 1), 1e-9))
            if folds >= 2 and count > pilot.folds_done:
                self._looks.train(pilot, folds=min(count, pilot.study.folds), until=plan.end())
            self._tell(pilot, pilot.study.folds)
        if folds < 2:
            return pilot
        if (size, folds) == (1, pilot.study.folds):
            self._looks.train(pilot, folds=folds, until=plan.end())
            self._cuts.leave_out(pilot.keep_whole())
            measured = pilot
        else:
            study = replace(
                pilot.study,
                experiment=pilot.study.experiment.with_folds(folds),
                recipes=_sized(pilot.study.recipes, size),
                baselines=pilot.baselines,
            )
            measured = self._looks.measurements(study)
            before = time.monotonic()
            self._looks.train(measured, until=plan.end())
            left_out = measured.keep_whole()
            if measured.folds_done < min(2, pilot.folds_done):
                return pilot
            self._cuts.leave_out(left_out)
            plan.learn(measured, time.monotonic() - before)
        plan.learn(measured)
        self._tell(measured, measured.study.folds)
        return measured

    def _more(self, measured: Measurements) -> None:
        """Measure alternation, further recipes and baselines, and more seeds."""
        plan, seed = self._plan, self._study.seed
        if measured.folds_done < min(2, self._study.folds):
            self._cuts.leave_out([recipe.name for recipe in self._later])
            return
        epochs, size = measured.study.recipes[0].epochs, measured.study.recipes[0].ensemble
        queue: list[Recipe | Baseline] = list(_cut(self._later, epochs, size))
        if self._further and self._study.experiment.follows_rules:
            baselines = self._further_baselines()
            cheap = [one for one in baselines if one.name in CHEAP]
            dear = [one for one in baselines if one.name not in CHEAP]
            queue = [*cheap, *queue, *_interleaved(self._further_recipes(epochs, size), dear)]
        folds = measured.folds_done
        while batch := plan.next_batch(queue, folds):
            recipes = [one for one in batch if isinstance(one, Recipe)]
            baselines = [one for one in batch if isinstance(one, Baseline)]
            before = time.monotonic()
            measured.run(recipes, baselines, [seed], folds=folds, until=plan.end())
            # what was not done in time is not tried again, and its cost is not known
            measured.keep_whole()
            plan.learn(measured, time.monotonic() - before)
            self._tell(measured, folds)
        done = {recipe.name for recipe in measured.recipes}
        self._cuts.leave_out([recipe.name for recipe in self._later if recipe.name not in done])
        recipes, baselines = measured.recipes, measured.baselines
        for more in range(seed + 1, seed + self._study.seeds):
            if not plan.affords(plan.folds_seconds([*recipes, *baselines], folds)):
                break
            before = time.monotonic()
            measured.run(recipes, baselines, [more], folds=folds, until=plan.end())
            measured.keep_whole()
            plan.learn(measured, time.monotonic() - before)

    def _further_recipes(self, epochs: int | None, size: int | None) -> list[Recipe]:
        """Return further recipes in their order."""
        experiment = self._study.experiment
        known = {recipe.name for recipe in self._study.recipes}
        labelled = set(experiment.label_counts().values())
        names = [
            name
            for name in FURTHER
            if name not in known
            and not (name == "weights-size" and len(labelled) == 1)
            and (experiment.first_baselines or not name.startswith("network-"))
        ]
        return _cut(named_recipes(names, self._base), epochs, size)

    def _further_baselines(self) -> list[Baseline]:
        """Return further baselines in their order; none where an experiment has none at first."""
        experiment = self._study.experiment
        return [
            BASELINES[name]
            for name in FURTHER_BASELINES
            if name not in self._study.baseline_names and experiment.first_baselines
            if BASELINES[name].why_not(experiment.tasks) is None
        ]

    # --- what the stages share ------------------------------------------------------------------

    def _tell(self, measured: Measurements, planned: int) -> None:
        if self._on_answer is not None and measured.folds_done:
            # a baseline that is not done on all folds yet counts from the next answer on
            self._on_answer(measured.result_of_whole(), self._clock.spent, planned)

    def _result(self, measured: Measurements) -> StudyResult:
        measured.keep_whole()
        self._cuts.fewer_folds(measured.folds_done, measured.study.folds, self._study.folds)
        return measured.result(self._cuts.all)


class _Plan(Pace):
    """What things cost, and what is left, with a last fit at the end."""

    single = False
    """As in `run_within_budget`."""

    def affordable_size(self, first: Sequence[Recipe]) -> tuple[int, int]:
        """Return how many networks an ensemble may have, and on how many folds."""
        largest = max(
            replace(recipe, ensemble=None).chosen_ensemble(self.study.experiment.row_count)
            if recipe.ensemble is None or (recipe.ensemble == 1 and not self.single)
            else recipe.ensemble
            for recipe in first
        )
        experiment = self.study.experiment
        if not experiment.ensembles:
            largest = 1
        folds, seconds = self.study.folds, self.clock.seconds
        room = seconds - self.clock.spent - self._last_fit()
        for size in (8, 4, 2):
            needed = self.first_seconds(size, folds)
            if size <= largest and needed <= min(SHARE_OF_FIRST * seconds, room):
                return size, folds
        for fewer in (folds, 3, 2) if experiment.any_folds else (folds,):
            for size in (min(2, largest), 1):
                if fewer <= folds and self.first_seconds(size, fewer) <= min(seconds / 2, room):
                    return size, fewer
        return 1, 1

    def affords(self, seconds: float) -> bool:
        """Return whether there is time for so many seconds, and the last fit."""
        return self.clock.spent + seconds + self._last_fit() <= self.clock.seconds

    def reserve(self) -> float:
        """Return what is kept for the last fit at most."""
        return min(self._last_fit(), SHARE_OF_LAST_FIT * self.clock.seconds)

    def next_batch(self, queue: list[Recipe | Baseline], folds: int) -> list[Recipe | Baseline]:
        """Take from the queue what is run next: enough to be worth a stage, not more than there is.

        What is too dear is left out.
        """
        batch: list[Recipe | Baseline] = []
        left = SHARE_OF_RECIPES * self.clock.seconds - self.clock.spent
        while queue and self.folds_seconds(batch, folds) < max(left / 3, 1.0):
            one = queue.pop(0)
            wanted = self.folds_seconds([*batch, one], folds)
            if wanted <= left and self.affords(wanted):
                batch.append(one)
        return batch

    def _last_fit(self) -> float:
        """Return what the last fit and the files take: of the dearest four, in one process.

        Of what ships no blend, that is one recipe.
        """
        if not self.study.experiment.ships:
            return 1.3 * self._more * max(self.costs.values(), default=0.0)
        return 5 + 1.3 * self._more * sum(sorted(self.costs.values())[-4:])

    def cost(self, what: Recipe | Baseline | str) -> float:
        """Return the seconds of a fold: as measured, or guessed from those of the joint recipe."""
        name = what if isinstance(what, str) else what.name
        if name in self.costs:
            return self.costs[name]
        if not isinstance(what, Recipe):
            boosting = self.costs.get("gradient boosting", math.inf)
            forest = self.costs.get(FOREST, BOOSTINGS_A_FOREST * boosting)
            # where trees are too slow, so are the others; labels that one forest for all targets
            # lacks come from forests for each
            fills = name in JOINT and self._labels_lack()
            return (1 if name in (FOREST, *CHEAP) else DEAR_FORESTS) * forest + fills * forest
        joint = self.costs.get("joint", self.costs[SEPARATE])
        tasks = len(self.study.tasks)
        if isinstance(what.schedule, Alternating):
            return joint * min(tasks, 4)
        if what.weights == "difficulty":
            return joint + self.costs[SEPARATE]
        if what.weights == "searched":
            return 8 * joint
        plain = what.network == "hard" and what.balancer in (None, "uncertainty")
        return joint * (1.5 if plain else 15)

    def _labels_lack(self) -> bool:
        experiment = self.study.experiment
        return any(count < experiment.row_count for count in experiment.label_counts().values())


def _for_many_rows(study: StudyPlan, *, further: bool = True) -> StudyPlan:
    """Return the study of a table, with gradient boosting first where there are many rows.

    It takes the place of the forest. Where baselines were named, they stay, and it is added to them
    if others would be added later.
    """
    experiment, boosting = study.experiment, BASELINES["gradient boosting"]
    first = experiment.first_baselines
    named = list(study.baseline_names) != list(first)
    if (
        experiment.row_count < MANY_ROWS
        or not first
        or boosting.name in study.baseline_names
        or boosting.why_not(experiment.tasks) is not None
        or (named and not further)
    ):
        return study
    kept = [one for one in study.baselines if named or one.name != FOREST]
    return replace(study, baselines=(*kept, boosting))


def _sized(recipes: Sequence[Recipe], size: int) -> list[Recipe]:
    """Return recipes with ensembles of a size."""
    return [replace(recipe, ensemble=size) for recipe in recipes]


def _cut(recipes: Sequence[Recipe], epochs: int | None, size: int | None) -> list[Recipe]:
    """Return recipes of so many epochs, with ensembles of a size."""
    return [
        replace(recipe, ensemble=size, epochs=recipe.epochs if epochs is None else epochs)
        for recipe in recipes
    ]


def _interleaved(
    recipes: Sequence[Recipe], baselines: Sequence[Baseline]
) -> list[Recipe | Baseline]:
    """Return recipes with a baseline after each of the first."""
    mixed: list[Recipe | Baseline] = []
    rest = list(baselines)
    for recipe in recipes:
        mixed.append(recipe)
        if rest:
            mixed.append(rest.pop(0))
    return mixed + rest
