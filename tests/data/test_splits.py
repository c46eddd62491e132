import math

import numpy as np
import pytest
from hypothesis import event, given, settings, strategies as st

from jointrain.data import outer_folds, validation_halves, validation_split
from jointrain.errors import InvalidInputError
from jointrain.task import Task

TASKS = [Task.multiclass("m", 3), Task.binary("b"), Task.regression("r")]


@st.composite
def labelled(draw):
    rows = draw(st.integers(4, 40))
    seed = draw(st.integers(0, 1000))
    rng = np.random.default_rng(seed)
    labels = np.stack(
        [
            rng.choice(3, rows, p=[0.1, 0.3, 0.6]),
            rng.choice(2, rows, p=[0.2, 0.8]),
            rng.normal(size=rows),
        ],
        axis=1,
    ).astype(float)
    missing = draw(st.sampled_from([0.0, 0.3, 0.7]))
    labels[rng.random(labels.shape) < missing] = math.nan
    labels[:2] = [[0, 0, 1.0], [1, 1, 2.0]]
    # each task has labels in two rows at least
    labels[2:4] = [[0, 0, 1.0], [1, 1, 2.0]]
    return labels


def classes(labels):
    return {
        (task, value)
        for task in range(2)
        for value in np.unique(labels[:, task][~np.isnan(labels[:, task])])
    }


def counts(labels):
    return {(task, value): int((labels[:, task] == value).sum()) for task, value in classes(labels)}


@settings(max_examples=150, deadline=None)
@given(labels=labelled(), folds=st.integers(2, 4), seed=st.integers(0, 5))
def test_folds_partition_rows_and_keep_classes_in_training(labels, folds, seed):
    splits = outer_folds(labels, TASKS, folds, seed)
    tested = np.concatenate([test for _, test in splits])
    single = {label for label, count in counts(labels).items() if count == 1}
    alone = [row for row in range(len(labels)) if single & classes(labels[[row]])]
    if len(alone) <= 0.2 * len(labels):
        assert sorted([*tested, *alone]) == list(range(len(labels)))
    else:
        assert sorted(tested) == list(range(len(labels)))
    for train, test in splits:
        assert train.dtype == test.dtype == np.int64
        assert sorted([*train, *test]) == list(range(len(labels)))
        assert len(train)
        frequent = {label for label, count in counts(labels).items() if count >= 2}
        assert frequent <= classes(labels[train])
        assert not np.isnan(labels[train]).all(0).any()


@settings(max_examples=100, deadline=None)
@given(
    labels=labelled(),
    fraction=st.sampled_from([0.0, 0.01, 0.2, 0.5, 0.99]),
    seed=st.integers(0, 5),
    kind=st.sampled_from(["rows", "groups", "time"]),
)
def test_validation_split_partitions_rows(labels, fraction, seed, kind):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 6, len(labels)) if kind == "groups" else None
    time = rng.integers(0, 6, len(labels)) if kind == "time" else None
    train, validation = validation_split(labels, TASKS, fraction, seed, groups=groups, time=time)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert len(train)
    if fraction == 0:
        assert not len(validation)
    assert not np.isnan(labels[train]).all(0).any()
    if kind != "time":
        assert classes(labels[train]) == classes(labels)
    if groups is not None:
        assert not set(groups[train]) & set(groups[validation])
    if time is not None and len(validation):
        assert time[train].max() < time[validation].min()
    if kind == "rows" and fraction:
        # rows 1 to 4 have labels of all tasks, and each class in two of them
        assert not np.isnan(labels[validation]).all(0).any()


