"""Network: what any architecture inherits."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError, Network


class _Towers(Network):
    """Towers without a trunk, and one parameter that belongs to no task."""

    def __init__(self, names):
        super().__init__(names)
        self.towers = nn.ModuleList(nn.Linear(2, 1) for _ in self.task_names)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, inputs, tasks=None):
        names = self.task_names if tasks is None else tasks
        return {name: self.scale * self.towers[self.index_of(name)](inputs) for name in names}

    def task_parameters(self, task):
        return list(self.towers[self.index_of(task)].parameters())


def test_shared_parameters_are_those_of_no_task():
    network = _Towers(["a", "b"])
    assert network.shared_parameters() == [network.scale]
    assert network.index_of("b") == 1


def test_two_tasks_of_one_name_are_refused():
    with pytest.raises(InvalidInputError, match="must have different names"):
        _Towers(["a", "a"])


def test_no_task_is_refused():
    with pytest.raises(InvalidInputError, match="at least one task"):
        _Towers([])
