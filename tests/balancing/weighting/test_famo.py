import math

import pytest
import torch

from jointrain.balancing import FAMO
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, present, weights_of


def test_first_weights_are_inverse_to_the_losses_and_sum_to_the_number_of_tasks():
    # z = 1/2 each: c = 1 / (1/2 + 1/8) = 1.6, weights 2 * 1.6 * z / L
    close(weights_of(FAMO(2), [1.0, 4.0]), [1.6, 0.4], rtol=1e-7)


def test_lower_bounds_shift_the_losses():
    balancer = FAMO(2, min_losses=[-1.0, 2.0])
    close(weights_of(balancer, [0.0, 6.0]), [1.6, 0.4], rtol=1e-7)


def test_first_step_of_the_logits_worked_by_hand():
    balancer = FAMO(2, step_size=0.1)
    balancer.objective(torch.tensor([1.0, 1.0]))
    balancer.after_step(torch.tensor([0.5, 1.0]))
    # delta = (log 2, 0); z * (delta - z @ delta) = (log 2, -log 2) / 4; Adam's first step: its sign
    close(balancer.logits, [-0.1, 0.1], rtol=1e-6)
    close(balancer.moments[0], [0.1 * math.log(2) / 4, -0.1 * math.log(2) / 4], rtol=1e-6)


def test_several_steps_equal_a_loop_with_autograd_and_torchs_adam():
    torch.manual_seed(0)
    balancer = FAMO(3, step_size=0.05, weight_decay=0.01)
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([logits], lr=0.05, weight_decay=0.01)
    for _ in range(6):
        before = torch.rand(3, dtype=torch.float64) + 0.1
        after = before * (0.7 + 0.4 * torch.rand(3, dtype=torch.float64))
        z = torch.softmax(logits, 0)
        wanted = (z / before) / (z / before).sum() * 3
        close(weights_of(balancer, before), wanted, rtol=1e-6)
        balancer.after_step(after)
        adam.zero_grad()
        (z @ (before.log() - after.log())).backward()
        adam.step()
        close(balancer.logits, logits, rtol=1e-5, atol=1e-8)


def test_equalises_the_relative_rates():
    """Two quadratics of unlike curvature, one shared parameter each: the rates meet."""

    def rates(weigh):
        x = torch.ones(2, dtype=torch.float64, requires_grad=True)
        curvature = torch.tensor([1.0, 0.1], dtype=torch.float64)
        balancer = FAMO(2, step_size=0.05)
        for _ in range(300):
            losses = curvature * x.square() + 1e-4
            balancer_losses = balancer.objective(losses) if weigh else losses.sum()
            (gradient,) = torch.autograd.grad(balancer_losses, x)
            with torch.no_grad():
                x -= 1e-3 * gradient
            after = (curvature * x.square() + 1e-4).detach()
            fell = losses.detach().log() - after.log()
            balancer.after_step(after) if weigh else None
        return fell

    fell = rates(weigh=True)
    assert float(fell.max() / fell.min()) < 1.3
    fell = rates(weigh=False)
    assert float(fell.max() / fell.min()) > 5.0


def test_absent_tasks_keep_logits_and_moments():
    balancer = FAMO(["a", "b", "c"])
    with present(balancer, ["a", "b", "c"]):
        balancer.objective(torch.ones(3))
        balancer.after_step(torch.tensor([0.5, 1.0, 2.0]))
    before = balancer.logits.clone(), balancer.moments.clone()
    with present(balancer, ["c", "a"]):
        weights = weights_of(balancer, [1.0, 1.0])
        close(weights, 2 * torch.softmax(before[0][[2, 0]], 0), rtol=1e-7)
        balancer.after_step(torch.tensor([0.5, 1.0]))
    assert balancer.logits[1] == before[0][1]
    assert torch.equal(balancer.moments[:, 1], before[1][:, 1])
    assert balancer.moments[2].tolist() == [2.0, 1.0, 2.0]


def test_state_in_the_middle_of_a_step_survives():
    balancer = FAMO(2)
    balancer.objective(torch.tensor([1.0, 2.0]))
    other = FAMO()
    other.load_state_dict(balancer.state_dict())
    for b in (balancer, other):
        b.after_step(torch.tensor([0.5, 2.0]))
    close(other.logits, balancer.logits, rtol=0, atol=0)


def test_reset_forgets():
    balancer = FAMO(2)
    balancer.objective(torch.ones(2))
    balancer.after_step(torch.tensor([0.5, 1.0]))
    balancer.reset()
    close(balancer.logits, [0.0, 0.0])
    close(balancer.moments, torch.zeros(3, 2))
    assert balancer.before.isnan().all()


def test_a_step_that_made_a_loss_infinite_teaches_nothing():
    balancer = FAMO(2)
    balancer.objective(torch.ones(2))
    balancer.after_step(torch.tensor([0.5, float("inf")]))
    close(balancer.logits, [0.0, 0.0])


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match=r"at least 0 for balancer 'famo', got -1 for"):
        weights_of(FAMO(2), [1.0, -1.0])
    with pytest.raises(InvalidInputError, match=r"at least 2 for balancer 'famo', got 1 for"):
        weights_of(FAMO(2, min_losses=[0.0, 2.0]), [1.0, 1.0])
    with pytest.raises(InvalidInputError, match="`step_size` must be a number in"):
        FAMO(step_size=0.0)
    with pytest.raises(InvalidInputError, match="`weight_decay` must be a number in"):
        FAMO(weight_decay=-1.0)
    with pytest.raises(InvalidInputError, match="`min_losses` must have one entry per task"):
        FAMO(3, min_losses=[0.0])


def test_refuses_losses_after_a_step_that_it_has_not_seen():
    balancer = FAMO(2)
    with pytest.raises(InvalidInputError, match="`after_step` must follow `objective`"):
        balancer.after_step(torch.ones(2))
    balancer.objective(torch.ones(2))
    balancer.after_step(torch.ones(2))
    with pytest.raises(InvalidInputError, match="Call it once after each"):
        balancer.after_step(torch.ones(2))