@settings(max_examples=50, deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.sampled_from([0, 1, 2, math.nan]), st.sampled_from([0, 1, math.nan])),
        min_size=1,
        max_size=6,
    ),
    seed=st.integers(0, 3),
)
def test_validation_split_of_a_handful_of_rows(cells, seed):
    labels = np.array(cells, dtype=float)
    for groups in (None, np.arange(len(labels)) // 2):
        train, validation = validation_split(labels, TASKS[:2], 0.3, seed, groups=groups)
        assert sorted([*train, *validation]) == list(range(len(labels)))
        assert classes(labels[train]) == classes(labels)


@settings(max_examples=100, deadline=None)
@given(labels=labelled(), seed=st.integers(0, 5), kind=st.sampled_from(["rows", "groups", "time"]))
def test_halves_partition_rows(labels, seed, kind):
    marks = np.random.default_rng(seed).integers(0, 4, len(labels))
    groups, time = (marks if kind == one else None for one in ("groups", "time"))
    first, second = validation_halves(labels, TASKS, seed, groups, time)
    assert sorted([*first, *second]) == list(range(len(labels)))
    if kind == "rows":
        assert abs(len(first) - len(second)) <= 1 + len(classes(labels))
        for label, count in counts(labels).items():
            if count >= 2:
                assert label in classes(labels[first]) & classes(labels[second])
    elif len(set(marks)) > 1:
        assert len(first)
        assert not set(marks[first]) & set(marks[second])
        if kind == "time" and len(second):
            assert marks[first].max() < marks[second].min()
        if kind == "groups":
            assert len(second)


@pytest.mark.parametrize("marks", [{}, {"groups": np.zeros(3)}, {"time": np.zeros(3)}])
def test_too_few_rows_have_no_halves(marks):
    labels = np.zeros((3 if marks else 1, 3))
    first, second = validation_halves(labels, TASKS, 0, **marks)
    assert len(first) == len(labels)
    assert not len(second)


def test_same_seed_gives_the_same_split_and_another_seed_another():
    labels = np.random.default_rng(0).integers(0, 2, (60, 1)).astype(float)
    tasks = [Task.binary("b")]
    groups = np.arange(60) // 3
    for more in ({}, {"groups": groups}):
        first, again, other = (outer_folds(labels, tasks, 3, seed, **more) for seed in (0, 0, 1))
        np.testing.assert_array_equal(first[0][1], again[0][1])
        assert any(list(a[1]) != list(b[1]) for a, b in zip(first, other, strict=True))
        first, again, other = (
            validation_split(labels, tasks, 0.2, seed, **more)[1] for seed in (0, 0, 1)
        )
        np.testing.assert_array_equal(first, again)
        assert list(first) != list(other)


def test_classes_are_spread_evenly():
    rng = np.random.default_rng(1)
    tasks = [Task.binary(f"b{i}") for i in range(8)]
    labels = (rng.random((500, 8)) < [0.5, 0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.02]).astype(float)
    labels[rng.random(labels.shape) < 0.2] = math.nan
    for _, test in outer_folds(labels, tasks, 5, 0):
        assert abs(len(test) - 100) <= 4
        wanted = np.nansum(labels, axis=0) / 5
        assert (np.abs(np.nansum(labels[test], axis=0) - wanted) < 2.5).all()


def test_one_class_target_is_stratified_to_the_row():
    labels = np.repeat([0.0, 1.0, 2.0], [50, 25, 11])[:, None]
    for train, test in outer_folds(labels, [Task.multiclass("m", 3)], 5, 3):
        found = np.bincount(labels[test, 0].astype(int), minlength=3)
        assert found.tolist()[:2] == [10, 5]
        assert found[2] in (2, 3)
        assert len(train) + len(test) == 86


def test_regression_folds_differ_by_one_row_at_most():
    sizes = [len(test) for _, test in outer_folds(np.zeros((13, 2)), [TASKS[2]] * 2, 5, 0)]
    assert sorted(sizes) == [2, 2, 3, 3, 3]


def test_rare_labels_of_a_regression_task_are_in_every_part():
    labels = np.full((50, 2), math.nan)
    labels[:, 0] = 1.0
    labels[:5, 1] = 1.0
    tasks = [Task.regression("a"), Task.regression("b")]
    for _, test in outer_folds(labels, tasks, 5, 0):
        assert np.isfinite(labels[test, 1]).sum() == 1
    train, validation = validation_split(labels, tasks, 0.1, 0)
    assert np.isfinite(labels[train, 1]).any()
    assert np.isfinite(labels[validation, 1]).any()


def test_groups_stay_together_and_are_balanced():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 300)
    labels = np.stack([groups % 2, rng.normal(size=300)], axis=1).astype(float)
    splits = outer_folds(labels, [Task.binary("b"), Task.regression("r")], 5, 0, groups=groups)
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(300))
    for train, test in splits:
        assert not set(groups[train]) & set(groups[test])
        assert 30 <= len(test) <= 90
        assert 0.25 < labels[test, 0].mean() < 0.75


