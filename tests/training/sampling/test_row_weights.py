"""Weights of rows: what repeating rows would do, whatever their unit."""

import math

import pytest
import torch
from torch import Tensor, nn

from jointrain import HardSharing, InvalidInputError, Task, TensorData
from jointrain.data import DataSource
from jointrain.networks import TabM
from jointrain.task import DENSE_KINDS, KINDS, CodeColumns
from jointrain.training import Mixture, Trainer
from jointrain.training._losses import validation_losses
from jointrain.training.sampling import TaskSets, weigh_rows
from jointrain.training.sampling._row_weights import without_weightless_labels
from tests.task.examples import EXAMPLES, outputs_and_target
from tests.training.population.runs import BY_NAME, make_data

MORE = [
    task
    for kind, task in EXAMPLES.items()
    if kind not in ("sequence", *(one.kind for one in BY_NAME.values()))
]
TASKS = [*BY_NAME.values(), Task.sequence("tokens", 3), *MORE]
CPU = torch.device("cpu")


def rows_of_every_kind(n: int = 24) -> TensorData:
    data = make_data(n, seed=3)
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(3, (n, 4), generator=generator)
    tokens[2] = -100
    tokens[::3, 1] = -100
    more = {task.name: outputs_and_target(task, n)[1] for task in MORE}
    return TensorData(data.inputs, {**data.targets, "tokens": tokens, **more})


