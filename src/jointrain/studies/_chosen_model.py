"""The model to keep: the recipe that a study speaks for, trained on all rows."""

from __future__ import annotations

from typing import Any

from jointrain.studies._shipped_model import fit_shipped
from jointrain.studies._study_result import StudyResult


def fit_chosen(result: StudyResult, *, recipe: str | None = None) -> Any:
    """Train what a study speaks for on all rows that are not for testing.

    With a fixed test set it is the recipe that does best on the validation rows: the test rows
    have no say in it.

    Args:
        result: What the study measured.
        recipe: Name of another recipe of the study to train in its place.

    Returns:
        Of a table the blend of `fit_shipped` (or, of a recipe by name, its model); of one's own
        modules a `NetworkModel`, which `save_bundle` saves.

    Raises:
        InvalidInputError: There is no such recipe, or the experiment is of a loop of one's own.
    """
    study = result.study
    if recipe is None and study.experiment.ships:
        return fit_shipped(result)
    chosen = result.best() if recipe is None else result.recipe(recipe)
    return study.experiment.fit(chosen, seed=study.seed)
