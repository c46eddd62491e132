"""Parts of a split share no row, whatever the data sets are wrapped in."""

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset

from jointrain import InvalidInputError, Mixture, Study, TensorData
from jointrain.data import DataSource
from jointrain.experiments import Experiment, Folds, Given, Holdout
from tests.experiments._own import TASKS, TWO, Rows, data, network

ROWS = Rows(data(90))


def part(start: int, end: int) -> Subset:
    return Subset(ROWS, range(start, end))


def by_task(given):
    return {task.name: given for task in TASKS}


def mixture(given):
    return Mixture({tuple(task.name for task in TASKS): DataSource(given)})


class NoLength(Dataset):
    """Rows by number, and no length."""

    def __getitem__(self, row: int):
        return ROWS[row]


BARE = NoLength()
TRAINED = "test and training data of split 0 are rows of one data set, and share some"
ENDED = "validation and training data of split 0 are rows of one data set, and share some"
CHOSEN = "test and validation data of split 0 are rows of one data set, and share some"


@pytest.mark.parametrize(
    ("train", "test", "row"),
    [
        (DataLoader(ROWS, 16, shuffle=True), DataLoader(ROWS, 16), None),
        (DataLoader(ROWS, 16), part(60, 90), 60),
        (ROWS, DataLoader(part(60, 90), 16), 60),
        (DataLoader(part(0, 60), 16), DataLoader(part(30, 90), 16), 30),
        (DataSource(DataLoader(part(0, 60), 16)), part(59, 90), 59),
        (by_task(ROWS), part(60, 90), 60),
        (part(0, 60), by_task(part(59, 90)), 59),
        (mixture(ROWS), mixture(part(60, 90)), 60),
        (mixture(part(0, 60)), by_task(part(50, 90)), 50),
        (ConcatDataset([part(0, 20), part(40, 60)]), part(50, 90), 50),
        (part(0, 60), ConcatDataset([part(70, 90), DataLoader(part(58, 60)).dataset]), 58),
        (Subset(ROWS, [1, 2, -1]), part(60, 90), 89),
        (Subset(BARE, range(60)), DataLoader(Subset(BARE, range(59, 90)), 4), 59),
    ],
)
def test_training_rows_in_the_test_part(train, test, row):
    words = TRAINED + ("; test rows must be unseen" if row is None else f", such as row {row};")
    with pytest.raises(InvalidInputError, match=words):
        Experiment(TASKS, network, train, Holdout(test))
    with pytest.raises(InvalidInputError, match=words):
        Experiment(TASKS, network, splits=Given([(train, test)]))


def test_row_numbers_beside_a_data_set():
    with pytest.raises(InvalidInputError, match=f"{TRAINED}, such as row 50;"):
        Experiment(TASKS, network, ROWS, Given([(np.arange(60), part(50, 90))]))
    # row 0 of the data is row 60 of the data set
    with pytest.raises(InvalidInputError, match=f"{TRAINED}, such as row 60;"):
        Experiment(TASKS, network, part(60, 90), Given([([0, 1], part(50, 61))]))
    made = Experiment(TASKS, network, ROWS, Given([(np.arange(60), part(60, 90))]))
    assert len(made.folds_of(0)[0].test) == 30


def test_hugging_face_rows_under_two_data_sources():
    datasets = pytest.importorskip("datasets")
    plain = data(30)
    columns = {"x": plain.inputs.tolist()} | {k: v.tolist() for k, v in plain.targets.items()}
    rows = datasets.Dataset.from_dict(columns)
    for test in (rows, DataSource(rows), DataLoader(rows), Subset(rows, [3])):
        with pytest.raises(InvalidInputError, match=TRAINED):
            Experiment(TASKS, network, DataSource(rows), Holdout(test))


