"""Table models: ensembles over inner folds, and what their parts make of a prediction."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from jointrain import InvalidInputError, Recipe, SupervisedTable, fit_table
from jointrain.data import load_penguins
from jointrain.tables._fit_table import inner_splits
from jointrain.tables._table_model import predict_parts
from jointrain.training import Alternating, Merge, Separate
from jointrain.training.population import fit_together

QUICK = Recipe(width=16, epochs=6, ensemble=4)


def penguins(rows=120):
    return SupervisedTable.prepare(
        load_penguins().gather_every(344 // rows), ["species", "sex", "body_mass_g"]
    )


def test_members_hold_out_each_row_once():
    table = penguins()
    splits = inner_splits(QUICK, table.labels(), table.tasks, 0)
    held_out = np.concatenate([validation for _, validation in splits])
    assert sorted(held_out) == list(range(len(table.frame)))
    for train, validation in splits:
        assert not set(train) & set(validation)
        assert len(train) + len(validation) == len(table.frame)


def test_a_single_network_holds_out_its_share():
    table = penguins()
    ((train, validation),) = inner_splits(Recipe(), table.labels(), table.tasks, 0)
    assert len(validation) == pytest.approx(0.15 * len(table.frame), abs=3)
    assert len(train) + len(validation) == len(table.frame)


def test_by_time_every_member_holds_out_the_end():
    table = penguins()
    time = np.arange(len(table.frame))
    splits = inner_splits(QUICK, table.labels(), table.tasks, 0, time=time)
    assert len(splits) == 4
    assert all(train.max() < validation.min() for train, validation in splits)


def test_too_few_labels_for_folds_still_give_members():
    labels = np.full((12, 1), np.nan)
    labels[0] = 1.0
    tasks = SupervisedTable.prepare(
        pl.DataFrame({"x": range(12), "y": np.arange(12) / 3}), ["y"]
    ).tasks
    splits = inner_splits(QUICK, labels, tasks, 0)
    assert len(splits) == 4
    assert all(0 in train for train, _ in splits)


def test_ensemble_size_by_rows():
    sizes = [Recipe(ensemble=None).chosen_ensemble(rows) for rows in (100, 12_000, 50_000)]
    assert sizes == [8, 4, 1]


@pytest.mark.parametrize("setting", [{"ensemble": 0}, {"bins": -1}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(InvalidInputError, match=next(iter(setting))):
        Recipe(**setting)


def test_predictions_are_the_means_of_the_members():
    table = penguins()
    model = fit_table(table, QUICK, device="cpu")
    assert len(model.parts) == 4
    inputs = torch.from_numpy(model.encoder.transform(table.frame))
    temperatures = model.calibration.temperatures
    single = [
        predict_parts([part], model.tasks, model.scaling, inputs, temperatures)
        for part in model.parts
    ]
    for name, prediction in model.predict(table.frame).items():
        expected = np.mean([found[name] for found in single], axis=0)
        np.testing.assert_allclose(prediction, expected)
    assert set(model.validation) == {"species", "sex", "body_mass_g"}


@pytest.mark.parametrize("schedule", [Separate(), Alternating()])
def test_trained_together_or_one_by_one_the_model_is_the_same(schedule):
    table = penguins()
    recipe = Recipe(width=16, epochs=6, ensemble=3, schedule=schedule, weights="difficulty")
    calls = []
    models = [
        fit_table(table, recipe, device="cpu"),
        fit_table(
            table,
            recipe,
            device="cpu",
            fit_runs=lambda runs: fit_together(runs, progress=lambda *at: calls.append(at)),
        ),
    ]
    one, other = (model.predict(table.frame) for model in models)
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=2e-3, atol=2e-3)
    assert calls[-1][0] == calls[-1][1]


def test_merged_networks_are_one_and_leave_weights_and_balancers_aside():
    table = penguins()
    plain = Recipe(width=16, epochs=6, schedule=Merge("ties"))
    told = replace(plain, weights="difficulty", balancer="upgrad")
    one, other = (fit_table(table, recipe, device="cpu") for recipe in (plain, told))
    (part,) = one.parts
    assert part.tasks == ("species", "sex", "body_mass_g")
    assert set(part.validation) == set(part.tasks)
    for name, values in one.predict(table.frame).items():
        np.testing.assert_array_equal(values, other.predict(table.frame)[name])
    apart = fit_table(table, replace(plain, schedule=Separate()), device="cpu")
    # the epochs of all three trainings, and the merge
    assert part.epochs[0] == sum(alone.epochs[0] for alone in apart.parts) + 1
    # one target alone is that target's separate model
    grouped = replace(plain, partition=(("species", "sex"), ("body_mass_g",)))
    np.testing.assert_allclose(
        fit_table(table, grouped, device="cpu").predict(table.frame)["body_mass_g"],
        apart.predict(table.frame)["body_mass_g"],
        rtol=1e-4,
    )


def test_bins_widen_what_networks_see():
    table = penguins()
    plain, cut = (
        fit_table(table, Recipe(width=8, epochs=1, bins=bins), device="cpu") for bins in (0, 4)
    )
    assert len(cut.encoder.feature_names) > len(plain.encoder.feature_names)


def test_many_and_no_rows_are_predicted_as_few():
    table = penguins()
    model = fit_table(table, QUICK, device="cpu")
    many = pl.concat([table.frame] * 50)
    assert len(many) > 8192
    few, found = model.predict(table.frame), model.predict(many)
    for name, values in few.items():
        np.testing.assert_array_equal(found[name][-len(values) :], values)
        assert model.predict(table.frame[:0])[name].shape == (0, *values.shape[1:])
        for count in (1, 2, 7, 13):
            alone = model.predict(table.frame[5 : 5 + count])[name]
            np.testing.assert_array_equal(alone, values[5 : 5 + count])


@pytest.mark.parametrize("network", ["hard", "low-rank"])
def test_a_row_has_the_same_bits_wherever_it_stands(network):
    table = penguins()
    recipe = Recipe(width=33, depth=2, epochs=2, ensemble=2, network=network)
    model = fit_table(table, recipe, device="cpu")
    assert len(model.encoder.feature_names) % 2  # products over odd numbers of inputs
    whole = model.predict(table.frame)
    for row in range(0, len(table.frame), 3):
        for name, values in model.predict(table.frame[row : row + 3]).items():
            np.testing.assert_array_equal(values, whole[name][row : row + 3])
