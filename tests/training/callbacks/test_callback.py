"""Callbacks: every hook does nothing unless overridden, and records are values."""

import pytest
import torch
from torch import nn

from jointrain import Callback, EpochRecord, HardSharing, Task, TensorData, Trainer


def test_a_bare_callback_changes_nothing():
    data = TensorData(torch.randn(8, 2), {"y": torch.randn(8)})
    weights = []
    for callbacks in ([], [Callback()]):
        torch.manual_seed(1)
        network = HardSharing(nn.Identity(), {"y": nn.Linear(2, 1)})
        Trainer(network, [Task.regression("y")], steps=3, callbacks=callbacks).fit(data)
        weights.append(network.task_parameters("y")[0])
    assert torch.equal(*weights)


def test_a_record_is_a_value():
    record = EpochRecord(1, 4, {"y": 0.5}, {}, None, False)
    assert record == EpochRecord(1, 4, {"y": 0.5}, {}, None, False)
    with pytest.raises(AttributeError):
        record.epoch = 2
