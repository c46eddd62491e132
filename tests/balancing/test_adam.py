import torch

from jointrain.balancing._adam import adam_moments, adam_step


def test_equals_torchs_adam_on_every_task():
    torch.manual_seed(0)
    ours, moments = torch.randn(4, dtype=torch.float64), adam_moments(4)
    theirs = ours.clone().requires_grad_()
    adam = torch.optim.Adam([theirs], lr=0.03, weight_decay=0.1)
    for _ in range(10):
        gradient = torch.randn(4, dtype=torch.float64)
        theirs.grad = gradient.clone()
        adam.step()
        adam_step(ours, gradient, moments, torch.arange(4), step_size=0.03, weight_decay=0.1)
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-12, atol=1e-14)


def test_absent_tasks_count_no_steps():
    """A task that joins every other step moves as if it were alone in these."""
    torch.manual_seed(0)
    together, moments = torch.zeros(2, dtype=torch.float64), adam_moments(2)
    alone, own = torch.zeros(1, dtype=torch.float64), adam_moments(1)
    for step in range(8):
        gradient = torch.randn(2, dtype=torch.float64)
        if step % 2:
            adam_step(together, gradient, moments, torch.arange(2), step_size=0.1)
            adam_step(alone, gradient[1:], own, torch.arange(1), step_size=0.1)
        else:
            adam_step(together, gradient[:1], moments, torch.tensor([0]), step_size=0.1)
    assert torch.equal(together[1:], alone)
    assert moments[2].tolist() == [8.0, 4.0]