class _Tokens(nn.Module):
    """A head that gives logits for four positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(7, 12)

    def forward(self, features: Tensor) -> Tensor:
        return self.layer(features).unflatten(-1, (4, 3))


def network_of(tasks, group_from=None) -> HardSharing:
    torch.manual_seed(0)
    trunk = nn.Sequential(nn.Linear(5, 7), nn.Tanh())
    heads = {
        task.name: _Tokens() if task.kind == "sequence" else nn.Linear(7, task.output_size)
        for task in tasks
    }
    return HardSharing(trunk, heads, group_from=group_from).double()


def losses_and_gradients(network, tasks, data: TensorData):
    """Of one batch of all rows."""
    trainer = Trainer(network, tasks, batch_size=1000, device="cpu")
    trainer.begin(data, None)
    losses = trainer.compute_losses(trainer.session.draw_batches([task.name for task in tasks]))
    parameters = list(network.parameters())
    total = sum(losses[task.name] for task in tasks)
    return dict(losses), torch.autograd.grad(total, parameters, materialize_grads=True)


def assert_same(found, expected) -> None:
    for name, loss in expected[0].items():
        torch.testing.assert_close(found[0][name], loss, rtol=1e-12, atol=0)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("scale", [1.0, 7.0, 1e-200, 1e200])
def test_whole_weights_are_repeated_rows_for_every_kind_of_task(scale):
    assert {task.kind for task in TASKS} == set(KINDS) - {"custom", *DENSE_KINDS}
    data = rows_of_every_kind()
    counts = torch.randint(4, (len(data),), generator=torch.Generator().manual_seed(1))
    repeated = data.take(torch.repeat_interleave(torch.arange(len(data)), counts))
    network = network_of(TASKS)
    weighted = TensorData(data.inputs, data.targets, counts.double() * scale)
    assert_same(
        losses_and_gradients(network, TASKS, weighted),
        losses_and_gradients(network, TASKS, repeated),
    )


def test_weights_by_task_are_repeated_labels():
    data = rows_of_every_kind().only(("price", "kind"))
    tasks = [BY_NAME["price"], BY_NAME["kind"]]
    counts = torch.randint(4, (len(data),), generator=torch.Generator().manual_seed(2))
    index = torch.repeat_interleave(torch.arange(len(data)), counts)
    network = network_of(tasks)
    losses, gradients = losses_and_gradients(
        network, tasks, TensorData(data.inputs, data.targets, {"kind": counts.double()})
    )
    price = losses_and_gradients(network, tasks[:1], data.only(("price",)))[0]
    kind = losses_and_gradients(network, tasks[1:], data.only(("kind",)).take(index))[0]
    torch.testing.assert_close(losses, {**price, **kind}, rtol=1e-12, atol=0)
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_heads_in_a_group_and_ensembles_weigh_rows_too():
    tasks = [Task.regression("price"), Task.binary("sold"), Task.count("visits")]
    data = rows_of_every_kind().only([task.name for task in tasks])
    counts = torch.randint(4, (len(data),), generator=torch.Generator().manual_seed(3))
    repeated = data.take(torch.repeat_interleave(torch.arange(len(data)), counts))
    weighted = TensorData(data.inputs, data.targets, counts)
    torch.manual_seed(0)
    ensemble = TabM(5, tasks, members=3, width=6, depth=1, dropout=0.0).double()
    for network in (network_of(tasks, group_from=2), ensemble):
        assert_same(
            losses_and_gradients(network, tasks, weighted),
            losses_and_gradients(network, tasks, repeated),
        )


def test_a_loss_of_ones_own_is_weighted_per_row():
    task = Task("price", "custom", size=1, loss_function=lambda output, y: (output[:, 0] - y).abs())
    data = rows_of_every_kind().only(("price",))
    counts = torch.arange(len(data)) % 3
    repeated = data.take(torch.repeat_interleave(torch.arange(len(data)), counts))
    network = network_of([task])
    assert_same(
        losses_and_gradients(network, [task], TensorData(data.inputs, data.targets, counts)),
        losses_and_gradients(network, [task], repeated),
    )


@pytest.mark.parametrize("calibrated", [False, True])
def test_validation_losses_are_those_of_repeated_rows(calibrated):
    data = rows_of_every_kind(200)
    counts = torch.randint(4, (len(data),), generator=torch.Generator().manual_seed(1))
    repeated = data.take(torch.repeat_interleave(torch.arange(len(data)), counts))
    network = network_of(TASKS)

    def losses(rows: TensorData) -> dict[str, float]:
        sets = TaskSets.of(
            rows, {task.name: task for task in TASKS}, "validation", batch_size=8, device=CPU
        )
        return validation_losses(
            network, {t.name: t for t in TASKS}, sets.once(), calibrated=calibrated
        )

    # the penalty of a temperature counts as so many rows as there are
    tolerance = {"rel": 2e-2} if calibrated else {"rel": 1e-12}
    weighted = losses(TensorData(data.inputs, data.targets, counts))
    assert weighted == pytest.approx(losses(repeated), **tolerance)


def test_equal_weights_change_no_bit():
    data = make_data(40)
    plain, weighted = (
        Trainer(network_of([BY_NAME["price"]]), [BY_NAME["price"]], steps=20, device="cpu")
        for _ in range(2)
    )
    rows = data.only(("price",))
    plain.fit(rows)
    weighted.fit(TensorData(rows.inputs, rows.targets, torch.full((40,), 3.0)))
    assert plain.history == weighted.history
    for ours, theirs in zip(plain.network.parameters(), weighted.network.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("integer", [False, True])
def test_a_label_of_weight_0_is_no_label(integer):
    target = torch.tensor([0, 1, 2, 1]) if integer else torch.tensor([0.5, 1.0, 2.0, math.nan])
    task = Task.multiclass("a", 3) if integer else Task.regression("a")
    data = TensorData(torch.zeros(4, 1), {"a": target}, torch.tensor([1.0, 0.0, 3.0, 5.0]))
    found = weigh_rows(data, [task])
    assert task.labelled(found.targets["a"]).tolist() == [True, False, True, integer]
    labelled = task.labelled(found.targets["a"])
    assert found.weights["a"][labelled].mean() == pytest.approx(1)
    again = weigh_rows(found, [task])
    assert torch.equal(again.weights["a"], found.weights["a"])


def test_metrics_count_rows_by_their_weights():
    tasks = [BY_NAME[name] for name in ("price", "sold", "kind", "visits", "grade", "tags")]
    data = make_data(60).only([task.name for task in tasks])
    counts = torch.arange(60) % 4
    repeated = data.take(torch.repeat_interleave(torch.arange(60), counts))
    trainer = Trainer(network_of(tasks), tasks, device="cpu")
    weighted = trainer.evaluate(TensorData(data.inputs, data.targets, counts))
    expected = trainer.evaluate(repeated)
    for name, metrics in expected.items():
        assert weighted[name] == pytest.approx(metrics, rel=1e-9), name


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -1.0, 1.0], "the weights of task 'a' hold -1 in row 2"),
        ([1.0, 1.0, math.nan], "hold nan in row 3"),
        ([math.inf, 1.0, 1.0], "hold inf in row 1"),
        ([0.0, 0.0, 5.0], "all rows that have a label of task 'a' have weight 0"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    data = TensorData(
        torch.zeros(3, 5).double(),
        {"a": torch.tensor([1.0, 2.0, math.nan])},
        torch.tensor(weights),
    )
    task = Task.regression("a")
    with pytest.raises(InvalidInputError, match=message):
        Trainer(network_of([task]), [task], device="cpu").fit(data)


# --- data sets that yield weights -----------------------------------------------------------------


def _entries(data: TensorData, weights: Tensor, form: str):
    rows = range(len(data))
    if form == "mapping":
        return [
            {"x": data.inputs[i], "price": data.targets["price"][i], "weight": weights[i]}
            for i in rows
        ]
    return [(data.inputs[i], {"price": data.targets["price"][i]}, weights[i]) for i in rows]


@pytest.mark.parametrize("form", ["mapping", "tuple"])
def test_data_sets_yield_weights_that_are_taken_as_they_are(form):
    task = BY_NAME["price"]
    data = make_data(12).only(("price",))
    weights = torch.tensor([0.0, 2.0, 1.0] * 4).double()
    network = network_of([task])
    rows = _entries(data, weights, form)
    source = DataSource(rows, weights="weight") if form == "mapping" else DataSource(rows)
    trainer = Trainer(network, [task], batch_size=100, device="cpu")
    trainer.begin(source, None)
    batches = trainer.session.draw_batches(["price"])
    losses = trainer.compute_losses(batches)
    errors = (network(data.inputs)["price"][:, 0] - data.targets["price"]).square()
    kept = ~errors.isnan() & (weights > 0)
    torch.testing.assert_close(losses["price"], (errors * weights)[kept].sum() / kept.sum())


def test_weights_of_a_batch_that_are_none_are_refused():
    task = BY_NAME["price"]
    data = make_data(12).only(("price",))
    rows = _entries(data, -torch.ones(12), "tuple")
    trainer = Trainer(network_of([task]), [task], device="cpu")
    with pytest.raises(InvalidInputError, match=r"data set of task price.*hold -1 in row 1"):
        trainer.fit(DataSource(rows))
    with pytest.raises(InvalidInputError, match="`weights` names an entry of batches"):
        DataSource(data, weights="weight")
    with pytest.raises(InvalidInputError, match="a batch has no 'w'"):
        trainer.fit(DataSource(_entries(data, torch.ones(12), "mapping"), weights="w"))


@pytest.mark.parametrize("mixed", [False, True])
def test_mixtures_weigh_the_rows_of_each_set(mixed):

    tasks = [BY_NAME["price"], BY_NAME["age"]]
    price, age = make_data(12).only(("price",)), make_data(9, seed=4).only(("age",))
    weights = torch.arange(12.0)
    sets = {
        "price": TensorData(price.inputs, price.targets, weights),
        "age": age,
    }
    network = network_of(tasks)
    trainer = Trainer(network, tasks, device="cpu")
    trainer.begin(Mixture(sets, batch_size=100, mixed=mixed), None)
    losses = trainer.compute_losses(trainer.session.draw_batches(["price", "age"]))
    errors = (network(price.inputs)["price"][:, 0] - price.targets["price"]).square()
    kept = ~errors.isnan()
    expected = (errors * weights)[kept].sum() / weights[kept].sum()
    torch.testing.assert_close(losses["price"], expected)
    errors = (network(age.inputs)["age"][:, 0] - age.targets["age"]).square()
    torch.testing.assert_close(losses["age"], errors.nanmean())


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
def test_columns_of_codes_are_known_with_weights_too(weights):
    codes = (CodeColumns("user", place=0, count=5),)
    task = Task.regression("y")
    data = TensorData(torch.ones(3, 1), {"y": torch.ones(3)}, torch.tensor(weights), codes)
    assert weigh_rows(data, [task]).codes == codes
    assert without_weightless_labels(data).codes == codes
