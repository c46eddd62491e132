"""The shipped model: components chosen by rows they have not seen, scored on folds with no say."""

import os
import time
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest

from jointrain import InvalidInputError, Recipe, Study, SupervisedTable
from jointrain.bundle import describe_bundle, load_bundle, save_bundle
from jointrain.data import validation_halves
from jointrain.experiments import SEPARATE, default_recipes, named_recipes
from jointrain.studies import SHIPPED, _shipped_model, fit_shipped, rows_to_fit
from jointrain.studies._shipped_model import (
    _affordable_size,
    _last_fit_seconds,
    _shortened,
    _size_here,
    _weights_of_fitted,
)
from jointrain.tables import BlendedModel, FittedBaseline, TableModel, fit_baseline_to, sample_rows
from jointrain.training import OptimizerSettings, Separate

QUICK = Recipe(width=16, epochs=30)


def stepped_table(rows: int = 240) -> SupervisedTable:
    """Trees win on `steps`, a line on `line`, nothing on `noise`."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(rows, 3))
    steps = 5.0 * ((x[:, 0] * x[:, 1] > 0) ^ (np.floor(3 * x[:, 2]) % 2 == 0))
    line = x @ np.array([1.0, -2.0, 0.5])
    frame = pl.DataFrame(
        {
            "a": x[:, 0], "b": x[:, 1], "c": x[:, 2],
            "steps": steps + 0.1 * generator.normal(size=rows),
            "line": line + 0.1 * generator.normal(size=rows),
            "kind": np.where(line > 0, "up", "down"),
        }
    )  # fmt: skip
    holes = pl.int_range(pl.len()) % 9 == 0
    frame = frame.with_columns(line=pl.when(holes).then(None).otherwise("line"))
    return SupervisedTable.prepare(frame, ["steps", "line", "kind"])


@pytest.fixture(scope="module")
def result():
    study = Study(
        stepped_table(),
        default_recipes(QUICK)[:2],
        ("constant", "linear", "extra trees"),
        folds=3,
        seeds=2,
    )
    return study.run(workers=1)


@pytest.fixture(scope="module")
def shipped(result):
    return fit_shipped(result, device="cpu", workers=1)


def test_each_task_is_predicted_by_what_suits_it(result):
    assert result.blends["line"].weights["linear"] > 0.8
    assert "constant" not in result.blends["line"].weights
    assert result.blends["line"].change > 20
    for blend in result.blends.values():
        assert sum(blend.weights.values()) == pytest.approx(1)


def test_the_score_is_of_test_rows_and_no_worse_than_separate_models(result):
    rows = result.shipped_table
    assert len(rows) == 3 * 2 * 6
    assert set(rows["recipe"]) == {SHIPPED}
    shipped = result.values(SHIPPED, "line", "RMSE")
    assert shipped.mean() < 0.8 * result.values(SEPARATE, "line", "RMSE").mean()
    assert result.shipped_comparisons["line"].change > 20
    assert result.shipped_delta_m.change > 0


def test_labels_of_test_rows_have_no_say_in_the_choice(result):
    """The blends of an outer fold are the same when its test rows' labels are garbage."""
    table, fold = result.study.table, result.folds[0]

    def with_garbage(rows: np.ndarray) -> dict[str, np.ndarray]:
        chosen = pl.int_range(pl.len()).is_in(rows.tolist())
        frame = table.frame.with_columns(line=pl.when(chosen).then(1e3).otherwise("line"))
        made = replace(result.study.experiment, table=replace(table, frame=frame))
        study = replace(result.study, experiment=made)
        return replace(result, study=study)._shipped_predictions(fold)

    expected = result._shipped_predictions(fold)
    for task, values in with_garbage(fold.test).items():
        np.testing.assert_array_equal(values, expected[task])
    # while labels of training rows do have a say
    changed = with_garbage(fold.train[::2])
    assert not np.array_equal(changed["line"], expected["line"])


