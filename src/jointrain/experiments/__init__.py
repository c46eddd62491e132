"""Experiments: recipes, what a study knows of what is to be learned, and one's own modules."""

from jointrain.experiments._any_experiment import AnyExperiment, ExperimentJob
from jointrain.experiments._experiment import Experiment
from jointrain.experiments._fold import Fold, FoldResult
from jointrain.experiments._fold_overlaps import fold_overlaps
from jointrain.experiments._gradient_weights import gradient_weights
from jointrain.experiments._job_parts import job_parts
from jointrain.experiments._job_words import (
    OPEN_SETTINGS_NAME,
    array_digest,
    fold_in_words,
    recipe_in_words,
)
from jointrain.experiments._loop_experiment import LoopRecipe
from jointrain.experiments._loss_curves import LossCurve
from jointrain.experiments._named_recipes import (
    FURTHER,
    SEPARATE,
    default_recipes,
    named_recipes,
)
from jointrain.experiments._recipe import Recipe, size_weights
from jointrain.experiments._recipe_runs import RunsOfFold, Spent, run_recipes
from jointrain.experiments._splits import Folds, Given, Holdout, check_whole
from jointrain.experiments._weight_rules import Members, requested_recipes

__all__ = [
    "FURTHER",
    "OPEN_SETTINGS_NAME",
    "SEPARATE",
    "AnyExperiment",
    "Experiment",
    "ExperimentJob",
    "Fold",
    "FoldResult",
    "Folds",
    "Given",
    "Holdout",
    "LoopRecipe",
    "LossCurve",
    "Members",
    "Recipe",
    "RunsOfFold",
    "Spent",
    "array_digest",
    "check_whole",
    "default_recipes",
    "fold_in_words",
    "fold_overlaps",
    "gradient_weights",
    "job_parts",
    "named_recipes",
    "recipe_in_words",
    "requested_recipes",
    "run_recipes",
    "size_weights",
]
