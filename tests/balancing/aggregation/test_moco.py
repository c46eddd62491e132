import pytest
import torch

from jointrain.balancing import MoCo


def test_two_steps_by_hand():
    moco = MoCo(2, beta=0.5, gamma=1.0, beta_decay=0.0, gamma_decay=0.0)
    block = torch.tensor([[2.0], [0.0]], dtype=torch.float64)
    first = moco.aggregate([block], torch.ones(2))
    # averages 1 and 0, Gramian diag(1, 0), slope (0.5, 0): (0, 0.5) projected is (0.25, 0.75)
    assert first.weights.tolist() == pytest.approx([0.25, 0.75])
    assert first.blocks[0].tolist() == pytest.approx([0.25])
    second = moco.aggregate([block], torch.ones(2))
    # averages 1.5 and 0: slope 2.25 / 4, (-0.3125, 0.75) projected is (0, 1)
    assert second.weights.tolist() == pytest.approx([0.0, 1.0])


def test_steps_decay_as_said():
    moco = MoCo(1, beta=1.0, beta_decay=1.0)
    moco.aggregate([torch.tensor([[1.0]])], torch.ones(1))
    second = moco.aggregate([torch.tensor([[3.0]])], torch.ones(1))
    assert second.blocks[0].tolist() == [2.0]  # a step of 1 / 2 from 1 to 3


def test_rho_pulls_towards_equal_weights():
    drawn = MoCo(2, beta=1.0, gamma=0.1, rho=100.0)
    blocks = [torch.tensor([[1.0], [0.0]], dtype=torch.float64)]
    assert drawn.aggregate(blocks, torch.ones(2)).weights.tolist() == pytest.approx([0.475, 0.525])
