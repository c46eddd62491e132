import math

import pytest
import torch

from jointrain.balancing import NashMTL
from jointrain.errors import InvalidInputError

GRAMIAN = torch.tensor([[1.0, -1.0], [-1.0, 4.0]], dtype=torch.float64)


def test_two_conflicting_tasks_by_hand():
    """w1^2 - w1 w2 = 1 = 4 w2^2 - w1 w2 on G: w1 = 2 w2, both gain the same."""
    weights = NashMTL(max_norm=0.0).weights(GRAMIAN, torch.ones(2))
    assert float(weights[0] / weights[1]) == pytest.approx(2.0)
    gains = weights * (GRAMIAN @ weights)
    assert float(gains[0]) == pytest.approx(float(gains[1]))
    # the solution for G over its Frobenius norm f: a factor of sqrt(f)
    assert float(weights[1]) == pytest.approx(math.sqrt(GRAMIAN.norm()) / math.sqrt(2.0))


def test_the_update_is_cut_to_the_longest_length():
    weights = NashMTL(max_norm=0.5).weights(GRAMIAN, torch.ones(2))
    assert float(weights @ GRAMIAN @ weights) == pytest.approx(0.25)
    longer = NashMTL(max_norm=1e9).weights(GRAMIAN, torch.ones(2))
    assert float(longer[0] / longer[1]) == pytest.approx(2.0)


def test_the_solution_is_kept_for_some_steps():
    nash = NashMTL(2, update_weights_every=2, max_norm=0.0)
    first = nash.weights(GRAMIAN, torch.ones(2))
    assert torch.equal(nash.weights(9.0 * GRAMIAN.flip(0, 1), torch.ones(2)), first)
    third = nash.weights(GRAMIAN.flip(0, 1), torch.ones(2))
    torch.testing.assert_close(third, first.flip(0))


def test_a_zero_gradient_has_no_say():
    gramian = torch.diag(torch.tensor([4.0, 0.0], dtype=torch.float64))
    assert NashMTL().weights(gramian, torch.ones(2)).tolist() == pytest.approx([0.5, 0.0])
    assert NashMTL().weights(0.0 * gramian, torch.ones(2)).tolist() == [0.0, 0.0]


def test_refuses_a_negative_length():
    with pytest.raises(InvalidInputError, match=r"`max_norm` must be a number in \[0, inf\]"):
        NashMTL(max_norm=-1.0)