def test_every_fold_has_a_group():
    groups = np.repeat(np.arange(4), [97, 1, 1, 1])
    for seed in range(20):
        splits = outer_folds(np.zeros((100, 1)), [TASKS[2]], 4, seed, groups=groups)
        assert all(len(test) for _, test in splits)


@settings(max_examples=50, deadline=None)
@given(times=st.lists(st.integers(0, 12), min_size=5, max_size=40), folds=st.integers(2, 4))
def test_time_goes_forward(times, folds):
    time = np.array(times)
    labels = np.zeros((len(time), 1))
    if len(set(times)) < folds + 1:
        with pytest.raises(
            InvalidInputError, match=r"distinct values, and . folds that go forward"
        ):
            outer_folds(labels, [TASKS[2]], folds, 0, time=time)
        return
    splits = outer_folds(labels, [TASKS[2]], folds, 0, time=time)
    assert len(splits) == folds
    for (train, test), later in zip(splits, [*splits[1:], None], strict=True):
        assert len(train)
        assert len(test)
        assert time[train].max() < time[test].min()
        if later is not None:
            assert sorted([*train, *test]) == list(later[0])
    assert time[splits[-1][1]].max() == time.max()


def test_time_blocks_are_of_about_the_same_size():
    splits = outer_folds(np.zeros((60, 1)), [TASKS[2]], 5, 0, time=np.arange(60)[::-1])
    assert [(len(train), len(test)) for train, test in splits] == [
        (10, 10),
        (20, 10),
        (30, 10),
        (40, 10),
        (50, 10),
    ]


def test_validation_takes_the_latest():
    time = np.array([3, 1, 2, 3, 0, 1])
    _, validation = validation_split(np.zeros((6, 1)), [TASKS[2]], 0.3, 0, time=time)
    assert validation.tolist() == [0, 3]


@pytest.mark.parametrize(
    "present, held_out",
    [
        ([0, 1, 1, 1, 1, 1, 1, 1, 1, 1], [8, 9]),
        ([0, 0, 0, 0, 0, 0, 0, 0, 1, 1], [9]),
        ([1, 1, 1, 1, 1, 1, 0, 0, 0, 0], [5, 6, 7, 8, 9]),
        ([0, 0, 0, 1, 0, 0, 0, 0, 0, 0], [8, 9]),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 1], []),
    ],
)
def test_validation_by_time_leaves_labels_on_both_sides(present, held_out):
    labels = np.where(np.array(present, dtype=bool), 1.0, math.nan)[:, None]
    _, validation = validation_split(labels, [TASKS[2]], 0.2, 0, time=np.arange(10))
    assert validation.tolist() == held_out


@pytest.mark.parametrize(
    "rows, more, message",
    [
        (2, {}, "2 rows with labels, fewer than the 3 folds"),
        (
            6,
            {"groups": np.array([0, 0, 0, 1, 1, 1])},
            "2 groups of rows that stay together, fewer than the 3 folds",
        ),
        (6, {"time": np.array([0, 0, 0, 1, 1, 2])}, "3 distinct values, and 3 folds .* need 4"),
    ],
)
def test_too_little_for_the_folds(rows, more, message):
    with pytest.raises(InvalidInputError, match=message):
        outer_folds(np.zeros((rows, 1)), [TASKS[2]], 3, 0, **more)


def test_task_without_label_in_training():
    labels = np.full((6, 1), math.nan)
    labels[4:] = 1.0
    with pytest.raises(
        InvalidInputError, match="no label in the training part: target 'r' in folds 1, 2, 3;"
    ):
        outer_folds(labels, [TASKS[2]], 3, 0, time=np.arange(6))
    with pytest.raises(
        InvalidInputError, match="no label in the training part: target 'r' in fold 2;"
    ):
        outer_folds(labels[:5], [TASKS[2]], 2, 0)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, math.nan])
