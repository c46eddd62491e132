"""Weights of rows and classes of a table, against scikit-learn's, and what is refused."""

import numpy as np
import polars as pl
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from jointrain import InvalidInputError, SupervisedTable, Task
from jointrain.data import effective_rows, resolve_class_weights
from jointrain.data._row_weights import check_weighted_metrics, class_factors
from jointrain.metrics import Metric
from jointrain.task import KINDS, TABLE_KINDS, metric_names

TASKS = [Task.binary("sold", ("no", "yes")), Task.multiclass("kind", ("a", "b", "yes"))]
NUMBER = Task.regression("price")


def frame(**columns) -> pl.DataFrame:
    rows = 12
    random = np.random.default_rng(0)
    plain = {
        "x": random.normal(size=rows),
        "y": random.normal(size=rows),
        "sold": ["yes", "no", "no"] * 4,
        "w": [1.0, 2.0, 3.0] * 4,
    }
    return pl.DataFrame({**plain, **columns})


def prepare(targets=("y", "sold"), row_weight="w", **columns) -> SupervisedTable:
    return SupervisedTable.prepare(frame(**columns), list(targets), row_weight=row_weight)


def test_a_column_of_weights_is_no_feature():
    table = prepare()
    assert [column.name for column in table.columns] == ["x"]
    assert table.weights.tolist() == [[w, w] for w in frame()["w"]]
    assert table.only(["sold"]).weights.shape == (12, 1)


def test_rows_of_weight_0_are_left_out_before_all_else():
    plain = frame(w=[0.0, 2.0, 3.0, 1.0] * 3)
    # what these rows hold is learned by nobody: no column varies by it alone
    plain = plain.with_columns(constant=pl.when(pl.col("w") > 0).then(1.0).otherwise(pl.col("x")))
    table = SupervisedTable.prepare(plain, ["y", "sold"], row_weight="w")
    assert len(table.frame) == 9
    assert table.weights[:, 0].tolist() == [2.0, 3.0, 1.0] * 3
    assert [column.name for column in table.columns] == ["x"]
    assert "3 rows of weight 0 are left out, by column w" in table.notes
    kept = SupervisedTable.prepare(plain.filter(pl.col("w") > 0), ["y", "sold"], row_weight="w")
    assert kept.frame.equals(table.frame)


def test_labels_of_weight_0_are_missing():
    table = prepare()
    weights = table.weights.copy()
    weights[2, 1] = 0
    labels = SupervisedTable(table.frame, table.tasks, table.columns, weights=weights).labels()
    assert np.isnan(labels[2, 1])
    assert np.isfinite(np.delete(labels[:, 1], 2)).all()
    assert np.isfinite(labels[:, 0]).all()


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, -2.0, 3.0] * 4, "row-weight column 'w' holds -2 in row 2; weights are finite"),
        ([1.0, 2.0, float("inf")] * 4, "row-weight column 'w' holds inf in row 3"),
        ([1.0, float("nan"), 3.0] * 4, "row-weight column 'w' is empty or not a number in row 2"),
        ([1.0, None, 3.0] * 4, "row-weight column 'w' is empty or not a number in row 2"),
        (["much", "little", "none"] * 4, "row-weight column 'w' holds text such as much"),
        ([0.0, 0.0, 0.0] * 4, "row-weight column 'w' is zero"),
        ([0.0, 2.0, 3.0] * 4, "all rows of class 'yes' of 'sold' have weight 0"),
    ],
)
def test_weights_that_are_none_are_refused(weights, message):
    with pytest.raises(InvalidInputError, match=message):
        prepare(w=weights)


def test_a_target_whose_labels_all_have_weight_0_is_refused():
    y = [1.0, None, None, 2.0, None, None] * 2
    with pytest.raises(InvalidInputError, match="a label of 'y' have weight 0"):
        prepare(["y"], w=[0.0, 2.0, 3.0] * 4, y=y)


@pytest.mark.parametrize("other", ["target", "id", "group", "time"])
def test_a_column_of_weights_has_no_other_role(other):
    roles = {} if other == "target" else {f"{other}_column": "w"}
    targets = ["y", "w"] if other == "target" else ["y"]
    with pytest.raises(InvalidInputError, match=f"column 'w' is {other} and also row-weight"):
        SupervisedTable.prepare(frame(), targets, row_weight="w", **roles)
    with pytest.raises(InvalidInputError, match="row-weight column 'v' is not in the table"):
        prepare(row_weight="v")


def test_every_metric_by_name_takes_weights_of_rows():
    for kind, made in KINDS.items():
        if kind not in TABLE_KINDS:
            continue
        numbers = {"quantiles": (0.1, 0.9), "survival": (1.0, 2.0)}
        named = made.has_classes or kind in ("multilabel", "proportions")
        task = Task("y", kind, ("a", "b") if named else numbers.get(kind, ()))
        for name in metric_names(task.rules):
            chosen = task.judged_by(name, "q")
            check_weighted_metrics([chosen])
            assert chosen.primary_metric.takes_weights


