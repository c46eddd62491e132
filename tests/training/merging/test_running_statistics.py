"""Running statistics: those of the rows, at the weights of the moment."""

import torch
from torch import nn

from jointrain import HardSharing, Task, TensorData
from jointrain.training.merging._running_statistics import measure_running_statistics
from jointrain.training.sampling import TaskSets


def _sets(x):
    data = TensorData(x, {"a": x.sum(1)})
    tasks = {"a": Task.regression("a")}
    return TaskSets.of(data, tasks, "training", batch_size=8, device=torch.device("cpu"))


def _network(*layers):
    return HardSharing(nn.Sequential(nn.Linear(3, 4), *layers), {"a": nn.Linear(4, 1)})


def test_they_become_those_of_all_rows_with_dropout_off():
    x = torch.randn(50, 3) + 2
    network = _network(nn.Dropout(0.5), nn.BatchNorm1d(4, momentum=0.2))
    network.train()
    measure_running_statistics(network, _sets(x))
    features = network.trunk[0](x)
    layer = network.trunk[2]
    torch.testing.assert_close(layer.running_mean, features.mean(0))
    torch.testing.assert_close(layer.running_var, features.var(0))
    assert layer.momentum == 0.2
    assert not any(module.training for module in network.modules())


def test_frozen_layers_and_single_rows_are_left_alone():
    network = _network(nn.BatchNorm1d(4))
    network.trunk[1].requires_grad_(False)
    measure_running_statistics(network, _sets(torch.randn(50, 3) + 2))
    assert network.trunk[1].running_mean.tolist() == [0.0] * 4
    network.trunk[1].requires_grad_(True)
    measure_running_statistics(network, _sets(torch.randn(1, 3)))
    assert network.trunk[1].running_mean.tolist() == [0.0] * 4
