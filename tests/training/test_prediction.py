"""Predictions batch by batch equal one pass over all rows."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from jointrain import HardSharing, InvalidInputError, Task
from jointrain.training._prediction import predict
from tests.task.examples import EXAMPLES

TASKS = [Task.regression("a"), Task.multiclass("b", 3)]


def _network(device="cpu"):
    trunk = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.9))
    return HardSharing(trunk, {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}).to(device)


def test_parts_equal_one_pass_with_dropout_off(monkeypatch, device):
    monkeypatch.setattr("jointrain.training.sampling._batches.EVALUATION_ROWS", 4)
    network, x = _network(device), torch.randn(10, 3)
    predictions = predict(network.train(), TASKS, x, device=device)
    with torch.no_grad():
        outputs = {name: value.cpu() for name, value in network.eval()(x.to(device)).items()}
    torch.testing.assert_close(predictions["a"], outputs["a"][:, 0])
    torch.testing.assert_close(predictions["b"], outputs["b"].softmax(1))
    logits = predict(network, TASKS, x, device=device, logits=True)
    torch.testing.assert_close(logits, outputs)
    assert not any(value.requires_grad for value in predictions.values())
    assert all(value.device.type == "cpu" for value in predictions.values())


def test_each_part_of_the_network_stays_in_its_mode():
    network = _network().train()
    network.heads.layers[0].eval()
    before = [module.training for module in network.modules()]
    predict(network, TASKS, torch.randn(4, 3))
    assert [module.training for module in network.modules()] == before


def test_no_rows_give_empty_predictions():
    predictions = predict(_network(), TASKS, torch.empty(0, 3))
    assert {name: tuple(value.shape) for name, value in predictions.items()} == {
        "a": (0,),
        "b": (0, 3),
    }


def test_only_the_asked_tasks_are_predicted():
    assert list(predict(_network(), TASKS[1:], torch.zeros(2, 3))) == ["b"]


class WithoutDoubles(TorchDispatchMode):
    """Lets the meta device stand for one that has no float64, as Apple's GPUs have none."""

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        options = options or {}
        copies = function is torch.ops.aten._to_copy.default
        if copies and arguments[0].is_meta and str(options.get("device")) == "cpu":
            dtype = options.get("dtype") or arguments[0].dtype
            return torch.zeros(arguments[0].shape, dtype=dtype)
        found = function(*arguments, **options)
        for value in tree_leaves(found):
            if isinstance(value, torch.Tensor) and value.device.type == "meta":
                assert value.dtype != torch.float64, function
        return found


def test_all_kinds_are_predicted_on_a_device_without_float64():
    tasks = [task for task in EXAMPLES.values() if task.kind != "sequence"]
    heads = {task.name: nn.Linear(4, task.output_size) for task in tasks}
    network = HardSharing(nn.Linear(3, 4), heads).to("meta")
    with WithoutDoubles():
        found = predict(network, tasks, torch.zeros(5, 3), device="meta")
    assert set(found) == {task.name for task in tasks}
    assert all(len(values) == 5 and values.device.type == "cpu" for values in found.values())


class _TwoInputs(nn.Module):
    def forward(self, inputs):
        return inputs["x"] + inputs["ids"]


def test_an_input_that_is_not_there_is_told_in_words():
    network = HardSharing(_TwoInputs(), {"y": nn.Linear(2, 1)})
    with pytest.raises(InvalidInputError, match="takes the input 'ids', which is not among x"):
        predict(network, [Task.regression("y")], {"x": torch.zeros(3, 2)})
