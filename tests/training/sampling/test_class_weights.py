"""Class weights of own modules: torch's weighted losses, and scikit-learn's balanced ones."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from jointrain import (
    Alternating,
    HardSharing,
    InvalidInputError,
    Joint,
    Task,
    TensorData,
    Trainer,
    load_bundle,
    save_bundle,
)
from jointrain.training import Merge, Mixture, MixtureLoader
from jointrain.training.sampling import class_factors

N = 60
CLASS_WEIGHTS = [1.0, 4.0, 0.5]


def made_data(n: int = N, seed: int = 0) -> TensorData:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 4, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, generator=generator, dtype=torch.float64)
    kind = torch.bucketize(inputs[:, 0] + noise, torch.tensor([-1.2, 0.2])).long()
    sold = (inputs[:, 1] + noise > 1.0).double()
    kind[::7], sold[::5] = -100, float("nan")
    return TensorData(inputs, {"kind": kind, "sold": sold})


def made_network(_tasks=()) -> HardSharing:
    torch.manual_seed(1)
    trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
    return HardSharing(trunk, {"kind": nn.Linear(6, 3), "sold": nn.Linear(6, 1)}).double()


def weighed(kind=None, sold=None) -> list[Task]:
    return [
        Task.multiclass("kind", 3, class_weights=kind),
        Task.binary("sold", class_weights=sold),
    ]


def loss_and_gradients(tasks, data, name, network=None):
    network = made_network() if network is None else network
    trainer = Trainer(network, tasks, batch_size=1000, device="cpu")
    trainer.begin(data, None)
    loss = trainer.compute_losses(trainer.session.draw_batches([name]))[name]
    return loss, torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)


def torchs(function, name):
    network = made_network()
    data = made_data()
    target = data.targets[name]
    known = target >= 0
    loss = function(network(data.inputs[known])[name], target[known])
    return loss, torch.autograd.grad(loss, list(network.parameters()), materialize_grads=True)


def assert_same(found, expected, scale=1.0):
    torch.testing.assert_close(found[0] * scale, expected[0], rtol=1e-12, atol=0)
    for ours, theirs in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(ours * scale, theirs, rtol=1e-10, atol=1e-14)


def test_several_classes_weigh_as_in_torchs_cross_entropy():
    weight = torch.tensor(CLASS_WEIGHTS, dtype=torch.float64)
    expected = torchs(nn.CrossEntropyLoss(weight=weight), "kind")
    assert_same(loss_and_gradients(weighed(kind=CLASS_WEIGHTS), made_data(), "kind"), expected)
    named = weighed(kind={1: 4.0, 2: 0.5})
    assert_same(loss_and_gradients(named, made_data(), "kind"), expected)
    # their unit is of no account
    assert_same(loss_and_gradients(weighed(kind=[2, 8, 1]), made_data(), "kind"), expected)


def test_balanced_classes_weigh_as_scikit_learn_has_it():
    kind = made_data().targets["kind"]
    labels = kind[kind >= 0].numpy()
    weight = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    expected = torchs(nn.CrossEntropyLoss(weight=torch.from_numpy(weight)), "kind")
    assert_same(loss_and_gradients(weighed(kind="balanced"), made_data(), "kind"), expected)


def test_two_classes_weigh_as_pos_weight_over_the_mean_weight():
    def function(output, target):
        return functional.binary_cross_entropy_with_logits(
            output.flatten(), target, pos_weight=torch.tensor(3.0, dtype=torch.float64)
        )

    sold = made_data().targets["sold"]
    mean = float(torch.where(sold == 1, 3.0, 1.0)[sold >= 0].mean())
    found = loss_and_gradients(weighed(sold={1: 3.0}), made_data(), "sold")
    assert_same(found, torchs(function, "sold"), scale=mean)


def test_they_multiply_the_weights_of_rows():
    data = made_data()
    rows = torch.rand(N, dtype=torch.float64) + 0.1
    factors = torch.tensor(CLASS_WEIGHTS, dtype=torch.float64)[data.targets["kind"].clamp_min(0)]
    by_hand = TensorData(data.inputs, data.targets, {"kind": rows * factors, "sold": rows})
    weighted = TensorData(data.inputs, data.targets, rows)
    for name in ("kind", "sold"):
        assert_same(
            loss_and_gradients(weighed(kind=CLASS_WEIGHTS), weighted, name),
            loss_and_gradients(weighed(), by_hand, name),
        )


def as_rows(data: TensorData, by: TensorData) -> TensorData:
    """The data with balanced weights of rows, by the labels of others."""
    weights = {}
    for name, target in by.targets.items():
        labels = target[target >= 0].numpy()
        of_class = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
        own = data.targets[name].nan_to_num(0).long().clamp_min(0)
        weights[name] = torch.from_numpy(of_class)[own]
    return TensorData(data.inputs, data.targets, weights)


@pytest.mark.parametrize("schedule", [Joint(), Alternating(), Merge()], ids=str)
def test_runs_are_those_of_rows_that_weigh_so_also_early_stopping(schedule):
    train, validation = made_data(), made_data(40, seed=5)
    settings = {"epochs": 6, "batch_size": 16, "patience": 3, "device": "cpu"}
    runs = []
    for tasks, data in [
        (weighed("balanced", "balanced"), (train, validation)),
        # the validation rows weigh by the classes of the training rows
        (weighed(), (as_rows(train, train), as_rows(validation, train))),
    ]:
        trainer = Trainer(made_network(), tasks, schedule=schedule, **settings)
        history = trainer.fit(*data)
        runs.append((trainer, history))
    for ours, theirs in zip(runs[0][1], runs[1][1], strict=True):
        assert ours.validation == pytest.approx(theirs.validation, rel=1e-9)
    for ours, theirs in zip(
        runs[0][0].network.parameters(), runs[1][0].network.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-10)
    # metrics are without
    plain = Trainer(runs[0][0].network, weighed(), device="cpu")
    if not runs[0][0].own_networks:
        assert runs[0][0].evaluate(validation) == plain.evaluate(validation)


def test_batches_of_a_loader_weigh_as_they_are():
    data = made_data()
    known = data.targets["sold"] >= 0
    loader = DataLoader(TensorDataset(data.inputs[known], data.targets["sold"][known]), N)
    task = [Task.binary("sold", class_weights={1: 3.0})]
    loss, _ = loss_and_gradients(task, loader, "sold")
    network = made_network()
    torchs_loss = functional.binary_cross_entropy_with_logits(
        network(data.inputs[known])["sold"].flatten(),
        data.targets["sold"][known],
        pos_weight=torch.tensor(3.0, dtype=torch.float64),
    )
    torch.testing.assert_close(loss, torchs_loss, rtol=1e-12, atol=0)
    with pytest.raises(InvalidInputError, match="'sold' can't be balanced: its training data are"):
        Trainer(made_network(), [Task.binary("sold", class_weights="balanced")]).fit(loader)


def test_sets_of_a_mixture_and_by_task_are_counted():
    data, tasks = made_data(), {task.name: task for task in weighed("balanced", "balanced")}
    expected = class_factors(data, tasks)
    apart = {name: data.only([name]) for name in data.targets}
    for given in (apart, Mixture(apart)):
        found = class_factors(given, tasks)
        assert {name: list(one) for name, one in found.items()} == {
            name: list(one) for name, one in expected.items()
        }
    (batches, *_) = iter(MixtureLoader(Mixture(apart, batch_size=N), list(tasks.values())))
    assert all(batch.weights is not None for batch in batches)


def test_a_class_without_training_rows_weighs_1():
    data = TensorData(torch.zeros(3, 2), {"kind": torch.tensor([0, 0, 2])})
    task = Task.multiclass("kind", 4, class_weights="balanced")
    assert class_factors(data, {"kind": task})["kind"].tolist() == [0.75, 1, 1.5, 1]


def test_a_class_whose_rows_all_weigh_0_is_refused():
    data = made_data()
    weights = (data.targets["kind"] != 1).double()
    with pytest.raises(InvalidInputError, match="all rows of class 1 of task 'kind' have weight 0"):
        Trainer(made_network(), weighed()).fit(TensorData(data.inputs, data.targets, weights))


def test_a_bundle_keeps_them(tmp_path):
    tasks = weighed(CLASS_WEIGHTS, "balanced")
    trainer = Trainer(made_network(), tasks, epochs=1, device="cpu")
    trainer.fit(made_data())
    path = save_bundle(trainer, tmp_path / "model", factory=made_network)
    loaded = load_bundle(path, factories={f"{__name__}:made_network": made_network})
    assert [task.class_weights for task in loaded.tasks] == [tuple(CLASS_WEIGHTS), "balanced"]