def test_fraction_outside_its_range(fraction):
    with pytest.raises(InvalidInputError, match="`fraction` must be at least 0 and below 1"):
        validation_split(np.zeros((6, 1)), [TASKS[2]], fraction, 0)


def test_one_fold_is_too_few():
    with pytest.raises(InvalidInputError, match="`folds` must be at least 2, got 1"):
        outer_folds(np.zeros((6, 1)), [TASKS[2]], 1, 0)


def test_many_rows_take_little_time():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (20_000, 12)).astype(float)
    assert len(outer_folds(labels, [Task.binary(f"b{i}") for i in range(12)], 5, 0)) == 5


def test_the_row_of_a_class_without_other_rows_is_always_trained_on():
    labels = np.repeat([0.0, 1.0, 2.0], [15, 14, 1])[:, None]
    task = Task.multiclass("m", 3)
    for splits in (
        outer_folds(labels, [task], 5, 0),
        [validation_split(labels, [task], 0.5, 0)],
    ):
        for train, test in splits:
            assert 29 in train
            assert 29 not in test
    # too many of them are tested like the others
    labels = np.concatenate([np.repeat([0.0, 1.0], 12), np.arange(2, 10)])[:, None]
    splits = outer_folds(labels, [Task.multiclass("m", 10)], 5, 0)
    assert sorted(np.concatenate([test for _, test in splits])) == list(range(32))


def test_single_rows_as_groups_are_as_even_as_without_groups():
    rng = np.random.default_rng(0)
    labels = np.stack([rng.integers(0, 3, 200), rng.normal(size=200)], axis=1).astype(float)
    tasks = [Task.multiclass("m", 3), Task.regression("r")]
    groups = np.arange(200)
    groups[:10] = groups[10:20]
    for _, test in outer_folds(labels, tasks, 5, 0, groups=groups):
        assert 38 <= len(test) <= 42
        shares = np.bincount(labels[test, 0].astype(int)) / len(test)
        np.testing.assert_allclose(shares, np.bincount(labels[:, 0].astype(int)) / 200, atol=0.03)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 8), st.integers(0, 12)), min_size=10, max_size=60),
    seed=st.integers(0, 3),
)
def test_groups_and_time_hold_together(rows, seed):
    groups, time = (np.array(values) for values in zip(*rows, strict=True))
    labels = np.zeros((len(rows), 1))
    try:
        splits = outer_folds(labels, [TASKS[2]], 2, seed, groups=groups, time=time)
    except InvalidInputError as error:
        reason = str(error)
        event("refused")
    else:
        reason = ""
    if reason:
        assert "distinct values, and 2 folds" in reason or "leave no row to" in reason
        return
    plain = outer_folds(labels, [TASKS[2]], 2, seed, time=time)
    for (train, test), (earlier, block) in zip(splits, plain, strict=True):
        assert time[train].max() < time[test].min()
        assert not set(groups[train]) & set(groups[test])
        assert set(train) <= set(earlier)
        assert set(test) <= set(block)
        # a group that lies on one side of the cut loses no row, and others keep one side whole
        for group in set(groups[[*earlier, *block]]):
            before, after = (set(part[groups[part] == group]) for part in (earlier, block))
            kept = (before & set(train), after & set(test))
            assert kept in ((before, after), (before, set()), (set(), after))
            assert kept == (before, after) or (before and after)
    train, held_out = validation_split(labels, [TASKS[2]], 0.3, seed, groups=groups, time=time)
    assert not set(groups[train]) & set(groups[held_out])
    assert not len(held_out) or time[train].max() < time[held_out].min()
    assert len(train)


def test_all_targets_without_label_in_training_are_named():
    labels = np.full((9, 3), math.nan)
    labels[:, 0] = 1.0
    labels[3:, 1] = labels[6:, 2] = 1.0
    tasks = [Task.regression(name) for name in "abc"]
    with pytest.raises(InvalidInputError, match="target 'b' in fold 1; target 'c' in folds 1, 2;"):
        outer_folds(labels, tasks, 2, 0, time=np.arange(9))
