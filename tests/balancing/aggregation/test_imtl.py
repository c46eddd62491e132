import torch

from jointrain.balancing import IMTL, IMTLG, backward


def make():
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    heads = [torch.ones((), dtype=torch.float64, requires_grad=True) for _ in range(2)]
    return x, heads, [3.0 * x[0] * heads[0], (x[0] + x[1]) * heads[1]]


def test_shared_parameters_follow_imtl_g_of_the_scaled_losses():
    balancer = IMTL(2)
    with torch.no_grad():
        balancer.log_scale.copy_(torch.tensor([0.0, 1.0]))
    x, heads, losses = make()
    backward(losses, balancer)
    scale = balancer.log_scale.detach().double().exp()
    other, _, other_losses = make()
    backward([s * loss for s, loss in zip(scale, other_losses, strict=True)], IMTLG())
    torch.testing.assert_close(x.grad, other.grad)
    # the heads follow e^s L, the scales e^s L - s
    torch.testing.assert_close(heads[1].grad, scale[1] * 3.0)
    slope = scale * torch.tensor([3.0, 3.0]).double() - 1.0
    torch.testing.assert_close(balancer.log_scale.grad.double(), slope, rtol=1e-5, atol=0)
