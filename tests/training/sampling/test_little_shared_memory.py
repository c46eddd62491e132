"""Workers where there is little shared memory: the same batches, through pipes."""

from __future__ import annotations

import os
import warnings

import pytest
import torch
from torch.utils.data import Dataset

from jointrain import Task
from jointrain.data import DataSource
from jointrain.training.sampling import _little_shared_memory as memory
from jointrain.training.sampling._loader_batches import LoaderBatches


class Rows(Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, row):
        return torch.full((3,), float(row)), torch.tensor(float(row))


def _drawn():
    source = DataSource(Rows(), num_workers=1)
    batches = LoaderBatches(source, [Task.regression("a")], 4, 0, torch.device("cpu"))
    drawn = [batches.draw(("a",)).data for _ in range(3)]
    batches.close()
    return drawn


def test_batches_are_the_same_through_pipes(monkeypatch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = _drawn()
    monkeypatch.setattr(memory, "ENOUGH", 2**80)
    with pytest.warns(UserWarning, match="through pipes"):
        packed = _drawn()
    for one, other in zip(plain, packed, strict=True):
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.targets["a"], other.targets["a"])


def test_nobody_is_told_without_workers_or_where_nothing_is_known(tmp_path):
    assert memory.sending(None, 0) is None
    assert memory.sending(None, 2, tmp_path / "none") is None
    enough = os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize >= memory.ENOUGH
    assert not enough or memory.sending(None, 2, tmp_path) is None
