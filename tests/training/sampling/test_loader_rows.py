"""DataLoaders that leave rows out, draw them, or give them in random order."""

import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from jointrain import HardSharing, InvalidInputError, Task, Trainer

ROWS = TensorDataset(torch.randn(10, 3, generator=torch.Generator().manual_seed(0)), torch.ones(10))


BATCHES = BatchSampler(RandomSampler(ROWS), 4, drop_last=False)


class _Stream(IterableDataset):
    def __iter__(self):
        yield from ROWS


ONCE = {
    "in order": lambda: DataLoader(ROWS, 4),
    "none is left over": lambda: DataLoader(ROWS, 5, drop_last=True),
    "batches of our own": lambda: DataLoader(ROWS, batch_sampler=[[0, 1, 2], [7]]),
    "a part in order": lambda: DataLoader(ROWS, 4, sampler=[1, 2, 5]),
}
SHUFFLED = {
    "shuffled": lambda: DataLoader(ROWS, 4, shuffle=True),
    "a part": lambda: DataLoader(ROWS, 4, sampler=SubsetRandomSampler([0, 3, 5])),
    "in batches": lambda: DataLoader(ROWS, batch_sampler=BATCHES),
    "in batches at once": lambda: DataLoader(ROWS, batch_size=None, sampler=BATCHES),
}
OTHERS = {
    "leaves out": lambda: DataLoader(ROWS, 4, drop_last=True),
    "leaves out the rows": lambda: DataLoader(ROWS, batch_sampler=BatchSampler(range(10), 4, True)),
    "after the last full": lambda: DataLoader(_Stream(), 5, drop_last=True),
    "its WeightedRandom": lambda: DataLoader(ROWS, sampler=WeightedRandomSampler([1.0] * 10, 10)),
    "its RandomSampler": lambda: DataLoader(ROWS, sampler=RandomSampler(ROWS, num_samples=9)),
    "other rows by its": lambda: DataLoader(ROWS, sampler=DistributedSampler(ROWS, 2, 0)),
}


def _trainer():
    return Trainer(
        HardSharing(nn.Linear(3, 4), {"a": nn.Linear(4, 1)}), [Task.regression("a")],
        epochs=1, device="cpu",
    )  # fmt: skip


@pytest.mark.parametrize("loader", ONCE.values(), ids=ONCE)
def test_rows_in_order_are_predicted(loader):
    trainer, rows = _trainer(), torch.cat([x for x, _ in loader()])
    torch.testing.assert_close(trainer.predict(loader())["a"], trainer.predict(rows)["a"])
    trainer.fit(loader(), loader())


@pytest.mark.parametrize("loader", SHUFFLED.values(), ids=SHUFFLED)
def test_shuffled_rows_are_evaluated_and_not_predicted(loader):
    trainer = _trainer()
    trainer.fit(loader(), loader())
    assert trainer.evaluate(loader())["a"]["RMSE"] > 0
    with pytest.raises(InvalidInputError, match=r"in random order.*shuffle=False"):
        trainer.predict(loader())


@pytest.mark.parametrize("message", OTHERS)
def test_other_rows_serve_training_alone(message):
    trainer, loader = _trainer(), OTHERS[message]()
    if not isinstance(loader.dataset, IterableDataset):
        trainer.fit(loader)
    with pytest.raises(InvalidInputError, match=f"prediction DataLoader.*{message}"):
        trainer.predict(loader)
    with pytest.raises(InvalidInputError, match=f"evaluation DataLoader.*{message}"):
        trainer.evaluate(loader)
    with pytest.raises(InvalidInputError, match=f"validation DataLoader.*{message}"):
        trainer.fit(ROWS, loader)
