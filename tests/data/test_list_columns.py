"""Columns of lists are bags: equal to the same values written with marks between them."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from jointrain import JointRegressor, Recipe
from jointrain.bundle import load_bundle, save_bundle
from jointrain.data import SupervisedTable, TableEncoder, read_raw, read_table
from jointrain.errors import InvalidInputError
from jointrain.tables import fit_baseline_to, fit_table

RECIPE = Recipe(epochs=2, ensemble=1, width=8)


def make_frame(rows=200):
    random = np.random.default_rng(0)
    genres = [["drama", "comedy"], ["action"], [], None, ["news", "drama", "sport"]]
    chosen = random.integers(5, size=rows)
    return pl.DataFrame(
        {
            "genres": pl.Series([genres[i] for i in chosen], dtype=pl.List(pl.String)),
            "sizes": pl.Series([[int(i), 7] for i in chosen], dtype=pl.List(pl.Int64)),
            "price": random.normal(size=rows),
            "y": chosen + random.normal(size=rows),
        }
    )


def as_text(frame, mark="|"):
    joined = [pl.col(name).cast(pl.List(pl.String)).list.join(mark) for name in ("genres", "sizes")]
    return frame.with_columns(joined)


def encoded(frame, **given):
    table = SupervisedTable.prepare(frame, ["y"], **given)
    encoder = TableEncoder().fit(table.frame, list(table.columns))
    return table, encoder.transform(table.frame)


def test_lists_are_bags_of_the_same_values_as_text():
    table, found = encoded(make_frame())
    assert {column.name: column.kind for column in table.columns} == {
        "genres": "bag", "sizes": "bag", "price": "numeric",
    }  # fmt: skip
    _, expected = encoded(as_text(make_frame()), said={"genres": "bag", "sizes": "bag"})
    np.testing.assert_array_equal(found, expected)
    # a word of the values may hold the mark of bags
    odd = make_frame().with_columns(
        pl.col("genres").list.eval(pl.element() + pl.lit("|new")).alias("genres")
    )
    np.testing.assert_array_equal(encoded(odd)[1], expected)


def test_a_model_of_lists_takes_lists_and_a_model_of_text_takes_them_too(tmp_path):
    frame = make_frame()
    frame.write_parquet(tmp_path / "t.parquet")
    raw = read_raw(tmp_path / "t.parquet")
    of_lists = fit_table(SupervisedTable.prepare(raw, ["y"]), RECIPE, seed=0)
    said = {"genres": "bag", "sizes": "bag"}
    of_text = fit_table(SupervisedTable.prepare(as_text(frame), ["y"], said=said), RECIPE, seed=0)
    found = of_lists.predict(frame)["y"]
    np.testing.assert_array_equal(found, of_text.predict(as_text(frame))["y"])
    np.testing.assert_array_equal(found, of_text.predict(frame)["y"])
    fixed = frame.with_columns(pl.Series("sizes", np.tile([1, 7], (200, 1))))
    assert fixed.schema["sizes"] == pl.Array(pl.Int64, 2)
    assert of_lists.predict(fixed)["y"].shape == (200,)
    assert of_lists.evaluate(frame)["y"]


def test_baselines_take_lists():
    table = SupervisedTable.prepare(make_frame(), ["y"])
    model = fit_baseline_to("linear", table, 0)
    found = model.predict(make_frame())["y"]
    assert np.corrcoef(found, make_frame()["y"].to_numpy())[0, 1] > 0.7


@pytest.mark.parametrize("kind", ["category", "text"])
def test_lists_said_to_be_something_else(kind):
    with pytest.raises(InvalidInputError, match=f"'genres' is said to be {kind}, but it holds lis"):
        SupervisedTable.prepare(make_frame(), ["y"], said={"genres": kind})


def test_lists_of_other_things_are_refused():
    frame = make_frame().with_columns(pl.Series("sizes", [[0.5]] * 200))
    with pytest.raises(InvalidInputError, match="'sizes' holds lists of numbers, which can't be"):
        SupervisedTable.prepare(frame, ["y"])
    # other roles and ignored columns are as before
    assert SupervisedTable.prepare(frame, ["y"], ignore=["sizes"]).columns[0].kind == "bag"


def test_a_model_of_other_kinds_refuses_lists():
    text = as_text(make_frame())
    model = fit_table(
        SupervisedTable.prepare(text, ["y"], said={"genres": "category", "sizes": "category"}),
        RECIPE, seed=0,
    )  # fmt: skip
    with pytest.raises(InvalidInputError, match="'genres'"):
        model.predict(make_frame())


def test_text_is_refused_where_training_had_lists(tmp_path):
    frame = make_frame()
    table = SupervisedTable.prepare(frame, ["y"])
    model = fit_table(table, RECIPE, seed=0)
    save_bundle(model, tmp_path / "m")
    loaded = load_bundle(tmp_path / "m")
    words = frame.with_columns(genres=pl.lit("drama|comedy"))
    empty = frame.with_columns(genres=pl.lit(None, pl.String))
    words.select("genres").with_columns(price=0.5, sizes=None).write_csv(tmp_path / "t.csv")
    for one in (model, loaded):
        for wrong in (words, as_text(frame), words.cast({"genres": pl.Categorical})):
            with pytest.raises(
                InvalidInputError, match=r"'genres' holds '.*' in row .*, which is te"
            ):
                one.predict(wrong)
        with pytest.raises(
            InvalidInputError, match=r"'genres' holds 'drama\|comedy' in row 1.*list"
        ):
            one.predict(read_table(tmp_path / "t.csv", schema=one.schema))
        assert len(one.predict(empty)["y"]) == 200
        # what was prepared for training is lists, too
        np.testing.assert_array_equal(one.predict(table.frame)["y"], one.predict(frame)["y"])


def test_a_bundle_without_word_of_lists_takes_both_as_before():
    model = fit_table(SupervisedTable.prepare(make_frame(), ["y"]), RECIPE, seed=0)
    older = replace(model, schema=model.schema.after_joining())
    np.testing.assert_array_equal(
        older.predict(make_frame())["y"], model.predict(make_frame())["y"]
    )
    assert len(older.predict(as_text(make_frame()))["y"]) == 200


def test_estimators_refuse_text_where_fitting_had_lists():
    frame = make_frame().drop("y")
    model = JointRegressor(epochs=1, ensemble=1, width=8, components="network")
    y = np.arange(200.0)
    for fitted in (model.fit(frame, y), model.partial_fit(frame, y)):
        assert fitted.predict(frame[:1]).shape == (1,)
        with pytest.raises(InvalidInputError, match="which is text, but the model was fitted on l"):
            fitted.predict(as_text(frame))
    with pytest.raises(InvalidInputError, match="which is text, but the model was fitted on lists"):
        model.partial_fit(as_text(frame), y)


def test_text_of_single_items_is_the_same_as_lists_of_them():
    frame = make_frame().with_columns(pl.col("genres", "sizes").list.head(1))
    table = SupervisedTable.prepare(frame, ["y"])
    model = fit_table(table, RECIPE, seed=0)
    np.testing.assert_array_equal(model.predict(table.frame)["y"], model.predict(frame)["y"])
