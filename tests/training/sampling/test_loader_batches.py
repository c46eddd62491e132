"""Batches from data loaders: the same bits whatever the workers, and every row once a pass."""

import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from jointrain import InvalidInputError, Task
from jointrain.data import DataSource
from jointrain.training.sampling._loader_batches import LoaderBatches, one_pass

ROWS = 11
CPU = torch.device("cpu")


class Noisy(Dataset):
    """Rows with noise of all three random number generators, as augmentation draws it."""

    def __len__(self):
        return ROWS

    def __getitem__(self, row):
        noise = torch.rand(2)
        return torch.tensor([row, noise[0], random.random(), np.random.rand()]), torch.tensor(1.0)


class NoisyStream(IterableDataset):
    def __iter__(self):
        for row in range(ROWS):
            yield torch.tensor([row, torch.rand(()), random.random()]), torch.tensor(1.0)


def _batches(source, seed=0, batch_size=4):
    return LoaderBatches(source, [Task.regression("a")], batch_size, seed, CPU)


def _draws(source, count, seed=0):
    batches = _batches(source, seed)
    drawn = [batches.draw(("a",)).data.inputs for _ in range(count)]
    batches.close()
    return drawn


def _assert_equal(first, second):
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("data", [Noisy(), NoisyStream()], ids=["rows", "stream"])
def test_workers_do_not_change_a_bit(data):
    alone = _draws(DataSource(data), 7)
    # other numbers drawn outside must not matter either
    torch.rand(3)
    most = 1 if isinstance(data, IterableDataset) else 2
    for workers in range(1, most + 1):
        _assert_equal(alone, _draws(DataSource(data, num_workers=workers), 7))


def test_the_order_of_a_loader_of_the_user_does_not_depend_on_its_workers():
    data = TensorDataset(torch.arange(11.0), torch.zeros(11))
    loaders = [DataLoader(data, 4, shuffle=True, num_workers=workers) for workers in (0, 1)]
    first, second = (_draws(DataSource(loader), 6) for loader in loaders)
    _assert_equal(first, second)
    assert not torch.equal(torch.cat(first[:3]), torch.cat(first[3:]))


@pytest.mark.parametrize("data", [Noisy(), NoisyStream(), DataLoader(Noisy(), 4, shuffle=True)])
def test_the_seed_is_all_that_matters(data):
    first = _draws(DataSource(data), 4, seed=3)
    torch.rand(5), np.random.rand(5), random.random()
    _assert_equal(first, _draws(DataSource(data), 4, seed=3))
    assert not torch.equal(torch.cat(first), torch.cat(_draws(DataSource(data), 4, seed=4)))


def test_workers_that_would_outlive_a_pass_change_nothing():
    """Torch shuffles otherwise where it reuses workers, and their random numbers go on."""
    shared = DataLoader(Noisy(), 4, shuffle=True, num_workers=1, persistent_workers=True)
    next(iter(shared))
    alone = _draws(DataSource(DataLoader(Noisy(), 4, shuffle=True, num_workers=1)), 7)
    _assert_equal(alone, _draws(DataSource(shared), 7))
    begun = _batches(DataSource(shared))
    for _ in range(4):
        begun.draw(("a",))
    resumed = _batches(DataSource(shared))
    resumed.load_state_dict(begun.state_dict())
    begun.close()
    _assert_equal(alone[4:], [resumed.draw(("a",)).data.inputs for _ in range(3)])
    resumed.close()
    assert len(list(shared)) == 3


def test_reading_leaves_the_random_numbers_of_the_run_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    for data in (Noisy(), NoisyStream(), DataLoader(Noisy(), 4, shuffle=True)):
        torch.manual_seed(1)
        _draws(DataSource(data), 5)
        list(one_pass(DataSource(data), 4, 0))
        assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("data", [Noisy(), NoisyStream(), DataLoader(Noisy(), 4, shuffle=True)])
def test_every_row_comes_once_a_pass(data):
    drawn = _draws(DataSource(data), 6)
    for part in (drawn[:3], drawn[3:]):
        assert sorted(torch.cat(part)[:, 0].tolist()) == list(range(ROWS))
    rows = torch.cat([batch[0] for batch in one_pass(DataSource(data), 4, 0)])[:, 0].tolist()
    assert sorted(rows) == list(range(ROWS))
    if not isinstance(data, DataLoader):
        assert rows == list(range(ROWS))


def test_looking_at_the_first_batch_draws_nothing():
    looked, not_looked = _batches(DataSource(Noisy())), _batches(DataSource(Noisy()))
    first = looked.first()
    assert torch.equal(first.data.inputs, looked.first().data.inputs)
    for _ in range(4):
        assert torch.equal(looked.draw(("a",)).data.inputs, not_looked.draw(("a",)).data.inputs)


def test_a_sampler_is_told_the_number_of_the_pass():
    told = []

    class Sampler(torch.utils.data.SequentialSampler):
        def set_epoch(self, number):
            told.append(number)

    data = TensorDataset(torch.zeros(4, 1), torch.zeros(4))
    _draws(DataSource(DataLoader(data, 2, sampler=Sampler(data))), 5)
    assert told == [0, 1, 2]


def test_rows_are_read_together_where_the_data_set_can():
    class Together(Noisy):
        def __getitems__(self, rows):
            return [(torch.tensor([float(row)]), torch.tensor(0.0)) for row in rows]

        def __getitem__(self, row):
            raise AssertionError

    assert len(_draws(DataSource(Together()), 1)[0]) == 4


# --- bad input -----------------------------------------------------------------------------------


class Empty(IterableDataset):
    def __iter__(self):
        return iter(())


def test_a_stream_that_gives_nothing_is_refused():
    with pytest.raises(InvalidInputError, match="the data set of task a gave no batch; it must"):
        _draws(DataSource(Empty()), 1)


def test_a_stream_that_gives_its_rows_only_once_is_refused():
    class Once(IterableDataset):
        rows = iter([(torch.zeros(1), torch.tensor(0.0))])

        def __iter__(self):
            return self.rows

    with pytest.raises(InvalidInputError, match="gave no batch any more"):
        _draws(DataSource(Once()), 2)


def test_a_batch_without_a_key_names_the_data_set():
    data = [{"x": torch.zeros(2), "label": torch.tensor(1.0)}] * 3
    with pytest.raises(InvalidInputError, match="data set of task a: a batch has no 'a'"):
        _draws(DataSource(data), 1)


def test_a_target_of_any_batch_that_does_not_fit_the_task_is_refused():
    target = torch.tensor([0] * 5 + [7])
    batches = LoaderBatches(
        DataSource(DataLoader(TensorDataset(torch.zeros(6, 1), target), 2)),
        [Task.multiclass("a", 3)], 2, 0, CPU,
    )  # fmt: skip
    batches.draw(("a",))
    batches.draw(("a",))
    with pytest.raises(InvalidInputError, match="target of task 'a' holds 7"):
        batches.draw(("a",))
