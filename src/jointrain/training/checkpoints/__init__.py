"""Checkpoints: all that a run needs to go on to the bit, as files that can't run code."""

from jointrain.training.checkpoints._checkpoints import CheckpointFolder, Checkpoints
from jointrain.training.checkpoints._run_description import check_same_run, run_description
from jointrain.training.checkpoints._stored_history import history_from_plain, history_to_plain
from jointrain.training.checkpoints._stored_state import from_bytes, to_bytes
from jointrain.training.checkpoints._stretches import Stretches

__all__ = [
    "CheckpointFolder",
    "Checkpoints",
    "Stretches",
    "check_same_run",
    "from_bytes",
    "history_from_plain",
    "history_to_plain",
    "run_description",
    "to_bytes",
]
