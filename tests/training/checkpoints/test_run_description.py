"""Run descriptions: the same for the same run in another process, and another for another run."""

import functools

import pytest

from jointrain import Alternating, InvalidInputError, Mixture
from jointrain.training import OptimizerSettings
from jointrain.training.checkpoints import check_same_run
from tests.training.checkpoints.runs import TASKS, Stream, cases, rows, trainer


def _described(**more):
    made = trainer(cases()["joint"], **more)
    made.begin(rows(), None)
    return made._description()


def test_a_function_is_known_by_its_name_not_by_its_place():
    def order(step):
        return "kind"

    one = _described(schedule=Alternating(functools.partial(order)))
    assert "0x" not in str(one)


@pytest.mark.parametrize(
    "other, word",
    [
        ({"schedule": Alternating()}, "schedule"),
        ({"optimizer": OptimizerSettings(learning_rate=0.1)}, "optimizer"),
        ({"weights": {"kind": 2.0}}, "weights"),
        ({"auxiliary": ["kind"]}, "auxiliary"),
    ],
)
def test_another_run_is_told_by_what_is_other(other, word):
    described = _described()
    check_same_run(described, _described(), finished=False)
    with pytest.raises(InvalidInputError, match=f"had other .*{word}"):
        check_same_run(described, _described(**other), finished=False)


def test_other_rows_are_noticed_by_their_number():
    made = trainer(cases()["joint"])
    made.begin(rows(), None)
    described = made._description()
    made.begin(rows(23), None)
    with pytest.raises(InvalidInputError, match="had other labelled rows"):
        check_same_run(described, made._description(), finished=False)


def test_a_stream_has_no_number_of_rows():
    made = trainer(cases()["joint"])
    sets = {task.name: Stream(9, 0, task.name) for task in TASKS}
    made.begin(Mixture(sets, batch_size=4, epoch=3), None)
    assert made._description()["labelled rows"] == {"number": None, "kind": None}


def test_long_differences_are_cut():
    with pytest.raises(InvalidInputError) as told:
        check_same_run({"a": "x" * 10_000}, {"a": "y" * 10_000}, finished=False)
    assert len(str(told.value)) < 700
