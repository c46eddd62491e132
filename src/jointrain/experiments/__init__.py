"""Experiments: recipes, what a study knows of what is to be learned, and one's own modules."""

from jointrain.experiments._any_experiment import AnyExperiment, ExperimentJob
from jointrain.experiments._fold import Fold, FoldResult
from jointrain.experiments._fold_overlaps import fold_overlaps
from jointrain.experiments._gradient_weights import gradient_weights
from jointrain.experiments._named_recipes import (
    FURTHER,
    SEPARATE,
    default_recipes,
    named_recipes,
)
from jointrain.experiments._recipe import Recipe, size_weights
from jointrain.experiments._recipe_runs import RunsOfFold, run_recipes
from jointrain.experiments._weight_rules import Members, rounds

__all__ = [
    "FURTHER",
    "SEPARATE",
    "AnyExperiment",
    "ExperimentJob",
    "Fold",
    "FoldResult",
    "Members",
    "Recipe",
    "RunsOfFold",
    "default_recipes",
    "fold_overlaps",
    "gradient_weights",
    "named_recipes",
    "rounds",
    "run_recipes",
    "size_weights",
]
