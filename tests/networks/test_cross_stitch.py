"""Cross-stitch: the mixing against its formula, and its two limits."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.networks import CrossStitch


def stages():
    return [nn.Linear(8, 6), nn.Sequential(nn.ReLU(), nn.Linear(6, 4))]


def heads(names="ab"):
    return {name: nn.Linear(4, 2) for name in names}


def test_with_the_unit_matrix_the_tasks_are_separate_networks():
    network = CrossStitch(stages(), heads(), self_weight=1.0)
    x = torch.randn(5, 8)
    for index, name in enumerate("ab"):
        features = x
        for row in network.columns:
            features = row[index](features)
        expected = network.heads.layers[index](features)
        torch.testing.assert_close(network(x)[name], expected)


def test_activations_are_mixed_after_each_stage():
    network = CrossStitch(stages(), heads("abc"), self_weight=0.7).double()
    x = torch.randn(5, 8).double()
    alpha = torch.tensor([[0.7, 0.15, 0.15], [0.15, 0.7, 0.15], [0.15, 0.15, 0.7]]).double()
    torch.testing.assert_close(network.units[0].mixing.detach(), alpha, rtol=0, atol=1e-7)
    now = [x, x, x]
    for row in network.columns:
        plain = [stage(value) for stage, value in zip(row, now, strict=True)]
        now = [sum(alpha[i, j] * plain[j] for j in range(3)) for i in range(3)]
    for index, name in enumerate("abc"):
        expected = network.heads.layers[index](now[index])
        torch.testing.assert_close(network(x)[name], expected, rtol=1e-6, atol=1e-7)


def test_each_channel_may_have_a_mixing_of_its_own():
    network = CrossStitch([nn.Conv2d(1, 3, 1)], {"a": nn.Flatten(), "b": nn.Flatten()},
                          channels=[3])  # fmt: skip
    unit = network.units[0]
    with torch.no_grad():
        unit.mixing.copy_(torch.randn(2, 2, 3))
    x = torch.randn(4, 1, 2, 2)
    plain = [stage(x) for stage in network.columns[0]]
    for i, name in enumerate("ab"):
        expected = sum(unit.mixing[i, j][:, None, None] * plain[j] for j in range(2))
        torch.testing.assert_close(network(x)[name], expected.flatten(1))


def test_one_task_is_its_own_network():
    network = CrossStitch(stages(), heads("a"))
    assert network.units[0].mixing.tolist() == [[1.0]]


def test_copies_start_from_the_given_weights_if_asked():
    given = stages()
    same = CrossStitch(given, heads(), reinitialize=False)
    assert torch.equal(same.columns[0][1].weight, given[0].weight)
    drawn = CrossStitch(given, heads())
    assert not torch.equal(drawn.columns[0][1].weight, given[0].weight)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"self_weight": 1.5}, r"`self_weight` must lie in \[0, 1\], got 1.5"),
        ({"channels": [6]}, "`channels` must have an entry for each of the 2 stages, got 1"),
    ],
)
def test_values_out_of_range_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        CrossStitch(stages(), heads(), **settings)
