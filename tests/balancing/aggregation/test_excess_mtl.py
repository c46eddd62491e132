import math

import pytest
import torch

from jointrain.balancing import ExcessMTL
from jointrain.errors import InvalidInputError


def step(balancer, rows, names=None):
    matrix = torch.tensor(rows, dtype=torch.float64)
    losses = torch.ones(len(matrix), dtype=torch.float64)
    if names is None:
        return balancer.aggregate([matrix], losses)
    with balancer.taking_part(balancer.positions_of(names)):
        return balancer.aggregate([matrix], losses)


def test_first_step_is_the_plain_sum():
    direction = step(ExcessMTL(2), [[1.0, 2.0], [3.0, -1.0]])
    assert direction.weights.tolist() == [1.0, 1.0]
    assert direction.blocks[0].tolist() == [4.0, 1.0]


def test_second_step_worked_by_hand():
    balancer = ExcessMTL(2, step_size=0.5)
    step(balancer, [[3.0], [2.0]])  # excess risks 9 / 3, 4 / 2
    direction = step(balancer, [[4.0], [0.0]])  # excess risks 16 / 5, 0; relative 16 / 15, 0
    share = 1 / (1 + math.exp(-0.5 * 16 / 15))
    torch.testing.assert_close(
        direction.weights, torch.tensor([2 * share, 2 - 2 * share]).double(), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(direction.blocks[0], 4.0 * direction.weights[:1])


def test_the_start_is_the_mean_over_the_warm_up():
    balancer = ExcessMTL(1, warmup_steps=2)
    step(balancer, [[3.0]])
    step(balancer, [[4.0]])
    torch.testing.assert_close(balancer.start, torch.tensor([(3 + 16 / 5) / 2]).double())


def test_weighs_up_the_task_far_from_convergence_not_the_noisy_one():
    """Two quadratics: one has converged but for a large constant loss, one is on its way."""
    balancer = ExcessMTL(2, step_size=0.2)
    for k in range(20):
        direction = step(balancer, [[0.5**k, 0.0], [0.0, 0.95**k]])
    assert direction.weights[1] > 1.2 * direction.weights[0]


def test_a_task_without_gradient_takes_its_first_excess_as_start():
    balancer = ExcessMTL(2, step_size=1.0)
    step(balancer, [[1.0], [0.0]])
    first = step(balancer, [[0.0], [0.0]])
    assert first.weights.tolist() == [1.0, 1.0]
    found = step(balancer, [[0.0], [5.0]])
    share = math.e / (1 + math.e)
    torch.testing.assert_close(found.weights[1], torch.tensor(2 * share).double())


def test_absent_tasks_keep_their_state():
    balancer = ExcessMTL(["a", "b", "c"], step_size=1.0)
    step(balancer, [[1.0], [2.0], [3.0]], "abc")
    kept = {key: value.clone() for key, value in balancer.state_dict().items()}
    direction = step(balancer, [[2.0], [1.0]], "ca")
    assert direction.weights.shape == (2,)
    assert balancer.kept_squares_0[:, 0].tolist() == [2.0, 4.0, 13.0]
    assert balancer.start[1] == kept["start"][1]
    assert balancer.steps.tolist() == [2.0, 1.0, 2.0]


def test_reset_forgets_the_gradients():
    balancer = ExcessMTL(2)
    step(balancer, [[1.0], [2.0]])
    balancer.reset()
    assert balancer.recall("kept_squares_0") is None
    assert balancer.steps.tolist() == [0.0, 0.0]


def test_huge_excess_saturates_and_comes_back():
    balancer = ExcessMTL(2, step_size=1e4)
    step(balancer, [[1e-3], [1.0]])
    assert step(balancer, [[1e3], [1.0]]).weights.isfinite().all()
    assert step(balancer, [[0.0], [1e6]]).weights.isfinite().all()


def test_refuses_what_it_cannot_take():
    with pytest.raises(InvalidInputError, match="`step_size` must be a number in"):
        ExcessMTL(step_size=0.0)
    with pytest.raises(InvalidInputError, match="`warmup_steps` must be an integer of at least 1"):
        ExcessMTL(warmup_steps=0)
