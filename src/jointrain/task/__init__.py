"""Tasks: one thing to predict. A kind of task is one file."""

from jointrain.task._chain import (
    chained_labels,
    chained_targets,
    check_chains,
    conditional,
    conditional_metrics,
    conditionals,
    given_name,
    in_order_of_chains,
    with_given,
)
from jointrain.task._class_weights import ClassWeightsOfTask, checked_class_weight
from jointrain.task._code_columns import (
    MISSING_CODE,
    RARE_CODE,
    UNSEEN_CODE,
    CodeColumns,
)
from jointrain.task._corrected import CORRECTIONS, joint_logit
from jointrain.task._dense import DENSE_KINDS, masked_target, unlabelled_pictures
from jointrain.task._kind import (
    IGNORED,
    ClassKind,
    Label,
    PlainProblem,
    PredictedColumn,
    TableTaskKind,
    TaskKind,
    of_mean_one,
    present_labels,
)
from jointrain.task._kinds import KINDS, TABLE_KINDS
from jointrain.task._metric_choice import check_metric, metric_names
from jointrain.task._offered_metrics import OfferedMetric
from jointrain.task._stacked_loss import StackedLoss
from jointrain.task._survival import default_ends
from jointrain.task._table_labels import (
    known_labels,
    label_columns,
    labels_of,
    only_labels,
    without_labels,
)
from jointrain.task._target_columns import TargetColumns
from jointrain.task._task import Task

__all__ = [
    "CORRECTIONS",
    "DENSE_KINDS",
    "IGNORED",
    "KINDS",
    "MISSING_CODE",
    "RARE_CODE",
    "TABLE_KINDS",
    "UNSEEN_CODE",
    "ClassKind",
    "ClassWeightsOfTask",
    "CodeColumns",
    "Label",
    "OfferedMetric",
    "PlainProblem",
    "PredictedColumn",
    "StackedLoss",
    "TableTaskKind",
    "TargetColumns",
    "Task",
    "TaskKind",
    "chained_labels",
    "chained_targets",
    "check_chains",
    "check_metric",
    "checked_class_weight",
    "conditional",
    "conditional_metrics",
    "conditionals",
    "default_ends",
    "given_name",
    "in_order_of_chains",
    "joint_logit",
    "known_labels",
    "label_columns",
    "labels_of",
    "masked_target",
    "metric_names",
    "of_mean_one",
    "only_labels",
    "present_labels",
    "unlabelled_pictures",
    "with_given",
    "without_labels",
]
