"""What a balancer keeps: shapes, finiteness, the promises that it declares, its state."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from jointrain.balancing import Balancer, Needs
from jointrain.testing._jacobians import MATRICES, jacobian, losses
from jointrain.testing._update import update_and_weights

Make = Callable[[], Balancer]


def check_balancer(make: Make) -> None:
    """Check a balancer of one's own.

    Args:
        make: The class, or what makes an object of it; called many times.

    Raises:
        AssertionError: It breaks what a balancer must keep, or what its class promises.

    Examples:
        >>> from jointrain.balancing import PCGrad
        >>> check_balancer(PCGrad)
    """
    for name, check in BALANCER_CHECKS.items():
        try:
            check(make)
        except Exception as error:  # code of others may raise anything
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            raise AssertionError(f"{name}: {kind}{error}") from error


def _bound(make: Make, t: int) -> Balancer:
    balancer = make()
    balancer.bind(t)
    return balancer


def _close(found: Tensor, wanted: Tensor, rtol: float, atol: float, what: str) -> None:
    torch.testing.assert_close(
        found, wanted, rtol=rtol, atol=atol, msg=lambda text: f"{what}: {text}"
    )


def _is_fresh(make: Make) -> None:
    one, other = make(), make()
    assert isinstance(one, Balancer), f"it makes {one!r}, which is no Balancer"
    assert one is not other, "it makes the same object twice"
    assert one.needs in Needs
    assert type(one).summary(), "its class has no docstring"
    assert repr(one).startswith(type(one).__name__ + "(")


def _gives_finite_values(make: Make) -> None:
    for kind, matrix in MATRICES.items():
        for t in (1, 2, 3, 8):
            balancer = _bound(make, t)
            for seed in range(2):
                update, weights = update_and_weights(balancer, matrix(t), losses(t, seed=seed))
                where = f"{t} tasks, {kind}"
                assert update.shape == (20,), f"{where}: the update has shape {update.shape}"
                assert torch.isfinite(update).all(), f"{where}: the update is {update}"
                if weights is None:
                    continue
                assert weights.shape == (t,), f"{where}: the weights have shape {weights.shape}"
                assert torch.isfinite(weights).all(), f"{where}: the weights are {weights}"
                if balancer.non_negative:
                    assert (weights >= -1e-12).all(), f"{where}: the weights are {weights}"


def _one_task_is_plain(make: Make) -> None:
    if not make().plain_for_one_task:
        return
    matrix = jacobian(1)
    update, _ = update_and_weights(_bound(make, 1), matrix, losses(1))
    _close(update, matrix[0], 1e-6, 1e-9, "plain_for_one_task is promised")


def _order_does_not_matter(make: Make) -> None:
    if not make().equivariant or make().random:
        return
    for kind in ("full rank", "conflicting", "unlike scales"):
        matrix, values = MATRICES[kind](5), losses(5)
        order = torch.tensor([3, 0, 4, 1, 2])
        update, weights = update_and_weights(_bound(make, 5), matrix, values)
        other_update, other = update_and_weights(_bound(make, 5), matrix[order], values[order])
        scale = update.abs().max().clamp_min(1e-300)
        promised = f"equivariant is promised, {kind}"
        _close(other_update / scale, update / scale, 1e-5, 1e-7, promised)
        if weights is not None:
            assert other is not None
            _close(other, weights[order], 1e-4, 1e-6, promised)


def _increases_no_loss(make: Make) -> None:
    if not make().non_conflicting:
        return
    for kind in ("full rank", "conflicting", "rank t - 1", "zero row", "tiny"):
        for t in (2, 3, 8):
            matrix = MATRICES[kind](t)
            update, _ = update_and_weights(_bound(make, t), matrix, losses(t))
            slope = matrix @ update
            longest = matrix.norm(dim=1).max()
            limit = 1e-6 * longest * update.norm() + 1e-10 * longest.square()
            assert (slope >= -limit).all(), f"non_conflicting is promised, {kind}: slopes {slope}"


def _scale_does_not_matter(make: Make) -> None:
    if not make().scale_free:
        return
    matrix, values = MATRICES["conflicting"](4), losses(4)
    update, weights = update_and_weights(_bound(make, 4), matrix, values)
    for factor in (1e-3, 1e3):
        scaled, other = update_and_weights(_bound(make, 4), factor * matrix, values)
        _close(scaled / factor, update, 1e-5, 1e-7, "scale_free is promised")
        if weights is not None:
            assert other is not None
            _close(other, weights, 1e-5, 1e-7, "scale_free is promised")


def _state_is_saved(make: Make) -> None:
    first = _bound(make, 3)
    for seed in range(2):
        update_and_weights(first, jacobian(3, seed=seed), losses(3, seed=seed))
    state: Mapping[str, Any] = first.state_dict()
    assert all(isinstance(value, Tensor) for value in state.values()), "a state is no tensor"
    stream = io.BytesIO()
    torch.save(state, stream)
    stream.seek(0)
    loaded = make()
    loaded.load_state_dict(torch.load(stream, weights_only=True))
    others = {"state_dict": loaded, "deepcopy": copy.deepcopy(first)}
    if "<locals>" not in type(first).__qualname__:
        others["pickle"] = pickle.loads(pickle.dumps(first))
    wanted, wanted_weights = update_and_weights(first, jacobian(3, seed=7), losses(3, seed=7))
    for way, other in others.items():
        update, weights = update_and_weights(other, jacobian(3, seed=7), losses(3, seed=7))
        what = f"after {way}, it goes on in another way; keep all state in buffers"
        _close(update, wanted, 0, 0, what)
        if wanted_weights is not None:
            assert weights is not None
            _close(weights, wanted_weights, 0, 0, what)


def _reset_forgets(make: Make) -> None:
    balancer = _bound(make, 3)
    wanted, _ = update_and_weights(balancer, jacobian(3), losses(3))
    update_and_weights(balancer, jacobian(3, seed=5), losses(3, seed=5))
    if balancer.wants_after_step:
        balancer.after_step(losses(3, seed=9))
    balancer.reset()
    update, _ = update_and_weights(balancer, jacobian(3), losses(3))
    _close(update, wanted, 1e-12, 1e-300, "after reset() it is not as it was made")


def _tasks_may_be_absent(make: Make) -> None:
    balancer = make()
    balancer.bind(["a", "b", "c"])
    for names in (["a", "b", "c"], ["c", "a"], ["b"], ["a", "b", "c"]):
        rows = torch.tensor(["abc".index(name) for name in names])
        with balancer.taking_part(balancer.positions_of(names)):
            update, weights = update_and_weights(balancer, jacobian(3)[rows], losses(3)[rows])
            if balancer.wants_after_step:
                balancer.after_step(0.9 * losses(3)[rows])
        assert torch.isfinite(update).all(), f"tasks {names}: the update is {update}"
        assert weights is None or weights.shape == (len(names),), f"tasks {names}: {weights}"
    if balancer.wants_end_epoch:
        balancer.end_epoch()


BALANCER_CHECKS: Mapping[str, Callable[[Make], None]] = {
    "a fresh balancer, described": _is_fresh,
    "finite values of the right shape": _gives_finite_values,
    "one task": _one_task_is_plain,
    "the order of tasks": _order_does_not_matter,
    "no loss increases": _increases_no_loss,
    "a common factor": _scale_does_not_matter,
    "state": _state_is_saved,
    "reset": _reset_forgets,
    "absent tasks": _tasks_may_be_absent,
}
"""The checks of `check_balancer`; each takes what makes a balancer."""
