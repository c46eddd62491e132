"""Training on data of all kinds: against hand-written loops, and data that do not fit."""

import copy
import itertools
import math
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from jointrain import (
    Alternating,
    Callback,
    HardSharing,
    InvalidInputError,
    Joint,
    Task,
    TensorData,
    Trainer,
)
from jointrain.balancing.aggregation import UPGrad
from jointrain.balancing.bilevel import AutoLambda
from jointrain.balancing.weighting import Uncertainty
from jointrain.data import DataSource
from jointrain.training import Mixture
from jointrain.training._prediction import joined
from jointrain.training.sampling._task_sets import input_batches

SGD = partial(torch.optim.SGD, lr=0.1)
NUMBER, KIND = Task.regression("number"), Task.multiclass("kind", 3)


def _network(dropout=0.0):
    torch.manual_seed(3)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout))
    return HardSharing(trunk, {"number": nn.Linear(8, 1), "kind": nn.Linear(8, 3)}).double()


def _tensors(n=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    return x, x.sum(1), torch.randint(0, 3, (n,), generator=generator)


def _sets(numbers=20, kinds=12):
    """Return a data set for each task."""
    x, number, _ = _tensors(numbers)
    z, _, kind = _tensors(kinds, 1)
    return TensorDataset(x, number), TensorDataset(z, kind)


def _memory(numbers, kinds):
    (x, number), (z, kind) = numbers.tensors, kinds.tensors
    return {"number": TensorData(x, {"number": number}), "kind": TensorData(z, {"kind": kind})}


def _fitted(data, validation=None, **settings):
    network = settings.pop("network", None) or _network()
    settings = {"optimizer": SGD, "epochs": 2, "device": "cpu", "batch_size": 4} | settings
    trainer = Trainer(network, [NUMBER, KIND], **settings)
    trainer.fit(data, validation)
    return trainer


def _assert_same_bits(first, second):
    for a, b in zip(
        first.network.state_dict().values(), second.network.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b)


# --- against loops by hand -----------------------------------------------------------------------


def _loss(network, task, batch):
    x, y = batch
    output = network(x, [task])[task]
    if task == "kind":
        return functional.cross_entropy(output, y)
    return functional.mse_loss(output[:, 0], y)


def _endless(loader):
    while True:
        yield from loader


def _by_hand(loaders, steps, weights=None):
    """Train as a loop by hand does; `steps` yields the tasks of each step."""
    network = _network()
    optimizer = SGD(network.parameters())
    streams = {task: _endless(loader) for task, loader in loaders.items()}
    for tasks in steps:
        losses = [
            (weights or {}).get(task, 1.0) * _loss(network, task, next(streams[task]))
            for task in tasks
        ]
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
    return network


def _assert_close(trainer, network):
    for ours, theirs in zip(trainer.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    "settings, schedule, steps",
    [
        ({}, None, [("number", "kind")] * 10),
        ({"epoch": "smallest"}, None, [("number", "kind")] * 6),
        ({"epoch": "once"}, None, ([("number", "kind")] * 3 + [("number",)] * 2) * 2),
        ({"sampling": "round_robin"}, None, [("number",), ("kind",)] * 10),
        ({}, Alternating("round_robin"), [("number",), ("kind",)] * 8),
    ],
)
def test_loaders_are_trained_as_by_hand(settings, schedule, steps):
    numbers, kinds = _sets()
    loaders = {"number": DataLoader(numbers, 4), "kind": DataLoader(kinds, 4)}
    trainer = _fitted(Mixture(loaders, **settings), schedule=schedule)
    assert trainer.history[-1].step == len(steps)
    _assert_close(trainer, _by_hand(loaders, steps))


def test_sampled_sets_are_trained_as_by_hand():
    numbers, kinds = _sets()
    loaders = {"number": DataLoader(numbers, 4), "kind": DataLoader(kinds, 4)}
    steps = []

    class Keep(Callback):
        def on_step_end(self, trainer, step, losses):
            steps.append(tuple(losses))

    mixture = Mixture(loaders, sampling="proportional", loss_share={"number": 0.4, "kind": 0.6})
    trainer = _fitted(mixture, callbacks=[Keep()])
    # 5 and 3 batches at 5/8 and 3/8: 8 steps an epoch, whose weights sum to 8
    assert sorted(steps[:8]) == [("kind",)] * 3 + [("number",)] * 5
    weights = {"number": 0.4 * 8 / 5, "kind": 0.6 * 8 / 3}
    _assert_close(trainer, _by_hand(loaders, steps, weights))


def test_a_mixed_batch_gives_the_gradients_of_separate_ones():
    sets = _memory(*_sets(8, 4))
    together = _fitted(Mixture(sets, batch_size=8), epochs=3)
    mixed = _fitted(Mixture(sets, batch_size=8, mixed=True), epochs=3)
    _assert_close(mixed, together.network)


@pytest.mark.parametrize("balancer", [UPGrad, Uncertainty])
@pytest.mark.parametrize("mixed", [False, True])
def test_balancers_train_on_mixtures(balancer, mixed):
    mixture = Mixture(_memory(*_sets()), batch_size=4, mixed=mixed)
    trainer = _fitted(mixture, balancer=balancer(), epochs=1)
    assert trainer.balanced.tasks == ("number", "kind")
    losses = [record.training for record in _fitted(mixture, balancer=balancer(), epochs=8).history]
    assert all(losses[-1][task] < losses[0][task] for task in ("number", "kind"))


def test_bilevel_balancers_take_held_out_batches_from_loaders():
    numbers, kinds = _sets()
    loaders = {"number": DataLoader(numbers, 4), "kind": DataLoader(kinds, 4)}
    trainer = _fitted(Mixture(loaders), loaders, balancer=AutoLambda(), epochs=1)
    assert trainer.balanced.tasks == ("number", "kind")


# --- one result whatever the kind ----------------------------------------------------------------


def test_a_set_is_trained_alike_from_memory_and_from_a_data_set():
    numbers, kinds = _sets(5, 5)
    # one batch holds all: no order is drawn
    memory = _fitted(Mixture(_memory(numbers, kinds), batch_size=8))
    read = _fitted(Mixture({"number": numbers, "kind": kinds}, batch_size=8))
    _assert_close(read, memory.network)


class Noisy(Dataset):
    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, row):
        x, y = self.data[row]
        return x + 0.1 * torch.rand(4), y


