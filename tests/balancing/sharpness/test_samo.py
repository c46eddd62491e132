"""SAMO against its formulas."""

from __future__ import annotations

import pytest
import torch

from jointrain.balancing import MGDA, SAMO, Equal, UPGrad, backward
from jointrain.balancing.engine import prepare
from tests.balancing.sharpness._twice import Net, gradients, length, matrix, moved, slopes


def by_hand(net, radius, share, smoothing, seed):
    """Return the rows that are aggregated, [t, p], and the gradients of the heads."""
    drawing = torch.Generator().manual_seed(seed)
    # numbers are drawn in the order in which the graph has the parameters
    drawn = [leaf.tensor for leaf in prepare(net.losses()).shared]
    shared, own = slopes(net, torch.stack(net.losses()).mean())
    rows, heads = [], []
    for k in range(3):
        numbers = {id(p): torch.randn(p.shape, generator=drawing).to(p) for p in drawn}
        noise = [numbers[id(p)] for p in net.trunk.parameters()]
        sides = []
        for sign in (1, -2):
            with torch.no_grad():
                for p, u in zip(net.trunk.parameters(), noise, strict=True):
                    p.add_(u, alpha=sign * smoothing)
                sides.append(net.losses()[k])
        with torch.no_grad():
            for p, u in zip(net.trunk.parameters(), noise, strict=True):
                p.add_(u, alpha=smoothing)
        estimate = [(sides[0] - sides[1]) / (2 * smoothing) * u for u in noise]
        mixed = [
            (1 - share) * g + share * g.norm() * z / z.norm()
            for g, z in zip(shared, estimate, strict=True)
        ]
        row, head = moved(net, k, mixed, own[k], radius)
        rows.append(row)
        heads.append(head[k])
    return matrix(rows), heads


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("aggregator", [Equal, UPGrad, MGDA])
def test_it_is_the_formula(aggregator, share):
    net, balancer = Net(), SAMO(aggregator(), radius=0.2, local_share=share, seed=5)
    rows, heads = by_hand(Net(), 0.2, share, 0.01, 5)
    step = backward(net.losses, balancer)
    other = aggregator()
    if isinstance(other, Equal):
        weights = torch.ones(3, dtype=torch.float64)
    else:
        values = torch.stack(net.losses()).detach()
        weights = other.weights(rows @ rows.T, values)
    torch.testing.assert_close(step.weights, weights, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gradients(net.trunk), rows.T @ weights, rtol=1e-6, atol=1e-9)
    for head, wanted in zip(net.heads, heads, strict=True):
        wanted = torch.cat([g.flatten() for g in wanted])
        torch.testing.assert_close(gradients(head), wanted, rtol=1e-6, atol=1e-9)
    plain, _ = slopes(net, torch.stack(net.losses()).sum())
    assert (gradients(net.trunk) - matrix([plain])[0]).norm() > 1e-3 * length(plain)


def test_by_hand_for_two_parabolas():
    """g0 = (1, 2) / 2 at the origin, of length sqrt(5) / 2; both move by it over its length."""
    x = torch.zeros(2, dtype=torch.float64, requires_grad=True)

    def losses():
        return [x[0] + x[0] ** 2, 2 * x[1] + x[1] ** 2]

    backward(losses, SAMO("equal", radius=1.0, local_share=0.0), shared=[x])
    root = 5**0.5
    torch.testing.assert_close(x.grad, torch.tensor([1 + 2 / root, 2 + 4 / root]).double())


def test_draws_go_on_and_are_saved():
    net, balancer = Net(), SAMO("equal", radius=0.2, local_share=1.0)
    found = []
    for _ in range(2):
        net.zero_grad()
        backward(net.losses, balancer)
        found.append(gradients(net.trunk))
    assert not torch.equal(*found)
    balancer.reset()
    net.zero_grad()
    backward(net.losses, balancer)
    torch.testing.assert_close(gradients(net.trunk), found[0], rtol=0, atol=0)


def test_a_flat_loss_is_no_division_by_zero():
    net = Net()

    def losses():
        a, b, _ = net.losses()
        return [a, b, 0 * a]

    backward(losses, SAMO("equal", local_share=1.0))
    assert gradients(net.trunk).isfinite().all()
