"""F-MTL against its formulas."""

from __future__ import annotations

import pytest
import torch

from jointrain.balancing import FMTL, MGDA, PCGrad, UPGrad, backward
from jointrain.errors import InvalidInputError
from jointrain.testing import update_and_weights
from tests.balancing.sharpness._twice import Net, gradients, matrix, moved, slopes


@pytest.mark.parametrize("aggregator", [MGDA, UPGrad, PCGrad])
def test_it_is_the_formula(aggregator):
    net, other = Net(), Net()
    here, there, heads = [], [], []
    for k in range(3):
        shared, own = slopes(other, other.losses()[k])
        row, head = moved(other, k, shared, own[k], 0.3)
        here.append(shared)
        there.append(row)
        heads.append(head[k])
    values = torch.stack(other.losses()).detach()
    g, h = matrix(here), matrix(there) - matrix(here)
    wanted = update_and_weights(aggregator(), g, values)[0]
    wanted = wanted + update_and_weights(aggregator(), h, values)[0]
    step = backward(net.losses, FMTL(aggregator(), radius=0.3))
    assert step.weights is None
    torch.testing.assert_close(gradients(net.trunk), wanted, rtol=1e-6, atol=1e-8)
    for head, part in zip(net.heads, heads, strict=True):
        part = torch.cat([x.flatten() for x in part])
        torch.testing.assert_close(gradients(head), part, rtol=1e-6, atol=1e-8)


def test_by_hand_for_two_parabolas():
    """By MGDA: (1, 2) gives weights (4, 1) / 5, as does the change, which is twice each move."""
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def losses():
        return [x[0] + x[0] ** 2, 2 * x[1] + x[1] ** 2]

    backward(losses, FMTL("mgda", radius=0.5), shared=[x])
    # g = (1, 0), (0, 2): 0.8, 0.2; h = (1, 0), (0, 1): a half each
    torch.testing.assert_close(x.grad, torch.tensor([0.8 + 0.5, 0.4 + 0.5]).double())


def test_what_it_aggregates_are_gradients():
    with pytest.raises(InvalidInputError, match=r"`balancer` must be one of .*got 'equal'"):
        FMTL("equal")
