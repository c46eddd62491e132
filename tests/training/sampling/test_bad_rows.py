"""Rows that raise and workers that die: in words, or left out, counted, and the same on resume."""

import os
import signal
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from jointrain import (
    HardSharing,
    InvalidInputError,
    Merge,
    Mixture,
    Phase,
    Phases,
    Task,
    TensorData,
    Trainer,
)
from jointrain.data import DataSource
from jointrain.errors import WorkerDiedError
from jointrain.training import Checkpoints
from tests.training.checkpoints.runs import assert_same

ROWS, BAD = 18, (3, 11)


class _Rows(Dataset):
    def __init__(self, bad=BAD, dies_at=None, mark=None):
        self.x = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(0))
        self.bad, self.dies_at, self.mark = bad, dies_at, mark

    def __len__(self):
        return ROWS

    def __getitem__(self, index):
        if index in self.bad:
            raise OSError(f"image {index} is\ntruncated")
        if index == self.dies_at and not os.path.exists(self.mark):
            with open(self.mark, "w"):
                os.kill(os.getpid(), signal.SIGKILL)
        row = self.x[index] + 0.01 * torch.randn(4)
        return {"inputs": row, "a": row.sum(), "b": row[0]}


class _Together(_Rows):
    def __getitems__(self, indices):
        return [self[index] for index in indices]


class _Stream(IterableDataset):
    def __iter__(self):
        return iter(_Rows(()))


SKIP = {"bad_rows": "skip", "bad_rows_limit": 2}


def _trainer(**options):
    torch.manual_seed(1)
    trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
    network = HardSharing(trunk, {"a": nn.Linear(6, 1), "b": nn.Linear(6, 1)})
    tasks = [Task.regression("a"), Task.regression("b")]
    settings = {"epochs": 3, "batch_size": 5, "device": "cpu", **options}
    return Trainer(network, tasks, **settings)


def _fitted(data, validation=None, **options):
    trainer = _trainer(**{**SKIP, "bad_rows_limit": 3}, **options)
    with pytest.warns(UserWarning, match="can't be read|died"):
        trainer.fit(data, validation)
    return trainer


def test_a_row_of_a_subset_has_its_number_in_the_whole_data_set_too():
    inner = Subset(_Rows(), range(2, ROWS))
    with pytest.raises(InvalidInputError, match=r"row 0 of .*, row 3 of the whole data set, can't"):
        _trainer().fit(Subset(inner, [1, 3, 4]))


class _OtherTargets(Dataset):
    def __len__(self):
        return ROWS

    def __getitem__(self, index):
        return torch.zeros(4), {"ab"[index % 2]: torch.zeros(())}


@pytest.mark.parametrize("streamed", [False, True])
def test_rows_with_different_targets_are_refused_in_words(streamed):
    class Streamed(IterableDataset):
        def __iter__(self):
            return (_OtherTargets()[index] for index in range(ROWS))

    with pytest.raises(InvalidInputError, match=r"KeyError: '[ab]'.*NaN or -100 where a label is"):
        _trainer().fit(Mixture({("a", "b"): Streamed()}, epoch=3) if streamed else _OtherTargets())


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.integration)])
def test_a_row_that_raises_is_said_by_its_number(workers):
    with pytest.raises(InvalidInputError) as raised:
        _trainer().fit(DataSource(_Rows(bad=(11,)), num_workers=workers))
    message = str(raised.value)
    assert "row 11 of the training data set of tasks a, b can't be read" in message
    assert "(OSError: image 11 is truncated)" in message
    assert "bad_rows='skip'" in message
    assert any("in __getitem__" in note for note in raised.value.__notes__)


