import pytest
import torch

from jointrain.balancing import COSMOS
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, numeric_weights, present, weights_of


def test_worked_by_hand():
    balancer = COSMOS(2, preference=[1.0, 0.0], penalty=5.0)
    # sum 3, cosine 3/5
    losses = torch.tensor([3.0, 4.0], dtype=torch.float64)
    close(balancer.objective(losses), 0.0, atol=1e-12)
    # gradient of the cosine: r / |L| - cos * L / |L|^2 = (0.2, 0) - 0.6 * (0.12, 0.16)
    close(weights_of(balancer, losses), [1 - 5 * 0.128, 5 * 0.096])


def test_gradient_equals_differences():
    balancer = COSMOS(3, preference=[0.2, 1.0, 0.3], penalty=0.7)
    losses = [1.0, 2.5, 0.4]
    close(weights_of(balancer, losses), numeric_weights(balancer, losses), rtol=1e-7)


def test_without_penalty_is_the_sum_by_preference():
    close(weights_of(COSMOS(2, preference=[0.3, 0.7], penalty=0.0), [1.0, 9.0]), [0.3, 0.7])


def test_one_task_has_its_preference_as_weight():
    close(weights_of(COSMOS(1), [0.7]), [1.0])


def test_draws_a_preference_that_holds_until_the_next_draw():
    balancer = COSMOS(3, penalty=0.0, seed=5)
    drawn = balancer.draw()
    close(drawn.sum(), 1.0)
    assert (drawn >= 0).all()
    close(weights_of(balancer, [1.0, 2.0, 3.0]), drawn)
    close(weights_of(balancer, [1.0, 2.0, 3.0]), drawn)
    assert not torch.equal(balancer.draw(), drawn)
    other = COSMOS(3, penalty=0.0)
    other.load_state_dict(balancer.state_dict())
    close(weights_of(other, torch.ones(3)), weights_of(balancer, torch.ones(3)))
    close(other.draw(), balancer.draw())
    balancer.reset()
    close(weights_of(balancer, torch.ones(3)), [1.0, 1.0, 1.0])
    close(balancer.draw(), drawn)


def test_draws_with_the_moments_of_the_dirichlet_distribution():
    balancer = COSMOS(2, concentration=0.5)
    drawn = torch.stack([balancer.draw() for _ in range(3000)])
    close(drawn.mean(0), [0.5, 0.5], atol=0.03)
    # variance of Dirichlet(a, a): 1 / (4 (2 a + 1))
    close(drawn.var(0), [0.125, 0.125], atol=0.01)


def test_vanished_losses_have_finite_weights():
    close(weights_of(COSMOS(2, penalty=0.5), [0.0, 0.0]), [1.0, 1.0])
    assert weights_of(COSMOS(2), [1e30, 1e-30], dtype=torch.float32).isfinite().all()


def test_absent_tasks_leave_the_cosine_of_the_others():
    balancer = COSMOS(["a", "b", "c"], preference=[1.0, 5.0, 0.0], penalty=5.0)
    with present(balancer, ["a", "c"]):
        close(weights_of(balancer, [3.0, 4.0]), [1 - 5 * 0.128, 5 * 0.096])


def test_lands_near_the_ray_of_the_preference():
    """Two opposed quadratics: where the preference has the losses equal, they become equal."""

    def end(penalty):
        x = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
        balancer = COSMOS(2, preference=[0.8, 0.2], penalty=penalty)
        optimizer = torch.optim.SGD([x], lr=0.02)
        for _ in range(400):
            losses = torch.stack([(x - 1).square(), (x + 1).square()]) + 0.1
            optimizer.zero_grad()
            balancer.objective(losses).backward()
            optimizer.step()
        share = losses.detach() / losses.detach().sum()
        return float((share - torch.tensor([0.8, 0.2])).abs().sum())

    assert end(penalty=8.0) < end(penalty=0.0)


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match="`penalty` must be a number in"):
        COSMOS(penalty=-1.0)
    with pytest.raises(InvalidInputError, match="`concentration` must be a number in"):
        COSMOS(concentration=0.0)
    with pytest.raises(InvalidInputError, match="`preference` must have at least one entry above"):
        COSMOS(preference=[0.0])
    with pytest.raises(InvalidInputError, match="`draw` must be called with the tasks known"):
        COSMOS().draw()
