"""Mixture of experts: gates that sum to one, and outputs against the formula."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.networks import HardSharing, MMoE
from jointrain.networks._mmoe import gate_weights


def test_outputs_equal_the_formula():
    experts = [nn.Linear(8, 4) for _ in range(3)]
    network = MMoE(experts, {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}, gate_features=8)
    x = torch.randn(5, 8)
    for index, name in enumerate("ab"):
        logits = x @ network.gates[index].weight.T + network.gates[index].bias
        weights = logits.exp() / logits.exp().sum(1, keepdim=True)
        features = sum(weights[:, e, None] * expert(x) for e, expert in enumerate(experts))
        torch.testing.assert_close(network(x)[name], network.heads.layers[index](features))


def test_gates_sum_to_one_for_each_row():
    gate = nn.Linear(8, 3)
    weights = gate_weights(gate, 50 * torch.randn(20, 8))
    assert weights.shape == (20, 3)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(20))


def test_one_expert_is_hard_sharing():
    expert, heads = nn.Linear(8, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}
    x = torch.randn(5, 8)
    ours, plain = MMoE([expert], heads, gate_features=8)(x), HardSharing(expert, heads)(x)
    for name in heads:
        torch.testing.assert_close(ours[name], plain[name])


def test_images_are_flattened_for_the_gates_or_pass_a_module():
    experts = [nn.Conv2d(1, 2, 3) for _ in range(2)]
    heads = {"a": nn.Flatten(), "b": nn.Flatten()}
    x = torch.randn(3, 1, 4, 4)
    assert MMoE(experts, heads, gate_features=16)(x)["a"].shape == (3, 8)
    pooled = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())
    assert MMoE(experts, heads, gate_features=4, gate_input=pooled)(x)["b"].shape == (3, 8)
    learned = MMoE(experts, heads, gate_features=5, gate_input=nn.Sequential(nn.Flatten(),
                   nn.Linear(16, 5)))  # fmt: skip
    assert "gate input: Sequential, 85 parameters, shared by all" in learned.describe()


def test_what_does_not_fit_is_refused():
    heads = {"a": nn.Linear(4, 1)}
    with pytest.raises(InvalidInputError, match="at least one module"):
        MMoE([], heads, gate_features=8)
    with pytest.raises(InvalidInputError, match=r"gates take \[b, 7\], but .* is \[b, 8\]"):
        MMoE([nn.Linear(8, 4)], heads, gate_features=7)(torch.zeros(2, 8))
    uneven = MMoE([nn.Linear(8, 4), nn.Linear(8, 5)], heads, gate_features=8)
    with pytest.raises(InvalidInputError, match=r"expert 0 gives \[b, 4\] and expert 1 \[b, 5\]"):
        uneven(torch.zeros(2, 8))


class _FirstColumns(nn.Linear):
    def forward(self, x):
        return super().forward(x[:, : self.in_features])


def test_gates_of_ones_own_may_take_any_input():
    assert gate_weights(_FirstColumns(3, 2), torch.randn(4, 8)).shape == (4, 2)
