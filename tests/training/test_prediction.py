"""Predictions batch by batch equal one pass over all rows."""

import torch
from torch import nn

from jointrain import HardSharing, Task
from jointrain.training._prediction import predict

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


def test_no_rows_give_empty_predictions():
    predictions = predict(_network(), TASKS, torch.empty(0, 3))
    assert {name: tuple(value.shape) for name, value in predictions.items()} == {
        "a": (0,),
        "b": (0, 3),
    }


def test_only_the_asked_tasks_are_predicted():
    assert list(predict(_network(), TASKS[1:], torch.zeros(2, 3))) == ["b"]
