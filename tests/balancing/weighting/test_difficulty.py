import pytest

from jointrain.balancing import ByDifficulty
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, weights_of


def test_weighs_by_single_task_loss_with_mean_one():
    close(weights_of(ByDifficulty([0.2, 0.6, 0.4]), [9.0, 1.0, 1.0]), [0.5, 1.5, 1.0])


def test_without_losses_is_the_plain_sum():
    close(weights_of(ByDifficulty(), [1.0, 5.0]), [1.0, 1.0])


@pytest.mark.parametrize("losses", [[-0.1, 2.0], [0.0, 0.0], [float("inf"), 1.0]])
def test_refuses_losses_out_of_range(losses):
    with pytest.raises(InvalidInputError, match="`single_task_losses` must"):
        ByDifficulty(losses)


def test_refuses_losses_that_do_not_fit():
    with pytest.raises(InvalidInputError, match="`single_task_losses` must have an entry for"):
        ByDifficulty({"a": 0.5}, tasks=["a", "b"])
