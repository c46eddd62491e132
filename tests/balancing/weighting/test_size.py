import pytest

from jointrain.balancing import BySize
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, present, weights_of


def test_weighs_by_size_with_mean_one():
    close(weights_of(BySize([100, 300, 200]), [1.0, 1.0, 1.0]), [0.5, 1.5, 1.0])


def test_mean_is_over_all_tasks_also_when_some_are_absent():
    balancer = BySize({"a": 100, "b": 300}, tasks=["a", "b"])
    with present(balancer, ["b"]):
        close(weights_of(balancer, [2.0]), [1.5])


def test_without_sizes_is_the_plain_sum():
    close(weights_of(BySize(), [1.0, 5.0]), [1.0, 1.0])


@pytest.mark.parametrize("sizes", [[-1, 2], [0, 0]])
def test_refuses_sizes_out_of_range(sizes):
    with pytest.raises(InvalidInputError, match="`sizes` must"):
        BySize(sizes)


def test_refuses_sizes_that_do_not_fit():
    with pytest.raises(InvalidInputError, match="`sizes` must have one entry per task"):
        BySize([1, 2, 3], tasks=2)
