"""Parameter groups: options of layers by name, against an optimiser made by hand."""

import pytest
import torch

from jointrain import InvalidInputError
from tests.training.checkpoints.runs import PHASES, cases, fit, trainer

CASE = cases()["joint"]
GROUPS = {
    "trunk": {"lr": 1e-4},
    "trunk.0": {"lr": 0.1, "weight_decay": 0.5},
    "kind": {"lr": 0.0},
}


def _options(made):
    names = {id(p): name for name, p in made.network.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for one in made.optimizers.all
        for group in one.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("layout", ["one", "per_group"])
def test_the_smallest_part_counts(layout):
    found = _options(trainer(CASE, parameter_groups=GROUPS, optimizer_layout=layout))
    assert found["trunk.0.weight"] == found["trunk.0.bias"] == (0.1, 0.5)
    assert found["trunk.4.weight"] == (1e-4, 0.0)
    assert found["heads.layers.0.weight"] == (1e-3, 0.0)
    assert found["heads.layers.1.bias"] == (0.0, 0.0)


def test_a_function_sees_names_and_parameters():
    made = trainer(
        CASE, parameter_groups=lambda name, p: {"weight_decay": 0.3} if p.ndim > 1 else {}
    )
    found = _options(made)
    assert found["trunk.0.weight"] == (1e-3, 0.3)
    assert found["trunk.0.bias"] == (1e-3, 0.0)
    assert len(made.optimizers.all[0].param_groups) == 2


def test_a_rate_of_zero_leaves_a_layer_as_it_is():
    made = trainer(CASE, parameter_groups=GROUPS)
    before = [p.detach().clone() for p in made.network.task_parameters("kind")]
    other = made.network.trunk[0].weight.detach().clone()
    fit(made, CASE)
    assert all(map(torch.equal, before, made.network.task_parameters("kind")))
    assert not torch.equal(other, made.network.trunk[0].weight)


def test_names_of_nothing_are_refused():
    with pytest.raises(InvalidInputError, match=r"names 'trunc', .* did you mean 'trunk'"):
        trainer(CASE, parameter_groups={"trunc": {}})
    made = trainer(CASE, parameter_groups=GROUPS, schedule=PHASES)
    with pytest.raises(InvalidInputError, match="pre-training a part"):
        fit(made, CASE)