def test_neither_workers_nor_earlier_runs_change_a_bit():
    numbers, kinds = (Noisy(data) for data in _sets())
    fitted = []
    for workers in (0, 0, 2):
        torch.rand(len(fitted))
        mixture = Mixture(
            {
                "number": DataSource(numbers, num_workers=workers),
                "kind": DataSource(kinds, num_workers=workers),
            },
            batch_size=4, sampling="temperature",
        )  # fmt: skip
        fitted.append(_fitted(mixture, network=_network(0.5), seed=5))
    _assert_same_bits(fitted[0], fitted[1])
    _assert_same_bits(fitted[0], fitted[2])
    other = _fitted(mixture, network=_network(0.5), seed=6)
    assert not torch.equal(*(next(t.network.parameters()) for t in (fitted[2], other)))


def test_dropout_does_not_depend_on_how_the_data_are_read():
    class Drawing(Noisy):
        def __getitem__(self, row):
            torch.rand(row)
            return self.data[row]

    fitted = []
    for kind in (lambda data: data, Drawing):
        numbers, kinds = _sets()
        fitted.append(_fitted({"number": kind(numbers), "kind": kind(kinds)},
                              network=_network(0.5)))  # fmt: skip
    _assert_same_bits(*fitted)


def test_one_loader_serves_all_tasks():
    x, number, kind = _tensors()
    loader = DataLoader(TensorDataset(x, number, kind), 4)
    trainer = _fitted(loader)
    memory = Mixture({("number", "kind"): loader})
    _assert_same_bits(trainer, _fitted(memory))
    assert trainer.history[0].step == 5


def test_tasks_of_one_set_take_turns():
    x, number, kind = _tensors()
    trainer = _fitted(TensorDataset(x, number, kind), schedule=Alternating("round_robin"))
    assert trainer.history[0].step == 10
    assert set(trainer.history[0].training) == {"number", "kind"}


# --- different inputs into shared parts ----------------------------------------------------------