@pytest.mark.parametrize("kind", [_Rows, _Together])
def test_it_is_left_out_and_counted_once(kind):
    seen = []

    def collate(rows):
        seen.extend(row["a"] for row in rows)
        return torch.utils.data.default_collate(rows)

    trainer = _trainer(**SKIP)
    with pytest.warns(UserWarning, match="left out") as told:
        trainer.fit(DataSource(kind(), collate_fn=collate))
    words = sorted(str(one.message) for one in told)
    assert [word[:7] for word in words] == ["row 11 ", "row 3 o"]
    assert [record.bad_rows for record in trainer.history] == [2, 0, 0]
    assert len(seen) == 3 * (ROWS - len(BAD))
    assert all(bool(p.isfinite().all()) for p in trainer.network.parameters())


def test_more_than_the_limit_end_the_training():
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(InvalidInputError, match="`bad_rows_limit` is 2"),
    ):
        _trainer(**SKIP).fit(_Rows(bad=(1, 2, 3)))
    every = {"bad_rows": "skip", "bad_rows_limit": 100}
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(InvalidInputError, match=r"no row of .* can be read"),
    ):
        _trainer(**every).fit(_Rows(bad=range(ROWS)))


SCHEDULES = {
    "joint": {},
    "phases": {"schedule": Phases([Phase(name="one", epochs=1), Phase(name="two", epochs=1)])},
    "merge": {"schedule": Merge(), "epochs": 2},
    "mixture": {"data": lambda: Mixture({("a", "b"): _Rows()}, batch_size=4)},
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_run_goes_on_with_the_same_bits(name, tmp_path):
    case = dict(SCHEDULES[name])
    data = case.pop("data", _Rows)
    folder = tmp_path / "all"
    whole = _fitted(data(), _Rows((3,)), checkpoints=Checkpoints(folder, 1, keep=999), **case)
    assert sum(record.bad_rows for record in whole.history) == 3
    files = sorted(folder.glob("step-*"))
    for number, file in enumerate(files[1::3]):
        place = tmp_path / str(number)
        place.mkdir()
        (place / file.name).write_bytes(file.read_bytes())
        again = _trainer(**{**SKIP, "bad_rows_limit": 3}, checkpoints=Checkpoints(place), **case)
        with warnings.catch_warnings(action="ignore"):
            again.fit(data(), _Rows((3,)), resume=True)
        assert again.history == whole.history
        assert_same(dict(again.network.state_dict()), dict(whole.network.state_dict()))


def test_streams_and_loaders_have_no_rows_to_leave_out():
    for data in (_Stream(), DataLoader(_Rows(()), batch_size=4)):
        with pytest.raises(InvalidInputError, match="has none: a stream, or a DataLoader"):
            _trainer(**SKIP).fit(data)


@pytest.mark.parametrize(
    "options", [{"bad_rows": "skip"}, {"bad_rows_limit": 2}, {"bad_rows": "drop"}]
)
def test_policy_and_limit_go_together(options):
    with pytest.raises(InvalidInputError, match="bad_rows"):
        _trainer(**options)


def test_predictions_are_of_all_rows_or_none():
    trainer = _trainer(**SKIP)
    trainer.fit(TensorData(_Rows().x, {"a": _Rows().x.sum(1), "b": _Rows().x[:, 0]}))
    for ask in (trainer.predict, trainer.evaluate):
        with pytest.raises(InvalidInputError, match=r"row 3 of .* can't be read"):
            ask(_Rows())


def test_a_worker_that_dies_is_said_or_replaced(tmp_path):
    def rows(name):
        mark = str(tmp_path / name)
        return DataSource(_Rows((), dies_at=7, mark=mark), num_workers=1)

    with pytest.raises(WorkerDiedError, match=r"worker process that reads .* died .*num_workers"):
        _trainer(epochs=1).fit(rows("one"))
    replaced = _fitted(rows("two"), epochs=1)
    assert [record.bad_rows for record in replaced.history] == [1]
    plain = _trainer(epochs=1)
    plain.fit(_Rows(()))
    assert_same(dict(replaced.network.state_dict()), dict(plain.network.state_dict()))
