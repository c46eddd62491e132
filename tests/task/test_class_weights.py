"""Weights of a task's classes: forms, and what is refused in one line."""

import numpy as np
import pytest
import torch

from jointrain import InvalidInputError, Task

KIND = ("ash", "elm", "oak")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (None, None),
        ("balanced", "balanced"),
        ([1, 2.5, 3], (1.0, 2.5, 3.0)),
        (np.array([1.0, 2.0, 3.0]), (1.0, 2.0, 3.0)),
        (torch.tensor([1, 2, 3]), (1.0, 2.0, 3.0)),
        ({"oak": 5}, (1.0, 1.0, 5.0)),
        ({"ash": 2, "elm": 3, "oak": 4}, (2.0, 3.0, 4.0)),
    ],
)
@pytest.mark.parametrize("make", [Task.multiclass, Task.ordinal])
def test_they_are_kept_in_the_order_of_the_classes(make, given, kept):
    task = make("kind", KIND, class_weights=given)
    assert task.class_weights == kept
    assert hash(task) == hash(make("kind", KIND, class_weights=kept))


def test_classes_that_are_no_texts_are_named_by_themselves_or_their_texts():
    assert Task.binary("sold", class_weights={1: 5}).class_weights == (1.0, 5.0)
    assert Task.binary("sold", class_weights={"1": 5}).class_weights == (1.0, 5.0)
    assert Task.binary("b", [False, True], class_weights={True: 2}).class_weights == (1.0, 2.0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"oka": 2},
            "name 'oka', which is none of its classes ash, elm, oak (did you mean 'oak'?)",
        ),
        ([1, 2], "has 3 classes but 2 class weights; give one for each class, in their order"),
        ({"oak": 0}, "weight of class 'oak' of task 'kind' must be a number above 0, got 0"),
        ([0, 0, 0], "weight of class 'ash' of task 'kind' must be a number above 0, got 0"),
        ({"oak": -1.5}, "weight of class 'oak' of task 'kind' must be a number above 0, got -1.5"),
        ([1, float("nan"), 1], "weight of class 'elm' of task 'kind' must be a number above 0"),
        ({"elm": float("inf")}, "must be a number above 0, got inf"),
        ({"elm": "2"}, "must be a number above 0, got '2'"),
        ("even", "must be 'balanced', a number for each class, or numbers by class, got 'even'"),
        (3.0, "must be 'balanced', a number for each class, or numbers by class, got 3.0"),
    ],
)
def test_those_that_are_none_are_refused_in_one_line(given, message):
    with pytest.raises(InvalidInputError) as error:
        Task.multiclass("kind", KIND, class_weights=given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ["regression", "multilabel"])
def test_tasks_without_one_class_a_row_have_none(kind):
    classes = ("a", "b") if kind == "multilabel" else ()
    with pytest.raises(InvalidInputError, match="has no classes that could weigh; leave"):
        Task("y", kind, classes, class_weights="balanced")
