"""Tasks: one thing to predict."""

from jointrain.task._target_columns import TargetColumns
from jointrain.task._task import IGNORED, Label, Task

__all__ = [
    "IGNORED",
    "Label",
    "TargetColumns",
    "Task",
]
