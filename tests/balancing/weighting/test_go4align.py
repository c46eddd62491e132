import itertools
import math

import numpy as np
import pytest

from jointrain.balancing import GO4Align
from jointrain.balancing.weighting._go4align import group_means
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, present, weights_of


def test_indicators_by_hand():
    balancer = GO4Align(2, groups=2, step_size=math.log(2))
    # p in proportion to 1/2 and 1/4: 2/3 and 1/3; 3 / L is 3 and 3/2
    close(weights_of(balancer, [1.0, 2.0]), [2.0, 0.5])
    # p in proportion to 1/2 * 1/4 and 1/4 * 1/2: equal; 3 / L is 3/2 and 3
    close(weights_of(balancer, [2.0, 1.0]), [0.75, 1.5])


def test_one_group_is_the_mean_of_the_indicators():
    close(weights_of(GO4Align(3, groups=1, step_size=1e-12), [1.0, 1.0, 4.0]), [1.5] * 3)


@pytest.mark.parametrize("groups", [1, 2, 3, 5, 7])
def test_groups_are_the_best_of_all(groups):
    values = np.random.default_rng(groups).gamma(0.5, size=5)
    found = np.array(group_means(values, groups))
    wanted = min(
        sum(((values[of == k] - values[of == k].mean()) ** 2).sum() for k in set(of))
        for of in map(np.array, itertools.product(range(min(groups, 5)), repeat=5))
    )
    assert ((values - found) ** 2).sum() == pytest.approx(wanted, abs=1e-12)
    assert len(set(found)) == min(groups, 5)


def test_absent_tasks_keep_their_shares():
    balancer = GO4Align(["a", "b", "c"], groups=3, step_size=math.log(2))
    with present(balancer, ["a", "c"]):
        close(weights_of(balancer, [1.0, 2.0]), [2.0, 0.5])
    with present(balancer, ["a", "c"]):
        close(weights_of(balancer, [2.0, 1.0]), [0.75, 1.5])


def test_vanished_losses_have_finite_weights():
    close(weights_of(GO4Align(2), [0.0, 0.0]), [1.0, 1.0])
    assert weights_of(GO4Align(2), [0.0, 1.0]).isfinite().all()


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match="`groups` must be an integer of at least 1"):
        GO4Align(groups=0)
    with pytest.raises(InvalidInputError, match="`step_size` must be a number in"):
        GO4Align(step_size=0.0)
    with pytest.raises(InvalidInputError, match="at least 0 for balancer 'go4align', got -1"):
        weights_of(GO4Align(), [1.0, -1.0])
