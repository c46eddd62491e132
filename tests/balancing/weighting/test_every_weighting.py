"""What holds for all loss weightings whatever the losses, tried with hypothesis."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st

from jointrain.balancing import weighting
from jointrain.errors import InvalidInputError
from tests.balancing.weighting._helpers import present, weights_of

CLASSES = [getattr(weighting, name) for name in weighting.__all__]
NEED_NON_NEGATIVE = {
    "cov", "dtp", "dwa", "famo", "gls", "go4align", "igb", "imtl-l", "ldc-mtl", "log", "stch",
    "uw-so",
}  # fmt: skip

positive = st.floats(1e-12, 1e12)
lists = st.lists(positive, min_size=1, max_size=7)
quick = settings(max_examples=25, deadline=None)


def run(balancer, rows):
    """The weights of the last of several steps, with every hook of the loop called between."""
    for row in rows:
        weights = weights_of(balancer, row)
        if balancer.wants_after_step:
            balancer.after_step(0.5 * torch.tensor(row, dtype=torch.float64))
        if balancer.wants_end_epoch:
            balancer.end_epoch()
    return weights


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.name)
@quick
@given(
    rows=st.integers(1, 7).flatmap(
        lambda t: st.lists(st.lists(positive, min_size=t, max_size=t), min_size=1, max_size=7)
    )
)
def test_weights_are_finite_for_any_positive_losses(cls, rows):
    weights = run(cls(), rows)
    assert weights.isfinite().all()
    assert not cls.non_negative or (weights >= 0).all()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.name)
@quick
@given(losses=lists, data=st.data())
def test_weights_are_finite_when_losses_vanish(cls, losses, data):
    gone = data.draw(st.lists(st.booleans(), min_size=len(losses), max_size=len(losses)))
    later = [0.0 if g else x for x, g in zip(losses, gone, strict=True)]
    for rows in ([later, later, losses], [losses, losses, later], [losses] * 6 + [later]):
        weights = run(cls(), rows)
        assert weights.isfinite().all(), (rows, weights)


@pytest.mark.parametrize(
    "cls", [c for c in CLASSES if c.equivariant and not c.random], ids=lambda cls: cls.name
)
@quick
@given(
    rows=st.lists(st.lists(positive, min_size=4, max_size=4), min_size=1, max_size=7),
    order=st.permutations(range(4)),
)
def test_reordering_the_tasks_reorders_the_weights(cls, rows, order):
    wanted = run(cls(), rows)[torch.tensor(order)]
    found = run(cls(), [[row[i] for i in order] for row in rows])
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-12 * float(wanted.abs().max()))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.name)
def test_negative_losses_raise_where_a_logarithm_root_or_ratio_needs_it(cls):
    if cls.name in NEED_NON_NEGATIVE:
        with pytest.raises(InvalidInputError, match=f"for balancer '{cls.name}', got -0.5"):
            weights_of(cls(), [1.0, -0.5])
    else:
        assert weights_of(cls(), [1.0, -0.5]).isfinite().all()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.name)
def test_keeps_dtype_and_graph(cls):
    for dtype in (torch.float32, torch.float64):
        leaf = torch.tensor([1.0, 2.0], dtype=dtype, requires_grad=True)
        objective = cls().objective(leaf)
        assert objective.dtype == dtype
        assert objective.shape == ()
        objective.backward()
        assert leaf.grad.dtype == dtype


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.name)
def test_state_is_the_same_after_saving_in_the_middle_of_training(cls):
    balancer = cls()
    balancer.bind(["a", "b", "c"])
    steps = [(["a", "b", "c"], [1.0, 2.0, 3.0]), (["c", "a"], [2.5, 0.8]), (["b"], [1.5])] * 3
    other = None
    for i, (names, losses) in enumerate(steps):
        if i == 4:
            other = cls()
            other.load_state_dict(balancer.state_dict())
        found = []
        for b in filter(None, (balancer, other)):
            with present(b, names):
                found.append(weights_of(b, losses))
                if b.wants_after_step:
                    b.after_step(0.9 * torch.tensor(losses))
            if b.wants_end_epoch:
                b.end_epoch()
        assert torch.equal(found[0], found[-1])
