"""Freezing: what names of parts mean, stages of a trunk, running statistics."""

import pytest
import torch
from torch import nn

from jointrain import HardSharing, InvalidInputError
from jointrain.networks import LowRankAdapters
from jointrain.training._freezing import frozen, keep_running_statistics, parameters_of, stages


def _network(heads=2):
    trunk = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    return HardSharing(trunk, {f"t{i}": nn.Linear(2, 1) for i in range(heads)})


def _same(ours, theirs):
    return [id(p) for p in ours] == [id(p) for p in theirs]


@pytest.mark.parametrize("heads", [2, 20], ids=["separate heads", "grouped heads"])
def test_names_mean_shared_layers_tasks_pieces_and_modules(heads):
    network = _network(heads)
    assert _same(parameters_of(network, "shared"), network.trunk.parameters())
    assert _same(parameters_of(network, "trunk"), network.trunk.parameters())
    assert _same(parameters_of(network, "trunk.2"), network.trunk[2].parameters())
    assert _same(parameters_of(network, "t1"), network.task_parameters("t1"))
    assert _same(parameters_of(network, "heads.t1"), network.task_parameters("t1"))
    expected = [p for name in network.task_names for p in network.task_parameters(name)]
    assert _same(parameters_of(network, "heads"), expected)


def test_the_trunk_of_low_rank_adapters_is_shared_and_the_adapters_are_not():
    network = LowRankAdapters(nn.Linear(3, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}, rank=1)
    shared = parameters_of(network, "shared")
    assert {tuple(p.shape) for p in shared} == {(4, 3), (4,)}
    adapters = parameters_of(network, "adapters")
    assert [tuple(p.shape) for p in adapters] == [(1, 3), (4, 1)] * 2
    assert _same(parameters_of(network, "adapters.b"), adapters[2:])


def test_an_unknown_part_names_the_closest():
    with pytest.raises(InvalidInputError, match=r"`freeze` names 'trnk\.2', .*mean 'trunk.2'"):
        parameters_of(_network(), "trnk.2")
    with pytest.raises(InvalidInputError, match=r"names 'sharde', .*did you mean 'shared'"):
        parameters_of(_network(), "sharde")


def test_a_task_whose_head_is_shared_is_refused():
    trunk, head = nn.Linear(3, 2), nn.Linear(2, 1)
    same = HardSharing(trunk, {"a": head, "b": head})
    with pytest.raises(
        InvalidInputError,
        match=r"`freeze` names task 'a', but parameters of its heads.a belong to heads.b, too; "
        r"name 'heads.a' to mean them all",
    ):
        parameters_of(same, "a")
    assert _same(parameters_of(same, "heads.a"), head.parameters())
    tied = nn.Linear(2, 1)
    tied.weight = head.weight
    with pytest.raises(InvalidInputError, match=r"belong to heads.a, too; name 'heads.b'"):
        stages(HardSharing(trunk, {"a": head, "b": tied, "c": nn.Linear(2, 1)}), ["c", "b"])
    inner = nn.Linear(3, 2)
    inner.weight = trunk.weight
    network = HardSharing(trunk, {"a": nn.Sequential(nn.Linear(2, 3), inner), "b": head})
    with pytest.raises(
        InvalidInputError, match=r"`parameter_groups` names .* belong to trunk, too"
    ):
        parameters_of(network, "a", "parameter_groups")
    assert _same(parameters_of(network, "b"), head.parameters())


def test_a_task_without_parameters_of_its_own_is_refused():
    network = HardSharing(nn.Linear(3, 1), {"a": nn.Identity(), "b": nn.Linear(1, 1)})
    with pytest.raises(InvalidInputError, match="`freeze` names task 'a', which has no parameters"):
        parameters_of(network, "a")


def test_what_was_frozen_before_stays_frozen():
    layer = nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    with frozen(layer.parameters()):
        assert not layer.weight.requires_grad
    assert layer.weight.requires_grad
    assert not layer.bias.requires_grad


def test_stages_go_from_the_top_of_the_trunk():
    network = _network()
    expected = [list(network.trunk[i].parameters()) for i in (4, 2, 0)]
    for ours, theirs in zip(stages(network, "from_top"), expected, strict=True):
        assert _same(ours, theirs)
    inside = HardSharing(nn.Sequential(network.trunk), {"a": nn.Linear(2, 1)})
    assert len(stages(inside, "from_top")) == 3
    assert [len(stage) for stage in stages(network, ["trunk.2", "t0"])] == [2, 2]


def test_a_network_without_a_trunk_of_layers_is_refused():
    for trunk in (nn.Identity(), nn.Linear(3, 2)):
        network = HardSharing(trunk, {"a": nn.LazyLinear(1)})
        with pytest.raises(InvalidInputError, match="'from_top' needs a trunk of several layers"):
            stages(network, "from_top")


def test_frozen_batch_normalisation_keeps_its_statistics():
    frozen_part = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False))
    free_part = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    frozen_part.requires_grad_(False)
    network = nn.Sequential(frozen_part, free_part).train()
    keep_running_statistics(network)
    network(torch.randn(8, 3))
    assert torch.equal(frozen_part[1].running_mean, torch.zeros(3))
    assert not torch.equal(free_part[1].running_mean, torch.zeros(3))