@pytest.mark.parametrize("network", ["hard", "cross-stitch"])
def test_a_half_of_the_inner_rows_does_not_choose_the_weights_that_predict_it(network):
    """In a population ("hard") and run by run, as recipes are trained together or alone."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(90, 3))
    y = np.sin(2 * x[:, :2]) + generator.normal(size=(90, 2))
    optimizer = OptimizerSettings(learning_rate=0.03)
    recipe = Recipe(
        name="one",
        network=network,
        width=16,
        epochs=20,
        batch_size=32,
        patience=20,
        ensemble=1,
        optimizer=optimizer,
    )
    separate = replace(recipe, name=SEPARATE, network="hard", schedule=Separate(), epochs=1)

    def inner(y: np.ndarray) -> tuple[list[np.ndarray], dict[str, np.ndarray]]:
        frame = pl.DataFrame({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "p": y[:, 0], "q": y[:, 1]})
        table = SupervisedTable.prepare(frame, ["p", "q"])
        study = Study(table, [separate, recipe], (), folds=2, seeds=1)
        fold = study.run(workers=1).fold_results["one", 0, 0]
        first, second = validation_halves(table.labels()[fold.inner_rows], table.tasks, 0)
        halves = [fold.inner_rows[first], fold.inner_rows[second]]
        return halves, {half: fold.inner["p"][rows] for half, rows in enumerate((first, second))}

    (rows, _), before = inner(y)
    other = y.copy()
    # the same values in another order, so that the scale of the targets is as before
    other[rows] = np.roll(y[rows], 1, axis=0)
    _, after = inner(other)
    np.testing.assert_allclose(after[0], before[0], atol=1e-4)
    assert np.abs(after[1] - before[1]).max() > 1e-2


def test_held_out_predictions_are_of_rows_the_networks_have_not_seen(result):
    predictions = result.held_out_predictions("linear")
    labels = result.study.table.labels()
    assert predictions["line"].shape == (240,)
    assert np.isfinite(predictions["line"]).all()
    known = np.isfinite(labels[:, 1])
    error = np.sqrt(((predictions["line"] - labels[:, 1])[known] ** 2).mean())
    assert error == pytest.approx(result.values("linear", "line", "RMSE").mean(), rel=0.1)
    with pytest.raises(InvalidInputError, match=r"no recipe 'lienar'.*did you mean 'linear'"):
        result.held_out_predictions("lienar")


def test_the_fitted_blend_predicts_as_its_components_say(result, shipped):
    assert isinstance(shipped, BlendedModel)
    frame = result.study.table.frame.head(20)
    predicted = shipped.predict(frame)
    for task in ("steps", "line"):
        by_hand = sum(
            weight * shipped.components[name].predict(frame)[task]
            for name, weight in shipped.weights[task].items()
        )
        np.testing.assert_allclose(predicted[task], by_hand)
    assert ((predicted["kind"] >= 0) & (predicted["kind"] <= 1)).all()
    used = {name for weights in shipped.weights.values() for name in weights}
    assert set(shipped.components) == used
    assert isinstance(shipped.components["linear"], FittedBaseline)


def test_intervals_of_a_blend_come_from_held_out_rows(result, shipped):
    frame = result.study.table.frame
    intervals = shipped.predict_interval(frame, 0.9)
    assert set(intervals) == {"steps", "line"}
    held_out = result.held_out_blends()["line"]
    below, above = shipped.calibration.residuals["line"].bounds(0.9)
    labels = result.study.table.labels()[:, 1]
    inside = (held_out + below <= labels) & (labels <= held_out + above)
    np.testing.assert_allclose(intervals["line"][:, 1] - intervals["line"][:, 0], above - below)
    assert inside[np.isfinite(labels)].mean() == pytest.approx(0.9, abs=0.02)


def test_a_blends_bundle_predicts_the_same_bits(shipped, result, tmp_path):
    frame = result.study.table.frame
    save_bundle(shipped, tmp_path / "bundle", metrics={"line": {"RMSE": 0.1}}, notes={"id": "a"})
    loaded = load_bundle(tmp_path / "bundle")
    assert isinstance(loaded, BlendedModel)
    for task, values in shipped.predict(frame).items():
        np.testing.assert_array_equal(loaded.predict(frame)[task], values)
    for task, values in shipped.predict_interval(frame, 0.8).items():
        np.testing.assert_array_equal(loaded.predict_interval(frame, 0.8)[task], values)
    described = describe_bundle(tmp_path / "bundle")
    assert described["metrics"] == {"line": {"RMSE": 0.1}}
    assert described["notes"] == {"id": "a"}
    assert not list((tmp_path / "bundle").rglob("*.pkl"))


@pytest.mark.parametrize("damage", ["change", "remove", "add"])
def test_a_damaged_component_is_refused(shipped, tmp_path, damage):
    folder = save_bundle(shipped, tmp_path / "bundle")
    victim = next((folder / "components").rglob("encoder.*"))
    if damage == "change":
        victim.write_bytes(victim.read_bytes()[:-1] + b"x")
    elif damage == "remove":
        victim.unlink()
    else:
        (victim.parent / "more.bin").write_bytes(b"x")
    with pytest.raises(InvalidInputError, match="is damaged"):
        load_bundle(folder)


def test_networks_only_holds_no_baseline():
    study = Study(
        stepped_table(180).only(["line", "kind"]),
        default_recipes(QUICK)[:2],
        ("linear",),
        folds=2,
        seeds=1,
        ship="networks",
    )
    result = study.run(workers=1)
    assert result.components == ["separate", "joint"]
    model = fit_shipped(result, device="cpu", workers=1)
    parts = model.components.values() if isinstance(model, BlendedModel) else [model]
    assert all(isinstance(part, TableModel) for part in parts)


def test_where_no_recipe_is_better_the_model_is_separate_training():
    table = stepped_table(120).only(["line", "kind"])
    result = Study(table, named_recipes(["separate"], QUICK), (), folds=3, seeds=1).run(workers=1)
    model = fit_shipped(result, device="cpu", workers=1)
    assert isinstance(model, TableModel)
    assert model.recipe.schedule.kind == "separate"
    # single networks were compared; what is shipped is an ensemble
    assert len(model.parts) == 2 * 8
    kept = fit_shipped(replace(result, single=True), device="cpu", workers=1)
    assert isinstance(kept, TableModel)
    assert len(kept.parts) == 2
    timed = fit_shipped(replace(result, single=True), device="cpu", workers=1, seconds=100.0)
    assert isinstance(timed, TableModel)
    assert len(timed.parts) == 2


@pytest.mark.parametrize(
    "baselines, ship", [((), "any"), (("linear",), "networks"), (("constant", "linear"), "any")]
)
def test_a_target_of_noise_gets_a_constant(baselines, ship, tmp_path):
    table = stepped_table(120)
    generator = np.random.default_rng(1)
    frame = table.frame.with_columns(steps=generator.permutation(table.frame["steps"].to_numpy()))
    table = replace(table, frame=frame)
    recipes = named_recipes(["separate"], QUICK)
    result = Study(table, recipes, baselines, folds=3, seeds=1, ship=ship).run(workers=1)
    assert result.blends["steps"].weights == {"constant": 1.0}
    assert "constant" not in result.blends["line"].weights
    assert np.isfinite(result.held_out_blends()["steps"]).all()
    model = fit_shipped(result, device="cpu", workers=1)
    predicted = model.predict(frame)
    np.testing.assert_allclose(predicted["steps"], frame["steps"].mean())
    loaded = load_bundle(save_bundle(model, tmp_path / "bundle")).predict(frame)
    np.testing.assert_array_equal(loaded["line"], predicted["line"])


@pytest.mark.parametrize("kind", ["regression", "count"])
@pytest.mark.parametrize("fold", range(3))
def test_the_interval_of_a_constant_holds_the_value_that_most_rows_have(kind, fold):
    random = np.random.default_rng(0)
    x = random.normal(size=(120, 2))
    amount = np.where(random.random(120) < 0.8, 0.0, random.integers(1, 9, 120))
    frame = pl.DataFrame({"u": x[:, 0], "v": x[:, 1], "amount": amount, "line": x[:, 0]})
    table = SupervisedTable.prepare(frame, ["amount", "line"], kinds={"amount": kind})
    recipe = Recipe(width=4, depth=1, epochs=2, ensemble=1)
    result = Study(table, default_recipes(recipe), ("constant", "linear"), folds=3, seeds=1).run(
        workers=1
    )
    # time was left for one fold alone
    measured = {key: one for key, one in result.fold_results.items() if key[2] == fold}
    result = replace(result, fold_results=measured).with_weights(
        {"amount": {"constant": 1.0}, "line": {"linear": 1.0}}
    )
    low, high = fit_shipped(result).predict_interval(frame, 0.8)["amount"].T
    assert (low <= 0).all()
    assert ((low <= amount) & (amount <= high)).mean() > 0.8


@pytest.mark.parametrize("classes", [False, True])
def test_where_nothing_can_be_predicted_the_saved_model_is_no_worse_than_a_constant(classes):
    """On made tables of pure noise, by the nested score."""
    worse = []
    for seed in range(2):
        generator = np.random.default_rng(seed)
        x = generator.normal(size=(60, 4))
        y = generator.normal(size=(60, 2))
        frame = pl.DataFrame({f"x{i}": x[:, i] for i in range(4)})
        values = np.where(y > 0, "high", "low") if classes else y
        table = SupervisedTable.prepare(
            frame.with_columns(p=values[:, 0], q=values[:, 1]), ["p", "q"]
        )
        recipes = named_recipes(["separate", "joint"], QUICK)
        result = Study(table, recipes, ("constant", "linear"), folds=3, seeds=1).run(workers=1)
        metric = "log-loss" if classes else "RMSE"
        for task in "pq":
            ratio = result.values(SHIPPED, task, metric) / result.values("constant", task, metric)
            worse.append(100 * (ratio.mean() - 1))
    assert np.mean(worse) < 3


def test_little_time_makes_the_ensemble_small_and_then_the_training_short(result):
    cost = _last_fit_seconds(result, ["joint"], 1)
    assert cost == pytest.approx(1.5 * result.seconds["joint"] / result.runs("joint"))
    # two components side by side take as long as the longer one
    both = [1.5 * result.seconds[name] / result.runs(name) for name in ("separate", "joint")]
    assert _last_fit_seconds(result, ["separate", "joint"], 2) == pytest.approx(max(both))
    sizes = [_affordable_size(result, 1.0, seconds) for seconds in (0.5, 1.9, 2.1, 4.1, 8.0)]
    assert sizes == [1, 1, 2, 4, 8]
    in_all = _last_fit_seconds(result, ["separate", "joint"], 1)
    here = [_size_here(result, ["separate", "joint"], 4, n * in_all) for n in (8.1, 4.1, 3.9)]
    assert here == [4, 2, None]
    assert _size_here(result, ["joint"], 1, 0.0) is None
    recipe = Recipe(epochs=40)
    assert _shortened(recipe, 4, 100, 1.5) == Recipe(epochs=40, ensemble=4)
    assert _shortened(recipe, 1, 100, 0.25).epochs == 10
    assert _shortened(recipe, 1, 100, 0.001).epochs == 1


def with_costs(result, **seconds):
    """Return a study whose components took so many seconds a fold, the others ten."""
    costs = dict.fromkeys(result.components, 10.0) | seconds
    return replace(result, seconds={name: costs[name] * result.runs(name) for name in costs})


def test_components_that_are_not_done_in_time_leave_their_weight_to_the_others(result, monkeypatch):
    over = time.monotonic() - 1
    result = with_costs(result, constant=0.1, linear=0.1)
    cheap = fit_shipped(result, device="cpu", workers=1, until=over)
    for task, blend in result.blends.items():
        # what takes a moment is fitted all the same
        assert set(cheap.weights[task]) <= set(blend.weights)
    monkeypatch.setattr(_shipped_model, "RESCUE_SECONDS", 0.0)
    none = fit_shipped(result, device="cpu", workers=1, until=time.monotonic() - 1)
    assert dict(none.weights) == {task: {"constant": 1.0} for task in ("steps", "line", "kind")}
    frame = result.study.table.frame
    np.testing.assert_allclose(none.predict(frame)["line"], frame["line"].mean())
    given = {"a": {"x": 0.25, "y": 0.5, "z": 0.25}, "b": {"x": 1.0}}
    found = _weights_of_fitted(given, {"y": 1, "z": 2})
    assert found == {"a": {"y": 2 / 3, "z": 1 / 3}, "b": {"constant": 1.0}}
    assert result.with_weights(none.weights).blends["line"].weights == {"constant": 1.0}


def test_the_figures_are_those_of_what_was_trained(result):
    tasks = ("steps", "line", "kind")
    alone = result.with_weights({task: {"linear": 1.0} for task in tasks})
    assert alone.cut_short
    for task in result.study.tasks:
        metric = task.primary_metric.name
        np.testing.assert_allclose(
            alone.values(SHIPPED, task.name, metric),
            result.values("linear", task.name, metric),
            rtol=1e-6,  # predictions are kept in single precision
        )
    # where nothing is left out, a fold has the weights that it chose
    every = {task: dict.fromkeys(result.components, 0.2) for task in tasks}
    same = result.with_weights(every, cut_short=False)
    assert not same.cut_short
    np.testing.assert_allclose(same.shipped_table["value"], result.shipped_table["value"])
    # what was not run on a fold has no figure there
    short = {key: one for key, one in result.fold_results.items() if key != ("linear", 0, 1)}
    values = replace(alone, fold_results=short).values(SHIPPED, "line", "RMSE")
    assert np.isnan(values).sum() == 1


@dataclass(frozen=True)
class Beside:
    """Something that is run beside the fit."""

    dies: bool = False

    key = "beside"

    def run(self) -> int:
        if self.dies:
            os._exit(3)
        return os.getpid()


def test_something_else_is_run_where_a_process_has_nothing_left_to_fit(result, shipped):
    frame = result.study.table.frame
    for dies in (False, True):
        made: list[int] = []
        told: list[tuple[int, int]] = []
        model = fit_shipped(
            result,
            device="cpu",
            workers=2,
            beside=Beside(dies),
            on_beside=made.append,
            progress=lambda *counts, told=told: told.append(counts),
        )
        # a model is there, and the same one, if its processes die
        assert model.weights == shipped.weights
        for task, values in shipped.predict(frame).items():
            np.testing.assert_array_equal(model.predict(frame)[task], values)
        assert len(made) == (0 if dies else 1)
        assert os.getpid() not in made
        # it is no component
        assert told[-1] == (len(shipped.components), len(shipped.components))


def test_a_constant_stands_in_for_targets_that_it_was_not_chosen_for():
    table = stepped_table(120)
    noise = np.random.default_rng(1).permutation(table.frame["steps"].to_numpy())
    table = replace(table, frame=table.frame.with_columns(steps=noise))
    recipes = named_recipes(["separate"], QUICK)
    result = Study(table, recipes, ("constant", "linear"), folds=3, seeds=1).run(workers=1)
    assert result.blends["steps"].weights == {"constant": 1.0}
    assert "constant" not in result.blends["line"].weights
    # time is left for the constant alone
    result = with_costs(result, constant=0.1)
    model = fit_shipped(result, device="cpu", workers=1, until=time.monotonic() - 1)
    assert set(model.components) == {"constant"}
    np.testing.assert_allclose(model.predict(table.frame)["line"], table.frame["line"].mean())


def test_where_no_component_is_done_in_time_the_best_of_the_cheap_ones_is_fitted(result):
    cheap = with_costs(result, constant=0.1, linear=0.1)
    dear = cheap.with_weights({task: {"separate": 1.0} for task in ("steps", "line", "kind")})
    model = fit_shipped(dear, device="cpu", workers=1, until=time.monotonic() - 1)
    assert model.weights["line"] == {"linear": 1.0}
    # a line says nothing of steps
    assert model.weights["steps"] == {"constant": 1.0}
    frame = result.study.table.frame
    error = model.predict(frame)["line"] - frame["line"].fill_null(strategy="mean").to_numpy()
    assert np.abs(error).mean() < 0.5 * frame["line"].std()


def test_after_a_study_of_a_sample_the_model_is_fitted_on_as_many_rows_as_there_is_time_for():
    whole = stepped_table(600).only(["line"])
    study = Study(
        sample_rows(whole, 120, 0),
        default_recipes(QUICK)[:2],
        ("constant", "linear"),
        folds=2,
        seeds=1,
    )
    result = study.run(workers=1).with_weights({"line": {"linear": 1.0}})
    cost = _last_fit_seconds(result, ["linear"], 1)
    assert rows_to_fit(result, whole, 0.5 * cost, 1) is study.table
    # more than asked for where labels are rare, and these are not
    assert len(rows_to_fit(result, whole, 2.001 * cost, 1).frame) == 2 * len(study.table.frame)
    assert rows_to_fit(result, whole, 100 * cost, 1) is whole
    model = fit_shipped(result, workers=1, seconds=100 * cost, table=whole)
    by_hand = fit_baseline_to("linear", whole, study.seed)
    rows = whole.frame.head(20)
    np.testing.assert_allclose(
        model.predict_table(rows)["line"].to_numpy(),
        by_hand.predict(rows)["line"].squeeze(), rtol=1e-6,
    )  # fmt: skip


def test_components_are_the_same_whatever_the_workers(result, shipped):
    again = fit_shipped(result, device="cpu", workers=2)
    frame = result.study.table.frame.head(10)
    for task, values in shipped.predict(frame).items():
        np.testing.assert_array_equal(again.predict(frame)[task], values)
