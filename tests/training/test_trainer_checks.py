"""Arguments of another type, as one may give them at first: what to give is said."""

import functools

import pytest
import torch
from torch import nn

from jointrain import Callback, HardSharing, InvalidInputError, Task, TensorData, Trainer
from jointrain.balancing import MGDA

TASKS = [Task.regression("a"), Task.regression("b")]
X = torch.ones(8, 3)


def _network(head=nn.Linear):
    return HardSharing(nn.Linear(3, 4), {task.name: head(4, 1) for task in TASKS})


@pytest.mark.parametrize("network", [nn.Linear(3, 2), "hard", None, print])
def test_a_network_is_one(network):
    with pytest.raises(InvalidInputError, match=r"`network` must be a Network, .* got"):
        Trainer(network, TASKS)


@pytest.mark.parametrize("tasks", [["a", "b"], "a", None, TASKS[0], [TASKS[0], None]])
def test_tasks_are_such(tasks):
    with pytest.raises(InvalidInputError, match=r"`tasks` must be Tasks, .* got"):
        Trainer(_network(), tasks)


@pytest.mark.parametrize(
    "argument, given, message",
    [
        ("balancer", "mgda", "got 'mgda'; .*balancer_from_name"),
        ("balancer", MGDA, "such as MGDA.*, got the class MGDA"),
        ("schedule", "alternating", r"such as Alternating\(\).* got 'alternating'"),
        ("optimizer", "adam", r"must be OptimizerSettings\(name='adam'\)"),
        ("optimizer", torch.optim.Adam([nn.Parameter(X)]), "a function of parameters.*got Adam"),
        ("lr_scheduler", "StepLR", "got 'StepLR'; .*scheduler_from_name"),
        ("callbacks", [print], "such as .*ConsoleLogger"),
        ("callbacks", print, "such as .*ConsoleLogger"),
        ("checkpoints", "folder", r"Checkpoints\(folder\), got 'folder'"),
        ("weights", [1, 2], "must be {task: weight}, got list; the tasks are a, b"),
        ("weights", {"a": "x"}, "weight of task 'a' must be >= 0, got 'x'"),
        ("seed", "a", "must be a whole number, got 'a'"),
    ],
)
def test_names_and_other_types_are_refused(argument, given, message):
    with pytest.raises(InvalidInputError, match=message):
        Trainer(_network(), TASKS, **{argument: given})


def test_functions_make_optimizers_and_schedulers():
    scheduler = functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1)
    data = TensorData(X, {"a": X[:, 0], "b": X[:, 1]})
    trainer = Trainer(
        _network(), TASKS, optimizer=torch.optim.Adam, lr_scheduler=scheduler, epochs=1,
        weights={"a": torch.tensor(2.0)}, device="cpu",
    )  # fmt: skip
    assert len(trainer.fit(data)) == 1


def test_a_head_gives_one_tensor():
    class Two(nn.Linear):
        def forward(self, features):
            return super().forward(features), features

    trainer = Trainer(_network(Two), TASKS, epochs=1, device="cpu")
    with pytest.raises(InvalidInputError, match="task 'a' must give one tensor, got tuple"):
        trainer.fit(TensorData(X, {"a": X[:, 0], "b": X[:, 1]}))


def test_callbacks_may_come_from_an_iterator():
    given = Callback()
    assert Trainer(_network(), TASKS, callbacks=iter([given])).callbacks == (given,)


class _Shifting(nn.Linear):
    def forward(self, inputs):
        return super().forward(inputs.sub_(5).div_(3))


def test_layers_that_write_into_the_inputs_are_refused_and_the_data_stay():
    x = torch.randn(8, 3)
    before = x.clone()
    trunk = _Shifting(3, 4)
    trainer = Trainer(
        HardSharing(trunk, {task.name: nn.Linear(4, 1) for task in TASKS}), TASKS, device="cpu"
    )
    data = TensorData(x, {"a": x[:, 0].clone(), "b": x[:, 1].clone()})
    with pytest.raises(InvalidInputError, match="changes its inputs in place"):
        trainer.fit(data)
    with torch.inference_mode(), pytest.raises(InvalidInputError, match="inputs in place"):
        trainer.predict(x)
    assert torch.equal(x, before)


def test_heads_that_write_into_shared_features_are_refused():
    heads = {"a": nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 1)), "b": nn.Linear(4, 1)}
    trainer = Trainer(HardSharing(nn.Linear(3, 4), heads), TASKS, device="cpu")
    with pytest.raises(InvalidInputError, match="the head of task 'a' changes in place what other"):
        trainer.fit(TensorData(X, {"a": X[:, 0], "b": X[:, 1]}))
    with pytest.raises(InvalidInputError, match="the head of task 'a' changes in place"):
        trainer.predict(X)


def test_heads_that_write_into_what_is_theirs_alone_are_taken():
    heads = {task.name: nn.Sequential(nn.Linear(4, 4), nn.ReLU(True), nn.Linear(4, 1))
             for task in TASKS}  # fmt: skip
    data = TensorData(X, {"a": X[:, 0], "b": X[:, 1]})
    network = HardSharing(nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True)), heads)
    assert Trainer(network, TASKS, epochs=1, device="cpu").fit(data)
    head = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 1))
    alone = HardSharing(nn.Linear(3, 4), {"a": head})
    assert Trainer(alone, TASKS[:1], epochs=1, device="cpu").fit(data.only(["a"]))


class _Scaled(nn.Module):
    """A loss with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, output, target):
        return (output[:, 0] - target).abs() * self.scale


@pytest.mark.parametrize("called", [lambda loss: loss, lambda loss: loss.forward])
def test_a_loss_with_parameters_that_nothing_trains_is_refused(called):
    loss = _Scaled()
    tasks = [Task("a", "custom", loss_function=called(loss), size=1), TASKS[1]]
    with pytest.raises(InvalidInputError, match="task 'a' has a parameter 'scale' that the"):
        Trainer(_network(), tasks, device="cpu")
    network = _network()
    network.trunk.loss = loss
    Trainer(network, tasks, device="cpu")
    loss.requires_grad_(False)
    Trainer(_network(), tasks, device="cpu")


def test_lazy_buffers_are_refused():
    trunk = nn.Sequential(nn.Linear(3, 4), nn.LazyBatchNorm1d(affine=False))
    network = HardSharing(trunk, {task.name: nn.Linear(4, 1) for task in TASKS})
    with pytest.raises(InvalidInputError, match=r"buffer 'trunk\.1\.running_mean' .* lazy"):
        Trainer(network, TASKS, device="cpu")
