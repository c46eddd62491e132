"""Customized gate control: outputs against the formula, and which experts a task runs."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.networks import CGC, MMoE

HEADS = {"a": 1, "b": 3}


def heads():
    return {name: nn.Linear(4, width) for name, width in HEADS.items()}


def test_outputs_equal_the_formula():
    shared = [nn.Linear(8, 4) for _ in range(2)]
    own = {"a": [nn.Linear(8, 4)], "b": [nn.Linear(8, 4), nn.Linear(8, 4)]}
    network = CGC(shared, own, heads(), gate_features=8)
    x = torch.randn(5, 8)
    for index, name in enumerate(HEADS):
        gate = network.level.gates[index]
        weights = (x @ gate.weight.T + gate.bias).softmax(1)
        experts = [*own[name], *shared]
        assert weights.shape[1] == len(experts)
        features = sum(weights[:, e, None] * expert(x) for e, expert in enumerate(experts))
        torch.testing.assert_close(network(x)[name], network.heads.layers[index](features))


def test_a_task_s_own_experts_are_its_own():
    own = {name: [nn.Linear(8, 4)] for name in HEADS}
    network = CGC([nn.Linear(8, 4)], own, heads(), gate_features=8)
    assert {id(p) for p in own["a"][0].parameters()} <= {
        id(p) for p in network.task_parameters("a")
    }
    network(torch.randn(2, 8), ["b"])["b"].sum().backward()
    assert all(p.grad is None for p in network.task_parameters("a"))


def test_without_own_experts_it_is_the_mixture_of_experts():
    experts, made = [nn.Linear(8, 4) for _ in range(3)], heads()
    ours = CGC(experts, {"a": [], "b": []}, made, gate_features=8)
    mixture = MMoE(experts, made, gate_features=8)
    mixture.gates.load_state_dict(ours.level.gates.state_dict())
    x = torch.randn(5, 8)
    for name in HEADS:
        torch.testing.assert_close(ours(x)[name], mixture(x)[name])


def test_a_task_without_any_expert_is_refused():
    with pytest.raises(InvalidInputError, match="task 'b' has no expert to choose from"):
        CGC([], {"a": [nn.Linear(8, 4)], "b": []}, heads(), gate_features=8)
    with pytest.raises(InvalidInputError, match="`task_experts` has no entry for task 'b'"):
        CGC([nn.Linear(8, 4)], {"a": []}, heads(), gate_features=8)
