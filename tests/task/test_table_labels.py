"""Labels of several targets side by side, cut by hand."""

import numpy as np

from jointrain import Task
from jointrain.task import known_labels, label_columns, labels_of, only_labels, without_labels

TASKS = [
    Task.regression("age"),
    Task.survival("death", (1.0, 2.0)),
    Task.multilabel("diseases", ("a", "b", "c")),
    Task.binary("sex"),
]
NAN = np.nan
LABELS = np.array(
    [
        [50.0, 1.5, 1, 0, NAN, 1, 0],
        [NAN, 2.5, 0, NAN, NAN, NAN, 1],
        [60.0, NAN, 1, 1, 1, 1, NAN],
    ]
)


def test_labels_are_cut_by_task():
    places = [(columns.start, columns.stop) for columns in label_columns(TASKS)]
    assert places == [(0, 1), (1, 3), (3, 6), (6, 7)]
    age, death, diseases, sex = labels_of(LABELS, TASKS)
    assert age.shape == (3,)
    assert death.shape == (3, 2)
    np.testing.assert_array_equal(diseases, LABELS[:, 3:6])
    np.testing.assert_array_equal(sex, LABELS[:, 6])


def test_a_row_needs_all_numbers_of_a_time_and_one_of_several_labels():
    expected = [[True, True, True, True], [False, True, False, True], [True, False, True, False]]
    np.testing.assert_array_equal(known_labels(LABELS, TASKS), expected)
    plain = LABELS[:, [0, 6]]
    np.testing.assert_array_equal(known_labels(plain, [TASKS[0], TASKS[3]]), ~np.isnan(plain))


def test_some_tasks_and_hidden_labels():
    kept = only_labels(LABELS, TASKS, ["sex", "death"])
    np.testing.assert_array_equal(kept, LABELS[:, [1, 2, 6]])
    hidden = np.zeros((3, 4), dtype=bool)
    hidden[0, 1] = True
    found = without_labels(LABELS, TASKS, hidden)
    assert np.isnan(found[0, 1:3]).all()
    expected = LABELS.copy()
    expected[0, 1:3] = NAN
    np.testing.assert_array_equal(found, expected)
