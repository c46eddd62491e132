"""Targets side by side: the same rows and columns as apart."""

import pytest
import torch

from jointrain import InvalidInputError, TensorData
from jointrain.task._target_columns import TOGETHER_FROM, TargetColumns


def targets(count, rows=6):
    return {f"t{i}": torch.randn(rows) for i in range(count)}


def test_columns_are_the_targets():
    apart = targets(TOGETHER_FROM)
    columns = TargetColumns.of(apart)
    assert isinstance(columns, TargetColumns)
    assert list(columns) == list(apart)
    for name, target in apart.items():
        assert torch.equal(columns[name], target)
    rows = torch.tensor([4, 0])
    assert torch.equal(columns.take(rows)["t3"], apart["t3"][rows])
    assert columns.only(tuple(apart)) is columns
    some = columns.only(["t5", "t1"])
    assert list(some) == ["t5", "t1"]
    assert torch.equal(some["t5"], apart["t5"])
    together = columns.together(["t5", "t1"])
    assert torch.equal(together, torch.stack([apart["t5"], apart["t1"]], 1))
    assert TargetColumns.of(columns) is columns


def test_few_or_unlike_targets_stay_apart():
    few = targets(TOGETHER_FROM - 1)
    assert TargetColumns.of(few) is few
    for other in (torch.randn(6, 2), torch.zeros(6, dtype=torch.long), torch.randn(6).double()):
        unlike = targets(TOGETHER_FROM) | {"other": other}
        assert TargetColumns.of(unlike) is unlike


def test_data_on_a_device_take_the_same_rows_either_way():
    apart = targets(TOGETHER_FROM)
    data = TensorData(torch.randn(6, 2), apart)
    moved = data.to(torch.device("cpu"))
    assert isinstance(moved.targets, TargetColumns)
    rows = torch.tensor([5, 1, 1])
    for ours in (moved.take(rows), data.take(rows)):
        assert torch.equal(ours.inputs, data.inputs[rows])
        for name, target in apart.items():
            assert torch.equal(ours.targets[name], target[rows])
    some = moved.only(["t2"])
    assert list(some.targets) == ["t2"]
    assert torch.equal(some.take(rows).targets["t2"], apart["t2"][rows])


def test_columns_of_another_number_are_refused():
    with pytest.raises(InvalidInputError, match="2 tasks can't have 3 columns of targets"):
        TargetColumns(["a", "b"], torch.zeros(4, 3))
    with pytest.raises(InvalidInputError, match="has 5 rows, the inputs have 6"):
        TensorData(torch.zeros(6, 1), TargetColumns(["a"], torch.zeros(5, 1)))
