"""Phases in a trainer: against loops by hand, what stays frozen, networks of a task's own."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional

from jointrain import (
    Alternating,
    Callback,
    HardSharing,
    InvalidInputError,
    Task,
    TensorData,
    Trainer,
)
from jointrain.balancing import balancer_from_name
from jointrain.networks import LowRankAdapters
from jointrain.training import Contrastive, MaskedFeatures, OptimizerSettings, Phase, Phases

SGD = partial(torch.optim.SGD, lr=0.1)
TASKS = [Task.regression("a"), Task.regression("b")]


def _network(heads="ab", group_from=16):
    trunk = nn.Sequential(
        nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh()
    )
    return HardSharing(
        trunk, {name: nn.Linear(5, 1) for name in heads}, group_from=group_from
    ).double()


def _data(seed=0, rows=32):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    return TensorData(x, {"a": x[:, 0] * x[:, 1], "b": x.sum(1)})


def _fit(network, phases, validation=None, **settings):
    settings = {"optimizer": SGD, "device": "cpu"} | settings
    trainer = Trainer(network, TASKS, schedule=Phases(phases), **settings)
    trainer.fit(_data(), validation)
    return trainer


def _by_hand(network, tasks, parameters, steps, optimizer=SGD):
    optimizer, data = optimizer(list(parameters)), _data()
    for _ in range(steps):
        network.zero_grad()
        outputs = network(data.inputs)
        sum(functional.mse_loss(outputs[n][:, 0], data.targets[n]) for n in tasks).backward()
        optimizer.step()


def _assert_close(ours, theirs):
    for a, b in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def _state(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def test_phases_equal_loops_by_hand_one_after_another():
    network = _network()
    by_hand = copy.deepcopy(network)
    adam = OptimizerSettings(name="adam", learning_rate=0.01)
    trainer = _fit(
        network,
        [
            Phase(name="first", steps=3, tasks="a"),
            Phase(name="both", epochs=4, optimizer=adam),
            Phase(name="heads", steps=5, freeze="trunk"),
        ],
    )
    _by_hand(by_hand, "a", by_hand.parameters(), 3)
    _by_hand(by_hand, "ab", by_hand.parameters(), 4, lambda p: torch.optim.Adam(p, lr=0.01))
    _by_hand(by_hand, "ab", by_hand.heads.parameters(), 5)
    _assert_close(network, by_hand)
    # an epoch is one batch here; a phase that is measured in steps has its epochs, too
    phases = ["first"] * 3 + ["both"] * 4 + ["heads"] * 5
    assert [record.phase for record in trainer.history] == phases
    assert [record.epoch for record in trainer.history] == list(range(1, 13))
    assert [record.step for record in trainer.history] == list(range(1, 13))
    assert [list(record.training) for record in trainer.history[2:4]] == [["a"], ["a", "b"]]


def test_a_single_phase_equals_training_without_phases():
    one, two = _network(), _network()
    two.load_state_dict(one.state_dict())
    _fit(one, [Phase(name="all", epochs=5, schedule=Alternating())], batch_size=8)
    Trainer(
        two, TASKS, schedule=Alternating(), epochs=5, batch_size=8, optimizer=SGD, device="cpu"
    ).fit(_data())
    _assert_close(one, two)


def test_alternating_phases_follow_their_order():
    trained = []

    class Tasks(Callback):
        def on_step_end(self, trainer, step, losses):
            trained.append(*losses)

    turns = Alternating("round_robin", block=2)
    _fit(_network(), [Phase(name="turns", steps=6, schedule=turns)], callbacks=[Tasks()])
    assert trained == ["a", "a", "b", "b", "a", "a"]


class _KeepStates(Callback):
    def __init__(self):
        self.states = []

    def on_epoch_end(self, trainer, record):
        self.states.append(_state(trainer.network))


def test_layers_are_released_from_the_top_one_after_another():
    network, keep = _network(), _KeepStates()
    start = _state(network)
    phase = Phase(name="thaw", epochs=8, unfreeze="from_top", unfreeze_every=2)
    _fit(network, [phase], callbacks=[keep])
    for name, value in start.items():
        first = next(
            (i for i, s in enumerate(keep.states) if not torch.equal(s[name], value)), None
        )
        # heads move in the first epoch, the last layer from the third, then the one below
        expected = {"heads": 0, "trunk.4": 2, "trunk.2": 4, "trunk.0": 6}
        (moved,) = (epoch for part, epoch in expected.items() if name.startswith(part))
        assert first == moved, name
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_released_layers_keep_the_optimisers_state_of_the_others():
    network = _network()
    by_hand = copy.deepcopy(network)
    adam = OptimizerSettings(name="adam", learning_rate=0.01)
    _fit(network, [Phase(name="x", epochs=4, unfreeze="trunk", unfreeze_every=2, optimizer=adam)])
    optimizer, data = torch.optim.Adam(by_hand.parameters(), lr=0.01), _data()
    for step in range(4):
        by_hand.trunk.requires_grad_(step >= 2)
        optimizer.zero_grad()
        outputs = by_hand(data.inputs)
        sum(functional.mse_loss(outputs[n][:, 0], data.targets[n]) for n in "ab").backward()
        optimizer.step()
    _assert_close(network, by_hand)


@pytest.mark.parametrize("group_from", [None, 2], ids=["separate heads", "grouped heads"])
@pytest.mark.parametrize("layout", ["one", "per_group"])
def test_the_frozen_head_of_a_task_stays_to_the_bit(group_from, layout):
    network = _network(group_from=group_from)
    before = [p.detach().clone() for p in network.task_parameters("a")]
    adamw = OptimizerSettings(learning_rate=0.1, weight_decay=0.5)
    _fit(network, [Phase(name="x", epochs=5, freeze="a", optimizer=adamw)], optimizer_layout=layout)
    assert all(map(torch.equal, before, network.task_parameters("a")))
    assert not torch.equal(before[0], network.task_parameters("b")[0])


def test_low_rank_adapters_are_trained_alone_where_the_trunk_is_frozen():
    heads = {name: nn.Linear(6, 1) for name in "ab"}
    network = LowRankAdapters(nn.Sequential(nn.Linear(4, 6)), heads, rank=2).double()
    shared = [p.detach().clone() for p in network.shared_parameters()]
    adapters = [p.detach().clone() for p in network.task_parameters("a")]
    _fit(network, [Phase(name="adapt", epochs=3, freeze="shared")])
    assert all(map(torch.equal, shared, network.shared_parameters()))
    assert not any(map(torch.equal, adapters, network.task_parameters("a")))


# --- each task by itself -------------------------------------------------------------------------


def test_fine_tuning_gives_each_task_a_network_of_its_own():
    network = _network()
    by_hand = copy.deepcopy(network)
    joint, tune = (
        Phase(name="joint", epochs=3),
        Phase(name="fine-tune", epochs=4, each_task=True),
    )
    trainer = _fit(network, [joint, tune])
    _by_hand(by_hand, "ab", by_hand.parameters(), 3)
    _assert_close(network, by_hand)
    data = _data()
    predictions, results = trainer.predict(data.inputs), trainer.evaluate(data)
    for name in "ab":
        own = copy.deepcopy(by_hand)
        _by_hand(own, [name], own.parameters(), 4)
        _assert_close(trainer.network_for(name), own)
        with torch.no_grad():
            expected = own(data.inputs)[name][:, 0]
        torch.testing.assert_close(predictions[name], expected, rtol=1e-12, atol=1e-14)
        error = (expected - data.targets[name]).square().mean().sqrt()
        assert results[name]["RMSE"] == pytest.approx(error.item())
    labels = [record.phase for record in trainer.history[3:]]
    assert labels == ["fine-tune: a"] * 4 + ["fine-tune: b"] * 4
    assert trainer.network is network


def test_fine_tuning_of_heads_alone_stays_in_one_network():
    network = _network()
    tune = Phase(name="heads", epochs=4, each_task=True, freeze="shared")
    trainer = _fit(network, [Phase(name="joint", epochs=3), tune])
    assert trainer.own_networks == {}
    by_hand = _network()
    by_hand.load_state_dict(network.state_dict())
    assert trainer.network_for("a") is network


def test_only_the_tasks_of_the_phase_get_a_network():
    tune = Phase(name="tune", epochs=1, tasks="b", each_task=True)
    again = Phase(name="again", epochs=1, tasks="b", each_task=True)
    trainer = _fit(_network(), [Phase(name="joint", epochs=1), tune, again])
    assert list(trainer.own_networks) == ["b"]
    assert trainer.network_for("a") is trainer.network
    # a second fit starts over
    trainer.fit(_data())
    assert len(trainer.history) == 3


# --- stopping ------------------------------------------------------------------------------------


def test_each_phase_has_its_own_patience_and_restores_its_best():
    check = _data(seed=5)
    noise = TensorData(check.inputs, {name: torch.randn(32).double() for name in "ab"})
    network = _network()
    trainer = _fit(
        network,
        [
            Phase(name="one", epochs=500, patience=3),
            Phase(name="two", epochs=500, patience=7, tasks=("b", "a")),
        ],
        noise,
    )
    for name, patience in (("one", 3), ("two", 7)):
        records = [record for record in trainer.history if record.phase == name]
        best = [i for i, record in enumerate(records) if record.best]
        assert len(records) - 1 - (best[-1] if best else -1) == patience
    scores = [record.score for record in trainer.history if record.best]
    assert scores == sorted(scores, reverse=True)
    kept = [record for record in trainer.history if record.best][-1]
    with torch.no_grad():
        outputs = network(noise.inputs)
    for name in "ab":
        loss = functional.mse_loss(outputs[name][:, 0], noise.targets[name]).item()
        assert loss == pytest.approx(kept.validation[name])


def test_a_phase_that_makes_nothing_better_leaves_the_weights_as_they_were():
    network, keep = _network(), _KeepStates()
    wild = OptimizerSettings(name="sgd", learning_rate=3.0)
    trainer = _fit(
        network,
        [Phase(name="good", epochs=5), Phase(name="wild", epochs=3, optimizer=wild)],
        _data(seed=1),
        callbacks=[keep],
    )
    assert not any(record.best for record in trainer.history[5:])
    best = max(i for i, record in enumerate(trainer.history) if record.best)
    for name, value in network.state_dict().items():
        assert torch.equal(value, keep.states[best][name])


# --- pre-training --------------------------------------------------------------------------------


def test_pretraining_trains_the_trunk_alone_and_is_recorded():
    network, seen = _network(), []
    start = _state(network)

    class Losses(Callback):
        def on_step_end(self, trainer, step, losses):
            seen.append((step, *losses))
            if step == 4:
                self.state = _state(trainer.network)

    losses = Losses()
    phases = [
        Phase(name="pretrain", epochs=2, pretraining=Contrastive(), optimizer=OptimizerSettings()),
        Phase(name="joint", epochs=1),
    ]
    trainer = _fit(network, phases, _data(seed=3), batch_size=16, callbacks=[losses])
    assert seen[:4] == [(step, "contrastive") for step in (1, 2, 3, 4)]
    assert seen[4:] == [(5, "a", "b"), (6, "a", "b")]
    records = [(r.phase, r.epoch, r.step, list(r.training)) for r in trainer.history]
    assert records == [
        ("pretrain", 1, 2, ["contrastive"]),
        ("pretrain", 2, 4, ["contrastive"]),
        ("joint", 3, 6, ["a", "b"]),
    ]
    for name, value in losses.state.items():
        assert torch.equal(value, start[name]) == name.startswith("heads")


def test_unlabelled_rows_are_pretrained_on():
    phases = [
        Phase(name="pretrain", epochs=1, pretraining=MaskedFeatures()),
        Phase(name="joint", epochs=1),
    ]
    trainer = Trainer(
        _network(), TASKS, schedule=Phases(phases), optimizer=SGD, batch_size=16, device="cpu"
    )
    more = torch.randn(64, 4)
    assert trainer.fit(_data(), unlabelled=more)[0].step == (32 + 64) / 16
    with pytest.raises(InvalidInputError, match=r"rows must have one shape, got \(3,\) and \(4,\)"):
        trainer.fit(_data(), unlabelled=torch.randn(9, 3))


def test_unlabelled_rows_without_a_phase_for_them_are_refused():
    for schedule in (Phases([Phase(name="joint", epochs=1)]), None):
        trainer = Trainer(_network(), TASKS, schedule=schedule, device="cpu", epochs=1)
        with pytest.raises(InvalidInputError, match="`unlabelled` rows serve phases that pretrain"):
            trainer.fit(_data(), unlabelled=torch.randn(3, 4))


# --- the rest ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["upgrad", "uncertainty", "dwa"])
def test_phases_go_with_balancers(name):
    network = _network()
    start = _state(network)
    phases = [
        Phase(name="joint", epochs=2),
        Phase(name="one", epochs=2, tasks="a", freeze="trunk"),
        Phase(name="heads", epochs=2, freeze="shared"),
        Phase(name="tune", epochs=2, each_task=True),
    ]
    trainer = _fit(network, phases, balancer=balancer_from_name(name))
    assert len(trainer.history) == 2 + 2 + 2 + 4
    assert all(not torch.equal(value, start[key]) for key, value in network.state_dict().items())


def test_the_same_seed_gives_the_same_bits():
    start = _network()
    states = []
    for noise in (1, 2):
        torch.manual_seed(noise)
        network = copy.deepcopy(start)
        phases = [
            Phase(name="pretrain", epochs=2, pretraining=Contrastive()),
            Phase(name="joint", epochs=2, schedule=Alternating("progress")),
            Phase(name="tune", epochs=2, each_task=True),
        ]
        trainer = _fit(network, phases, batch_size=8)
        states.append([_state(trainer.network_for(name)) for name in "ab"])
    for one, two in zip(*states, strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_frozen_batch_normalisation_keeps_its_statistics_through_validation():
    trunk = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5))
    network = HardSharing(trunk, {name: nn.Linear(5, 1) for name in "ab"}).double()
    before = trunk[1].running_mean.clone()
    _fit(network, [Phase(name="heads", epochs=3, freeze="trunk")], _data(seed=2))
    assert torch.equal(trunk[1].running_mean, before)
    assert not trunk[1].training


def test_steps_of_the_trainer_do_not_go_with_phases():
    with pytest.raises(InvalidInputError, match="phases have lengths of their own"):
        _fit(_network(), [Phase(name="x", epochs=1)], steps=3)
