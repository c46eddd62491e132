"""Sluice networks: mixing of subspaces, skipped layers, and the penalty, by hand."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.networks import Sluice


def stages():
    return [nn.Linear(8, 4), nn.Sequential(nn.Tanh(), nn.Linear(4, 4))]


def heads(names="ab"):
    return {name: nn.Linear(4, 2) for name in names}


def test_outputs_equal_the_formula():
    network = Sluice(stages(), heads(), subspaces=2).double()
    with torch.no_grad():
        for parameter in (*network.mixing, *network.skips):
            parameter.normal_()
    x = torch.randn(5, 8).double()
    now, levels = [x, x], []
    for row, alpha in zip(network.columns, network.mixing, strict=True):
        plain = [stage(value) for stage, value in zip(row, now, strict=True)]
        pieces = [half for y in plain for half in (y[:, :2], y[:, 2:])]
        mixed = [sum(alpha[i, j] * pieces[j] for j in range(4)) for i in range(4)]
        now = [torch.cat(mixed[:2], 1), torch.cat(mixed[2:], 1)]
        levels.append(now)
    for i, name in enumerate("ab"):
        features = network.skips[i][0] * levels[0][i] + network.skips[i][1] * levels[1][i]
        torch.testing.assert_close(network(x)[name], network.heads.layers[i](features))


def test_the_penalty_is_the_squared_overlap_of_the_subspaces_weights():
    network = Sluice(stages(), heads(), strength=0.5).double()
    expected = 0
    for row in network.columns:
        for stage in row:
            weight = stage.weight if isinstance(stage, nn.Linear) else stage[1].weight
            expected += (weight[:2] @ weight[2:].T).square().sum()
    torch.testing.assert_close(network.penalty(), 0.5 * expected)


def test_orthogonal_subspaces_cost_nothing():
    network = Sluice([nn.Linear(8, 4)], heads())
    with torch.no_grad():
        for stage in network.columns[0]:
            stage.weight.copy_(torch.eye(8)[:4])
    assert float(network.penalty().detach()) == 0
    assert Sluice(stages(), heads(), subspaces=1).penalty() is None


def test_initial_weights_sum_to_one():
    network = Sluice(stages(), heads("abc"))
    for mixing in network.mixing:
        torch.testing.assert_close(mixing.sum(1), torch.ones(6))
        torch.testing.assert_close(mixing.diagonal(), torch.full((6,), 0.9))
    for skip in network.skips:
        torch.testing.assert_close(skip.detach(), torch.tensor([0.1, 0.9]))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"subspaces": 0}, "`subspaces` must be at least 1"),
        ({"self_weight": -0.1}, "`self_weight` must lie in"),
        ({"strength": float("inf")}, "`strength` must be at least 0"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        Sluice(stages(), heads(), **settings)


def test_stages_that_do_not_fit_are_refused_with_their_shapes():
    with pytest.raises(InvalidInputError, match=r"divide .* got 3 for a stage that gives \[b, 4\]"):
        Sluice(stages(), heads(), subspaces=3)(torch.zeros(2, 8))
    network = Sluice([nn.Linear(8, 4), nn.Linear(4, 6)], {"a": nn.Linear(6, 1)})
    with pytest.raises(InvalidInputError, match=r"one shape, .* got \[b, 4\] and \[b, 6\]"):
        network(torch.zeros(2, 8))
