import pytest
import torch

from jointrain.balancing import MoDo


def test_two_steps_by_hand_with_the_gramian_of_two_batches():
    modo = MoDo(2, gamma=0.5, rho=0.0)
    gramian = torch.tensor([[1.0, 0.0], [2.0, -1.0]], dtype=torch.float64)  # not symmetric
    first = modo.weights(gramian, torch.ones(2))
    # slope (0.5, 0.5): the projection brings the equal steps back
    assert first.tolist() == pytest.approx([0.5, 0.5])
    second = modo.weights(torch.diag(torch.tensor([2.0, 0.0]).double()), torch.ones(2))
    # slope (1, 0): (0, 0.5) projected
    assert second.tolist() == pytest.approx([0.25, 0.75])


def test_absent_tasks_keep_their_share():
    modo = MoDo(["a", "b", "c"], gamma=0.0)
    with modo.taking_part(modo.positions_of(["c", "a"])):
        assert modo.weights(torch.eye(2).double(), torch.ones(2)).tolist() == [0.5, 0.5]
    assert modo.simplex.tolist() == pytest.approx([1 / 3] * 3)
