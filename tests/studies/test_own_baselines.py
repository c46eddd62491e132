"""Baselines of one's own and estimators of others in a study: its store, model and words."""

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import KNeighborsRegressor

from jointrain import Recipe, Study, SupervisedTable, load_bundle
from jointrain.baselines import EstimatorBaseline
from jointrain.bundle import save_bundle
from jointrain.errors import InvalidInputError, MissingFactoryError
from jointrain.experiments import default_recipes
from jointrain.reports import answer, result_to_json
from jointrain.studies import fit_shipped
from tests.studies.own_baselines import Failing, LeastSquares


def _table(rows=80):
    random = np.random.default_rng(0)
    x = random.normal(size=(rows, 3))
    frame = pl.DataFrame(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            "c": x[:, 2],
            "up": 3 * x[:, 0] + x[:, 1],
            "down": -x[:, 0] - x[:, 2],
        }
    )
    return SupervisedTable.prepare(frame, ["up", "down"])


def _study(*baselines, **changes):
    recipes = default_recipes(Recipe(width=4, depth=1, epochs=2))[:2]
    settings = {"folds": 3, "seeds": 1} | changes
    return Study(_table(), recipes, ("constant", *baselines), **settings)


def _values(result, name):
    return result.values(name, "up", "RMSE")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.integration)])
def test_all_kinds_of_baselines_run_in_any_number_of_processes(workers):
    class Local(LeastSquares):
        """Defined where no worker can import it."""

        name = "local"

    study = _study(
        LeastSquares,
        Local(5.0),
        LinearRegression(),
        lambda: KNeighborsRegressor(3),
        "sklearn.ensemble:ExtraTreesRegressor",
        Failing(),
    )
    result = study.run(workers=workers)
    assert result.recipe_names[3:] == [
        "least squares", "local", "LinearRegression", "KNeighborsRegressor", "ExtraTreesRegressor",
    ]  # fmt: skip
    assert result.failed == {"Failing": "RuntimeError: no luck"}
    # the truth is a line
    assert _values(result, "least squares").max() < 1e-6
    assert _values(result, "LinearRegression").max() < 1e-6
    assert _values(result, "KNeighborsRegressor").min() > 0.1
    assert result.components == ["separate", "joint", "constant", "least squares", "local"]
    notes = result_to_json(result)["notes"]
    assert "baseline Failing failed and was left out: RuntimeError: no luck" in notes
    assert sum("LinearRegression is measured only" in note for note in notes) == 1


def test_a_store_knows_parameters(tmp_path):
    first = _study(LeastSquares(1.0), KNeighborsRegressor(3)).run(workers=1, store=tmp_path)
    same = _study(LeastSquares(1.0), KNeighborsRegressor(3)).run(workers=1, store=tmp_path)
    other = _study(LeastSquares(50.0), KNeighborsRegressor(9)).run(workers=1, store=tmp_path)
    for name in ("least squares", "KNeighborsRegressor"):
        np.testing.assert_array_equal(_values(first, name), _values(same, name))
        assert np.abs(_values(other, name) - _values(first, name)).max() > 1e-3


def test_what_can_be_saved_is_part_of_the_model_and_the_rest_is_said(tmp_path):
    result = _study(LeastSquares(), ship="any").run(workers=1)
    model = fit_shipped(result, workers=1)
    assert "least squares" in {name for weights in model.weights.values() for name in weights}
    path = "tests.studies.own_baselines:LeastSquares"
    save_bundle(model, tmp_path / "bundle")
    with pytest.raises(MissingFactoryError, match=f"the model has the baseline '{path}', and"):
        load_bundle(tmp_path / "bundle")
    frame = _table().frame
    for factories in ({path: LeastSquares}, {"LeastSquares": LeastSquares()}):
        loaded = load_bundle(tmp_path / "bundle", factories=factories)
        np.testing.assert_array_equal(loaded.predict(frame)["up"], model.predict(frame)["up"])


def test_the_answer_names_a_baseline_that_is_not_saved():
    result = _study(EstimatorBaseline(LinearRegression(), name="ols"), folds=6).run(workers=1)
    text = " ".join(answer(result))
    assert result.decision.chosen == "ols"
    assert "Use ols for each" in text
    assert "(ols can't be saved without code; fit it yourself)" in text
    fit_shipped(result, workers=1)


@pytest.mark.parametrize(
    "baselines, message",
    [
        ((LinearRegression(), LinearRegression()), "'LinearRegression' comes twice"),
        ((EstimatorBaseline(LinearRegression(), name="joint"),), "'joint' comes twice"),
        (("sklearn.svm:SVC",), "'up' is a number, and SVC is a classifier; give both"),
        (("nearest",), "there is no baseline 'nearest'"),
    ],
)
def test_what_can_not_take_part_is_refused_before_training(baselines, message):
    with pytest.raises(InvalidInputError, match=message):
        _study(*baselines)
