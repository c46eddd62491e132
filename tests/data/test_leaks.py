import datetime

import numpy as np
import polars as pl
import pytest
from sklearn import datasets

from jointrain.data import SupervisedTable, load_penguins

ROWS = 200
RANDOM = np.random.default_rng(0)
X, NOISE = RANDOM.normal(size=ROWS), RANDOM.normal(size=ROWS)
Y = X + 0.5 * NOISE
CLASS = RANDOM.choice(["a", "b", "c"], ROWS)


def notes(targets=("y", "cls"), **columns) -> str:
    frame = pl.DataFrame({"x": X, "y": Y, "cls": CLASS, **columns})
    return "\n".join(SupervisedTable.prepare(frame, list(targets)).notes)


@pytest.mark.parametrize(
    "column, how",
    [
        (np.arange(ROWS), "has the values 0 to 199, each once"),
        (np.arange(1, ROWS + 1), "has the values 1 to 200, each once"),
        (np.arange(ROWS, dtype=float), "has the values 0 to 199"),
        (RANDOM.permutation(ROWS), "has the values 0 to 199"),
        (RANDOM.permutation(ROWS) + 1001, "has the values 1001 to 1200, each once"),
        (np.cumsum(RANDOM.integers(1, 9, ROWS)) + 1000, "in the order of the rows"),
        (np.arange(ROWS)[::-1] * 3 + 7, "in the order of the rows"),
        ([f"row {i:05d}" for i in range(7, ROWS + 7)], "in the order of the rows"),
    ],
)
def test_an_index_is_noticed(column, how):
    found = notes(left=column)
    assert "column 'left' looks like an index: it" in found
    assert how in found
    assert "tells" not in found


@pytest.mark.parametrize(
    "column",
    [
        RANDOM.permutation(ROWS * 2)[:ROWS],
        np.sort(RANDOM.integers(0, 150, ROWS)),
        np.sort(RANDOM.normal(size=ROWS)),
        [f"{a}{i}" for i, a in enumerate(RANDOM.choice(list("xyz"), ROWS))],
    ],
)
def test_what_is_no_index(column):
    assert notes(left=column) == ""


@pytest.mark.parametrize(
    "column, how",
    [
        (Y, "the same number, up to unit and rounding"),
        (1.8 * Y + 32, "the same number"),
        (np.round(-100 * Y), "the same number"),
        (np.round(Y), "both put the rows into the same order"),
        (np.exp(Y), "both put the rows into the same order"),
        (-(Y**3), "both put the rows into the same order"),
        ((Y > 0.3).astype(int), "both put the rows into the same order"),
    ],
)
def test_a_copy_of_a_number_is_noticed(column, how):
    _check_copy(column, how)


START = datetime.datetime(2018, 1, 1)


@pytest.mark.parametrize(
    "column, how",
    [
        ([START + datetime.timedelta(seconds=1e6 * y) for y in Y], "the same number"),
        ([(START + datetime.timedelta(days=400 * y)).date() for y in Y], "the same number"),
        ([datetime.timedelta(hours=-y) for y in Y], "the same number"),
        ([START + datetime.timedelta(days=np.exp(3 * y)) for y in Y], "both put the rows into"),
        (
            [(START + datetime.timedelta(hours=int(r))).time() for r in np.digitize(Y, [-1, 0, 1])],
            "both put the rows into",
        ),
    ],
)
def test_a_copy_of_a_number_as_a_time_is_noticed(column, how):
    _check_copy(column, how)


def test_dates_that_part_the_classes_are_noticed():
    order = np.argsort(np.argsort(CLASS, kind="stable"), kind="stable")
    when = [START.date() + datetime.timedelta(days=3 * int(place)) for place in order]
    assert "column 'when' tells target 'cls' (cuts of it part the classes" in notes(when=when)
    shuffled = list(np.random.default_rng(3).permutation(when))
    assert notes(when=shuffled) == ""


