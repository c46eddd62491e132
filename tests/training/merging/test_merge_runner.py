"""Merging in a trainer: against trainers of each task alone, and what is left as it was."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from jointrain import (
    Callback,
    HardSharing,
    InvalidInputError,
    Joint,
    Merge,
    Task,
    TensorData,
    Trainer,
)
from jointrain.balancing import balancer_from_name
from jointrain.errors import NonFiniteError
from jointrain.training.merging._merge import COEFFICIENTS
from jointrain.training.merging._merge_runner import MergeRunner

SGD = partial(torch.optim.SGD, lr=0.05)
TASKS = [Task.regression("a"), Task.regression("b")]


def _network(heads="ab", **settings):
    torch.manual_seed(3)
    trunk = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 5), nn.Tanh())
    return HardSharing(trunk, {name: nn.Linear(5, 1) for name in heads}, **settings).double()


def _data(seed=0, rows=60, missing=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=generator, dtype=torch.float64)
    a, b = x[:, 0] * x[:, 1], x.sum(1)
    a[:missing] = torch.nan
    return TensorData(x, {"a": a, "b": b})


def _fit(merge, network=None, train=None, validation=None, tasks=TASKS, **settings):
    settings = {"optimizer": SGD, "device": "cpu", "epochs": 6, "batch_size": 16} | settings
    trainer = Trainer(network or _network(), tasks, schedule=merge, **settings)
    trainer.fit(_data() if train is None else train, validation)
    return trainer


def _alone(task, network, train=None, validation=None, **settings):
    """Train one task of a copy of the network by a trainer of its own."""
    return _fit(Joint(), copy.deepcopy(network), train, validation, [task], **settings)


def _trunk(network):
    return {n: p.detach().clone() for n, p in network.named_parameters() if "heads" not in n}


def test_the_mean_is_that_of_trainers_of_each_task_alone():
    network, train, held_out = _network(), _data(missing=20), _data(1)
    alone = [
        _alone(task, network, train, held_out, patience=2, epochs=40, seed=7) for task in TASKS
    ]
    merged = _fit(Merge(), copy.deepcopy(network), train, held_out, patience=2, epochs=40, seed=7)
    trunks = [_trunk(trainer.network) for trainer in alone]
    for name, value in _trunk(merged.network).items():
        torch.testing.assert_close(value, (trunks[0][name] + trunks[1][name]) / 2)
    for number, trainer in enumerate(alone):
        head = trainer.network.heads.layers[number]
        torch.testing.assert_close(merged.network.heads.layers[number].weight, head.weight)
        torch.testing.assert_close(merged.network.heads.layers[number].bias, head.bias)
    # all that was trained is counted, each with its own end
    assert [record.phase for record in merged.history[-2:]] == ["apart: b", "merge"]
    steps = [trainer.history[-1].step for trainer in alone]
    assert merged.history[-1].step == sum(steps)
    assert len(merged.history) == sum(len(trainer.history) for trainer in alone) + 1
    assert [record.epoch for record in merged.history] == list(range(1, len(merged.history) + 1))


@pytest.mark.parametrize("method", ["arithmetic", "ties", "dare"])
def test_the_coefficient_is_the_best_on_validation_data(method):
    held_out = _data(1)
    trainer = _fit(Merge(method), validation=held_out)
    scores = trainer.merged.scores
    assert tuple(scores) == COEFFICIENTS
    chosen = trainer.merged.coefficient
    assert scores[chosen] == min(scores.values())
    by_hand = {}
    for coefficient in (chosen, 2.0 if chosen < 2.0 else 0.1):
        fixed = _fit(Merge(method, coefficient=coefficient), validation=held_out)
        before = _network().eval()
        errors = [
            (
                (net(held_out.inputs)[task.name][:, 0] - held_out.targets[task.name])
                .square()
                .mean()
                .item()
            )
            for task in TASKS
            for net in (fixed.network, before)
        ]
        by_hand[coefficient] = (errors[0] / errors[1] + errors[2] / errors[3]) / 2
        assert by_hand[coefficient] == pytest.approx(scores[coefficient])
        if coefficient == chosen:
            for ours, theirs in zip(
                trainer.network.parameters(), fixed.network.parameters(), strict=True
            ):
                assert torch.equal(ours, theirs)
    assert trainer.history[-1].score == pytest.approx(scores[chosen])


def test_a_merge_without_finite_validation_losses_is_refused(monkeypatch):
    monkeypatch.setattr(MergeRunner, "_losses", lambda _: {"a": 1.0, "b": float("nan")})
    with pytest.raises(NonFiniteError, match=r"whatever the coefficient; train .* fewer steps"):
        _fit(Merge(), validation=_data(1), epochs=1)


def test_arithmetic_by_hand_with_weights():
    network = _network()
    before = _trunk(network)
    after = [_trunk(_alone(task, network).network) for task in TASKS]
    merge = Merge("arithmetic", coefficient=0.5, weights={"b": 2})
    merged = _trunk(_fit(merge, copy.deepcopy(network)).network)
    for name, start in before.items():
        expected = start + 0.5 * ((after[0][name] - start) + 2 * (after[1][name] - start))
        torch.testing.assert_close(merged[name], expected)


def test_searched_weights_are_no_worse_and_leave_out_what_harms():
    generator = torch.Generator().manual_seed(5)
    train, held_out = _data(rows=200), _data(1, rows=200)
    # without held-out labels, nothing stops the third task
    train.targets["noise"] = 3 * torch.randn(200, generator=generator, dtype=torch.float64)
    tasks = [*TASKS, Task.regression("noise")]
    network = _network(["a", "b", "noise"])
    fitted = {
        weights: _fit(
            Merge("arithmetic", weights=weights),
            copy.deepcopy(network),
            train,
            held_out,
            tasks,
            epochs=40,
            auxiliary="noise",
        )
        for weights in ("equal", "searched")
    }
    equal, searched = fitted["equal"], fitted["searched"]
    assert searched.merged.coefficient == equal.merged.coefficient
    assert searched.history[-1].score < equal.history[-1].score
    assert searched.merged.weights["noise"] < 1


def test_without_validation_data_the_sum_is_scaled_to_the_mean():
    mean, total = _fit(Merge("mean")), _fit(Merge("arithmetic"))
    assert total.merged.coefficient == 0.5
    assert total.merged.scores == {}
    for ours, theirs in zip(mean.network.parameters(), total.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert mean.history[-1].phase == "apart: b"


def test_statistics_are_measured_anew_and_other_buffers_stay():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros((), dtype=torch.long))
            self.register_buffer("total", torch.zeros((), dtype=torch.float64))

        def forward(self, x):
            if self.training:
                self.calls += 1
                self.total += 0.5
            return x

    trunk = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), Counting(), nn.Tanh())
    heads = {name: nn.Linear(5, 1) for name in "ab"}
    train = _data(rows=90)
    trainer = _fit(Merge("ties"), HardSharing(trunk, heads).double(), train, _data(1))
    features = trunk[0](train.inputs)
    torch.testing.assert_close(trunk[1].running_mean, features.mean(0))
    torch.testing.assert_close(trunk[1].running_var, features.var(0))
    assert trunk[2].calls == 0
    assert trunk[2].total == 0
    assert not trainer.network.training


def test_layers_above_the_trunk_stay_each_tasks_own():
    stages = [nn.Linear(4, 6), nn.Sequential(nn.Tanh(), nn.Linear(6, 5), nn.BatchNorm1d(5))]
    heads = {name: nn.Linear(5, 1) for name in "ab"}
    network = HardSharing(stages, heads).double()
    alone = [_alone(task, network) for task in TASKS]
    merged = _fit(Merge(), copy.deepcopy(network))
    for number, trainer in enumerate(alone):
        own, theirs = merged.network.branches[number], trainer.network.branches[number]
        torch.testing.assert_close(own[1].weight, theirs[1].weight)
        torch.testing.assert_close(own[2].weight, theirs[2].weight)
        # what it normalises is no longer what it was
        assert not torch.equal(own[2].running_mean, theirs[2].running_mean)


def test_embeddings_are_merged_and_frozen_weights_stay():
    trunk = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(6, 5))
    trunk[2].requires_grad_(False)
    heads = {name: nn.Linear(5, 1) for name in "ab"}
    network = HardSharing(trunk, heads).double()
    x = torch.randint(0, 7, (40, 2), generator=torch.Generator().manual_seed(0))
    train = TensorData(x, {"a": x[:, 0].double(), "b": x.sum(1).double()})
    alone = [_alone(task, network, train).network.trunk[0].weight for task in TASKS]
    linear = trunk[2].weight.clone()
    merged = _fit(Merge(), network, train)
    torch.testing.assert_close(merged.network.trunk[0].weight, (alone[0] + alone[1]) / 2)
    assert torch.equal(trunk[2].weight, linear)


def test_tuned_heads_leave_the_merged_trunk_and_get_better():
    held_out = _data(1)
    plain = _fit(Merge("mean"), validation=held_out)
    tuned = _fit(Merge("mean", head_epochs=20), validation=held_out)
    for name, value in _trunk(plain.network).items():
        assert torch.equal(value, _trunk(tuned.network)[name])
    best = min(record.score for record in tuned.history if record.phase in ("merge", "heads"))
    assert best < plain.history[-1].score
    assert {record.phase for record in tuned.history[-20:]} == {"heads"}
    found = (tuned.predict(held_out.inputs)["a"] - held_out.targets["a"]).square().mean().item()
    kept = [record for record in tuned.history if record.score == best]
    assert found == pytest.approx(kept[0].validation["a"])


def test_many_heads_in_one_group_are_kept_one_by_one():
    names = [f"t{number}" for number in range(16)]
    data = _data()
    for number, name in enumerate(names):
        data.targets[name] = data.targets["a" if number % 2 else "b"] + number
    tasks = [Task.regression(name) for name in names]
    network = _network(names, group_from=16)
    apart = _network(names, group_from=None)
    grouped = _fit(Merge(), network, data, tasks=tasks, epochs=2)
    single = _fit(Merge(), apart, data, tasks=tasks, epochs=2)
    x = data.inputs
    for name in names:
        torch.testing.assert_close(grouped.predict(x)[name], single.predict(x)[name])


def test_a_data_set_for_each_task():
    data = _data()
    single = {name: data.only((name,)) for name in "ab"}
    together, apart = _fit(Merge("mean")), _fit(Merge("mean"), train=single)
    for ours, theirs in zip(together.network.parameters(), apart.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_one_task_is_left_as_it_was_trained():
    network = _network("a")
    alone = _alone(TASKS[0], network)
    merged = _fit(Merge("ties"), copy.deepcopy(network), tasks=TASKS[:1])
    for ours, theirs in zip(merged.network.parameters(), alone.network.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_auxiliary_tasks_are_merged_but_choose_nothing():
    held_out = _data(1).only(("b",))
    trainer = _fit(Merge("arithmetic"), validation=held_out, auxiliary="a")
    assert set(trainer.history[-1].validation) == {"b"}
    assert set(trainer.merged.weights) == {"a", "b"}
    assert trainer.main_tasks == ("b",)


def test_callbacks_and_own_steps_hear_all_of_it():
    class Seen(Callback):
        def __init__(self):
            self.tasks, self.phases = set(), []

        def on_step_end(self, trainer, step, losses):
            self.tasks.add((trainer.session.phase, *losses))
            self.step = step

        def on_epoch_end(self, trainer, record):
            self.phases.append(record.phase)

    class Counting(Trainer):
        made = 0

        def training_step(self, batches):
            self.made += 1
            return super().training_step(batches)

    seen = Seen()
    trainer = Counting(
        _network(), TASKS, schedule=Merge(), optimizer=SGD, epochs=2, callbacks=[seen], device="cpu"
    )
    trainer.fit(_data(), _data(1))
    assert seen.tasks == {("apart: a", "a"), ("apart: b", "b")}
    assert seen.phases == ["apart: a"] * 2 + ["apart: b"] * 2 + ["merge"]
    assert trainer.made == seen.step == 4
    assert trainer.session.phase is None


def test_fitting_again_begins_anew():
    trainer = _fit(Merge("ties"), validation=_data(1))
    first = len(trainer.history)
    trainer.fit(_data(), _data(1))
    assert len(trainer.history) == first
    assert trainer.merged is not None


def test_a_balancer_is_refused():
    with pytest.raises(InvalidInputError, match="a balancer has nothing to balance"):
        _fit(Merge(), balancer=balancer_from_name("upgrad"))
