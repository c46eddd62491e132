"""Data sources: what kinds there are, their sizes, and how a batch becomes inputs and targets."""

from collections import namedtuple

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from jointrain import InvalidInputError, TensorData
from jointrain.data import DataSource

X, A, B = torch.randn(10, 3), torch.arange(10.0), torch.arange(10)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(X, A, strict=True))


class SizedStream(Stream):
    def __len__(self):
        return 10


class ArrowLike:
    """Stands for a Hugging Face data set: columns, a format, rows as dictionaries."""

    def __init__(self, form=None):
        self.format = {"type": form}

    def with_format(self, form):
        return ArrowLike(form)

    def __len__(self):
        return 10

    def __getitem__(self, row):
        assert self.format["type"] == "torch"
        return {"x": X[row], "a": A[row]}


# --- kinds and sizes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, rows, batches",
    [
        (TensorData(X, {"a": A}), 10, 3),
        (TensorDataset(X, A), 10, 3),
        (list(zip(X, A, strict=True)), 10, 3),
        (DataLoader(TensorDataset(X, A), 6), 10, 2),
        (DataLoader(TensorDataset(X, A), 6, drop_last=True), 6, 1),
        (DataLoader(Stream(), 6), None, None),
        (DataLoader(SizedStream(), 6), 10, 2),
        (Stream(), None, None),
        (SizedStream(), 10, 3),
        (ArrowLike(), 10, 3),
    ],
)
def test_sizes_of_a_pass(data, rows, batches):
    source = DataSource(data)
    assert source.rows == rows
    assert source.batches(4) == batches


def test_the_rows_that_a_sampler_leaves_out_do_not_count():
    sampler = torch.utils.data.SubsetRandomSampler([1, 2, 3])
    assert DataSource(DataLoader(TensorDataset(X), 2, sampler=sampler)).rows == 3


def test_a_hugging_face_data_set_gives_tensors_unless_it_has_a_format():
    assert DataSource(ArrowLike()).data.format["type"] == "torch"
    assert DataSource(ArrowLike("numpy")).data.format["type"] == "numpy"


@pytest.mark.parametrize(
    "data, message",
    [
        (X, "got Tensor; give TensorData"),
        (iter([1]), "an iterator ends after one pass"),
        ({"a": X}, "got dict"),
        (3, "must be TensorData, a DataLoader or a data set, got int"),
        ([], "has no rows"),
        (DataLoader(TensorDataset(torch.empty(0, 3))), "has no rows"),
    ],
)
def test_what_is_no_data_set_is_refused(data, message):
    with pytest.raises(InvalidInputError, match=message):
        DataSource(data)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"data": DataLoader(TensorDataset(X)), "batch_size": 4}, "a DataLoader, which has its"),
        ({"data": DataLoader(TensorDataset(X)), "num_workers": 1}, "a DataLoader, which has its"),
        ({"data": TensorData(X, {}), "collate_fn": list}, "do not go with data in memory"),
        ({"data": TensorDataset(X), "batch_size": 0}, "`batch_size` must be at least 1, got 0"),
        ({"data": TensorDataset(X), "num_workers": -1}, "`num_workers` must be at least 0"),
        ({"data": Stream(), "num_workers": 2}, "each worker would read all"),
    ],
)
def test_arguments_that_do_not_go_with_the_data_are_refused(arguments, message):
    with pytest.raises(InvalidInputError, match=message):
        DataSource(**arguments)


# --- reading -------------------------------------------------------------------------------------

Pair = namedtuple("Pair", "x y")


@pytest.mark.parametrize(
    "batch",
    [
        (X, A, B),
        [X, A, B],
        (X, (A, B)),
        (X, {"b": B, "a": A}),
        {"x": X, "a": A, "b": B},
        Pair(X, {"a": A, "b": B}),
    ],
)
def test_every_form_of_a_batch_is_read(batch):
    data = DataSource(TensorDataset(X)).read(batch, ("a", "b"), ("a", "b"))
    assert data.inputs is X
    assert data.targets == {"a": A, "b": B}
    only = DataSource(TensorDataset(X)).read(batch, ("a", "b"), ("b",))
    assert list(only.targets) == ["b"]


def test_names_say_what_is_input_and_what_is_target():
    batch = {"tokens": B, "mask": A, "label": B, "id": A}
    source = DataSource(TensorDataset(X), inputs=("tokens", "mask"), targets={"a": "label"})
    data = source.read(batch, ("a",), ("a",))
    assert data.inputs == {"tokens": B, "mask": A}
    assert data.targets == {"a": B}
    one = DataSource(TensorDataset(X), inputs="tokens", targets={"a": "label"})
    assert one.read(batch, ("a",), ("a",)).inputs is B
    rest = DataSource(TensorDataset(X), targets={"a": "label"})
    assert list(rest.read(batch, ("a",), ("a",)).inputs) == ["tokens", "mask", "id"]


def test_inputs_are_read_with_or_without_targets():
    source = DataSource(TensorDataset(X))
    for batch in (X, (X,), [X, A], {"x": X, "a": A}, {"x": X}):
        assert source.read_inputs(batch, ("a",)) is X


@pytest.mark.parametrize(
    "arguments, batch, message",
    [
        ({}, {"x": X, "label": A}, "has no 'a', the target of task 'a'.*it has x, label"),
        ({"targets": {"a": "labl"}}, {"x": X, "label": A}, "did you mean 'label'"),
        ({"inputs": "y"}, {"x": X, "a": A}, "has no 'y', the input"),
        ({"inputs": ("x", "y")}, {"x": X, "a": A}, "has no 'y', the input"),
        ({}, {"a": A}, "nothing but the targets a"),
        ({}, X, "must be a mapping, or a tuple of inputs and targets, got Tensor"),
        ({}, (X,), "got tuple 1 entries"),
        ({}, (X, A, B), "holds 2 targets for the 1 task a"),
        ({}, (X, {"b": A}), "has no 'a', the target"),
        ({}, (X, [1, 2]), "target of task 'a' must be a tensor, got list"),
        ({}, (X, A[:4]), "target of task 'a' has 4 rows, the inputs have 10"),
    ],
)
def test_batches_that_lack_something_are_refused(arguments, batch, message):
    with pytest.raises(InvalidInputError, match=message):
        DataSource(TensorDataset(X), **arguments).read(batch, ("a",), ("a",))


@pytest.mark.parametrize(
    "third", [torch.arange(10), A > 4, {"a": torch.ones(10), "b": torch.arange(10)}]
)
def test_a_third_entry_that_is_no_weight_is_refused(third):
    message = "third entry of a batch, .* must be of floats, got (int64|bool); leave it out"
    with pytest.raises(InvalidInputError, match=message):
        DataSource([0]).read((X, {"a": A, "b": B}, third), ["a", "b"], ["a", "b"])
