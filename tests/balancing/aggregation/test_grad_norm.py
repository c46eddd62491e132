import pytest
import torch

from jointrain.balancing import GradNorm, backward

GRAMIAN = torch.diag(torch.tensor([4.0, 16.0], dtype=torch.float64))


def test_the_loss_of_the_weights_by_hand():
    """Lengths 2 and 4, relative losses 1 / 2 and 1 after the first step."""
    norm = GradNorm(2, alpha=1.0)
    norm.weights(GRAMIAN, torch.tensor([2.0, 3.0], dtype=torch.float64))
    later = torch.tensor([1.0, 3.0], dtype=torch.float64)
    assert norm.weights(GRAMIAN, later).tolist() == [1.0, 1.0]
    # the mean length is 3, the rates 0.5 / 0.75 and 1 / 0.75: targets 2 and 4, both met
    assert float(norm.parameter_loss(GRAMIAN, later).detach()) == pytest.approx(0.0)
    even = norm.parameter_loss(GRAMIAN, torch.tensor([2.0, 3.0], dtype=torch.float64))
    even.backward()
    # targets 3 and 3: |2 w - 3| + |4 v - 3|
    assert float(even.detach()) == pytest.approx(2.0)
    assert norm.weight.grad.tolist() == [-2.0, 4.0]


def test_the_optimiser_makes_the_lengths_alike():
    x = torch.zeros(2, requires_grad=True, dtype=torch.float64)
    norm = GradNorm(2, alpha=0.0)
    optimizer = torch.optim.SGD(norm.parameters(), lr=0.01)
    for _ in range(300):
        x.grad = None
        optimizer.zero_grad()
        backward([(x[0] + 1) * 2.0, (x[1] + 1) * 6.0], norm)
        optimizer.step()
    lengths = norm.weight.detach() * torch.tensor([2.0, 6.0])
    assert float(lengths[0] / lengths[1]) == pytest.approx(1.0, abs=0.05)
    assert float(norm.weight.sum()) == pytest.approx(2.0, abs=0.05)


def test_weights_scale_the_tasks_own_parameters_too():
    x = torch.ones(1, requires_grad=True)
    heads = [torch.ones(1, requires_grad=True) for _ in range(2)]
    norm = GradNorm(2)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.5]))
    backward([(x * h).sum() for h in heads], norm)
    assert [float(h.grad) for h in heads] == [0.5, 1.5]
