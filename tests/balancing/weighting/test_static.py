import pytest
import torch

from jointrain.balancing import Static
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, present, weights_of


def test_uses_the_weights_as_they_are():
    close(weights_of(Static([2.0, 0.0, 0.5]), [3.0, -1.0, 7.0]), [2.0, 0.0, 0.5])
    assert float(Static([2.0, 0.5]).objective(torch.tensor([3.0, 4.0]))) == 8.0


def test_without_weights_is_the_plain_sum():
    close(weights_of(Static(), [3.0, -1.0]), [1.0, 1.0])


def test_finds_the_weights_by_name_whatever_the_order():
    static = Static({"b": 2.0, "a": 1.0})
    static.bind(["a", "b"])
    close(static.task_weights, [1.0, 2.0])


def test_keeps_each_tasks_weight_when_others_are_absent():
    static = Static([1.0, 2.0, 3.0], tasks=["a", "b", "c"])
    with present(static, ["c", "a"]):
        close(weights_of(static, [1.0, 1.0]), [3.0, 1.0])


@pytest.mark.parametrize(
    "weights, message",
    [
        ([1.0, -2.0], r"`weights` must hold finite numbers of at least 0"),
        ([1.0, float("nan")], r"`weights` must hold finite numbers"),
        ([0.0, 0.0], r"`weights` must have at least one entry above zero"),
        ([], r"`weights` must be a vector with one number per task"),
        (["x"], r"`weights` must be a sequence of numbers"),
        ({"a": -1.0}, r"`weights` must hold finite numbers of at least 0"),
    ],
)
def test_refuses_weights_out_of_range(weights, message):
    with pytest.raises(InvalidInputError, match=message):
        Static(weights)


def test_refuses_weights_that_do_not_fit_the_tasks():
    with pytest.raises(InvalidInputError, match=r"one entry per task, got 2 for 3 tasks"):
        Static([1.0, 2.0], tasks=3)
    with pytest.raises(InvalidInputError, match=r"entry for task 'agee'.*did you mean 'age'"):
        Static({"agee": 1.0, "sex": 1.0}, tasks=["age", "sex"])
    with pytest.raises(InvalidInputError, match=r"entry for every task, it lacks 'sex'"):
        Static({"age": 1.0}, tasks=["age", "sex"])


def test_shows_its_weights():
    assert "weights=(1.0, 2.0)" in repr(Static([1, 2]))
