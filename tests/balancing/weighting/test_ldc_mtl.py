import pytest
import torch

from jointrain.balancing import LDCMTL
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, numeric_weights, present, weights_of


def test_worked_by_hand():
    balancer = LDCMTL(2, penalty=0.1)
    # the first losses are scaled to the smallest: 1 and 1, so nothing differs
    close(balancer.objective(torch.tensor([1.0, 4.0])), 2 * (0.5 + 0.5))
    # then 2 and 1: 2 * (1 + 0.5 + 0.1 * 0.5); slopes 1 + 0.1 and (1 - 0.1) / 4
    losses = torch.tensor([2.0, 4.0], dtype=torch.float64)
    close(balancer.objective(losses), 3.1)
    close(weights_of(balancer, losses), [1.1, 0.225])
    close(weights_of(balancer, losses), numeric_weights(balancer, losses), rtol=1e-7)


def test_the_logits_learn_to_make_the_weighted_losses_equal():
    balancer = LDCMTL(3, penalty=100.0)
    balancer.objective(torch.ones(3))
    losses = torch.tensor([3.0, 1.0, 2.0])
    optimizer = torch.optim.Adam(balancer.parameters(), lr=0.01)
    for _ in range(600):
        optimizer.zero_grad()
        balancer.objective(losses).backward()
        optimizer.step()
    weighted = torch.softmax(balancer.logits.detach(), dim=0) * losses
    close(weighted / weighted.mean(), [1.0, 1.0, 1.0], atol=0.1)


def test_absent_tasks_have_no_neighbour_and_no_gradient():
    balancer = LDCMTL(["a", "b", "c"], penalty=0.0)
    with present(balancer, ["a", "c"]):
        close(weights_of(balancer, [1.0, 4.0]), [1.0, 0.25])
        balancer.objective(torch.tensor([3.0, 4.0])).backward()
    assert balancer.logits.grad[1] == 0
    assert balancer.first[1].isnan()


def test_reset_keeps_the_parameter_that_the_optimiser_knows():
    balancer = LDCMTL(2)
    parameter = balancer.logits
    balancer.objective(torch.tensor([1.0, 4.0]))
    balancer.reset()
    assert balancer.logits is parameter
    assert balancer.first.isnan().all()


def test_refuses_a_penalty_and_losses_out_of_range():
    with pytest.raises(InvalidInputError, match="`penalty` must be a number in"):
        LDCMTL(penalty=-0.1)
    with pytest.raises(InvalidInputError, match="at least 0 for balancer 'ldc-mtl', got -1"):
        weights_of(LDCMTL(), [1.0, -1.0])
