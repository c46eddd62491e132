"""Sampling: which tasks and which rows a step trains on."""

from jointrain.training.sampling._bad_rows import BadRows, default_batch
from jointrain.training.sampling._batch import Batch
from jointrain.training.sampling._batches import (
    EVALUATION_ROWS,
    RowSampler,
    StepRows,
    rows_at_once,
)
from jointrain.training.sampling._class_weights import ClassFactors, class_factors
from jointrain.training.sampling._mixture import Mixture, MixturePlan
from jointrain.training.sampling._mixture_loader import MixtureLoader
from jointrain.training.sampling._random_numbers import RandomNumbers, derived_seed
from jointrain.training.sampling._row_shares import RowShare, local_rows
from jointrain.training.sampling._row_weights import weigh_rows
from jointrain.training.sampling._schedule import (
    Alternating,
    Joint,
    RunProgress,
    Schedule,
    Separate,
    checked_step,
)
from jointrain.training.sampling._task_sets import Data, TaskSets, input_batches
from jointrain.training.sampling._turns import Turns

__all__ = [
    "EVALUATION_ROWS",
    "Alternating",
    "BadRows",
    "Batch",
    "ClassFactors",
    "Data",
    "Joint",
    "Mixture",
    "MixtureLoader",
    "MixturePlan",
    "RandomNumbers",
    "RowSampler",
    "RowShare",
    "RunProgress",
    "Schedule",
    "Separate",
    "StepRows",
    "TaskSets",
    "Turns",
    "checked_step",
    "class_factors",
    "default_batch",
    "derived_seed",
    "input_batches",
    "local_rows",
    "rows_at_once",
    "weigh_rows",
]