def test_metrics_that_take_no_weights_are_refused_before_training():
    own = Metric("own", lambda found, wanted: 0.0, higher_is_better=True)
    with pytest.raises(InvalidInputError, match="of 'sold' takes no weights of rows; leave out"):
        check_weighted_metrics([Task("sold", "binary", metrics=(own,))])


# --- classes -----------------------------------------------------------------------------------


def test_balanced_classes_are_those_of_scikit_learn():
    labels = np.array([0, 0, 1, 2, 2, 2, np.nan, 0])
    known = np.isfinite(labels)
    found = class_factors(labels, None, "balanced", 4)
    expected = compute_sample_weight("balanced", labels[known])
    np.testing.assert_allclose(found[known], expected)
    assert found[6] == 1
    # with weights of rows, sums of weights are balanced, as by repeated rows
    weights = np.array([1, 2, 3, 1, 0, 2, 5, 1])
    found = class_factors(labels, weights, "balanced", 3)
    repeated = np.repeat(labels[known], weights[known])
    expected = compute_sample_weight("balanced", repeated)
    np.testing.assert_allclose(np.repeat(found[known], weights[known]), expected)
    totals = [(found * weights)[labels == code].sum() for code in range(3)]
    np.testing.assert_allclose(totals, totals[0])


def test_balanced_classes_are_counted_in_the_training_rows():
    labels = np.array([0.0, 0, 0, 1, 1, 1])
    rows = np.array([0, 1, 2, 3])
    found = class_factors(labels, None, "balanced", 2, rows)
    np.testing.assert_allclose(found, [2 / 3] * 3 + [2] * 3)


def test_class_weights_are_given_by_class_or_by_target():
    assert resolve_class_weights(None, TASKS) == {}
    assert resolve_class_weights("balanced", [*TASKS, NUMBER]) == {
        "sold": "balanced", "kind": "balanced",
    }  # fmt: skip
    assert resolve_class_weights({"a": 3}, TASKS) == {"kind": (3.0, 1.0, 1.0)}
    assert resolve_class_weights({"yes": 3}, TASKS) == {"sold": (1.0, 3.0), "kind": (1.0, 1.0, 3.0)}
    assert resolve_class_weights({"sold:yes": 3}, TASKS) == {"sold": (1.0, 3.0)}
    both = {"sold": "balanced", "kind": {"b": 2}}
    assert resolve_class_weights(both, TASKS) == {"sold": "balanced", "kind": (1.0, 2.0, 1.0)}
    numbers = Task.multiclass("n", (1, 2, 3))
    assert resolve_class_weights({"2": 4}, [numbers]) == {"n": (1.0, 4.0, 1.0)}


@pytest.mark.parametrize(
    ("given", "tasks", "message"),
    [
        ({"yse": 2}, TASKS, "name 'yse', which is no class of a target.*did you mean 'yes'"),
        ({"yes": 0}, TASKS, "the weight of class 'yes' must be a number above 0, got 0"),
        ({"yes": float("nan")}, TASKS, "must be a number above 0, got nan"),
        ({"yes": "much"}, TASKS, "must be a number above 0, got 'much'"),
        ("even", TASKS, "must be 'balanced' or a number for each class, got 'even'"),
        ("balanced", [NUMBER], "class weights are for targets with classes"),
    ],
)
def test_class_weights_that_are_none_are_refused(given, tasks, message):
    with pytest.raises(InvalidInputError, match=message):
        resolve_class_weights(given, tasks)


def test_class_weights_multiply_those_of_rows_in_fitting_alone():
    table = SupervisedTable.prepare(
        frame(), ["y", "sold"], row_weight="w", class_weights={"yes": 10}
    )
    weights = frame()["w"].to_numpy()
    np.testing.assert_array_equal(table.weights, np.stack([weights, weights], axis=1))
    expected = np.where(frame()["sold"] == "yes", 10 * weights, weights)
    np.testing.assert_array_equal(table.fit_weights()[:, 1], expected)
    np.testing.assert_array_equal(table.fit_weights()[:, 0], weights)
    assert SupervisedTable.prepare(frame(), ["y"], ignore="w").fit_weights() is None


def test_notes_say_what_weights_mean():
    table = SupervisedTable.prepare(
        frame(), ["y", "sold"], row_weight="w", class_weights="balanced"
    )
    # (4 * 6)^2 / (4 * 14)
    assert "rows weigh by column w: 12 rows tell as much as 10 of equal weight" in table.notes
    assert any(note.startswith("classes of sold weigh in training") for note in table.notes)
    equal = prepare(w=[2.0] * 12)
    assert not any("weigh" in note for note in equal.notes)


def test_effective_rows():
    assert effective_rows(np.full(7, 1e-300)) == pytest.approx(7)
    assert effective_rows(np.array([1.0, 0, 0])) == 1
    # Kish's design effect: 1 + the squared coefficient of variation
    weights = np.random.default_rng(0).lognormal(size=50) * 1e200
    scaled = weights / weights.max()
    effect = 1 + (scaled.std() / scaled.mean()) ** 2
    assert effective_rows(weights) == pytest.approx(50 / effect)
    assert effective_rows(np.zeros(3)) == 0
