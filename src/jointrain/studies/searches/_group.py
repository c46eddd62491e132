"""Group: which tasks to train together."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Unpack

import numpy as np

from jointrain.data import SupervisedTable
from jointrain.experiments import SEPARATE, AnyExperiment, Recipe
from jointrain.studies.searches._affinity import Affinity, Measure, measure_affinity_in_time
from jointrain.studies.searches._candidates import Candidates, RecipeSearchResult
from jointrain.studies.searches._evaluator import SearchOptions, open_search
from jointrain.studies.searches._gain_predictor import GainPredictor
from jointrain.studies.searches._partition import Group, Partition, best_partition, check_models

BATCH = 4
"""Partitions that are proposed, and measured, at once."""

TOGETHER = "together"


@dataclass(frozen=True)
class GroupResult(RecipeSearchResult):
    """What a search for groups of tasks found.

    Separate models are the plain choice, or all together where `models` forbids separate ones; of
    partitions that are equally good, one of the fewest networks is chosen.

    Args:
        candidates: The figures of all partitions that were measured.
        recipes: Each partition's recipe, by name.
        affinity: Who helps whom while all are trained jointly.
        models: Largest number of networks that was allowed; None is no limit.
    """

    affinity: Affinity
    models: int | None = None

    def groups(self, name: str | None = None) -> list[tuple[str, ...]]:
        """Return the groups of a partition; default the chosen one."""
        names = [task.name for task in self.candidates.tasks]
        return self.recipe(name).groups(names)

    def pair_gains(self) -> np.ndarray:
        """Return what was measured of pairs.

        Shape:
            returns: [t, t], entry (i, j) is the change of task j in percent when trained with i
            alone, against training it by itself; NaN where the pair was not measured.
        """
        names = [task.name for task in self.candidates.tasks]
        gains = np.full((len(names), len(names)), np.nan)
        for group, task, gain in measured_gains(self.candidates, self.recipes):
            if len(group) == 2:
                (other,) = group - {task}
                gains[other, task] = gain
        return gains


def search_groups(
    experiment: AnyExperiment | SupervisedTable,
    recipe: Recipe | None = None,
    *,
    models: int | None = None,
    measure: Measure = "gradient",
    trials: int = 12,
    **options: Unpack[SearchOptions],
) -> GroupResult:
    """Search for the partition of the tasks into jointly trained groups with the best metrics.

    Separate models and one model for all are measured on all folds and seeds; affinities are
    measured in a joint run on the training rows of each fold. Then partitions are measured: first
    some into pairs, which show what pairs gain, then those that are worth most by the gains that
    affinities and all measured groups predict. The answer is the best one that was measured.

    Args:
        experiment: A table, or an `Experiment`; all its rows are inner rows, so keep a test set out
            of them.
        recipe: What to train, but for the groups; default `Recipe()`, joint training.
        models: Largest number of networks; None (default) is no limit.
        measure: How affinity is measured, see `AffinityTrainer`; default ``gradient``.
        trials: Number of partitions to measure beside separate and together; default 12.
        **options: How it is measured, see `SearchOptions`.

    Raises:
        InvalidInputError: There is one task, there are more models than tasks, the recipe trains
            tasks separately, or a number lies outside its range.

    Source: Fifty et al., "Efficiently Identifying Task Groupings for Multi-Task Learning", NeurIPS
        2021 (affinities from one joint run); Ayman et al., "Ensemble Prediction of Task Affinity
        for Efficient Multi-Task Learning", ICLR 2026 (gains predicted from affinities and a few
        measured groups); Standley et al., "Which Tasks Should Be Learned Together in Multi-task
        Learning?", ICML 2020 (the best set of networks under a budget).
    Differs from the source: predictions only propose, and what is answered was measured; each task
        is trained once.
    """
    why_not = "groups are trained together"
    recipe, evaluator = open_search(experiment, recipe, why_not, trials=trials, **options)
    experiment, seed = evaluator.given, evaluator.seed
    names = [task.name for task in experiment.tasks]
    check_models(models, len(names))
    whole = tuple(range(len(names)))
    alone = tuple((task,) for task in whole)

    def named(partition: Partition, name: str | None = None) -> Recipe:
        groups = tuple(tuple(names[task] for task in group) for group in partition)
        return replace(
            recipe, name=name or json.dumps(groups, ensure_ascii=False), partition=groups
        )

    made = {(whole,): named((whole,), TOGETHER), alone: named(alone, SEPARATE)}
    evaluator.run_first([*made.values()], TOGETHER)
    affinity = measure_affinity_in_time(
        evaluator.experiment.with_folds(experiment.folds),
        recipe,
        measure=measure,
        seed=seed,
        workers=evaluator.workers,
        executor=evaluator.executor,
        plan=evaluator.plan,
        cuts=evaluator.cuts,
    )
    generator = np.random.default_rng(seed)

    def figures() -> Candidates:
        allowed = [p for p in made if models is None or len(p) <= models]
        allowed.sort(key=len)
        reference = SEPARATE if alone in allowed else TOGETHER
        choices = [made[partition].name for partition in allowed]
        return evaluator.candidates(SEPARATE, reference, choices)

    def propose(count: int) -> list[Partition]:
        predictor = GainPredictor(affinity, measured_gains(figures(), evaluator.recipes))
        return _propose(predictor, made, count, models, options.get("importance"), names, generator)

    pairings = [p for p in pair_partitions(len(names)) if p not in made][: max(1, trials // 2)]
    possible = min(trials, _count_partitions(len(names)) - 2)
    for count in evaluator.batches(possible, BATCH, "further groupings", first=len(pairings)):
        proposed = pairings[:count] or propose(count)
        if not proposed:
            break
        pairings = []
        made |= {partition: named(partition) for partition in proposed}
        evaluator.run([made[partition] for partition in proposed])
    return GroupResult(figures(), evaluator.recipes, affinity, models)


def pair_partitions(count: int) -> list[Partition]:
    """Return partitions into pairs (and one single task, if the number is odd).

    Each pair is in one of them: the rounds of a tournament in which everyone meets everyone.
    """
    players = list(range(count)) + ([-1] if count % 2 else [])
    pairings: list[Partition] = []
    for _ in range(len(players) - 1):
        half = len(players) // 2
        pairs = zip(players[:half], reversed(players[half:]), strict=True)
        groups = [tuple(sorted(task for task in pair if task >= 0)) for pair in pairs]
        pairings.append(tuple(sorted(groups)))
        players = [players[0], players[-1], *players[1:-1]]
    return pairings


def _count_partitions(count: int) -> int:
    """Return in how many ways so many tasks can be cut into groups (Bell's number)."""
    row = [1]
    for _ in range(count - 1):
        row = list(itertools.accumulate([row[-1], *row]))
    return row[-1]


def measured_gains(
    candidates: Candidates, recipes: Mapping[str, Recipe]
) -> list[tuple[Group, int, float]]:
    """Return group, task and the task's mean change against separate training, in percent."""
    names = [task.name for task in candidates.tasks]
    gains: dict[tuple[Group, int], float] = {}
    for candidate in candidates.names:
        changes = candidates.mean_changes(candidate)
        for group in recipes[candidate].groups(names):
            members = frozenset(names.index(name) for name in group)
            for name in group:
                if len(group) > 1 and np.isfinite(changes[name]):
                    gains[members, names.index(name)] = changes[name]
    return [(group, task, gain) for (group, task), gain in gains.items()]


def _propose(
    predictor: GainPredictor,
    made: Mapping[Partition, Recipe],
    count: int,
    models: int | None,
    importance: Mapping[str, float] | None,
    names: Sequence[str],
    generator: np.random.Generator,
) -> list[Partition]:
    """Return up to `count` new partitions: the best by prediction, then by perturbed predictions.

    Drawing the predictions' errors anew each time (Thompson sampling) gives each partition a chance
    in the measure in which it may be the best one.
    """
    given = importance or {}
    weights = [given.get(name, 1.0) for name in names]
    largest = max(weights)  # what counts as equal does not depend on their size
    weights = [weight / largest for weight in weights]
    proposed: list[Partition] = []
    for attempt in range(20 * count):
        error = predictor.error if attempt else 0.0

        def worth(group: Group, error: float = error) -> float:
            if len(group) == 1:
                return 0.0
            return sum(
                weights[task] * (predictor.gain(group, task) + error * generator.standard_normal())
                for task in sorted(group)
            )

        partition = best_partition(len(names), worth, models)
        if partition not in made and partition not in proposed:
            proposed.append(partition)
            if len(proposed) == count:
                break
    return proposed
