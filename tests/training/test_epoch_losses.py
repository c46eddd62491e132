"""The training losses of an epoch, and batches without a label."""

import pytest
import torch
from torch import nn

from jointrain import (
    Callback,
    HardSharing,
    InvalidInputError,
    Merge,
    Task,
    TensorData,
    Trainer,
)
from jointrain.balancing._task_losses import TaskLosses
from jointrain.errors import NonFiniteError
from jointrain.training._epoch_losses import EpochLosses
from jointrain.training.sampling._batch import Batch

NAN = float("nan")


def _batch(present):
    return Batch(None, ("a", "b"), (False, False), present)


def test_a_batch_without_labels_of_a_task_says_nothing_of_it():
    losses = EpochLosses()
    one, two = torch.tensor([True, False]), torch.tensor([True, True])
    losses.see({"a": torch.tensor(2.0), "b": torch.tensor(0.0)}, [_batch(one)])
    losses.see({"a": torch.tensor(4.0), "b": torch.tensor(5.0)}, [_batch(two)])
    losses.see({"a": torch.tensor(6.0), "b": torch.tensor(7.0)}, [_batch(None)])
    assert losses.means(["a", "b"], 3) == {"a": 4.0, "b": 6.0}
    assert losses.means(["a", "b"], 3) == {}


def test_records_do_not_count_batches_without_labels_as_losses_of_zero():
    # y is constant and the rate is 0, so every labelled batch has loss (1 - 0)^2
    network = HardSharing(nn.Identity(), {"y": nn.Linear(1, 1), "z": nn.Linear(1, 1)})
    nn.init.zeros_(network.heads.layers[0].weight)
    nn.init.zeros_(network.heads.layers[0].bias)
    y = torch.full((64,), NAN)
    y[:2] = 1.0
    data = TensorData(torch.randn(64, 1), {"y": y, "z": torch.zeros(64)})

    def frozen(parameters):
        return torch.optim.SGD(parameters, lr=0.0)

    trainer = Trainer(
        network, [Task.regression("y"), Task.regression("z")], optimizer=frozen,
        batch_size=4, epochs=3, device="cpu",
    )  # fmt: skip
    assert [record.training["y"] for record in trainer.fit(data)] == [1.0, 1.0, 1.0]


def test_losses_in_one_vector_give_the_means_of_single_ones():
    generator = torch.Generator().manual_seed(0)
    names = tuple("abc")
    vectors, singles = EpochLosses(), EpochLosses()
    for step in range(6):
        values = torch.randn(3, generator=generator)
        # c never has a label; in the last step all is there but c's flag comes in another order
        present = torch.tensor([step % 2 == 0, step > 1, False])
        batch = Batch(None, names, (False,) * 3, present)
        if step == 5:
            batch = Batch(None, ("c", "a", "b"), (False,) * 3, present[[2, 0, 1]])
        vectors.see(TaskLosses(names, values), [batch])
        singles.see(dict(zip(names, values, strict=True)), [batch])
    means = vectors.means(names, 6)
    assert list(means) == ["a", "b"]
    assert means == pytest.approx(singles.means(names, 6))


def test_a_loss_that_is_not_finite_shows_in_the_mean_of_a_vector():
    losses = EpochLosses()
    batch = Batch(None, ("a", "b"), (False, False), torch.tensor([True, False]))
    losses.see(TaskLosses(("a", "b"), torch.tensor([NAN, 1.0])), [batch])
    with pytest.raises(InvalidInputError, match="the loss of task 'a' is not finite by step 7"):
        losses.means(("a", "b"), 7)


@pytest.mark.parametrize(
    "settings", [{}, {"non_finite": "skip", "non_finite_limit": 9}, {"schedule": Merge()}]
)
@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_validation_losses_that_are_not_finite_before_training_are_refused(settings, value):
    inputs = torch.ones(8, 2)
    data = TensorData(inputs, {"a": inputs[:, 0], "b": inputs[:, 1]})
    spoilt = TensorData(inputs.clone(), data.targets)
    spoilt.inputs[3, 1] = value
    network = HardSharing(nn.Linear(2, 2), {"a": nn.Linear(2, 1), "b": nn.Linear(2, 1)})
    trainer = Trainer(network, [Task.regression("a"), Task.regression("b")], epochs=1, **settings)
    with pytest.raises(
        NonFiniteError, match=r"validation loss of task 'a' is .* before training; "
    ):
        trainer.fit(data, spoilt)


class _Spoil(Callback):
    def on_step_end(self, trainer, step, losses):
        # only the validation rows have the second input
        trainer.network.heads.layers[0].weight.data[0, 1] = NAN


def test_validation_losses_that_are_not_finite_end_training_with_the_epoch():
    ones = torch.ones(8, 2)
    network = HardSharing(nn.Identity(), {"a": nn.Linear(2, 1)})
    trainer = Trainer(network, [Task.regression("a")], epochs=2, callbacks=[_Spoil()])
    train = TensorData(ones * torch.tensor([1.0, 0.0]), {"a": ones[:, 0]})
    with pytest.raises(NonFiniteError, match="task 'a' is nan by step 1; lower the learning rate"):
        trainer.fit(train, TensorData(ones, {"a": ones[:, 0]}))
