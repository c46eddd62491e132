"""Rules for task weights that need other runs first: difficulty and search."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from jointrain.errors import InvalidInputError
from jointrain.experiments._recipe import Recipe, difficulty_weights
from jointrain.task import Task
from jointrain.training import FittedNetwork, mean_validation
from jointrain.training.sampling import Separate

Members = Sequence[Sequence[FittedNetwork]]
"""The networks of a recipe, member by member of its ensemble."""

SEARCHED_VECTORS = 8
"""Weight vectors that ``searched`` tries, equal weights among them."""

LARGEST_SEARCHED_RATIO = 16.0
"""Largest ratio of the weights of two tasks that ``searched`` tries."""


def requested_recipes(
    recipe: Recipe, tasks: Sequence[Task]
) -> Generator[list[Recipe], list[Members], Members]:
    """Yield recipes to be fitted, take their networks, and return those of `recipe` itself.

    ``difficulty`` needs the validation losses of single-task networks before its own run;
    ``searched`` fits a number of weight vectors and keeps the one with the lowest mean validation
    loss, relative to equal weights; all others are fitted at once.

    Args:
        recipe: What to train.
        tasks: The tasks.
    """
    alone = recipe.trains_apart
    if recipe.weights == "difficulty" and not alone:
        separate = replace(recipe, schedule=Separate(), weights="equal", partition=None)
        losses = _losses((yield [separate])[0])
        # a task without a validation loss: all count alike
        known = len(losses) == len(tasks)
        weights = tuple(difficulty_weights(losses).items()) if known else "equal"
        return (yield [replace(recipe, weights=weights)])[0]
    if recipe.weights == "searched" and not alone and len(tasks) > 1:
        vectors = searched_weights([task.name for task in tasks])
        fitted = yield [replace(recipe, weights=tuple(vector.items())) for vector in vectors]
        return fitted[_lowest([_losses(members) for members in fitted])]
    plain = replace(recipe, weights="equal") if recipe.weights == "searched" else recipe
    return (yield [plain])[0]


def searched_weights(tasks: Sequence[str]) -> list[dict[str, float]]:
    """Return the weight vectors of ``searched``: equal ones, and others spread evenly.

    Each has mean 1. The log-ratios are a Sobol sequence over log-contrasts, so that no task is
    favoured; the more tasks, the thinner it covers them.

    Source: Sobol, "On the distribution of points in a cube and the approximate evaluation of
        integrals", 1967; Egozcue et al., "Isometric Logratio Transformations for Compositional Data
        Analysis", Mathematical Geology 35, 2003 (the contrasts).
    """
    from scipy.linalg import helmert
    from scipy.stats import qmc

    count = len(tasks)
    # after its first point, a corner, comes the middle: equal weights
    points = qmc.Sobol(count - 1, scramble=False).random(2 * SEARCHED_VECTORS)
    points = points[1 : SEARCHED_VECTORS + 1]
    bound = math.log(LARGEST_SEARCHED_RATIO) / math.sqrt(2)
    raw = np.exp((2 * points - 1) * bound @ helmert(count))
    scaled = raw / raw.mean(1, keepdims=True)
    return [
        {task: float(f"{value:.3g}") for task, value in zip(tasks, vector, strict=True)}
        for vector in scaled.tolist()
    ]


def _losses(members: Members) -> dict[str, float]:
    return mean_validation([part for parts in members for part in parts])


def _lowest(losses: Sequence[Mapping[str, float]]) -> int:
    """Return the position with the lowest mean of losses relative to the first's.

    Raises:
        InvalidInputError: One of these is negative, as those of a loss function of one's own may
            be.
    """
    first = losses[0]
    for name, loss in first.items():
        if loss < -1e-5:  # below 0 by more than rounding
            raise InvalidInputError(
                f"the validation loss of task {name!r} is {loss:.4g}, and weights 'searched' are "
                "compared by losses relative to those of equal weights; add a constant to its "
                "loss function, so that it stays above 0"
            )
    scores = [
        float(np.mean([each[name] / max(first[name], 1e-12) for name in first])) if first else 0.0
        for each in losses
    ]
    return int(np.argmin(scores))
