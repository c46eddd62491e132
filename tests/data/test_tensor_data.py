"""Data in tensors: rows taken together, and data that do not fit."""

import pytest
import torch

from jointrain import InvalidInputError, TensorData
from jointrain.data import DataSource

X4 = torch.zeros(4, 2)


def _data():
    x = torch.arange(8.0).view(4, 2)
    return TensorData(x, {"a": x[:, 0], "b": torch.tensor([0, 1, -100, 1])})


def test_rows_are_taken_from_inputs_and_targets_alike():
    taken = _data().take(torch.tensor([2, 0, 2]))
    assert len(taken) == 3
    assert taken.inputs.tolist() == [[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]
    assert taken.targets["a"].tolist() == [4.0, 0.0, 4.0]
    assert taken.targets["b"].tolist() == [-100, 0, -100]


def test_data_move_to_a_device(device):
    moved = _data().to(device)
    tensors = [moved.inputs, *moved.targets.values()]
    assert {tensor.device.type for tensor in tensors} == {device.type}


def test_no_rows_are_refused():
    with pytest.raises(InvalidInputError, match="the data have no rows"):
        TensorData(torch.empty(0, 2), {})


def test_inputs_of_another_kind_are_refused_by_their_name():
    class Inputs:
        x = torch.zeros(4, 2)

    with pytest.raises(InvalidInputError, match=r"must be a tensor, or a .* got Inputs"):
        TensorData(Inputs(), {"y": torch.zeros(4)})


def test_a_target_of_another_length_is_refused():
    with pytest.raises(InvalidInputError, match="task 'y' has 3 rows, the inputs have 4"):
        TensorData(torch.zeros(4, 2), {"y": torch.zeros(3)})


# --- inputs that are no single tensor ------------------------------------------------------------


def test_nested_inputs_are_taken_cut_and_moved_leaf_by_leaf(device):
    x = torch.arange(6.0)
    data = TensorData({"image": x[:, None], "text": (x, [x + 1])}, {"a": x})
    assert len(data) == 6
    assert data.device == x.device
    taken = data.take(torch.tensor([4, 1]))
    assert taken.inputs["image"][:, 0].tolist() == [4.0, 1.0]
    assert taken.inputs["text"][1][0].tolist() == [5.0, 2.0]
    part = data.part(2, 4)
    assert part.inputs["text"][0].tolist() == part.targets["a"].tolist() == [2.0, 3.0]
    moved = data.to(device)
    assert moved.inputs["text"][1][0].device.type == device.type


@pytest.mark.parametrize("target, got", [([1.0] * 4, "list"), (torch.tensor(1.0), "one number")])
def test_targets_are_tensors_of_rows(target, got):
    with pytest.raises(InvalidInputError, match=f"task 'y' must be a tensor of n rows, got {got}"):
        TensorData(torch.ones(4, 2), {"y": target})


def test_inputs_are_tensors_of_rows():
    with pytest.raises(InvalidInputError, match="inputs must be tensors of n rows, got one number"):
        TensorData(torch.tensor(1.0), {"y": torch.ones(1)})


def test_rows_of_inputs_without_tensors_are_their_length():
    assert len(TensorData(["one text", "another"], {"a": torch.zeros(2)})) == 2
    assert len(TensorData({"text": ["one", "two", "three"]}, {})) == 3
    with pytest.raises(InvalidInputError, match="no rows"):
        TensorData({}, {})


@pytest.mark.parametrize("name", ["inputs", "targets", "weights"])
def test_arrays_of_numpy_are_refused_in_words(name):
    x = torch.zeros(3, 2)
    given = {"inputs": {"x": x}, "targets": {"y": x[:, 0]}, "weights": {"y": x[:, 0]}}
    given[name] = {key: value.numpy() for key, value in given[name].items()}
    with pytest.raises(InvalidInputError, match=f"`{name}` must be of tensors.*from_numpy"):
        TensorData(**given)


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"a": X4, "b": X4[:3]}, r"inputs\['b'\] has 3 rows, inputs\['a'\] has 4; give all"),
        ((X4[:3], {"c": [X4]}), r"inputs\[1\]\['c'\]\[0\] has 4 rows, inputs\[0\] has 3"),
        ({"a": X4, "b": torch.tensor(1.0)}, "tensors of n rows, got one number"),
    ],
)
def test_inputs_of_different_rows_are_refused(inputs, message):
    rows = len(inputs["a"] if isinstance(inputs, dict) else inputs[0])
    with pytest.raises(InvalidInputError, match=message):
        TensorData(inputs, {"y": torch.zeros(rows)})
    with pytest.raises(InvalidInputError, match=message):
        DataSource([0]).read((inputs, torch.zeros(rows)), ["y"], ["y"])
