"""Progressive layered extraction: levels against the formula, and what a step computes."""

import pytest
import torch
from torch import nn

from jointrain import InvalidInputError
from jointrain.networks import CGC, PLE


def heads():
    return {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}


def level(width):
    shared = [nn.Linear(width, 4) for _ in range(2)]
    return shared, {"a": [nn.Linear(width, 4)], "b": [nn.Linear(width, 4), nn.Linear(width, 4)]}


def test_three_levels_equal_the_formula():
    levels = [level(8), level(4), level(4)]
    network = PLE(levels, heads(), gate_features=[8, 4, 4]).double()
    x = torch.randn(5, 8).double()
    own, common = {"a": x, "b": x}, x
    for number, (shared, mine) in enumerate(levels):
        made = network.levels[number]
        from_shared = [expert(common) for expert in shared]
        outputs = {name: [expert(own[name]) for expert in mine[name]] for name in mine}

        def mix(gate, entering, values):
            weights = (entering @ gate.weight.T + gate.bias).softmax(1)
            return sum(weights[:, i, None] * value for i, value in enumerate(values))

        if number < 2:
            everything = [*from_shared, *outputs["a"], *outputs["b"]]
            above = mix(made.shared_gate, common, everything)
        own = {
            name: mix(made.gates[i], own[name], [*outputs[name], *from_shared])
            for i, name in enumerate(outputs)
        }
        common = above
    assert network.levels[2].shared_gate is None
    for i, name in enumerate("ab"):
        torch.testing.assert_close(network(x)[name], network.heads.layers[i](own[name]))


def test_one_level_is_customized_gate_control():
    shared, own = level(8)
    made = heads()
    ours = PLE([(shared, own)], made, gate_features=[8])
    single = CGC(shared, own, made, gate_features=8)
    single.level.gates.load_state_dict(ours.levels[0].gates.state_dict())
    x = torch.randn(5, 8)
    for name in "ab":
        torch.testing.assert_close(ours(x)[name], single(x)[name])


def test_own_are_the_last_experts_and_the_last_two_gates():
    levels = [level(8), level(4), level(4)]
    network = PLE(levels, heads(), gate_features=[8, 4, 4])
    own = {id(p) for p in network.task_parameters("a")}
    expected = [
        levels[2][1]["a"][0],
        network.levels[2].gates[0],
        network.levels[1].gates[0],
        network.heads.layers[0],
    ]
    assert own == {id(p) for module in expected for p in module.parameters()}


@pytest.mark.parametrize("levels, widths", [([], []), ([level(8)], [8, 4])])
def test_levels_and_gates_must_match(levels, widths):
    with pytest.raises(InvalidInputError, match="must have an entry for each level, got"):
        PLE(levels, heads(), gate_features=widths)
