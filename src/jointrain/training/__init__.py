"""Training: schedules, optimisers and the loop."""

from jointrain.training._callback import Callback, EpochRecord
from jointrain.training._optimizer import Optimizers, OptimizerSettings
from jointrain.training._recipe import Recipe
from jointrain.training._schedule import Alternating, Joint, Schedule, Separate
from jointrain.training._table_model import Run, TableModel, fit_table
from jointrain.training._trainer import Trainer, resolve_device

__all__ = [
    "Alternating",
    "Callback",
    "EpochRecord",
    "Joint",
    "OptimizerSettings",
    "Optimizers",
    "Recipe",
    "Run",
    "Schedule",
    "Separate",
    "TableModel",
    "Trainer",
    "fit_table",
    "resolve_device",
]
