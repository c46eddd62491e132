"""Soft sharing: the penalties against their formulas, and what they reach."""

import math

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.networks import SoftSharing


def heads(names="abc"):
    return {name: nn.Linear(4, 1) for name in names}


def test_each_task_runs_a_trunk_of_its_own_that_starts_from_the_given_one():
    trunk = nn.Linear(8, 4)
    network = SoftSharing(trunk, heads())
    x = torch.randn(5, 8)
    for name in "abc":
        head = network.heads.layers[network.index_of(name)]
        assert torch.equal(network(x)[name], head(trunk(x)))
    assert network.shared_parameters() == []
    assert float(network.penalty().detach()) == pytest.approx(0, abs=1e-12)


def test_l2_is_the_sum_over_pairs_of_squared_distances():
    network = SoftSharing(nn.Linear(8, 4), heads(), strength=0.3, reinitialize=True).double()
    vectors = [torch.cat([p.flatten() for p in trunk.parameters()]) for trunk in network.trunks]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = 0.3 * sum((vectors[i] - vectors[j]).square().sum() for i, j in pairs)
    torch.testing.assert_close(network.penalty(), expected)


def test_trace_norm_is_the_sum_of_singular_values_of_each_parameter_s_stack():
    network = SoftSharing(
        nn.Linear(8, 4), heads(), distance="trace", strength=0.3, reinitialize=True
    ).double()
    expected = 0
    for tensors in zip(*(trunk.parameters() for trunk in network.trunks), strict=True):
        stacked = torch.stack([p.detach().flatten() for p in tensors])
        expected += torch.linalg.eigvalsh(stacked @ stacked.T).clamp_min(0).sqrt().sum()
    torch.testing.assert_close(network.penalty().detach(), 0.3 * expected)


@pytest.mark.parametrize("distance", ["l2", "trace"])
def test_the_penalty_of_a_step_moves_the_trunks_of_its_tasks_alone(distance):
    network = SoftSharing(nn.Linear(8, 4), heads(), distance=distance, reinitialize=True)
    network.penalty(["b"]).backward()
    moved = [any(p.grad is not None for p in trunk.parameters()) for trunk in network.trunks]
    assert moved == [False, True, False]


def test_no_strength_or_one_task_adds_nothing():
    assert SoftSharing(nn.Linear(8, 4), heads(), strength=0.0).penalty() is None
    assert SoftSharing(nn.Linear(8, 4), heads("a")).penalty() is None


def test_trunks_by_task_are_taken_as_they_are():
    trunks = {name: nn.Linear(8, 4) for name in "cab"}
    network = SoftSharing(trunks, heads())
    assert list(network.trunks) == [trunks[name] for name in "abc"]


@pytest.mark.parametrize(
    "trunk, settings, message",
    [
        (nn.Linear(8, 4), {"distance": "l1"}, "`distance` must be one of l2, trace, got 'l1'"),
        (nn.Linear(8, 4), {"strength": -1.0}, "`strength` must be at least 0"),
        (nn.Linear(8, 4), {"strength": math.nan}, "`strength` must be at least 0"),
        ({"a": nn.Linear(8, 4)}, {}, "`trunk` has no entry for task 'b'"),
        (
            {name: nn.Linear(8, 4) for name in ["a", "b", "c", "bb"]},
            {},
            "names 'bb', for which there is no head.*did you mean 'b'",
        ),
        (
            {"a": nn.Linear(8, 4), "b": nn.Linear(8, 4), "c": nn.Linear(8, 5)},
            {},
            r"task 'c' differs from that of 'a' in parameter 'bias': \(5,\) against \(4,\)",
        ),
    ],
)
def test_what_can_t_be_shared_softly_is_refused(trunk, settings, message):
    with pytest.raises(InvalidInputError, match=message):
        SoftSharing(trunk, heads(), **settings)
