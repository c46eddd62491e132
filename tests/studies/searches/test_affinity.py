"""Affinity: against gradients by hand in float64, and unseen by training."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from jointrain import HardSharing, InvalidInputError, NotFittedError, Task, TensorData, Trainer
from jointrain.data import TableEncoder, outer_folds
from jointrain.studies.searches import (
    Affinity,
    AffinityGlance,
    AffinityTrainer,
    measure_affinity,
)
from jointrain.tables import TableExperiment
from jointrain.training import OptimizerSettings
from tests.studies._tables import NARROW, QUICK, mixed_table, two_pairs

RATE = 0.1


def problem(seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(12, 3, generator=generator, dtype=torch.float64)
    y = torch.randn(12, 2, generator=generator, dtype=torch.float64)
    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    network = HardSharing(trunk, {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}).double()
    tasks = [Task.regression("a"), Task.regression("b")]
    return network, tasks, TensorData(x, {"a": y[:, 0], "b": y[:, 1]})


def losses_by_hand(network, data, trunk):
    """Return the two mean squared errors for given weights of the trunk."""
    weight, bias = trunk
    hidden = torch.tanh(data.inputs @ weight.T + bias)
    losses = []
    for name in ("a", "b"):
        head = network.heads.piece(name)[0]
        output = hidden @ head.weight.T + head.bias
        losses.append((output.squeeze(1) - data.targets[name]).square().mean())
    return losses


@pytest.mark.parametrize("measure", ["lookahead", "gradient"])
@pytest.mark.parametrize("rows", ["training", "held-out"])
def test_one_step_is_what_the_equations_say(measure, rows):
    network, tasks, data = problem()
    _, _, held_out = problem(seed=1)
    checked = data if rows == "training" else held_out
    trunk = [p.detach().clone().requires_grad_() for p in network.trunk.parameters()]
    expected = np.zeros((2, 2))
    for i in range(2):
        step = torch.autograd.grad(losses_by_hand(network, data, trunk)[i], trunk)
        moved = [p - RATE * g for p, g in zip(trunk, step, strict=True)]
        before = losses_by_hand(network, checked, trunk)
        after = losses_by_hand(network, checked, moved)
        for j in range(2):
            if measure == "lookahead":
                expected[i, j] = 1 - float(after[j].detach()) / float(before[j].detach())
            else:
                own = torch.autograd.grad(before[j], trunk, retain_graph=True)
                product = sum(float((g * h).sum()) for g, h in zip(step, own, strict=True))
                expected[i, j] = RATE * product / float(before[j].detach())
    trainer = AffinityTrainer(
        network, tasks, measure=measure, rows=rows, batch_size=12, steps=1, device="cpu",
        optimizer=OptimizerSettings(name="sgd", learning_rate=RATE),
    )  # fmt: skip
    trainer.fit(data, held_out)
    np.testing.assert_allclose(trainer.affinity.mean, expected, rtol=1e-12, atol=1e-14)


def test_small_steps_make_the_two_measures_one():
    found = {}
    for measure in ("lookahead", "gradient"):
        network, tasks, data = problem()
        trainer = AffinityTrainer(
            network, tasks, measure=measure, batch_size=12, steps=1, device="cpu",
            optimizer=OptimizerSettings(name="sgd", learning_rate=1e-6),
        )  # fmt: skip
        trainer.fit(data)
        found[measure] = trainer.affinity.mean
    np.testing.assert_allclose(found["lookahead"], found["gradient"], rtol=1e-4)


@pytest.mark.parametrize("measure", ["lookahead", "gradient"])
def test_measuring_leaves_training_as_it_is(measure):
    settings = {"batch_size": 4, "epochs": 3, "device": "cpu", "seed": 1}
    plain, tasks, data = problem()
    Trainer(plain, tasks, **settings).fit(data)
    measured, _, _ = problem()
    AffinityTrainer(measured, tasks, measure=measure, every=2, **settings).fit(data)
    for one, other in zip(plain.parameters(), measured.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_task_without_labels_in_a_batch_is_left_out_of_the_mean():
    network, tasks, data = problem()
    target = data.targets["b"].clone()
    target[:8] = torch.nan
    trainer = AffinityTrainer(network, tasks, batch_size=2, epochs=2, device="cpu")
    trainer.fit(TensorData(data.inputs, {"a": data.targets["a"], "b": target}))
    assert np.isfinite(trainer.affinity.mean).all()


@pytest.mark.parametrize("measure", ["lookahead", "gradient"])
def test_related_tasks_help_each_other_most(measure):
    affinity = measure_affinity(two_pairs(), NARROW, measure=measure, folds=2, workers=1)
    assert affinity.runs.shape == (2, 4, 4)
    mean = affinity.mean
    for task, twin in ((0, 2), (1, 3), (2, 0), (3, 1)):
        others = [i for i in range(4) if i not in (task, twin)]
        assert mean[twin, task] > max(mean[i, task] for i in others)


def test_the_table_and_the_picture_show_every_pair():
    affinity = measure_affinity(mixed_table(), QUICK, folds=2, every=3, workers=1)
    table = affinity.table()
    assert len(table) == 9
    row = table.filter(source="price", target="sold").row(0, named=True)
    assert row["affinity"] == pytest.approx(affinity.runs[:, 0, 2].mean())
    assert row["spread"] == pytest.approx(affinity.runs[:, 0, 2].std(ddof=1))
    shown = affinity.plot().to_dict(validate=False)["data"]["values"]
    assert list(dict.fromkeys(cell["column"] for cell in shown)) == ["price", "size", "sold"]
    assert sum(bool(cell["text"]) for cell in shown) == 6


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"measure": "lookahed"}, "did you mean 'lookahead'"),
        ({"rows": "heldout"}, "did you mean 'held-out'"),
        ({"every": 0}, "`every` must be at least 1"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    network, tasks, _ = problem()
    with pytest.raises(InvalidInputError, match=message):
        AffinityTrainer(network, tasks, device="cpu", **settings)


def test_frozen_shared_layers_are_left_out():
    _, tasks, data = problem()
    trunk = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4))
    trunk[0].requires_grad_(False)
    network = HardSharing(trunk, {"a": nn.Linear(4, 1), "b": nn.Linear(4, 1)}).double()
    before = trunk[0].weight.clone()
    trainer = AffinityTrainer(network, tasks, epochs=1, device="cpu")
    trainer.fit(data)
    assert np.isfinite(trainer.affinity.mean).all()
    assert torch.equal(trunk[0].weight, before)
    trunk.requires_grad_(False)
    with pytest.raises(InvalidInputError, match="shares no parameters that are trained"):
        AffinityTrainer(network, tasks, device="cpu")


def test_what_has_no_affinity_is_refused():
    network, tasks, data = problem()
    with pytest.raises(InvalidInputError, match="two or more"):
        AffinityTrainer(network, tasks[:1], device="cpu")
    alone = HardSharing(nn.Identity(), {"a": nn.Linear(3, 1), "b": nn.Linear(3, 1)}).double()
    with pytest.raises(InvalidInputError, match="shares no parameters"):
        AffinityTrainer(alone, tasks, device="cpu")
    trainer = AffinityTrainer(network, tasks, rows="held-out", epochs=1, device="cpu")
    with pytest.raises(NotFittedError, match="call fit"):
        _ = trainer.affinity
    with pytest.raises(InvalidInputError, match="need validation data"):
        trainer.fit(data)


def sparse_affinity(shared):
    values = np.array([[[9.0, 1, 2], [3, 9, 4], [5, 6, 9]], [[9.0, 3, 2], [3, 9, 4], [5, 8, 9]]])
    return Affinity(("a", "b", "c"), values, "gradient", np.array(shared))


def test_affinities_of_tasks_with_few_shared_rows_are_not_read():
    # a and b: 30 of 100; a and c: 29 of 101; b and c: none
    found = sparse_affinity([[80, 30, 29], [30, 50, 0], [29, 0, 50]])
    np.testing.assert_allclose(found.overlap[0], [1, 0.3, 29 / 101])
    np.testing.assert_array_equal(
        found.readable, [[True, True, False], [True, True, False], [False, False, True]]
    )
    assert found.onto(1, [0, 2]) == 2
    assert found.onto(2, [0, 1]) == 0
    rows = found.table().filter(source="a")
    assert rows["shared_rows"].to_list() == [80, 30, 29]
    assert rows["readable"].to_list() == [True, True, False]


def test_what_is_not_known_of_shared_rows_is_no_reason_not_to_read():
    found = replace(sparse_affinity(np.eye(3)), shared=None)
    assert found.readable.all()
    assert found.table()["shared_rows"].null_count() == 9


def test_shared_rows_are_counted_on_a_table():
    table = mixed_table()
    found = measure_affinity(table, replace(QUICK, epochs=1), folds=2, workers=1)
    known = np.isfinite(table.labels())
    assert found.shared is not None
    assert found.shared[0, 1] == (known[:, 0] & known[:, 1]).sum()
    assert found.shared[1, 1] == known[:, 1].sum()


def test_the_picture_shows_no_figure_where_too_few_rows_are_shared():
    def shown(shared):
        cells = sparse_affinity(shared).plot().to_dict(validate=False)["data"]["values"]
        return [(cell["text"], cell["tip"]) for cell in cells if cell["text"]]

    few = ("?", "too few shared rows")
    cells = shown([[80, 30, 29], [30, 50, 0], [29, 0, 50]])
    assert cells.count(few) == 4
    assert sum("±" in text for text, _ in cells) == 2
    assert shown(100 * np.eye(3)) == [few] * 6


def test_the_network_is_the_recipes_own(monkeypatch):
    """Inputs are encoded with the recipe's bins, and split as a study splits them."""
    table, recipe = mixed_table(), replace(QUICK, bins=4, partition=[["price"], ["size", "sold"]])
    seen = []
    fit = AffinityTrainer.fit

    def watched(self, train, validation=None, **more):
        seen.append((train, validation))
        return fit(self, train, validation, **more)

    monkeypatch.setattr(AffinityTrainer, "fit", watched)
    found = measure_affinity(table, recipe, folds=2, workers=1)
    assert found.runs.shape == (2, 3, 3)
    train, _ = outer_folds(table.labels(), list(table.tasks), 2, 0)[0]
    encoder = TableEncoder(4).fit(table.frame[train], list(table.columns), 0)
    expected = encoder.transform(table.frame[train])
    got = torch.cat([part.inputs for part in seen[0]]).numpy()
    assert got.shape == expected.shape
    plain = TableEncoder().fit(table.frame[train], list(table.columns), 0)
    assert expected.shape[1] > plain.transform(table.frame[train]).shape[1]
    np.testing.assert_allclose(np.sort(got.sum(1)), np.sort(expected.sum(1)), rtol=1e-5)


def test_a_glance_ends_after_its_steps():
    experiment = TableExperiment(mixed_table())
    glance = AffinityGlance(experiment, replace(QUICK, epochs=20), steps=7).run()
    steps, _ = glance.cosines
    assert 1 <= max(steps) <= 7
