"""Which runs of a study are trained together: the same whatever the number of workers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from jointrain.baselines import Baseline
from jointrain.experiments._fold import Fold
from jointrain.experiments._recipe import Recipe

RUNS_TOGETHER = 32
"""Fewest runs that a population of a study holds, where there are so many."""


class JobPart(NamedTuple):
    """Some recipes and baselines on some folds, that one process runs at a time."""

    folds: Sequence[Fold]
    stacked: Sequence[Recipe]
    single: Sequence[Recipe]
    baselines: Sequence[Baseline]


def job_parts(
    folds: Sequence[Fold],
    stacked: Sequence[Recipe],
    single: Sequence[Recipe],
    baselines: Sequence[Baseline],
    runs: int,
    *,
    apart: bool,
) -> list[JobPart]:
    """Return the parts of a study.

    Populations come first: they take longest. How many folds go into one depends on what is to be
    run alone, since the size of a population may change the last bits of its results.

    Args:
        folds: The folds.
        stacked: Recipes whose runs are trained as one population.
        single: Recipes whose runs are trained one after the other.
        baselines: What is fitted beside them.
        runs: How many runs the stacked recipes have on a fold.
        apart: As in `AnyExperiment.jobs`.
    """
    parts = []
    if stacked and folds:
        together = 1 if apart else math.ceil(RUNS_TOGETHER / runs)
        count = math.ceil(len(folds) / together)
        bounds = [round(len(folds) * i / count) for i in range(count + 1)]
        parts = [JobPart(folds[a:b], stacked, (), ()) for a, b in pairwise(bounds)]
    rest: list[tuple[Sequence[Recipe], Sequence[Baseline]]] = [(single, baselines)]
    if apart:
        rest = [((), (one,)) for one in baselines] + [((recipe,), ()) for recipe in single]
    parts += [
        JobPart([fold], (), recipes_of, baselines_of)
        for recipes_of, baselines_of in rest
        for fold in folds
        if recipes_of or baselines_of
    ]
    return parts
