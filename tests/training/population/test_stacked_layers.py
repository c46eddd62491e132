"""Layers of all members: gradients are autograd's."""

import pytest
import torch
from torch import nn

from jointrain.networks import Dropout, HardSharing
from jointrain.training import Run, Trainer
from jointrain.training.population import fit_population
from jointrain.training.population._stacked_layers import ACTIVATIONS
from jointrain.training.population._stacked_mlp import why_not_by_hand
from tests.training.population.runs import BY_NAME, TOLERANCE, assert_alike, make_data

NAMES = ("price", "kind")


def make_run(activation: nn.Module, seed: int) -> Run:
    torch.manual_seed(seed)
    trunk = nn.Sequential(
        nn.Linear(5, 6), nn.LayerNorm(6), activation, Dropout(0.1 + 0.2 * seed), nn.Linear(6, 6),
        activation, nn.LayerNorm(6),
    )  # fmt: skip
    heads = {name: nn.Linear(6, BY_NAME[name].output_size) for name in NAMES}
    tasks = [BY_NAME[name] for name in NAMES]
    network = HardSharing(trunk, heads).double()
    trainer = Trainer(network, tasks, batch_size=13, steps=25, seed=seed, device="cpu")
    return Run(trainer, make_data(40, seed=1).only(NAMES), make_data(20, seed=2).only(NAMES))


@pytest.mark.parametrize(
    "activation",
    [*(kind() for kind in ACTIVATIONS), nn.GELU("tanh"), nn.LeakyReLU(0.3), nn.SiLU(inplace=True)],
    ids=repr,
)
def test_activations(activation):
    runs = [make_run(activation, seed) for seed in range(2)]
    assert why_not_by_hand(runs[0].trainer.network) is None
    fit_population(runs)
    for seed, run in enumerate(runs):
        alone = make_run(activation, seed)
        alone.fit()
        assert_alike(run, alone, TOLERANCE)
