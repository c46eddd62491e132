"""The update of each method against torchjd's, where both define the same thing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jointrain import balancing
from jointrain.testing import update_and_weights as drive
from jointrain.testing._jacobians import conflicting, jacobian, losses, with_zero_row

torchjd = pytest.importorskip("torchjd.aggregation")
torchjd_linalg = pytest.importorskip("torchjd.linalg")

SIZES = (1, 2, 3, 17)
SCALES = (1e-6, 1.0, 1e6)


def projector():
    """Return what torchjd has by default, without its ridge of 1e-4."""
    quadprog = pytest.importorskip("quadprog")

    class Projector(torchjd_linalg.DualConeProjector):
        def __call__(self, given, gramian):
            t = len(gramian)
            matrix = (gramian / gramian.trace().clamp_min(1e-300) + 1e-12 * torch.eye(t)).numpy()
            found = [
                quadprog.solve_qp(matrix, np.zeros(t), np.eye(t), u)[0]
                for u in given.reshape(-1, t).numpy()
            ]
            return torch.from_numpy(np.array(found)).reshape(given.shape)

    return Projector()


KINDS = {
    "full rank": jacobian,
    "conflicting": conflicting,
    "rank deficient": lambda t: jacobian(t, rank=max(t - 1, 1)),
    "zero row": with_zero_row,
}
REGULAR = ("full rank", "conflicting")

# ours, theirs, kinds of matrix on which the definitions coincide
PAIRS = {
    "UPGrad": (balancing.UPGrad, lambda t: torchjd.UPGrad(projector=projector()), tuple(KINDS)),
    "DualProj": (
        balancing.DualProj,
        lambda t: torchjd.DualProj(projector=projector()),
        tuple(KINDS),
    ),
    "IMTLG": (balancing.IMTLG, lambda t: torchjd.IMTLG(), tuple(KINDS)),
    "ConFIG": (balancing.ConFIG, lambda t: torchjd.ConFIG(), tuple(KINDS)),
    "AlignedMTL min": (balancing.AlignedMTL, lambda t: torchjd.AlignedMTL(), tuple(KINDS)),
    "AlignedMTL median": (
        lambda: balancing.AlignedMTL(scale="median"),
        lambda t: torchjd.AlignedMTL(scale_mode="median"),
        tuple(KINDS),
    ),
    "AlignedMTL rmse": (
        lambda: balancing.AlignedMTL(scale="rmse"),
        lambda t: torchjd.AlignedMTL(scale_mode="rmse"),
        tuple(KINDS),
    ),
    "TrimmedMean": (
        balancing.TrimmedMean,
        lambda t: torchjd.TrimmedMean(trim_number=1 if t > 2 else 0),
        tuple(KINDS),
    ),
    "PCD": (balancing.PCD, lambda t: torchjd.PCD(), tuple(KINDS)),
    "MoDo": (
        lambda: balancing.MoDo(gamma=0.1),
        lambda t: torchjd.GramianWeightedAggregator(_symmetric(torchjd.MoDoWeighting(0.1, 0.1))),
        tuple(KINDS),
    ),
    "SDMGrad": (
        balancing.SDMGrad,
        lambda t: torchjd.GramianWeightedAggregator(_symmetric(torchjd.SDMGradWeighting())),
        tuple(KINDS),
    ),
}


def _symmetric(weighting):
    """torchjd takes the product of two Jacobians; here it is a Gramian."""
    return weighting


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("t", SIZES)
def test_same_update(t, name, scale):
    ours, theirs, kinds = PAIRS[name]
    for kind in kinds:
        matrix = scale * KINDS[kind](t)
        if name == "SDMGrad" and scale < 1:
            continue  # theirs adds 1e-8 to squared lengths of 1e-12
        if name == "ConFIG" and kind == "rank deficient" and t == 2:
            continue  # opposite gradients: theirs normalises a sum that is zero but for rounding
        update, _ = drive(ours(), matrix, losses(t))
        wanted = theirs(t)(matrix)
        size = float(wanted.norm()) + 1e-4 * float(matrix.norm())
        assert float((update - wanted).norm()) <= 1e-5 * size, kind


@pytest.mark.parametrize("kind", REGULAR)
@pytest.mark.parametrize("t", [2, 3, 17])
def test_nash_mtl_has_the_direction_of_the_procedure_it_replaces(t, kind):
    """Ours solves G w = 1 / w; theirs, too, if it can solve the convex problem of its first step.

    Theirs isn't tried on other scales: the factors of that problem then are beyond its solver.
    """
    pytest.importorskip("ecos")
    matrix = KINDS[kind](t)
    for scale in SCALES:
        update, weights = drive(balancing.NashMTL(max_norm=scale), scale * matrix, losses(t))
        gains = weights * (matrix @ update)
        torch.testing.assert_close(gains / gains.mean(), torch.ones(t).double())
    wanted = torchjd.NashMTL(n_tasks=t, max_norm=1.0, optim_niter=100)(matrix)
    update, _ = drive(balancing.NashMTL(max_norm=1.0), matrix, losses(t))
    if t == 2 and kind == "conflicting":
        # the gradients' sum harms a task, so the logarithm at theirs' start has no value, and it
        # gives the start back: the plain sum
        assert float((matrix @ wanted).min()) < 0.0
        torch.testing.assert_close(wanted, unit(matrix.sum(0)))
    else:
        torch.testing.assert_close(update, wanted, rtol=0, atol=1e-6)


def unit(vector):
    return vector / vector.norm()


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("t", [1, 2, 3])
def test_fairgrad(t, alpha):
    for kind in REGULAR:
        matrix = KINDS[kind](t)
        update, _ = drive(balancing.FairGrad(alpha=alpha), matrix, losses(t))
        wanted = torchjd.FairGrad(alpha=alpha, max_iters=5000)(matrix)
        # theirs is a least-squares fit with tolerance 1e-8 on squared residuals
        torch.testing.assert_close(update, wanted, rtol=1e-3, atol=1e-4 * float(wanted.norm()))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", ["PCGrad", "GradVac"])
@pytest.mark.parametrize("t", SIZES)
def test_surgery_with_the_order_held_fixed(t, name, scale, monkeypatch):
    """Ours has one order a step, theirs one a task: with the orders 0, 1, ... they are the same."""
    monkeypatch.setattr(torch, "randperm", lambda n, **_: torch.arange(n))
    ours = getattr(balancing, name)()
    theirs = torchjd.PCGrad() if name == "PCGrad" else torchjd.GradVac(beta=0.01, eps=0.0)
    for seed in range(3):  # GradVac has a state
        matrix = scale * conflicting(t, seed=seed)
        update, _ = drive(ours, matrix, losses(t))
        wanted = theirs(matrix)
        assert float((update - wanted).norm()) <= 1e-5 * float(wanted.norm())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("t", SIZES)
def test_mgda_is_where_frank_wolfe_goes(t, scale):
    for kind, make in KINDS.items():
        matrix = scale * make(t)
        update, _ = drive(balancing.MGDA(), matrix, losses(t))
        wanted = torchjd.MGDA(epsilon=1e-9, max_iters=3000)(matrix)
        # theirs creeps: it is within 1 % after 3000 steps, and never shorter
        assert float(update.norm()) <= float(wanted.norm()) + 1e-9 * float(matrix.norm())
        near = 1e-5 if t < 3 else 1e-2
        if kind != "zero row":
            assert float((update - wanted).norm()) <= near * float(matrix.norm())


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("c", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("t", [2, 3, 17])
def test_cagrad_gains_at_least_as_much_in_the_same_ball(t, c, scale):
    for kind in REGULAR:
        matrix = scale * KINDS[kind](t)
        update, _ = drive(balancing.CAGrad(c=c), matrix, losses(t))
        wanted = torchjd.CAGrad(c=c, norm_eps=0.0)(matrix)
        # theirs is a conic solver's answer with tolerance 1e-8 on the objective
        assert float((update - wanted).norm()) <= 2e-4 * float(wanted.norm())
        least = float((matrix @ update).min())
        assert least >= float((matrix @ wanted).min()) - 1e-7 * float(matrix.square().sum())


def test_graddrop_with_the_draws_held_fixed(monkeypatch):
    for t in SIZES:
        matrix = jacobian(t)
        draws = torch.rand(20, generator=torch.Generator().manual_seed(3)).double()
        wanted_draws = iter([draws[:10], draws[10:].reshape(2, 5)])
        theirs = torchjd.GradDrop()
        monkeypatch.setattr(torch, "rand", lambda *_, d=draws, **__: d)
        wanted = theirs(matrix)
        monkeypatch.setattr(torch, "rand", lambda *_, w=wanted_draws, **__: next(w))
        update, _ = drive(balancing.GradDrop(), matrix, torch.ones(t))
        monkeypatch.undo()
        torch.testing.assert_close(update, wanted)


def test_cr_mogm():
    ours = balancing.CRMOGM(balancing.UPGrad(), alpha=0.7)
    theirs = torchjd.GramianWeightedAggregator(
        torchjd.CRMOGMWeighting(torchjd.UPGradWeighting(projector=projector()), alpha=0.7)
    )
    for seed in range(4):
        matrix = conflicting(5, seed=seed)
        update, _ = drive(ours, matrix, losses(5))
        torch.testing.assert_close(update, theirs(matrix), rtol=1e-5, atol=1e-7)


def test_pcd_over_several_steps():
    ours, theirs = balancing.PCD(tau=0.3, beta=0.8), torchjd.PCD(tau=0.3, beta=0.8)
    for seed in range(4):
        matrix = conflicting(5, seed=seed)
        update, _ = drive(ours, matrix, losses(5))
        torch.testing.assert_close(update, theirs(matrix), rtol=1e-5, atol=1e-7)


def test_krum_differs_as_its_docstring_says():
    """Squared distances favour the task without a far neighbour, plain ones the one in a crowd."""
    rows = torch.tensor([[0.0], [1.0], [-1.4], [4.0], [-2.2]], dtype=torch.float64)
    gramian = rows @ rows.T
    ours = balancing.Krum(byzantine=1).weights(gramian, torch.ones(5))
    theirs = torchjd.KrumWeighting(n_byzantine=1, n_selected=1)(gramian)
    # nearest two of 0: 1, 1.4; of -1.4: 0.8, 1.4; sums 2.4 and 2.2, squares 2.96 and 2.6
    assert ours.tolist() == theirs.tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]
    rows = torch.tensor([[0.0], [1.5], [-1.5], [5.0], [5.1], [7.9]], dtype=torch.float64)
    gramian = rows @ rows.T
    ours = balancing.Krum(byzantine=2).weights(gramian, torch.ones(6))
    theirs = torchjd.KrumWeighting(n_byzantine=2, n_selected=1)(gramian)
    # of 0: 1.5 and 1.5, sum 3, squares 4.5; of 5.1: 0.1 and 2.8, sum 2.9, squares 7.85
    assert ours.tolist() == [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert theirs.tolist() == [0.0, 0.0, 0.0, 0.0, 1.0, 0.0]