def _check_copy(column, how):
    found = notes(twin=column)
    assert f"column 'twin' tells target 'y' ({how}" in found
    assert "is it known at prediction time? if not, ignore it" in found


@pytest.mark.parametrize(
    "column",
    [
        [{"a": 3, "b": 1, "c": 2}[label] for label in CLASS],
        [{"a": "rot", "b": "blau", "c": "grau"}[label] for label in CLASS],
        # several names for a class
        [f"{label}{i % 3}" for i, label in enumerate(CLASS)],
        # a number that was cut into the classes
        [{"a": 10.0, "b": 20.0, "c": 30.0}[label] + i / 40 for i, label in enumerate(CLASS)],
    ],
)
def test_another_name_of_a_class_is_noticed(column):
    assert "column 'twin' tells target 'cls'" in notes(twin=column)


def dummies(labels=CLASS, kinds="abc", prefix="is ") -> dict[str, np.ndarray]:
    return {f"{prefix}{kind}": (labels == kind).astype(int) for kind in kinds}


@pytest.mark.parametrize(
    "columns, named",
    [
        (dummies(), "is a, is b, is c"),
        (dummies(kinds="bc"), "is b, is c"),
        ({name: 1 - one for name, one in dummies().items()}, "is a, is b, is c"),
        ({name: one.astype(bool) for name, one in dummies().items()}, "is a, is b, is c"),
        ({name: np.where(one, "ja", "nein") for name, one in dummies().items()}, "is a, is b"),
    ],
)
def test_pieces_of_a_class_that_tell_it_together_are_noticed(columns, named):
    found = notes(**columns)
    assert f"columns {named}" in found
    assert "together tell target 'cls' (each of them one of its classes): are they known" in found
    assert found.count("tell") == 1


def test_one_piece_of_a_class_may_be_a_good_feature():
    assert notes(**dummies(kinds="a")) == ""
    # all pieces are there, but one of them is often wrong
    wrong = dummies()
    wrong["is b"] = RANDOM.permutation(wrong["is b"])
    wrong["is c"] = RANDOM.permutation(wrong["is c"])
    assert notes(**wrong) == ""


def test_many_pieces_are_not_all_named():
    labels = np.array(list("abcdefgh"))[np.arange(ROWS) % 8]
    frame = pl.DataFrame({"x": X, "cls": labels, **dummies(labels, "abcdefgh")})
    (note,) = SupervisedTable.prepare(frame, ["cls"]).notes
    assert note.startswith("columns is a, is b, is c, is d, is e and 3 more together tell")


def visits(random=None, **more) -> pl.DataFrame:
    """Return 80 persons with three rows each; what they are is the same in each of their rows."""
    random = random or np.random.default_rng(7)
    person = np.repeat(np.arange(80), 3)
    return pl.DataFrame(
        {
            "weight": random.normal(70, 9, 80).round(2)[person],
            "height": random.normal(170, 9, 80).round(2)[person],
            "pulse": random.normal(70, 9, 240).round(4),
            "sex": random.choice(["f", "m"], 80)[person],
            "risk": random.normal(size=80).round(3)[person],
        }
    ).with_columns(**more)


def test_rows_of_one_thing_are_told_and_not_taken_for_a_leak():
    (note,) = SupervisedTable.prepare(visits(), ["sex", "risk"]).notes
    assert note.startswith("160 of 240 rows repeat an earlier row in height, weight, and differ")
    assert "--group" in note


def test_what_is_the_same_in_all_rows_of_a_group_is_no_leak():
    frame = visits(person=pl.Series(np.repeat(np.arange(80), 3)))
    assert SupervisedTable.prepare(frame, ["sex", "risk"], group_column="person").notes == ()
    told = frame.with_columns(code=pl.col("sex").replace({"f": "2", "m": "1"}))
    (note,) = SupervisedTable.prepare(told, ["sex"], group_column="person").notes
    assert "column 'code' tells target 'sex'" in note


