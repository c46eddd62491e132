"""Equal compute: as many steps, passes or seconds for each recipe as separate training takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias, get_args

from jointrain.errors import InvalidInputError, closest
from jointrain.experiments import SEPARATE
from jointrain.studies._measurements import Measurements
from jointrain.studies._study import Study
from jointrain.training import Phases

Compute: TypeAlias = Literal["steps", "passes", "seconds"]
"""What is to be equal: optimiser steps, passes of a training row through a network, or time."""


def with_equal_compute(study: Study, compute: Compute) -> tuple[Study, list[str]]:
    """Return a study whose recipes may all train as long as separate models do, and what changed.

    An epoch of each recipe on the first fold shows what it takes; then the epochs of each are those
    with which it comes nearest to what the separate models take in theirs. Epochs are the most:
    early stopping still ends a run that no longer gets better.

    Args:
        study: What is to be run.
        compute: What is to be equal. Seconds hang on the machine, so that the same study may get
            other epochs another time.

    Raises:
        InvalidInputError: A recipe has phases, whose lengths are its own; the experiment is a loop
            of one's own; or a recipe fails.
    """
    if compute not in get_args(Compute):
        raise InvalidInputError(
            f"what is equal must be one of {', '.join(get_args(Compute))}, got {compute!r}"
            f"{closest(str(compute), get_args(Compute))}"
        )
    if not study.experiment.cuts_training:
        raise InvalidInputError("a loop of one's own can't be told how long to train")
    for recipe in study.recipes:
        if isinstance(recipe.schedule, Phases):
            raise InvalidInputError(
                f"recipe {recipe.name!r} has phases with lengths of their own; its compute can't "
                "be made equal"
            )
    short = [replace(recipe, epochs=1) for recipe in study.recipes]
    trial = Measurements(replace(study, recipes=short), workers=1)
    trial.run(short, (), [study.seed], folds=1)
    found = trial.result()
    if found.failed:
        name, why = next(iter(found.failed.items()))
        raise InvalidInputError(f"recipe {name!r} failed: {why}")
    taken = {row["recipe"]: row[compute] for row in found.costs().iter_rows(named=True)}
    rows = len(study.experiment.folds_of(study.seed)[0].train)
    reference = next(recipe for recipe in study.recipes if recipe.name == SEPARATE)
    whole = reference.chosen_epochs(rows) * taken[SEPARATE]
    recipes, notes = [], []
    for recipe in study.recipes:
        before = recipe.chosen_epochs(rows)
        epochs = max(round(whole / taken[recipe.name]), 1)
        recipes.append(replace(recipe, epochs=epochs))
        if epochs != before:
            notes.append(
                f"{recipe.name} may train for {epochs} epoch{'s' * (epochs != 1)} in place of "
                f"{before}: as many {compute} as separate models"
            )
    return replace(study, recipes=recipes), notes
