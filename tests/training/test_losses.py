"""The losses of a step, from one batch or several, with grouped heads or without."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader

from jointrain import Alternating, Callback, HardSharing, Mixture, Task, TensorData, Trainer
from jointrain.balancing.aggregation import MGDA
from jointrain.balancing.weighting import FAMO, STCH, Equal
from jointrain.data import DataSource
from jointrain.task import chained_targets
from jointrain.training import Batch, compute_losses
from jointrain.training._losses import TEMPERATURES, validation_losses
from jointrain.training.sampling import TaskSets

TASKS = {name: Task.regression(name) for name in "abc"}


@pytest.mark.parametrize("group_from", [None, 2])
def test_losses_are_means_over_the_labelled_rows_of_each_batch(group_from):
    network = HardSharing(
        nn.Identity(), {name: nn.Linear(3, 1) for name in "abc"}, group_from=group_from
    )
    x, z = torch.randn(4, 3), torch.randn(5, 3)
    a = torch.tensor([1.0, math.nan, 2.0, math.nan])
    b, c = torch.randn(4), torch.randn(5)
    batches = [
        Batch(TensorData(x, {"a": a, "b": b}), ("a", "b"), (False, True)),
        Batch(TensorData(z, {"c": c}), ("c",), (True,)),
    ]
    losses = compute_losses(network, TASKS, batches)
    expected = {
        "a": functional.mse_loss(network(x[[0, 2]])["a"][:, 0], a[[0, 2]]),
        "b": functional.mse_loss(network(x)["b"][:, 0], b),
        "c": functional.mse_loss(network(z)["c"][:, 0], c),
    }
    assert list(losses) == ["a", "b", "c"]
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize("group_from", [None, 2])
def test_losses_are_weighted_and_divided_by_the_labelled_rows(group_from):
    network = HardSharing(
        nn.Identity(), {name: nn.Linear(3, 1) for name in "ab"}, group_from=group_from
    )
    x, a, b = torch.randn(4, 3), torch.tensor([1.0, math.nan, 2.0, 0.0]), torch.randn(4)
    w = torch.tensor([0.5, 9.0, 2.0, 0.25])
    batch = Batch(TensorData(x, {"a": a, "b": b}, {"a": w}), ("a", "b"), (False, True))
    outputs = network(x)
    errors = (outputs["a"][:, 0] - a).square()
    expected = {
        "a": (0.5 * errors[0] + 2 * errors[2] + 0.25 * errors[3]) / 3,
        "b": functional.mse_loss(outputs["b"][:, 0], b),
    }
    losses = compute_losses(network, TASKS, [batch])
    torch.testing.assert_close({name: losses[name] for name in "ab"}, expected)


@pytest.mark.parametrize("correction", [None, "inverse-propensity", "doubly-robust"])
def test_whole_weights_are_repeated_rows_in_chains(correction):
    tasks = [Task.binary("a"), Task.binary("b", given="a", correction=correction)]
    network = HardSharing(nn.Identity(), {t.name: nn.Linear(3, t.output_size) for t in tasks})
    network.link(tasks)
    x, a = torch.randn(6, 3), torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0, 1.0])
    b = torch.tensor([1.0, math.nan, 0.0, 1.0, math.nan, 0.0])
    targets = dict(chained_targets(tasks, {"a": a, "b": b}))
    _check_repeated(network, tasks, x, targets)


@pytest.mark.parametrize("kind", ["numbers", "depth", "normals", "edges", "classes"])
def test_whole_weights_are_repeated_rows_in_pictures(kind):
    task = Task.dense("a", kind, classes=3 if kind == "classes" else None)
    head = nn.Conv2d(2, task.output_size, 1)
    network = HardSharing(nn.Identity(), {"a": head})
    shape = (6, 3, 4, 5) if kind == "normals" else (6, 4, 5)
    target = torch.rand(shape)
    if kind == "classes":
        target = (3 * target).floor().long()
    elif kind == "edges":
        target = target.round()
    _check_repeated(network, [task], torch.randn(6, 2, 4, 5), {"a": target})


def _check_repeated(network, tasks, x, targets):
    """Check loss and gradient of all rows: whole weights, of mean 1, against repeated rows."""
    weights = torch.tensor([1.0, 3.0, 2.0, 1.0, 0.0, 2.0])
    names, by_name = tuple(targets), {task.name: task for task in tasks}
    rows = torch.arange(6).repeat_interleave(weights.long())
    # a weight of 0 is no label, and its row is left out
    kept = weights > 0
    even = (weights / weights[kept].mean())[kept]
    found = []
    for inputs, own, of_rows in (
        (x[kept], {name: target[kept] for name, target in targets.items()}, even),
        (x[rows], {name: target[rows] for name, target in targets.items()}, None),
    ):
        given = {} if of_rows is None else dict.fromkeys(names, of_rows)
        data = TensorData(inputs, own, given)
        losses = compute_losses(network, by_name, [Batch(data, names, (False,) * len(names))])
        total = torch.stack([losses[name] for name in names]).sum()
        found.append([total, *torch.autograd.grad(total, list(network.parameters()))])
    torch.testing.assert_close(found[0], found[1])


class _Given(HardSharing):
    """A network whose outputs are its inputs."""

    def forward(self, inputs, tasks, **settings):
        return {name: inputs[name] for name in tasks}


def _given(tasks):
    return _Given(nn.Identity(), {task.name: nn.Linear(1, task.output_size) for task in tasks})


@pytest.mark.parametrize("sureness", [0.2, 1.0, 3.0, 100.0])
def test_calibrated_losses_are_the_lowest_at_any_temperature(sureness):
    generator = torch.Generator().manual_seed(0)
    binary, several, number = Task.binary("b"), Task.multiclass("m", 3), Task.regression("n")
    labels = Task.multilabel("l", 2)
    tasks = [binary, several, number, labels]
    truth = torch.rand(90, generator=generator)
    logits = torch.randn(90, 3, generator=generator) * 2
    inputs = {
        "b": sureness * logits[:, :1],
        "m": sureness * logits,
        "n": logits[:, :1],
        "l": sureness * logits[:, :2],
    }
    targets = {
        "b": (truth < logits[:, 0].sigmoid()).float(),
        "m": torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0],
        "n": truth,
        "l": (truth[:, None] < logits[:, :2].sigmoid()).float(),
    }
    targets["b"][::5] = math.nan
    targets["l"][::3, 1] = math.nan
    by_name = {task.name: task for task in tasks}
    names = tuple(by_name)

    def batches():
        for start in (0, 40):
            rows = slice(start, start + 40 if start == 0 else None)
            data = TensorData(inputs, targets).take(torch.arange(90)[rows])
            yield Batch(data, names, (False,) * 4)

    plain = validation_losses(_given(tasks), by_name, batches())
    found = validation_losses(_given(tasks), by_name, batches(), calibrated=True)
    assert found["n"] == plain["n"]
    known = targets["b"].isfinite()
    expected = {
        "b": lambda t: functional.binary_cross_entropy_with_logits(
            inputs["b"][known, 0] / t, targets["b"][known]
        ),
        "m": lambda t: functional.cross_entropy(inputs["m"] / t, targets["m"]),
    }
    for name, loss in expected.items():
        assert plain[name] == pytest.approx(float(loss(1.0)), rel=1e-5)
        rows = 90 if name == "m" else int(known.sum())

        def penalised(t, loss=loss, rows=rows):
            return float(loss(t)) + 2 * math.log(t) ** 2 / rows

        at_best = min(penalised(t) for t in TEMPERATURES)
        assert found[name] == pytest.approx(at_best, rel=1e-5)
        # within the range of the temperatures the grid is fine enough
        finer = [0.5 * 16 ** (i / 500) for i in range(501)]
        assert found[name] <= 1.01 * min(penalised(t) for t in finer)
    # a row with several labels: the mean over those that are there
    present = targets["l"].isfinite()

    def of_labels(t):
        each = functional.binary_cross_entropy_with_logits(
            inputs["l"] / t, targets["l"].nan_to_num(), reduction="none"
        )
        rows = (each * present).sum(1) / present.sum(1)
        return float(rows.mean()) + 2 * math.log(t) ** 2 / 90

    assert found["l"] == pytest.approx(min(map(of_labels, TEMPERATURES)), rel=1e-5)


def test_a_task_without_a_label_in_the_batch_is_left_out_of_a_balanced_step():
    torch.manual_seed(0)
    x = torch.randn(32, 4)
    rare = torch.full((32,), float("nan"))
    rare[0] = 1.0
    data = TensorData(x, {"often": x.sum(1), "rare": rare})
    seen = []

    class Looks(Equal):
        def weigh(self, losses):
            seen.append(len(losses))
            return super().weigh(losses)

    network = HardSharing(nn.Linear(4, 4), {"often": nn.Linear(4, 1), "rare": nn.Linear(4, 1)})
    tasks = [Task.regression("often"), Task.regression("rare")]
    Trainer(network, tasks, balancer=Looks(), epochs=1, batch_size=8, device="cpu").fit(data)
    assert sorted(seen) == [1, 1, 1, 2]


def _rare():
    """Sixteen rows, of which the first four have a label of a, and the last four none of b."""
    torch.manual_seed(0)
    x = torch.randn(16, 4)
    targets = {"a": x.sum(1), "b": torch.randint(0, 3, (16,))}
    targets["a"][4:] = math.nan
    targets["b"][12:] = -100
    return x, targets


def _rare_sets():
    x, targets = _rare()
    rows = [(x[i], {name: target[i] for name, target in targets.items()}) for i in range(16)]
    weights = {"a": targets["a"].isfinite(), "b": targets["b"] != -100}
    filled = {"a": targets["a"].nan_to_num(), "b": targets["b"].clamp_min(0)}
    keys = [
        {"x": x[i]}
        | {name: target[i] for name, target in filled.items()}
        | {"weights": {name: weight[i].float() for name, weight in weights.items()}}
        for i in range(16)
    ]
    return {
        "a loader": DataLoader(rows, 4),
        "a mixture": Mixture({("a", "b"): DataLoader(rows, 4)}),
        "a mixed mixture": Mixture({("a", "b"): DataLoader(rows, 4)}, mixed=True),
        "weights of 0": DataSource(
            DataLoader(keys, 4),
            inputs="x",
            targets={"a": "a", "b": "b"},
            weights="weights",
        ),
    }


@pytest.mark.parametrize("group_from", [None, 2])
@pytest.mark.parametrize("of", _rare_sets())
@pytest.mark.parametrize("balancer", [None, MGDA, FAMO, STCH])
def test_tasks_without_a_label_in_a_batch_of_a_loader_are_left_out(balancer, of, group_from):
    torch.manual_seed(0)
    heads = {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}
    network = HardSharing(nn.Linear(4, 4), heads, group_from=group_from)
    steps, seen = [], []

    class Look(Callback):
        def on_step_end(self, trainer, step, losses):
            steps.append({name: float(loss) for name, loss in losses.items()})
            if balancer is not None:
                seen.append(trainer.balanced.tasks)

    tasks = [Task.regression("a"), Task.multiclass("b", 3)]
    given = None if balancer is None else balancer()
    trainer = Trainer(network, tasks, balancer=given, epochs=1, callbacks=[Look()], device="cpu")
    (record,) = trainer.fit(_rare_sets()[of])
    if balancer is not None:
        assert seen[:3] == [("a", "b"), ("b",), ("b",)]
    assert record.training["a"] == pytest.approx(steps[0]["a"])
    assert record.training["b"] == pytest.approx(sum(step["b"] for step in steps[:3]) / 3)


def test_a_mixed_batch_knows_which_tasks_have_a_label():
    x, targets = _rare()
    more = TensorData(x, {"c": x[:, 0]})
    some = TensorData(x, targets)
    tasks = {"a": Task.regression("a"), "b": Task.multiclass("b", 3), "c": Task.regression("c")}
    mixture = Mixture({("a", "b"): some, "c": more}, mixed=True, batch_size=2)
    sets = TaskSets.of(mixture, tasks, "training", batch_size=2, device=torch.device("cpu"))
    for _ in range(8):
        (batch,) = sets.draw(("a", "b", "c"))
        there = [bool(tasks[name].labelled(batch.data.targets[name]).any()) for name in batch.tasks]
        known = [True] * 3 if batch.present is None else batch.present.tolist()
        assert known == there


def test_a_schedule_by_progress_does_not_see_losses_of_batches_without_a_label():
    x, targets = _rare()
    rows = [(x[i], {name: target[i] for name, target in targets.items()}) for i in range(16)]
    network = HardSharing(nn.Linear(4, 4), {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)})
    seen = []

    class Look(Callback):
        def on_step_end(self, trainer, step, losses):
            seen.extend(trainer.session.progress.losses)

    tasks = [Task.regression("a"), Task.multiclass("b", 3)]
    Trainer(
        network, tasks, schedule=Alternating("progress"), epochs=2, callbacks=[Look()], device="cpu"
    ).fit(DataLoader(rows, 4))
    assert seen
    assert all(float(loss) > 0 for losses in seen for loss in losses.values())