def test_a_leak_is_seen_with_few_groups():
    group = pl.Series(np.arange(240) // 48)
    frame = visits(group=group, code=pl.col("sex").replace({"f": "2", "m": "1"}))
    found = "\n".join(SupervisedTable.prepare(frame, ["sex"], group_column="group").notes)
    assert "column 'code' tells target 'sex'" in found


def test_repeats_with_other_labels_are_not_taken_for_a_leak():
    once = pl.DataFrame({"a": X.round(3), "b": NOISE.round(3), "cls": CLASS, "y": Y})
    twice = pl.concat([once, once.with_columns(y=pl.lit(None, pl.Float64))])
    (note,) = SupervisedTable.prepare(twice, ["cls", "y"]).notes
    assert note.startswith("200 of 400 rows repeat an earlier row in all features, none of them")


def test_rows_over_time_and_designs_of_few_values_are_no_repeats_of_one_thing():
    frame = visits(day=pl.Series(np.tile([1, 2, 3], 80)))
    found = SupervisedTable.prepare(frame, ["sex"], time_column="day").notes
    assert not any("repeat an" in note or "tells" in note for note in found)
    random = np.random.default_rng(0)
    design = pl.DataFrame({"a": random.integers(0, 25, 300), "b": random.integers(0, 25, 300)})
    design = design.with_columns(z=pl.Series(random.normal(size=300)), y=random.normal(size=300))
    assert SupervisedTable.prepare(design, ["y"]).notes == ()


def test_a_nearly_perfect_twin_is_noticed_and_a_good_feature_is_not():
    twin = CLASS.copy()
    twin[7] = "a" if twin[7] != "a" else "b"
    assert "column 'twin' tells target 'cls'" in notes(twin=twin)
    good = CLASS.copy()
    good[:20] = RANDOM.permutation(good[:20])
    assert notes(good=good, close=Y + 0.05 * NOISE) == ""


def test_a_twin_with_missing_values_is_noticed():
    twin = np.where(np.arange(ROWS) % 3 == 0, np.nan, 2 * Y)
    assert "column 'twin' tells target 'y'" in notes(twin=twin)


def test_a_number_that_follows_from_a_category_is_noticed():
    shop = RANDOM.integers(0, 12, ROWS)
    rent = RANDOM.normal(size=12)[shop]
    frame = pl.DataFrame({"x": X, "shop": [f"s{i}" for i in shop], "rent": rent})
    (note,) = SupervisedTable.prepare(frame, ["rent"]).notes
    assert "column 'shop' tells target 'rent' (each of its values goes with one of" in note


def test_a_target_that_tells_another_one_is_noticed_once():
    found = notes(("y", "z", "cls"), z=2 * Y)
    assert found.count("target 'y' tells target 'z'") == 1
    assert "if it is known at prediction time, make it a feature" in found
    assert "target 'z' tells" not in found


def test_one_target_can_follow_from_another_without_telling_it():
    grade = np.where(CLASS == "a", "low", "high")
    found = notes(("y", "cls", "grade"), grade=grade)
    assert "target 'cls' tells target 'grade'" in found
    assert "target 'grade' tells" not in found


@pytest.mark.parametrize(
    "name", ["iris", "wine", "breast_cancer", "diabetes", "linnerud", "digits"]
)
def test_no_false_alarm_on_well_known_tables(name):
    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    target = bunch.target
    targets = list(target.columns) if hasattr(target, "columns") else [target.name]
    table = SupervisedTable.prepare(bunch.frame, targets)
    assert [note for note in table.notes if "--task" not in note] == []
    assert table.groups is None


def test_no_false_alarm_on_the_penguins():
    table = SupervisedTable.prepare(load_penguins(), ["species", "sex", "body_mass_g"])
    assert [note for note in table.notes if "--task" not in note] == []
