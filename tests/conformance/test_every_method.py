"""What every public method keeps: shapes, finiteness, its declared promises, its state."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch

import jointrain.balancing as balancing
from jointrain.balancing import BALANCERS, Balancer, Needs
from tests.conformance._drive import drive
from tests.conformance._matrices import MATRICES, jacobian, losses

METHODS = sorted(BALANCERS)
SIZES = (1, 2, 3, 8)


def build(name: str) -> Balancer:
    """Build the method; those whose constructor needs something of the user say so in the class."""
    return BALANCERS[name](**getattr(BALANCERS[name], "example", {}))


def bound(name: str, t: int) -> Balancer:
    balancer = build(name)
    balancer.bind(t)
    return balancer


@pytest.mark.parametrize("name", METHODS)
def test_is_public_and_described(name):
    cls = BALANCERS[name]
    assert cls.__name__ in balancing.__all__
    assert 10 < len(cls.summary()) <= 100
    assert cls.summary().endswith(".")
    for section in ("Source:", "Cost:", "State:", "Differs from the source:"):
        assert section in (cls.__doc__ or ""), f"the docstring lacks {section!r}"
    assert name == name.lower()
    assert "_" not in name


@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("name", METHODS)
def test_gives_finite_values_of_the_right_shape_twice(name, kind):
    for t in SIZES:
        balancer = bound(name, t)
        for seed in range(2):
            update, weights = drive(balancer, MATRICES[kind](t), losses(t, seed=seed))
            assert update.shape == (20,)
            assert torch.isfinite(update).all(), (t, update)
            if weights is not None:
                assert weights.shape == (t,)
                assert torch.isfinite(weights).all(), (t, weights)
                if balancer.non_negative:
                    assert (weights >= -1e-12).all(), (t, weights)


@pytest.mark.parametrize("name", METHODS)
def test_one_task_is_the_plain_gradient_where_promised(name):
    if not BALANCERS[name].plain_for_one_task:
        pytest.skip("not promised")
    matrix = jacobian(1)
    update, _ = drive(bound(name, 1), matrix, losses(1))
    torch.testing.assert_close(update, matrix[0], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", METHODS)
def test_reordering_tasks_reorders_weights_where_promised(name):
    cls = BALANCERS[name]
    if not cls.equivariant or cls.random:
        pytest.skip("not promised")
    for kind in ("full rank", "conflicting", "unlike scales"):
        matrix, values = MATRICES[kind](5), losses(5)
        order = torch.tensor([3, 0, 4, 1, 2])
        update, weights = drive(bound(name, 5), matrix, values)
        other_update, other = drive(bound(name, 5), matrix[order], values[order])
        scale = update.abs().max().clamp_min(1e-300)
        torch.testing.assert_close(other_update / scale, update / scale, rtol=1e-5, atol=1e-7)
        if weights is not None:
            torch.testing.assert_close(other, weights[order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["full rank", "conflicting", "rank t - 1", "zero row", "tiny"])
@pytest.mark.parametrize("name", METHODS)
def test_increases_no_loss_where_promised(name, kind):
    if not BALANCERS[name].non_conflicting:
        pytest.skip("not promised")
    for t in (2, 3, 8):
        matrix = MATRICES[kind](t)
        update, _ = drive(bound(name, t), matrix, losses(t))
        slope = matrix @ update
        longest = matrix.norm(dim=1).max()
        limit = 1e-6 * longest * update.norm() + 1e-10 * longest.square()
        assert (slope >= -limit).all(), slope


@pytest.mark.parametrize("name", METHODS)
def test_a_common_factor_leaves_the_weights_where_promised(name):
    if not BALANCERS[name].scale_free:
        pytest.skip("not promised")
    matrix, values = MATRICES["conflicting"](4), losses(4)
    update, weights = drive(bound(name, 4), matrix, values)
    for factor in (1e-3, 1e3):
        scaled, other = drive(bound(name, 4), factor * matrix, values)
        torch.testing.assert_close(scaled / factor, update, rtol=1e-5, atol=1e-7)
        if weights is not None:
            torch.testing.assert_close(other, weights, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", METHODS)
def test_state_survives_saving_loading_pickling_and_copying(name):
    first = bound(name, 3)
    for seed in range(2):
        drive(first, jacobian(3, seed=seed), losses(3, seed=seed))
    stream = io.BytesIO()
    torch.save(first.state_dict(), stream)
    stream.seek(0)
    loaded = build(name)
    loaded.load_state_dict(torch.load(stream, weights_only=True))
    others = [loaded, pickle.loads(pickle.dumps(first)), copy.deepcopy(first)]
    wanted, wanted_weights = drive(first, jacobian(3, seed=7), losses(3, seed=7))
    for other in others:
        update, weights = drive(other, jacobian(3, seed=7), losses(3, seed=7))
        torch.testing.assert_close(update, wanted, rtol=0, atol=0)
        torch.testing.assert_close(weights, wanted_weights, rtol=0, atol=0) if (
            weights is not None
        ) else None
    assert all(isinstance(v, torch.Tensor) for v in first.state_dict().values())


@pytest.mark.parametrize("name", METHODS)
def test_reset_forgets(name):
    balancer = bound(name, 3)
    wanted, _ = drive(balancer, jacobian(3), losses(3))
    drive(balancer, jacobian(3, seed=5), losses(3, seed=5))
    if balancer.wants_after_step:
        balancer.after_step(losses(3, seed=9))
    balancer.reset()
    update, _ = drive(balancer, jacobian(3), losses(3))
    torch.testing.assert_close(update, wanted, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("name", METHODS)
def test_tasks_may_be_absent(name):
    cls = BALANCERS[name]
    balancer = build(name)
    balancer.bind(["a", "b", "c"])
    for names in (["a", "b", "c"], ["c", "a"], ["b"], ["a", "b", "c"]):
        rows = torch.tensor(["abc".index(n) for n in names])
        with balancer.taking_part(balancer.positions_of(names)):
            update, weights = drive(balancer, jacobian(3)[rows], losses(3)[rows])
            if balancer.wants_after_step:
                balancer.after_step(0.9 * losses(3)[rows])
        assert torch.isfinite(update).all()
        assert weights is None or weights.shape == (len(names),)
    if balancer.wants_end_epoch:
        balancer.end_epoch()
    assert cls.needs in Needs


@pytest.mark.parametrize("name", METHODS)
def test_repr_shows_the_class(name):
    assert repr(build(name)).startswith(BALANCERS[name].__name__ + "(")
