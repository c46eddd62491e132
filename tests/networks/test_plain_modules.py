"""What makes a module compute something else than its class says."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from jointrain.networks import (
    MLP,
    HardSharing,
    build_table_network,
    replaced_methods,
    why_not_plain,
)
from tests.training.population.runs import TASKS


class _OwnParameter(nn.Parameter):
    pass


def _own_method(module, name):
    setattr(module, name, getattr(module, name))


CHANGES = {
    "forward pre hook": lambda layer: layer.register_forward_pre_hook(lambda *_: None),
    "forward hook": lambda layer: layer.register_forward_hook(lambda *_: None),
    "backward pre hook": lambda layer: layer.register_full_backward_pre_hook(lambda *_: None),
    "backward hook": lambda layer: layer.register_full_backward_hook(lambda *_: None),
    "hook of a weight": lambda layer: layer.weight.register_hook(lambda g: g * 0),
    "hook after a gradient": lambda layer: layer.bias.register_post_accumulate_grad_hook(
        lambda p: None
    ),
    "hook of the state": lambda layer: layer.register_state_dict_post_hook(lambda *_: None),
    "hook before the state": lambda layer: layer.register_state_dict_pre_hook(lambda *_: None),
    "hook of loading": lambda layer: layer.register_load_state_dict_post_hook(lambda *_: None),
    "hook before loading": lambda layer: layer.register_load_state_dict_pre_hook(lambda *_: None),
    "spectral norm": nn.utils.spectral_norm,
    "forward": lambda layer: _own_method(layer, "forward"),
    "train": lambda layer: _own_method(layer, "train"),
    "compiled": lambda layer: layer.compile(backend="eager"),
    "parameter": lambda layer: setattr(layer, "weight", _OwnParameter(layer.weight.detach())),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_is_not_plain(change):
    trunk = nn.Sequential(MLP(3, width=4), nn.Linear(4, 4))
    assert why_not_plain(trunk) is None
    CHANGES[change](trunk[1])
    assert why_not_plain(trunk) is not None


def test_a_parametrised_layer_is_of_another_type():
    layer = nn.Linear(3, 3)
    parametrize.register_parametrization(layer, "weight", nn.Identity())
    assert type(layer) is not nn.Linear


@pytest.mark.parametrize(
    "name", ["hard", "mmoe", "cgc", "ple", "cross-stitch", "sluice", "soft", "tabm"]
)
def test_networks_of_jointrain_are_plain(name):
    assert why_not_plain(build_table_network(name, 5, list(TASKS), width=4)) is None


def test_replaced_methods_are_named():
    network = HardSharing(nn.Linear(3, 4), {f"t{i}": nn.Linear(4, 1) for i in range(16)})
    assert not replaced_methods(network)
    network.features = lambda inputs, tasks: dict.fromkeys(tasks, torch.zeros(len(inputs), 4))
    assert replaced_methods(network) == {"features"}
