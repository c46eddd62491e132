"""Merging: tasks trained apart from one initialisation, whose shared layers then become one."""

from jointrain.training.merging._merge import Merge, MergeChoice
from jointrain.training.merging._merge_runner import MergeRunner, OpenData
from jointrain.training.merging._task_vectors import (
    State,
    dropped,
    moved,
    sign_elected_mean,
    task_vector,
    trimmed,
    weighted_mean,
    weighted_sum,
)

__all__ = [
    "Merge",
    "MergeChoice",
    "MergeRunner",
    "OpenData",
    "State",
    "dropped",
    "moved",
    "sign_elected_mean",
    "task_vector",
    "trimmed",
    "weighted_mean",
    "weighted_sum",
]
