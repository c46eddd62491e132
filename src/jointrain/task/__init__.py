"""Tasks: one thing to predict. A kind of task is one file."""

from jointrain.task._code_columns import (
    MISSING_CODE,
    RARE_CODE,
    UNSEEN_CODE,
    CodeColumns,
)
from jointrain.task._kind import (
    IGNORED,
    ClassKind,
    Label,
    TableTaskKind,
    TaskKind,
    of_mean_one,
    present_labels,
)
from jointrain.task._kinds import KINDS, TABLE_KINDS
from jointrain.task._metric_choice import check_metric, metric_names
from jointrain.task._offered_metrics import OfferedMetric
from jointrain.task._stacked_loss import StackedLoss
from jointrain.task._target_columns import TargetColumns
from jointrain.task._task import Task

__all__ = [
    "IGNORED",
    "KINDS",
    "MISSING_CODE",
    "RARE_CODE",
    "TABLE_KINDS",
    "UNSEEN_CODE",
    "ClassKind",
    "CodeColumns",
    "Label",
    "OfferedMetric",
    "StackedLoss",
    "TableTaskKind",
    "TargetColumns",
    "Task",
    "TaskKind",
    "check_metric",
    "metric_names",
    "of_mean_one",
    "present_labels",
]
