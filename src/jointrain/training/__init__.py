"""Training: schedules, optimisers and the loop."""

from jointrain.training._batches import Batch
from jointrain.training._calibration import Calibration
from jointrain.training._callback import Callback, EpochRecord
from jointrain.training._device import resolve_device
from jointrain.training._importance import (
    ColumnImportance,
    column_importance,
    unseen_column_importance,
)
from jointrain.training._logging import (
    ConsoleLogger,
    CSVLogger,
    Logger,
    MLflowLogger,
    TensorBoardLogger,
)
from jointrain.training._losses import compute_losses, label_counts, of_labelled_tasks
from jointrain.training._mixture import Mixture, MixturePlan
from jointrain.training._mixture_loader import MixtureLoader
from jointrain.training._optimizer import Optimizers, OptimizerSettings
from jointrain.training._phases import Phase, Phases
from jointrain.training._recipe import Recipe
from jointrain.training._schedule import Alternating, Course, Joint, Schedule, Separate
from jointrain.training._table_model import Run, TableModel, fit_table
from jointrain.training._trainer import Trainer
from jointrain.training.pretraining import Contrastive, Denoising, MaskedFeatures, pretrain

__all__ = [
    "Alternating",
    "Batch",
    "CSVLogger",
    "Calibration",
    "Callback",
    "ColumnImportance",
    "ConsoleLogger",
    "Contrastive",
    "Course",
    "Denoising",
    "EpochRecord",
    "Joint",
    "Logger",
    "MLflowLogger",
    "MaskedFeatures",
    "Mixture",
    "MixtureLoader",
    "MixturePlan",
    "OptimizerSettings",
    "Optimizers",
    "Phase",
    "Phases",
    "Recipe",
    "Run",
    "Schedule",
    "Separate",
    "TableModel",
    "TensorBoardLogger",
    "Trainer",
    "column_importance",
    "compute_losses",
    "fit_table",
    "label_counts",
    "of_labelled_tasks",
    "pretrain",
    "resolve_device",
    "unseen_column_importance",
]
