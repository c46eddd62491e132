"""The batches of a mixture for other loops are those of the Trainer."""

from itertools import chain, islice, repeat

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from jointrain import Alternating, HardSharing, InvalidInputError, Joint, Task, TensorData, Trainer
from jointrain.training import Mixture, MixtureLoader

TASKS = [Task.regression("a"), Task.regression("b")]


def _mixture(**settings):
    x = torch.arange(20.0)[:, None]
    return Mixture(
        {"a": TensorData(x, {"a": x[:, 0]}), "b": TensorDataset(x[:6], x[:6, 0])},
        batch_size=4, **settings,
    )  # fmt: skip


def _rows(batches):
    return [(batch.tasks, batch.data.inputs[:, 0].tolist()) for batch in batches]


@pytest.mark.parametrize(
    "settings, schedule",
    [
        ({}, Joint()),
        ({"sampling": "temperature"}, Joint()),
        ({"mixed": True}, Joint()),
        ({}, Alternating("random")),
    ],
)
def test_the_batches_are_those_of_the_trainer(settings, schedule):
    seen = []

    class Keep(Trainer):
        def training_step(self, batches):
            seen.append(_rows(batches))
            return super().training_step(batches)

    network = HardSharing(nn.Linear(1, 2), {"a": nn.Linear(2, 1), "b": nn.Linear(2, 1)})
    Keep(network, TASKS, schedule=schedule, steps=20, seed=4, device="cpu").fit(
        _mixture(**settings)
    )
    loader = MixtureLoader(_mixture(**settings), TASKS, schedule=schedule, seed=4)
    # each time it is gone through, it goes on where it stopped
    batches = islice(chain.from_iterable(repeat(loader)), 20)
    assert [_rows(step) for step in batches] == seen
    loader.close()


def test_its_length_is_an_epoch():
    loader = MixtureLoader(_mixture(), TASKS)
    assert len(loader) == len(list(loader)) == 5
    assert len(MixtureLoader(_mixture(), TASKS, schedule=Alternating("round_robin"))) == 7


def test_the_weights_of_shares_are_told():
    loader = MixtureLoader(_mixture(loss_share={"a": 0.25, "b": 0.75}), TASKS)
    assert loader.loss_weights() == pytest.approx({"a": 0.5, "b": 1.5})


def test_tasks_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInputError, match="data for 'b', which is none of the tasks"):
        MixtureLoader(_mixture(), TASKS[:1])
