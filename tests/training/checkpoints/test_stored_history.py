"""Histories come back as they were, whatever their records hold."""

import math

from jointrain.training import EpochRecord
from jointrain.training.checkpoints import (
    from_bytes,
    history_from_plain,
    history_to_plain,
    to_bytes,
)

HISTORY = [
    EpochRecord(1, 4, {"a": 0.1}, {}, None, best=False, phase="before"),
    EpochRecord(2, 8, {"a": 0.1 + 1e-16, "b": 2.0}, {"a": 1 / 3}, 0.7, best=True),
    EpochRecord(3, 12, {"a": 3.0, "b": 2.0}, {"a": 0.2}, 0.5, best=False, converged=("b", "a")),
    EpochRecord(4, 16, {"b": 2.0, "a": 3.0}, {"a": 0.2}, 0.0, best=False),
]


def test_a_history_comes_back():
    back = history_from_plain(from_bytes(to_bytes(history_to_plain(HISTORY))))
    assert back == HISTORY
    assert [list(r.training) for r in back] == [list(r.training) for r in HISTORY]
    assert history_from_plain(history_to_plain([])) == []


def test_a_score_that_is_no_number_comes_back():
    record = EpochRecord(1, 1, {}, {"a": math.nan}, math.nan, best=False)
    (back,) = history_from_plain(history_to_plain([record]))
    assert math.isnan(back.score)
    assert math.isnan(back.validation["a"])


def test_a_hundred_thousand_epochs_are_stored():
    many = [EpochRecord(i, i, {"a": 0.5}, {"a": 0.25}, 0.5, best=False) for i in range(100_000)]
    data = to_bytes(history_to_plain(many))
    assert len(data) < 6e6
    assert history_from_plain(from_bytes(data)) == many
