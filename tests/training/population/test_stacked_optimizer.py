"""The kind of optimiser that a population reads off a trainer's."""

import pytest
from torch import nn

from jointrain import HardSharing, OptimizerSettings
from jointrain.training import Optimizers
from jointrain.training.population._stacked_optimizer import OptimizerKind, optimizer_kind


@pytest.mark.parametrize(
    "settings",
    [
        OptimizerSettings(weight_decay=0.1),
        OptimizerSettings(name="adam", weight_decay=0.2),
        OptimizerSettings(name="sgd", weight_decay=0.3, momentum=0.4),
    ],
    ids=lambda settings: settings.name,
)
def test_settings_are_of_the_kind_of_the_optimisers_made_from_them(settings):
    network = HardSharing(nn.Linear(3, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 2)})
    optimizers = Optimizers(network, settings)
    before = optimizer_kind(optimizers, network), optimizers.learning_rate
    assert optimizers.settings is settings
    assert len(optimizers.all) == 1
    assert optimizers.settings is None
    assert (optimizer_kind(optimizers, network), optimizers.learning_rate) == before
    assert isinstance(before[0], OptimizerKind)