WHOLE = data()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((part(0, 60), part(60, 90), part(60, 90)), CHOSEN),
        ((part(0, 60), part(50, 60), part(60, 90)), f"{ENDED}, such as row 50; validation rows"),
        ((part(0, 60), DataLoader(part(0, 60)), part(60, 90)), f"{ENDED}; validation rows must"),
        ((part(0, 60), part(60, 80), part(70, 90)), f"{CHOSEN}, such as row 70; test rows must"),
        ((part(0, 60), by_task(part(60, 80)), mixture(part(79, 90))), f"{CHOSEN}, such as row 79"),
        ((WHOLE, DataSource(WHOLE), data(30, seed=1)), ENDED),
        ((WHOLE, WHOLE, data(30, seed=1)), "row 0 of split 0 is both to train on and for valid"),
        ((data(30, seed=1), WHOLE, WHOLE), "row 0 of split 0 is both for validation and to test"),
        ((WHOLE, data(30, seed=1), WHOLE), "split 0 trains and tests on 60 same rows, the first"),
    ],
)
def test_validation_rows_in_another_part(parts, words):
    train, validation, test = parts
    with pytest.raises(InvalidInputError, match=words):
        Experiment(TASKS, network, splits=Given([parts]))
    with pytest.raises(InvalidInputError, match=words):
        Experiment(TASKS, network, train, Holdout(test, validation))


def test_validation_rows_that_are_held_out_as_a_share():
    made = Experiment(TASKS, network, ROWS, Holdout(0.2))
    with pytest.raises(InvalidInputError, match=f"{ENDED}, such as row"):
        Experiment(TASKS, network, ROWS, Holdout(0.2, part(60, 90)))
    tested = Subset(ROWS, made.folds_of(0)[0].test.tolist())
    with pytest.raises(InvalidInputError, match=CHOSEN):
        Experiment(TASKS, network, ROWS, Holdout(0.2, tested))


def test_validation_row_numbers_in_the_test_part():
    splits = [(range(20, 90), range(10), range(10, 20)), (range(20, 90), range(6), range(5, 9))]
    with pytest.raises(InvalidInputError, match="row 5 of split 1 is both for validation and to"):
        Experiment(TASKS, network, ROWS, Given(splits))


def test_a_row_that_is_in_the_data_twice():
    twice = Subset(ROWS, [*range(60), 7])
    words = "row 7 is in the data more than once, and on both sides of split"
    made = Experiment(TASKS, network, twice, Folds(61))
    with pytest.raises(InvalidInputError, match=words):
        made.folds_of(0)
    with pytest.raises(InvalidInputError, match=words):
        Experiment(TASKS, network, twice, Given([(range(50), range(50, 61))]))
    groups = [*range(60), 7]
    for fold in Experiment(TASKS, network, twice, Folds(3, groups=groups)).folds_of(0):
        assert (7 in fold.test) == (60 in fold.test)
    # to see rows of the training set more often is no fault
    made = Experiment(TASKS, network, twice, Holdout(part(60, 90)))
    assert len(made.folds_of(0)[0].train) == 61


def test_rows_that_other_tasks_are_trained_on_may_be_tested():
    """A task's own labels are unseen; which inputs the other one has seen, `check_rows` asks."""
    train = {"sum": part(0, 60), "sign": part(60, 90)}
    test = {"sum": part(60, 90), "sign": part(0, 60)}
    (fold,) = Experiment(TASKS, network, train, Holdout(test)).folds_of(0)
    assert (len(fold.train), len(fold.test)) == (90, 90)
    for fold in Experiment(TASKS, network, by_task(ROWS), Folds(3)).folds_of(0):
        assert len(fold.test) == 60


def test_parts_of_one_data_set_that_share_no_row():
    parts = DataLoader(part(0, 50), 16), by_task(part(50, 70)), mixture(part(70, 90))
    made = Experiment(TASKS, network, splits=Given([parts]))
    (fold,) = made.folds_of(0)
    rows, held_out = made.held_out(fold)
    # a data set for each task counts its rows for each
    assert (len(rows), len(held_out), len(fold.test)) == (50, 40, 20)
    whole = Experiment(TASKS, network, splits=Given([(part(0, 50), part(50, 70), part(70, 90))]))
    assert not Study(whole, TWO, seeds=1).run(workers=1).failed


def test_equal_rows_of_two_data_sets_are_left_to_check_rows():
    made = Experiment(TASKS, network, data(), Holdout(TensorData(data().inputs, data().targets)))
    assert len(made.folds_of(0)[0].test) == 60
    assert torch.equal(made.data.inputs, made.splits.test.inputs)
