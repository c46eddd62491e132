"""Early stopping: best weights, and tasks that have converged."""

import copy
import math
from functools import partial

import pytest
import torch
from torch import nn

from jointrain import Callback, HardSharing, InvalidInputError, Task, TensorData, Trainer
from jointrain.training._early_stopping import BestWeights, ConvergedTasks, relative_score

SGD = partial(torch.optim.SGD, lr=0.1)
A, B = Task.regression("a"), Task.regression("b")


def _network(trunk=None, heads=2):
    names = [f"t{i}" for i in range(heads)] if heads > 2 else "ab"
    return HardSharing(trunk or nn.Identity(), {name: nn.Linear(3, 1) for name in names}).double()


def _data(rows=24, seed=0, noise=1.0):
    """Return data on which task a is noise, soon learned by heart, and b is a line."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 3, generator=generator, dtype=torch.float64)
    line = x @ torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    a = noise * torch.randn(rows, generator=generator, dtype=torch.float64)
    return TensorData(x, {"a": a, "b": line})


def test_the_best_weights_are_those_of_the_lowest_score():
    layer = nn.Linear(1, 1)
    best = BestWeights(layer, True)
    for score in (2.0, 1.0, 3.0):
        nn.init.constant_(layer.weight, score)
        assert best.offer(score) == (score < 3)
    assert best.epochs_since == 1
    best.restore()
    assert layer.weight.item() == 1.0


class Center(nn.Module):
    """Subtracts a running mean, which is kept in a buffer that is not persistent."""

    def __init__(self, persistent=False):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64), persistent=persistent)

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.detach().mean(0) + 3, 0.05)
        return x - self.mean


def test_the_best_buffers_are_kept_also_where_they_are_not_persistent():
    fitted = []
    for persistent in (True, False):
        torch.manual_seed(0)
        network = _network(Center(persistent))
        validation = _data(seed=1)
        trainer = Trainer(network, [A, B], epochs=8, batch_size=6, optimizer=SGD, device="cpu")
        history = trainer.fit(_data(), validation)
        assert not history[-1].best
        fitted.append((network.trunk.mean.clone(), trainer.evaluate(validation)))
    assert torch.equal(fitted[0][0], fitted[1][0])
    assert fitted[0][1] == fitted[1][1]


def test_best_buffers_may_change_their_size_and_are_in_the_state():
    layer = nn.Linear(1, 1)
    layer.register_buffer("table", torch.zeros(2), persistent=False)
    best = BestWeights(layer, True)
    layer.register_buffer("table", torch.ones(3), persistent=False)
    assert best.offer(1.0)
    other = nn.Linear(1, 1)
    other.register_buffer("table", torch.zeros(2), persistent=False)
    again = BestWeights(other, True)
    again.load_state_dict(best.state_dict())
    layer.register_buffer("table", torch.ones(5), persistent=False)
    for module, kept in ((layer, best), (other, again)):
        kept.restore()
        assert torch.equal(module.table, torch.ones(3))
        assert "table" not in module.state_dict()
    old = best.state_dict()
    del old["copy"]["table"]
    again.load_state_dict(old)


def test_without_a_score_nothing_is_restored():
    layer = nn.Linear(1, 1)
    best = BestWeights(layer, True)
    assert not best.offer(None)
    before = layer.weight.item()
    best.restore()
    assert layer.weight.item() == before


@pytest.mark.parametrize("heads", [2, 20], ids=["separate heads", "grouped heads"])
def test_a_converged_task_returns_to_its_best_and_others_do_not_move(heads):
    network = _network(heads=heads)
    first, second = network.task_names[:2]
    converged = ConvergedTasks(network, network.task_names, patience=2)
    own = network.task_parameters(first)[0]
    other = network.task_parameters(second)[0]
    for epoch, loss in enumerate([3.0, 1.0, 2.0, 2.0]):
        with torch.no_grad():
            own.fill_(epoch)
            other.fill_(epoch)
        found = converged.offer({first: loss, second: 1 / (epoch + 1)})
        assert found == ([first] if epoch == 3 else [])
    converged.restore(first)
    assert bool((own == 1).all())
    assert bool((other == 3).all())
    assert converged.offer({first: 0.1}) == []


class _KeepHeads(Callback):
    def __init__(self):
        self.heads = []

    def on_epoch_end(self, trainer, record):
        self.heads.append([p.detach().clone() for p in trainer.network.task_parameters("a")])


def test_a_frozen_task_is_at_its_best_and_is_no_longer_trained():
    network, keep, trained = _network(), _KeepHeads(), []

    class Tasks(Callback):
        def on_step_end(self, trainer, step, losses):
            trained.append(tuple(losses))

    trainer = Trainer(
        network, [A, B], optimizer=SGD, epochs=60, when_converged="freeze", task_patience=3,
        device="cpu", callbacks=[keep, Tasks()],
    )  # fmt: skip
    history = trainer.fit(_data(seed=1), _data(seed=2))
    end = next(i for i, record in enumerate(history) if record.converged)
    assert history[end].converged == ("a",)
    losses = [record.validation["a"] for record in history]
    best = end - 3
    assert min(losses[:end]) == losses[best]
    # restored with the epoch that finds it out, and so measured
    assert losses[end:] == [losses[best]] * (len(history) - end)
    assert all(map(torch.equal, keep.heads[end], keep.heads[best]))
    assert all(map(torch.equal, network.task_parameters("a"), keep.heads[best]))
    assert trained[end] == ("a", "b")
    assert set(trained[end + 1 :]) == {("b",)}


def test_with_nothing_shared_freezing_equals_stopping_each_task_by_itself():
    start = _network()
    train, check = _data(seed=1), _data(seed=2, noise=0.5)
    settings = {"optimizer": SGD, "epochs": 400, "device": "cpu"}
    network = copy.deepcopy(start)
    Trainer(network, [A, B], when_converged="freeze", task_patience=4, **settings).fit(train, check)
    for task in (A, B):
        alone = copy.deepcopy(start)
        Trainer(alone, [task], patience=4, **settings).fit(train, check)
        for ours, theirs in zip(
            network.task_parameters(task.name), alone.task_parameters(task.name), strict=True
        ):
            # b learns its line to the last digits, which the mean of both scores no longer sees
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_training_ends_when_all_tasks_are_frozen():
    trainer = Trainer(
        _network(), [A, B], optimizer=SGD, epochs=5000, when_converged="freeze", task_patience=2,
        device="cpu",
    )  # fmt: skip
    history = trainer.fit(_data(seed=1), _data(seed=2))
    assert len(history) < 5000
    assert sorted(name for record in history for name in record.converged) == ["a", "b"]


def test_a_converged_task_goes_on_at_a_lower_weight():
    network, data = _network(), _data(seed=1)
    gradients = []

    class Gradient(Callback):
        def on_step_end(self, trainer, step, losses):
            gradients.append(trainer.network.task_parameters("a")[0].grad.clone())

    trainer = Trainer(
        network, [A, B], optimizer=partial(torch.optim.SGD, lr=1e-9), epochs=6, weights={"a": 0.5},
        when_converged="lower", task_patience=2, converged_weight=0.25, device="cpu",
        callbacks=[Gradient()],
    )  # fmt: skip
    with torch.no_grad():
        # what the network gives before training: any step is away from it
        worse = TensorData(data.inputs, {name: y[:, 0] for name, y in network(data.inputs).items()})
    history = trainer.fit(data, worse)
    found = next(i for i, record in enumerate(history) if "a" in record.converged)
    # the rate is next to nothing, so only the weight changes the gradient
    ratio = gradients[found + 1] / gradients[found]
    torch.testing.assert_close(ratio, torch.full_like(ratio, 0.25), rtol=1e-6, atol=0)
    assert trainer.weights == {"a": 0.5, "b": 1.0}


def test_frozen_tasks_pass_over_their_turn_in_alternation():
    from jointrain import Alternating

    trained = []

    class Tasks(Callback):
        def on_step_end(self, trainer, step, losses):
            trained.append((step, *losses))

    trainer = Trainer(
        _network(), [A, B], schedule=Alternating("round_robin"), optimizer=SGD, epochs=30,
        when_converged="freeze", task_patience=3, device="cpu", callbacks=[Tasks()],
    )  # fmt: skip
    history = trainer.fit(_data(seed=1), _data(seed=2))
    end = next(record.step for record in history if record.converged)
    assert {name for step, name in trained if step <= end} == {"a", "b"}
    assert {name for step, name in trained if step > end} == {"b"}
    assert all(step % 2 == 0 for step, name in trained if step > end)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"when_converged": "stop"}, "`when_converged` must be one of go_on, .*, got 'stop'"),
        ({"when_converged": "freeze"}, "and `task_patience` go together"),
        ({"task_patience": 3}, "and `task_patience` go together"),
        ({"task_patience": 0}, "`task_patience` must be at least 1, got 0"),
        ({"converged_weight": 1.0}, r"`converged_weight` must lie in \(0, 1\), got 1.0"),
        ({"converged_weight": math.nan}, r"`converged_weight` must lie in \(0, 1\), got nan"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        Trainer(_network(), [A, B], device="cpu", **settings)


def test_task_patience_needs_validation_data():
    trainer = Trainer(_network(), [A, B], when_converged="lower", task_patience=3, device="cpu")
    with pytest.raises(InvalidInputError, match="`task_patience` needs validation data"):
        trainer.fit(_data())


def test_a_score_of_several_tasks_needs_losses_that_begin_above_zero():
    initial = {"a": -0.3, "b": 2.0}
    with pytest.raises(InvalidInputError, match=r"'a' was -0\.3 before .* add a constant"):
        relative_score({"a": -0.5, "b": 1.0}, initial, "ab")
    with pytest.raises(InvalidInputError, match="'a' was 0 before"):
        relative_score({"a": -0.5, "b": 1.0}, {"a": 0.0, "b": 2.0}, "ab")
    # of one task the lowest is the lowest, and losses may fall below 0
    assert relative_score({"a": -0.5}, initial, "ab") < relative_score({"a": -0.4}, initial, "a")
    assert relative_score({"a": -1.0, "b": 1.0}, {"a": 1.0, "b": 2.0}, "ab") == -0.25


def test_a_loss_that_begins_below_zero_is_refused_before_training():
    below = Task("a", "custom", loss_function=_below_zero, size=1, metrics=())
    with pytest.raises(InvalidInputError, match="validation loss of task 'a' was -"):
        Trainer(_network(), [below, B], epochs=1).fit(_data(), _data(seed=1))


def _below_zero(output, target):
    return -torch.exp(-(output.squeeze(-1) - target).square())
