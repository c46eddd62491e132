"""What goes into the key of a job: folds and recipes as values that JSON can hold."""

from __future__ import annotations

import hashlib

import numpy as np

from jointrain.errors import InvalidInputError
from jointrain.experiments._fold import Fold
from jointrain.experiments._recipe import OPEN_SETTINGS, Recipe

OPEN_SETTINGS_NAME = "open settings"
"""What recipes in words call the number of the rules for what they leave open."""


def array_digest(values: np.ndarray) -> str:
    """Return a hash of an array."""
    content = values.tobytes() if values.dtype != object else repr(values.tolist()).encode()
    return hashlib.sha256(content).hexdigest()


def fold_in_words(fold: Fold) -> list[object]:
    """Return what tells a fold from others."""
    return [fold.number, fold.seed, array_digest(fold.train), array_digest(fold.test)]


def recipe_in_words(recipe: Recipe) -> object:
    """Return a recipe as JSON, or in the words of Python where its order is a function."""
    try:
        return recipe.to_json() | recipe.sources() | {OPEN_SETTINGS_NAME: OPEN_SETTINGS}
    except InvalidInputError:
        return repr(recipe)