class Stems(nn.Module):
    """An image or a text, each through a stem of its own, then through shared layers."""

    def __init__(self):
        super().__init__()
        self.image = nn.Flatten()
        self.project = nn.Linear(12, 6)
        self.text = nn.EmbeddingBag(9, 6)
        self.shared = nn.Sequential(nn.Linear(6, 8), nn.ReLU())

    def forward(self, inputs):
        if isinstance(inputs, torch.Tensor):
            return self.shared(self.project(self.image(inputs)))
        return self.shared(self.text(inputs["tokens"]) * inputs["scale"][:, None])


@pytest.mark.parametrize("schedule", [Joint(), Alternating("round_robin")])
@pytest.mark.parametrize("balancer", [None, UPGrad])
def test_images_and_texts_share_layers(schedule, balancer):
    images = TensorDataset(torch.randn(30, 3, 4), torch.randn(30))
    tokens = torch.randint(0, 9, (18, 5))
    texts = [
        {"tokens": row, "scale": torch.tensor(1.0), "label": label}
        for row, label in zip(tokens, tokens[:, 0] % 3, strict=True)
    ]
    torch.manual_seed(2)
    network = HardSharing(Stems(), {"number": nn.Linear(8, 1), "kind": nn.Linear(8, 3)})
    mixture = Mixture(
        {
            "number": DataSource(images, batch_size=6),
            "kind": DataSource(texts, inputs=("tokens", "scale"), targets={"kind": "label"}),
        },
        batch_size=4,
    )
    before = copy.deepcopy(network.state_dict())
    trainer = _fitted(
        mixture, mixture, network=network, schedule=schedule, epochs=12,
        balancer=balancer and balancer(),
    )  # fmt: skip
    assert all(not torch.equal(before[name], p) for name, p in network.named_parameters())
    assert trainer.history[-1].training["kind"] < trainer.history[0].training["kind"]
    assert set(trainer.evaluate(mixture)) == {"number", "kind"}
    found = trainer.predict(mixture.sources["kind",], ["kind"])
    assert found["kind"].shape == (18, 3)


def test_inputs_in_memory_may_be_nested():
    x, number, kind = _tensors()

    class Sum(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 8)

        def forward(self, inputs):
            return self.layer(inputs["first"] + inputs["rest"][0])

    torch.manual_seed(0)
    network = HardSharing(Sum(), {"number": nn.Linear(8, 1), "kind": nn.Linear(8, 3)}).double()
    data = TensorData({"first": x, "rest": (x,)}, {"number": number, "kind": kind})
    trainer = _fitted(data, data, network=network)
    assert trainer.predict({"first": x, "rest": (x,)})["number"].shape == (20,)


# --- validation, evaluation, prediction ----------------------------------------------------------


def test_validation_from_loaders_equals_that_from_memory():
    numbers, kinds = _sets()
    memory = _memory(numbers, kinds)
    loaders = {"number": DataLoader(numbers, 3, shuffle=True), "kind": DataLoader(kinds, 5)}
    for validation in (loaders, {"number": numbers, "kind": kinds}, Mixture(loaders)):
        first, second = (_fitted(memory, checks) for checks in (memory, validation))
        for ours, theirs in zip(first.history, second.history, strict=True):
            assert ours.validation == pytest.approx(theirs.validation, rel=1e-12)
        _assert_same_bits(first, second)


def test_evaluation_and_prediction_from_loaders_equal_those_from_memory():
    numbers, kinds = _sets()
    memory = _memory(numbers, kinds)
    trainer = _fitted(memory)
    loaders = {"number": DataLoader(numbers, 3), "kind": DataLoader(kinds, 5)}
    expected, found = trainer.evaluate(memory), trainer.evaluate(loaders)
    for task in ("number", "kind"):
        assert found[task] == pytest.approx(expected[task], rel=1e-9)
    x = numbers.tensors[0]
    predictions = trainer.predict(x)
    for data in (
        loaders["number"],
        DataLoader(TensorDataset(x), 7),
        numbers,
        DataSource(numbers, batch_size=6),
        DataSource(memory["number"]),
        memory["number"],
    ):
        for task, values in trainer.predict(data).items():
            torch.testing.assert_close(values, predictions[task])


