"""Epochs as they are told to whoever looks on."""

from __future__ import annotations

import math
from typing import Any

from jointrain.system.training_feed import feed
from jointrain.training.callbacks import EpochRecord


def tell_epoch(trainer: Any, record: EpochRecord) -> None:
    """Tell who looks on of an epoch that is over; nothing happens where nobody does.

    Args:
        trainer: Whose.
        record: Of the epoch.
    """
    told = feed()
    if told is None or (trainer.ranks is not None and trainer.ranks.rank != 0):
        return
    settings = trainer.settings
    before = [one.step for one in trainer.history[-2:] if one is not record]
    told.tell(
        record.epoch,
        settings.epochs if settings.steps is None and record.phase is None else 0,
        (record.step - (before[-1] if before else 0)) * _rows_of_a_step(trainer),
        record.training,
        record.validation,
        record.weights or {name: trainer.weights[name] for name in trainer.tasks},
    )


def _rows_of_a_step(trainer: Any) -> float:
    """Return how many rows a step takes, on average over an epoch of the largest task."""
    sets, settings = trainer.session.training, trainer.settings
    whole = float(settings.batch_size * settings.accumulate)
    if sets is None or not sets.labels:
        return whole
    largest = max(sets.labels, key=sets.labels.__getitem__)
    rows = sets.labels[largest] / max(sets.batches.get(largest, 0), 1)
    return rows if math.isfinite(rows) and 0 < rows < whole else whole
