import math

import pytest

from jointrain.balancing import DTP
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, weights_of


def test_focal_weight_of_the_noted_performance_by_hand():
    balancer = DTP(["a", "b"], gamma=2.0, alpha=0.25)
    balancer.note({"a": 0.8, "b": 0.5})
    close(weights_of(balancer, [9.0, 1.0]), [-(0.2**2) * math.log(0.8), -0.25 * math.log(0.5)])
    balancer.note({"a": 0.4})  # 0.25 * 0.4 + 0.75 * 0.8 = 0.7
    close(weights_of(balancer, [9.0, 1.0]), [-(0.3**2) * math.log(0.7), -0.25 * math.log(0.5)])


def test_without_figures_they_are_made_of_the_losses():
    balancer = DTP(2, alpha=0.5)
    close(weights_of(balancer, [math.log(2), math.log(4)]), [0.5 * math.log(2), 0.75 * math.log(4)])
    # averages: (1/2 + 1/4) / 2 = 3/8 and 1/4
    found = weights_of(balancer, [math.log(4), math.log(4)])
    close(found, [-5 / 8 * math.log(3 / 8), 0.75 * math.log(4)])


def test_the_first_figure_noted_takes_the_place_of_what_the_losses_said():
    balancer = DTP(["a", "b"], alpha=0.1)
    weights_of(balancer, [5.0, 5.0])
    balancer.note({"a": 0.5})
    assert weights_of(balancer, [5.0, 5.0])[0] == pytest.approx(0.5 * math.log(2))


def test_a_perfect_task_has_no_weight_and_a_hopeless_one_a_finite_one():
    balancer = DTP(["a", "b"])
    balancer.note({"a": 1.0, "b": 0.0})
    close(weights_of(balancer, [1.0, 1.0]), [0.0, -(1 - 1e-6) * math.log(1e-6)])


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match="`gamma` must be a number in"):
        DTP(gamma=-1.0)
    with pytest.raises(InvalidInputError, match="`alpha` must be a number in"):
        DTP(alpha=0.0)
    with pytest.raises(InvalidInputError, match="`note` must be called with the tasks known"):
        DTP().note({"a": 0.5})
    with pytest.raises(InvalidInputError, match=r"Task 'aa' is unknown.*did you mean 'a'"):
        DTP(["a"]).note({"aa": 0.5})
    with pytest.raises(InvalidInputError, match=r"`performance\['a'\]` must be a number in"):
        DTP(["a"]).note({"a": 50.0})
    with pytest.raises(InvalidInputError, match="at least 0 for balancer 'dtp', got -1"):
        weights_of(DTP(), [1.0, -1.0])
