import pytest
import torch

from jointrain.balancing import IGB
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, present, weights_of


def test_logarithms_until_the_base_is_known_then_by_the_gap_to_it():
    balancer = IGB(2, warmup_epochs=1)
    close(weights_of(balancer, [9.0, 9.0]), [1 / 9, 1 / 9], rtol=1e-7)
    balancer.end_epoch()
    for losses in ([1.0, 4.0], [3.0, 4.0]):
        close(weights_of(balancer, losses), [1 / x for x in losses], rtol=1e-7)
    balancer.end_epoch()
    assert balancer.base.tolist() == [2.0, 4.0]
    # gaps 1/2 and 1
    share = 1 / (1 + torch.tensor(0.5).double().exp())
    close(weights_of(balancer, [1.0, 4.0]), [2 * share, 2 * (1 - share) / 4], rtol=1e-7)


def test_the_base_stays_once_it_is_known():
    balancer = IGB(2, warmup_epochs=0)
    for losses in ([2.0, 4.0], [9.0, 9.0]):
        weights_of(balancer, losses)
        balancer.end_epoch()
    assert balancer.base.tolist() == [2.0, 4.0]


def test_a_task_absent_from_the_bases_epoch_takes_its_first_loss_seen_later():
    balancer = IGB(["a", "b"], warmup_epochs=0)
    with present(balancer, ["a"]):
        weights_of(balancer, [2.0])
    balancer.end_epoch()
    close(weights_of(balancer, [2.0, 8.0]), [0.5, 0.125], rtol=1e-7)
    assert balancer.base.tolist() == [2.0, 8.0]


def test_an_epoch_without_tasks_is_nothing():
    balancer = IGB()
    balancer.end_epoch()
    assert balancer.task_names is None


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match="`warmup_epochs` must be an integer"):
        IGB(warmup_epochs=-1)
    with pytest.raises(InvalidInputError, match="at least 0 for balancer 'igb', got -1"):
        weights_of(IGB(), [1.0, -1.0])
