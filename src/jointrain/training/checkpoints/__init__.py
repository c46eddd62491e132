"""Checkpoints: all that a run needs to go on to the bit, as files that can't run code."""

from jointrain.training.checkpoints._checkpoints import SHARDS, CheckpointFolder, Checkpoints
from jointrain.training.checkpoints._run_description import check_same_run, run_description
from jointrain.training.checkpoints._shard_files import apart, read_shards, write_shards
from jointrain.training.checkpoints._stored_history import history_from_plain, history_to_plain
from jointrain.training.checkpoints._stored_state import from_bytes, to_bytes
from jointrain.training.checkpoints._stretches import Stretches

__all__ = [
    "SHARDS",
    "CheckpointFolder",
    "Checkpoints",
    "Stretches",
    "apart",
    "check_same_run",
    "from_bytes",
    "history_from_plain",
    "history_to_plain",
    "read_shards",
    "run_description",
    "to_bytes",
    "write_shards",
]
