import pytest
import torch

from jointrain.balancing import PBI
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import close, numeric_weights, present, weights_of


def test_worked_by_hand():
    balancer = PBI(2, preference=[3.0, 4.0], penalty=2.0, ideal=[1.0, 0.0])
    # above the ideal (5, 0): d1 = 5 * 0.6 = 3, d2 = 4; off the ray (3.2, -2.4)
    losses = torch.tensor([6.0, 0.0], dtype=torch.float64)
    close(balancer.objective(losses), 11.0)
    close(weights_of(balancer, losses), [0.6 + 2 * 0.8, 0.8 - 2 * 0.6])


def test_gradient_equals_differences():
    balancer = PBI(3, preference=[0.2, 1.0, 0.3])
    losses = [1.0, 2.5, 0.4]
    close(weights_of(balancer, losses), numeric_weights(balancer, losses), rtol=1e-6)


def test_without_penalty_is_the_projection():
    close(weights_of(PBI(2, preference=[3.0, 4.0], penalty=0.0), [1.0, 9.0]), [0.6, 0.8])


@pytest.mark.parametrize("scale", [1e-20, 0.1, 7.0, 1e20])
def test_on_the_ray_the_distance_has_no_gradient(scale):
    balancer = PBI(3, preference=[1.0, 2.0, 2.0])
    losses = scale * torch.tensor([1.0, 2.0, 2.0])
    close(weights_of(balancer, losses), [1 / 3, 2 / 3, 2 / 3], rtol=1e-6)
    close(weights_of(balancer, losses, dtype=torch.float32), [1 / 3, 2 / 3, 2 / 3], rtol=1e-6)


def test_one_task_is_plain_and_the_ideal_point_has_a_gradient():
    close(weights_of(PBI(1, preference=[7.0]), [0.3]), [1.0])
    close(weights_of(PBI(2), [0.0, 0.0]), [0.5**0.5] * 2)


def test_absent_tasks_leave_the_ray_of_the_others():
    balancer = PBI(["a", "b", "c"], preference=[3.0, 9.0, 4.0], penalty=0.0)
    with present(balancer, ["a", "c"]):
        close(weights_of(balancer, [1.0, 1.0]), [0.6, 0.8])
    none_left = PBI(["a", "b"], preference=[1.0, 0.0])
    with present(none_left, ["b"]):
        assert weights_of(none_left, [2.0]).isfinite().all()


def test_lands_on_the_ray():
    x = torch.tensor(0.9, dtype=torch.float64, requires_grad=True)
    balancer = PBI(2, preference=[1.0, 4.0])
    for step in range(3000):
        losses = torch.stack([(x - 1).square(), (x + 1).square()])
        (gradient,) = torch.autograd.grad(balancer.objective(losses), x)
        with torch.no_grad():
            x -= 0.01 / (1 + 0.05 * step) * gradient
    assert float(losses[1].detach() / losses[0].detach()) == pytest.approx(4.0, rel=0.02)


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match="`penalty` must be a number in"):
        PBI(penalty=-1.0)
    with pytest.raises(InvalidInputError, match="`preference` must hold finite numbers"):
        PBI(preference=[-1.0])
    with pytest.raises(InvalidInputError, match="`preference` must have at least one entry above"):
        PBI(preference=[0.0, 0.0])
    with pytest.raises(InvalidInputError, match="`ideal` must be a sequence of numbers"):
        PBI(ideal=["low"])
