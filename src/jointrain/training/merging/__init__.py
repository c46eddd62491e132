"""Merging: tasks trained apart from one initialisation, whose shared layers then become one."""

from jointrain.training.merging._merge import Merge, MergeChoice, Method, merges_by_name
from jointrain.training.merging._merge_runner import MergeRunner, OpenData, apart_phase
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
    "Method",
    "OpenData",
    "State",
    "apart_phase",
    "dropped",
    "merges_by_name",
    "moved",
    "sign_elected_mean",
    "task_vector",
    "trimmed",
    "weighted_mean",
    "weighted_sum",
]
