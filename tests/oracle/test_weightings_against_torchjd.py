"""The loss weightings, ExcessMTL included, against torchjd where the definitions coincide."""

from __future__ import annotations

import pytest
import torch

from jointrain.balancing import COSMOS, DWA, FAMO, GLS, IMTLL, PBI, STCH, ExcessMTL, Uncertainty

scalarization = pytest.importorskip("torchjd.scalarization")
aggregation = pytest.importorskip("torchjd.aggregation")

SIZES = (1, 2, 3, 17)
SCALES = (1e-6, 1.0, 1e6)


def draw(t: int, scale: float = 1.0, seed: int = 0) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return scale * (0.1 + torch.rand(t, generator=rng, dtype=torch.float64))


def gradient(function, losses):
    leaf = losses.clone().requires_grad_()
    value = function(leaf)
    (weights,) = torch.autograd.grad(value, leaf)
    return value.detach(), weights


def assert_same(ours, theirs, *, factor: float = 1.0) -> None:
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(
            a, factor * b.to(a), rtol=1e-5, atol=1e-10 * float(b.abs().max())
        )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("t", SIZES)
def test_geometric_mean(t, scale):
    losses = draw(t, scale)
    ours = GLS(smallest=1e-20)
    assert_same(gradient(ours.objective, losses), gradient(scalarization.GeometricMean(), losses))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("t", SIZES)
def test_uncertainty_and_its_parameters(t, scale):
    losses, start = draw(t, scale), torch.linspace(-1.0, 1.0, t)
    ours, theirs = Uncertainty(t), scalarization.UW(t)
    with torch.no_grad():
        ours.log_variance.copy_(start)
        theirs.log_var.copy_(start)
    assert_same(gradient(ours.objective, losses), gradient(theirs, losses))
    ours.objective(losses).backward()
    theirs(losses).backward()
    assert_same([ours.log_variance.grad], [theirs.log_var.grad])


@pytest.mark.parametrize("t", SIZES)
def test_imtl_l_and_its_parameters(t):
    losses, start = draw(t), torch.linspace(-1.0, 1.0, t)
    ours, theirs = IMTLL(t), scalarization.IMTLL(t)
    with torch.no_grad():
        ours.log_scale.copy_(start)
        theirs.log_scale.copy_(start)
    assert_same(gradient(ours.objective, losses), gradient(theirs, losses))
    ours.objective(losses).backward()
    theirs(losses).backward()
    assert_same([ours.log_scale.grad], [theirs.log_scale.grad])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("t", SIZES)
def test_dwa_over_four_epochs(t, scale):
    ours, theirs = DWA(temperature=1.5), scalarization.DWA(temperature=1.5)
    for epoch in range(4):
        for batch in range(3):
            losses = draw(t, scale, seed=10 * epoch + batch)
            assert_same(gradient(ours.objective, losses), gradient(theirs, losses))
        ours.end_epoch()
        theirs.step()


@pytest.mark.parametrize("t", SIZES)
def test_famo_over_twenty_steps(t):
    """Their weights sum to 1, ours to t."""
    lowest = -0.5 * torch.ones(t)
    ours = FAMO(t, min_losses=lowest)
    theirs = scalarization.FAMO(t, min_losses=lowest).double()
    for step in range(20):
        losses = draw(t, seed=step)
        assert_same(gradient(ours.objective, losses), gradient(theirs, losses), factor=t)
        after = losses * draw(t, seed=100 + step)
        ours.after_step(after)
        theirs.update(after)
    torch.testing.assert_close(ours.logits, theirs._w.detach(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("t", SIZES)
def test_stch_in_its_plain_form(t, scale):
    """Ours has the factor t."""
    losses, preference, ideal = draw(t, scale), draw(t, seed=1), draw(t, 0.01, seed=2)
    ours = STCH(t, warmup_epochs=None, mu=0.3, preference=preference, ideal=ideal)
    theirs = scalarization.STCH(0.3, preference, ideal)
    assert_same(gradient(ours.objective, losses), gradient(theirs, losses), factor=t)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("t", SIZES)
def test_cosmos(t, scale):
    losses, preference = draw(t, scale), draw(t, seed=1)
    ours = COSMOS(t, preference=preference, penalty=0.7)
    theirs = scalarization.COSMOS(0.7, preference)
    value, weights = gradient(theirs, losses)
    if scale == 1e-6:  # theirs adds 1e-8 to the length of the losses
        wanted = preference @ losses - 0.7 * torch.cosine_similarity(
            losses, preference, dim=0, eps=1e-30
        )
        torch.testing.assert_close(ours.objective(losses), wanted)
    else:
        assert_same(gradient(ours.objective, losses), (value, weights))


@pytest.mark.parametrize("t", (2, 3, 17))
def test_pbi(t):
    losses, preference, ideal = draw(t), draw(t, seed=1), draw(t, 0.01, seed=2)
    ours = PBI(t, preference=preference, ideal=ideal, penalty=3.0)
    theirs = scalarization.PBI(3.0, preference, ideal)
    assert_same(gradient(ours.objective, losses), gradient(theirs, losses))


@pytest.mark.parametrize("rank", ("full", "deficient", "zero row"))
@pytest.mark.parametrize("scale", (0.1, 1.0, 1e6))
@pytest.mark.parametrize("t", SIZES)
def test_excess_mtl_over_eight_steps(t, scale, rank):
    """Their weights sum to 1, ours to t; they add 1e-7 to the start's excess risk."""
    ours = ExcessMTL(t, step_size=0.3, warmup_steps=2)
    theirs = aggregation.ExcessMTL(robust_step_size=0.3, n_warmup_steps=2)
    for step in range(8):
        rng = torch.Generator().manual_seed(step)
        matrix = scale * torch.randn(t, 12, generator=rng, dtype=torch.float64)
        if rank == "deficient":
            matrix = matrix.mean(0) * torch.linspace(0.5, 1.5, t).double()[:, None]
        if rank == "zero row" and step == 3:
            matrix[0] = 0.0
        blocks = [matrix[:, :4].clone(), matrix[:, 4:].reshape(t, 2, 4).clone()]
        direction = ours.aggregate(blocks, torch.ones(t))
        update = torch.cat([b.flatten() for b in direction.blocks])
        assert_same([update], [theirs(matrix)], factor=t)
        assert_same([direction.weights], [theirs.weighting._weights], factor=t)
