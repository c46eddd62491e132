import math

import pytest
import torch

from jointrain.balancing import STCH
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, numeric_weights, present, weights_of


def warmed_up(*batches, **options):
    """A balancer whose nadir is the mean of the batches."""
    balancer = STCH(len(batches[0]), warmup_epochs=0, **options)
    for losses in batches:
        balancer.objective(torch.tensor(losses, dtype=torch.float64))
    balancer.end_epoch()
    return balancer


def test_plain_form_worked_by_hand():
    balancer = STCH(2, warmup_epochs=None, mu=0.5, preference=[1.0, 2.0], ideal=[0.0, 1.0])
    # y = (1, 2 * 0.5) = (1, 1): objective 2 * 0.5 * log(2 exp(2)), weights 2 * (1/2) * preference
    losses = torch.tensor([1.0, 1.5], dtype=torch.float64)
    close(balancer.objective(losses), math.log(2) + 2.0)
    close(weights_of(balancer, losses), [1.0, 2.0])
    close(weights_of(balancer, [0.3, 2.0]), numeric_weights(balancer, [0.3, 2.0]), rtol=1e-7)


def test_plain_form_tends_to_the_maximum_and_to_the_sum():
    losses = [1.0, 3.0, 2.0]
    close(weights_of(STCH(3, warmup_epochs=None, mu=1e-3), losses), [0.0, 3.0, 0.0])
    close(weights_of(STCH(3, warmup_epochs=None, mu=1e6), losses), [1.0, 1.0, 1.0], atol=1e-5)


def test_minimises_logarithms_in_the_warm_up():
    balancer = STCH(2, warmup_epochs=1, ideal=[0.0, 1.0])
    for _ in range(2):  # the epoch before the nadir's, and the nadir's
        close(weights_of(balancer, [0.5, 5.0]), [2.0, 0.25])
        balancer.end_epoch()
    assert balancer.nadir.tolist() == [0.5, 4.0]


def test_weighs_by_the_ratio_to_the_nadir_after_the_warm_up():
    balancer = warmed_up([1.0, 2.0], [3.0, 6.0])  # nadir (2, 4)
    # y = (log 1/2, log 2): with mu = 1 the softmax is (1/2, 2) / 2.5; dy/dL = 1 / L
    close(weights_of(balancer, [1.0, 8.0]), [2 * 0.2 / 1.0, 2 * 0.8 / 8.0])
    close(weights_of(balancer, [1.0, 8.0]), numeric_weights(balancer, [1.0, 8.0]), rtol=1e-7)


def test_the_nadir_stays_once_it_is_known():
    balancer = warmed_up([2.0, 4.0])
    balancer.objective(torch.tensor([1.0, 1.0]))
    balancer.end_epoch()
    balancer.objective(torch.tensor([9.0, 9.0]))
    balancer.end_epoch()
    assert balancer.nadir.tolist() == [2.0, 4.0]


def test_a_task_absent_from_the_nadirs_epoch_takes_its_first_loss_seen_later():
    balancer = STCH(["a", "b"], warmup_epochs=0)
    with present(balancer, ["a"]):
        balancer.objective(torch.tensor([2.0]))
    balancer.end_epoch()
    # y = (log 1/2, log 1): the softmax is (1/3, 2/3)
    close(weights_of(balancer, [1.0, 8.0]), [2 / 3, 2 * 2 / 3 / 8])
    assert balancer.nadir.tolist() == [2.0, 8.0]


def test_reaches_a_trade_off_that_a_weighted_sum_cannot():
    """On the concave front of Fonseca and Fleming any weighted sum ends at an end of the front."""

    def end(balancer):
        x = torch.tensor([0.1, -0.2], dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.Adam([x], lr=0.02)
        for _ in range(600):
            near = torch.stack([(x - 0.5**0.5).square().sum(), (x + 0.5**0.5).square().sum()])
            losses = 1 - torch.exp(-near)
            optimizer.zero_grad()
            balancer.objective(losses).backward()
            optimizer.step()
        return losses.detach()

    losses = end(STCH(2, warmup_epochs=None, mu=0.05))
    close(losses[0], losses[1], atol=0.01)
    losses = end(STCH(2, warmup_epochs=None, mu=100.0))
    assert float((losses[0] - losses[1]).abs()) > 0.5


def test_state_survives_and_reset_forgets():
    balancer = warmed_up([2.0, 4.0])
    other = STCH(warmup_epochs=0)
    other.load_state_dict(balancer.state_dict())
    close(weights_of(other, [1.0, 8.0]), weights_of(balancer, [1.0, 8.0]), rtol=0, atol=0)
    balancer.reset()
    close(weights_of(balancer, [1.0, 8.0]), [1.0, 0.125])
    assert int(balancer.epochs) == 0


def test_takes_vanished_and_huge_losses():
    balancer = warmed_up([0.0, 1.0])
    assert weights_of(balancer, [0.0, 0.0]).isfinite().all()
    assert weights_of(balancer, [1e30, 1.0]).isfinite().all()
    plain = STCH(2, warmup_epochs=None, mu=1e-8)
    close(weights_of(plain, [1e30, 1.0]), [2.0, 0.0])


def test_an_epoch_without_tasks_is_nothing():
    balancer = STCH()
    balancer.end_epoch()
    assert balancer.task_names is None


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match=r"at least 1 for balancer 'stch', got 0.5"):
        weights_of(STCH(2, ideal=[0.0, 1.0]), [1.0, 0.5])
    with pytest.raises(InvalidInputError, match="`mu` must be a number in"):
        STCH(mu=0.0)
    with pytest.raises(InvalidInputError, match="`warmup_epochs` must be an integer"):
        STCH(warmup_epochs=-1)
    with pytest.raises(InvalidInputError, match="`preference` must hold finite numbers"):
        STCH(preference=[-1.0, 1.0])
    with pytest.raises(InvalidInputError, match="`preference` must have at least one entry above"):
        STCH(preference=[0.0, 0.0])
    with pytest.raises(InvalidInputError, match="`ideal` must have one entry per task"):
        STCH(2, ideal=[0.0])