def test_targets_are_no_inputs_of_a_prediction():
    rows = [{"x": torch.ones(2), "kind": torch.tensor(1), "number": torch.tensor(0.5)}] * 3
    parts = list(input_batches(DataLoader(rows, 2), ("number", "kind"), 8))
    assert [tuple(part.shape) for part in parts] == [(2, 2), (1, 2)]


def test_sequences_of_batches_are_filled_up_to_the_longest():
    task = Task.sequence("tags", 3)
    targets = joined(task, [torch.tensor([[1, 2]]), torch.tensor([[0, 1, 2], [2, 2, -100]])])
    assert targets.tolist() == [[1, 2, -100], [0, 1, 2], [2, 2, -100]]
    outputs = joined(task, [torch.ones(1, 2, 3), torch.ones(2, 3, 3)])
    assert outputs.shape == (3, 3, 3)
    assert outputs[0, 2].tolist() == [0.0] * 3
    numbers = joined(task, [torch.ones(1, 1), torch.ones(1, 2)])
    assert numbers.tolist() == [[1.0, -100.0], [1.0, 1.0]]


# --- Hugging Face --------------------------------------------------------------------------------


def test_data_sets_of_hugging_face_are_trained_on():
    datasets = pytest.importorskip("datasets", reason="the package datasets is not installed")
    x, number, kind = (tensor.tolist() for tensor in _tensors(10))
    numbers = datasets.Dataset.from_dict({"x": x, "number": number})
    kinds = datasets.Dataset.from_dict({"x": x, "label": kind, "id": list(range(10))})
    network = _network().float()
    for data in (kinds, kinds.to_iterable_dataset()):
        source = DataSource(data, inputs="x", targets={"kind": "label"}, batch_size=4)
        mixture = Mixture({"number": numbers, "kind": source}, epoch=5, batch_size=4)
        trainer = _fitted(mixture, mixture, network=network)
        assert math.isfinite(trainer.history[-1].validation["kind"])
        assert trainer.predict(source, ["kind"])["kind"].shape == (10, 3)


# --- bad input -----------------------------------------------------------------------------------


class Stream(IterableDataset):
    def __iter__(self):
        return itertools.islice(zip(_tensors()[0], _tensors()[1], strict=True), 5)


@pytest.mark.parametrize(
    "data, message",
    [
        (Mixture({"number": _sets()[0]}), "task 'kind' has no training data"),
        (Mixture({"number": _sets()[0], "kidn": _sets()[1]}), "for 'kidn', .*mean 'kind'"),
        ({"number": _sets()[0]}, "task 'kind' has no training data"),
        ({"number": _sets()[0], "kind": [(torch.zeros(4), "3")]}, "of task kind: .* got tuple"),
        ({"number": _sets()[0], "kind": _sets()[0]}, "target of task 'kind' holds"),
        ({"number": Stream(), "kind": _sets()[1]}, "of number has no length.*epoch="),
        (_sets()[0], "holds 1 target for the 2 tasks number, kind"),
        ([1, 2], "must be TensorData, a DataLoader, a data set, a Mixture.* got list"),
        (Mixture(_memory(*_sets()) | {"number": TensorData(torch.zeros(2, 4), {"number":
         torch.tensor([math.inf, 1.0])})}), "must hold finite numbers"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_are_refused(data, message):
    with pytest.raises(InvalidInputError, match=message):
        _fitted(data)


def test_a_head_that_does_not_fit_its_task_is_refused_before_training():
    network = HardSharing(nn.Identity(), {"number": nn.Linear(4, 2), "kind": nn.Linear(4, 3)})
    numbers, kinds = _sets()
    with pytest.raises(InvalidInputError, match="'number' must give 1 numbers, got 2"):
        _fitted({"number": numbers, "kind": kinds}, network=network.double())


def test_a_task_without_a_label_in_a_loader_is_told_once():
    x, number, kind = _tensors()
    rows = TensorDataset(x, torch.full_like(number, float("nan")), kind)
    with pytest.warns(UserWarning, match="no label of task 'number' in the first epoch") as told:
        _fitted(DataLoader(rows, 6))
    assert len(told) == 1
