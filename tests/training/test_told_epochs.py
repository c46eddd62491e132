"""Epochs of single runs and of populations are told to who looks on."""

import torch
from torch import nn

from jointrain import HardSharing, Task, TensorData, Trainer
from jointrain.balancing.weighting import Uncertainty
from jointrain.system.training_feed import feed, looks, open_feed
from jointrain.training import Run
from jointrain.training.population import fit_together


def make_run(**settings):
    network = HardSharing(nn.Linear(3, 4), {name: nn.Linear(4, 1) for name in "ab"})
    x = torch.randn(50, 3)
    data = TensorData(x, {"a": x.sum(1), "b": x[:, 0]})
    tasks = [Task.regression("a"), Task.regression("b")]
    trainer = Trainer(network, tasks, device="cpu", epochs=3, batch_size=16, **settings)
    return Run(trainer, data, data)


def looked_at(folder, monkeypatch, fit):
    monkeypatch.setattr("jointrain.system.training_feed._SECONDS", 0.0)
    open_feed(folder)
    try:
        fit()
    finally:
        open_feed(None)
    (look,) = looks(folder).values()
    return look


def test_a_run_is_told_epoch_by_epoch(tmp_path, monkeypatch):
    run = make_run(balancer=Uncertainty())
    look = looked_at(tmp_path, monkeypatch, run.fit)
    history = run.trainer.history
    assert (look.epoch, look.epochs, look.rows) == (3, 3, 150)
    for name in "ab":
        assert look.training[name] == [record.training[name] for record in history]
        assert look.validation[name] == [record.validation[name] for record in history]
        assert look.weights[name] == [record.weights[name] for record in history]


def test_runs_that_are_trained_together_are_told_too(tmp_path, monkeypatch):
    runs = [make_run(weights={"a": 2.0}), make_run(weights={"a": 2.0})]
    look = looked_at(tmp_path, monkeypatch, lambda: fit_together(runs))
    assert (look.epoch, look.rows) == (3, 300)
    assert set(look.weights["a"]) == {2.0}


def test_nothing_is_told_where_nobody_looks_on(tmp_path):
    assert feed() is None
    make_run().fit()
    assert not list(tmp_path.iterdir())
