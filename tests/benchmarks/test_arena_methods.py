"""Methods of the arena: each predicts the targets that it applies to, classes in their order."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

pytest.importorskip("pandas")
FAST = (
    "ridge", "PLS", "random forest", "random forest joint", "extra trees", "extra trees joint",
    "LightGBM", "CatBoost", "CatBoost joint", "stacked targets",
)  # fmt: skip


@pytest.fixture(scope="module")
def methods(benchmark_module):
    return benchmark_module("arena_methods")


@pytest.fixture(scope="module")
def make(benchmark_module):
    """Return a task of made-up rows, whose targets follow from the first feature."""
    tables, methods = benchmark_module("arena_tables"), benchmark_module("arena_methods")

    def task(rows=90, missing=False, kinds=("regression", "binary", "ordinal", "multiclass")):
        random = np.random.default_rng(0)
        x = random.uniform(-1, 1, rows)
        features = pl.DataFrame(
            {
                "x": x,
                "gaps": [None if i % 7 == 0 else float(i % 3) for i in range(rows)],
                "text": [None if i % 11 == 0 else "ab"[i % 2] for i in range(rows)],
            }
        )
        of_kind = {
            "regression": 1000 * x,
            "count": np.round(3 + 3 * x),
            "binary": ["yes" if value > 0 else "no" for value in x],
            "ordinal": np.digitize(x, [-0.3, 0.3]) + 1,
            "multiclass": [["low", "mid", "high"][k] for k in np.digitize(x, [-0.3, 0.3])],
        }
        targets = pl.DataFrame({kind: of_kind[kind] for kind in kinds})
        if missing:
            targets = targets.with_columns(
                pl.when(pl.int_range(rows) % 5 != index).then(pl.col(kind)).alias(kind)
                for index, kind in enumerate(kinds)
            )
        table = tables.ArenaTable("made up", features, targets, {k: k for k in kinds})
        return methods.Task.of(table, 0), targets[table.folds()[0][1]]

    return task


KINDS = {
    "numbers": ("regression", "count"),
    "binary": ("binary", "ordinal"),
    "mixed": ("regression", "binary", "ordinal", "multiclass"),
}


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("name", FAST)
def test_methods_predict_what_they_apply_to(methods, make, name, kinds):
    method = methods.METHODS[name]
    task, truth = make(kinds=kinds, missing=not method.at_once)
    if method.why_not(task.table):
        pytest.skip(method.why_not(task.table))
    predictions = method.fit(task)
    assert list(predictions) == list(kinds)
    for kind in kinds:
        rows = truth[kind].is_not_null().to_numpy()
        wanted = truth[kind].drop_nulls().to_list()
        if kind in ("regression", "count"):
            values = predictions[kind][rows]
            assert values.shape == (len(wanted),)
            assert np.corrcoef(values, wanted)[0, 1] > 0.8
        else:
            probabilities, classes = predictions[kind]
            np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
            found = [classes[index] for index in probabilities[rows].argmax(1)]
            assert np.mean([a == b for a, b in zip(found, wanted, strict=True)]) > 0.7


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_jointrain_predicts_classes_in_their_order(methods, make, kinds):
    task, truth = make(kinds=kinds, missing=True)
    predictions = methods.METHODS["jointrain"].fit(task)
    for kind in {*kinds} - {"regression", "count"}:
        probabilities, classes = predictions[kind]
        rows = truth[kind].is_not_null().to_numpy()
        found = [classes[index] for index in probabilities[rows].argmax(1)]
        assert np.mean(np.array(found) == np.array(truth[kind].drop_nulls().to_list())) > 0.7


@pytest.mark.parametrize(
    "name",
    [
        "ridge",
        "PLS",
        "extra trees joint",
        "LightGBM",
        "jointrain",
        pytest.param("stacked targets", marks=pytest.mark.integration),
    ],
)
def test_labels_of_the_rows_to_predict_are_not_looked_at(methods, make, name):
    """A method that looked at them, in fitting or in reading the table, would predict otherwise."""
    method, kinds = methods.METHODS[name], ("regression", "count")
    task, _ = make(rows=60, kinds=kinds)
    train, test = task.table.folds()[0]
    changed = task.table.targets.with_columns(
        pl.when(pl.int_range(60).is_in(test.tolist())).then(1e6).otherwise(kind).alias(kind)
        for kind in kinds
    )
    other = methods.Task.of(replace(task.table, targets=changed), 0)
    assert len(train) == len(other.features) == 40
    before, after = method.fit(task), method.fit(other)
    for kind in kinds:
        np.testing.assert_array_equal(before[kind], after[kind])


@pytest.mark.integration  # studies
@pytest.mark.parametrize("kinds", [KINDS["numbers"], KINDS["mixed"]], ids=["numbers", "mixed"])
def test_nothing_that_compare_promises_hangs_on_labels_of_the_rows_to_predict(
    methods, make, kinds, monkeypatch
):
    """The study is one that no clock cuts, so that both are alike to the bit."""
    import jointrain

    def whole(study, *_, **__):
        return replace(study, folds=2, seeds=1, recipes=study.recipes[:2]).run(workers=1)

    monkeypatch.setattr(jointrain, "run_within_budget", whole)
    task, _ = make(rows=60, kinds=kinds, missing=True)
    test = task.table.folds()[0][1]
    changed = task.table.targets.with_columns(
        pl.col(kind).gather([*range(59, -1, -1)]).alias(kind) for kind in kinds
    )
    rows = pl.int_range(60).is_in(test.tolist())
    mixed = pl.DataFrame(
        {
            kind: pl.select(pl.when(rows).then(changed[kind]).otherwise(task.table.targets[kind]))
            for kind in kinds
        }
    )
    assert not mixed.equals(task.table.targets)
    found = []
    for targets in (task.table.targets, mixed):
        given = methods.Task.of(replace(task.table, targets=targets), 0, 1e6)
        # the rest of the table is out of reach
        given = replace(given, table=SimpleNamespace(kinds=given.kinds, ordered=False))
        found.append(methods.promising_compare(given))
    first, second = found
    assert first.chosen == second.chosen
    pairs = [(first.predictions, second.predictions), (first.intervals, second.intervals)]
    pairs += [(first.by_component, second.by_component)]
    for before, after in [*pairs, (first.predict_chosen(), second.predict_chosen())]:
        assert {*before} == {*after} <= {*kinds}
        for kind in before:
            values = [one[kind][0] if isinstance(one[kind], tuple) else one[kind]
                      for one in (before, after)]  # fmt: skip
            np.testing.assert_array_equal(*values)
    assert {*first.intervals} == {*first.held_out} == {*kinds} & {"regression", "count"}


@pytest.mark.integration  # a study
def test_the_model_that_compare_saves_comes_with_what_it_promises(methods, make):
    task, truth = make(kinds=KINDS["mixed"], missing=True)
    found = methods.promising_compare(replace(task, budget=6.0))
    chosen = found.predict_chosen()
    assert {*found.predictions} == {*chosen} == {*KINDS["mixed"]}
    for predictions in (found.predictions, chosen):
        values = predictions["regression"][truth["regression"].is_not_null().to_numpy()]
        assert np.corrcoef(values, truth["regression"].drop_nulls())[0, 1] > 0.8
        for kind, classes in (("ordinal", [1, 2, 3]), ("multiclass", ["high", "low", "mid"])):
            assert predictions[kind][1] == classes
            assert predictions[kind][0].shape == (len(task.test), 3)
    assert found.intervals["regression"].shape == (len(task.test), 2)
    assert 0 < found.held_out["regression"] <= task.targets["regression"].count()


@pytest.mark.parametrize("kinds", [KINDS["numbers"], KINDS["mixed"]], ids=["numbers", "mixed"])
def test_a_component_predicts_what_it_predicts_alone(methods, make, kinds):
    from jointrain import Recipe, fit_table
    from jointrain.tables import BlendedModel, fit_baseline_to

    task, _ = make(rows=60, kinds=kinds)
    table = methods._supervised(task)
    network = fit_table(table, Recipe(ensemble=1, epochs=1), device="cpu")
    forest = fit_baseline_to("extra trees", table, 0)
    linear = fit_baseline_to("linear", table.only(list(kinds)[:1]), 0)
    components = {"joint": network, "extra trees": forest, "linear": linear}
    weights = {kind: {"joint": 0.5, "extra trees": 0.5} for kind in kinds}
    model = BlendedModel(table.tasks, table.columns, components, weights, schema=table.schema)
    by_network, by_forest = (methods._of_component(task, model, n) for n in list(components)[:2])
    both = methods._of_model(task, model)
    for kind in kinds:
        parts = [one[kind] for one in (by_network, by_forest, both)]
        if kind not in ("regression", "count"):
            assert parts[0][1] == parts[1][1] == parts[2][1]
            parts = [one[0] for one in parts]
        np.testing.assert_allclose((parts[0] + parts[1]) / 2, parts[2], atol=1e-6)
    # it does not have all targets, or is not there, or is all there is
    assert methods._of_component(task, model, "linear") == {}
    assert methods._of_component(task, model, "separate") == {}
    assert methods._of_component(task, network, "joint") == {}


@pytest.mark.integration  # a study
def test_a_study_of_a_sample_of_rows_is_fitted_to_more_of_them(methods, make, monkeypatch):
    import jointrain
    from jointrain import studies

    def of_sample(study, *_, **__):
        part = replace(study.table, frame=study.table.frame[:40])
        small = jointrain.Study(part, study.recipes[:2], ["constant", "linear"], folds=2, seeds=1)
        return small.run(workers=1)

    rows = []

    def fitted(*given, **settings):
        rows.append(len(settings["table"].frame))
        return studies.fit_shipped(*given, **settings)

    monkeypatch.setattr(jointrain, "run_within_budget", of_sample)
    monkeypatch.setattr(jointrain, "fit_shipped", fitted)
    task, truth = make(kinds=("regression", "count"))
    found = methods.promising_compare(replace(task, budget=1e6))
    assert np.corrcoef(found.predict_chosen()["regression"], truth["regression"])[0, 1] > 0.8
    assert rows == [60, 60]


def test_the_inner_choice_has_the_lowest_mean_error_over_targets(methods):
    labels = np.array([[0.0, 0], [1, 1], [2, 0], [3, 1], [np.nan, 1]])
    sure = np.array([0.1, 0.9, 0.1, 0.9, 0.9])
    wrong = 1 - sure
    good, bad = np.array([0.1, 1, 2, 3, 9]), np.array([2.0, 2, 1, 1, 9])
    by_name = {
        "first": {"n": bad, "b": sure},
        "second": {"n": good, "b": wrong},
        "third": {"n": good, "b": np.array([0.3, 0.7, 0.3, 0.7, np.nan])},
    }

    def held_out(name, seeds):
        assert seeds == {0, 1}  # more repetitions of one would look better by themselves
        return by_name[name]

    runs = [(name, seed, 0) for name in by_name for seed in (0, 1)] + [("first", 2, 0)]
    tasks = [SimpleNamespace(name="n"), SimpleNamespace(name="b")]
    result = SimpleNamespace(
        components=list(by_name),
        fold_results=dict.fromkeys(runs),
        study=SimpleNamespace(table=SimpleNamespace(tasks=tasks, labels=lambda: labels)),
        held_out_predictions=held_out,
    )
    kinds = {"n": "regression", "b": "binary"}
    assert methods.inner_choice(result, kinds) == "third"
    assert methods.inner_choice(result, {"n": "regression"}) == "second"


def test_ridge_is_scikit_learns(methods, make):
    task, _ = make(kinds=("regression", "count"), missing=True)
    train, test = task.linear
    known = task.targets["count"].is_not_null().to_numpy()
    expected = RidgeCV().fit(train[known], task.targets["count"].drop_nulls().to_numpy())
    np.testing.assert_allclose(methods.ridge(task)["count"], expected.predict(test))


def test_linear_inputs_are_medians_indicators_and_columns_of_categories(make):
    task, _ = make()
    train, test = task.linear
    # x, gaps, whether it was missing; a, b and missing
    assert train.shape[1] == test.shape[1] == 6
    gaps = task.features["gaps"].to_numpy()
    filled = np.where(np.isnan(gaps), np.nanmedian(gaps), gaps)[:, None]
    np.testing.assert_allclose(train[:, 1:2], StandardScaler().fit_transform(filled))
    assert {*train[:, 3:].ravel()} == {0.0, 1.0}


def test_forests_get_gaps_and_numbered_categories(make):
    task, _ = make()
    train, _ = task.trees
    assert train.shape[1] == 3
    assert np.isnan(train[:, 1]).sum() == task.features["gaps"].null_count()
    assert {*train[:, 2]} == {0.0, 1.0, 2.0}


def test_a_category_that_training_did_not_have_is_taken(methods, make):
    task, _ = make(kinds=("regression", "binary"))
    changed = task.test.with_columns(pl.lit("new").alias("text"))
    other = methods.Task(task.table, task.features, task.targets, changed)
    for name in ("ridge", "extra trees", "LightGBM", "CatBoost"):
        assert np.isfinite(methods.METHODS[name].fit(other)["regression"]).all()


def test_a_joint_forest_does_not_hang_on_units(methods, make):
    task, _ = make(kinds=("regression", "count"))
    scaled = task.targets.with_columns(pl.col("regression") * 2.0**20)
    other = methods.Task(task.table, task.features, scaled, task.test)
    fit = methods.joint_forest("ExtraTrees")
    np.testing.assert_allclose(fit(other)["count"], fit(task)["count"])


def test_a_target_of_one_class_in_training_is_that_class(methods, make):
    task, _ = make(kinds=("binary", "regression"))
    constant = task.targets.with_columns(pl.lit("no").alias("binary"))
    other = methods.Task(task.table, task.features, constant, task.test)
    probabilities, classes = methods.ridge(other)["binary"]
    assert classes == ["no"]
    assert (probabilities == 1).all()


def test_methods_say_why_they_do_not_apply(methods, make):
    gaps = make(kinds=("regression", "count"), missing=True)[0].table
    mixed = make()[0].table
    assert methods.METHODS["PLS"].why_not(gaps) == "labels are missing"
    assert methods.METHODS["extra trees joint"].why_not(mixed) == "targets are mixed"
    assert methods.METHODS["stacked targets"].why_not(gaps) is None


@pytest.mark.integration  # ten chains of forests
def test_chains_predict(methods, make):
    task, truth = make(rows=60, kinds=("regression", "count"))
    predictions = methods.chains(task)
    assert np.corrcoef(predictions["count"], truth["count"])[0, 1] > 0.8
