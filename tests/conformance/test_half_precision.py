"""Every method under autocast, in bfloat16 and in float16 with a GradScaler, against float32.

Half precision has some three digits; what a method makes of the gradients may have two.
"""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import Tensor

from jointrain.balancing import BALANCERS, Needs
from tests.conformance._half_precision import PRECISIONS, SCALE, Net, build, distance, flat, step

METHODS = sorted(BALANCERS)


@pytest.mark.parametrize("gradient_method", ["auto", "ghost"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", METHODS)
def test_weights_and_updates_are_those_of_float32(name, precision, gradient_method):
    """Two steps, so that methods that remember are tried on what they remember, too."""
    dtype = PRECISIONS[precision]
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, enabled=precision == "float16")
    net, balancer = Net(), build(name, **_SETTLING.get(name, {}))
    other_net, other = copy.deepcopy(net), copy.deepcopy(balancer)
    limit = _SENSITIVE.get(name, 0.03)
    for _ in range(2):
        for module in (net, other_net, balancer, other):
            module.zero_grad()
        wanted = step(other_net, other, None, gradient_method=gradient_method)
        got = step(net, balancer, dtype, scaler=scaler, gradient_method=gradient_method)
        assert not got.overflow
        scale = SCALE if precision == "float16" else 1.0
        if wanted.weights is not None:
            assert distance(got.weights, wanted.weights) < limit, (got.weights, wanted.weights)
        if wanted.gramian is not None:
            assert distance(got.gramian, wanted.gramian) < 0.03
        assert distance(flat(net) / scale, flat(other_net)) < limit
        assert distance(flat(balancer) / scale, flat(other)) < 0.03
        assert all(p.grad is None or p.grad.dtype == p.dtype for p in net.parameters())


# what they take of each number depends on its sign or rank among the tasks
_SENSITIVE = {"graddrop": 0.1, "trimmed-mean": 0.1}
# by default its weights go to and fro between corners of the simplex: the last bit decides the end
_SETTLING = {"sdmgrad": {"step_size": 0.1, "steps": 200}}


@pytest.mark.parametrize("name", METHODS)
def test_the_scaler_steps_as_it_would_without_scale(name):
    """Under one precision, the scale itself changes nothing but rounding."""
    net, balancer = Net(), build(name)
    other_net, other = copy.deepcopy(net), copy.deepcopy(balancer)
    optimizers = [
        torch.optim.SGD([*m.parameters(), *b.parameters()], 0.1)
        for m, b in ((net, balancer), (other_net, other))
    ]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20)
    for _ in range(2):
        for optimizer in optimizers:
            optimizer.zero_grad()
        step(net, balancer, None, scaler=scaler)
        step(other_net, other, None)
        scaler.step(optimizers[0])
        scaler.update()
        optimizers[1].step()
    for mine, theirs in zip(net.parameters(), other_net.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)
    for mine, theirs in zip(balancer.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


class Unequal(Net):
    """The same with losses that differ by a million."""

    def losses(self, batch: int, dtype: torch.dtype | None) -> dict[str, Tensor]:
        factors = (1.0, 1e-3, 1e-6)
        found = super().losses(batch, dtype).items()
        return {task: loss * f for (task, loss), f in zip(found, factors, strict=True)}


def of_own(net: Net, k: int) -> Tensor:
    return torch.cat([p.grad.flatten() for p in net.heads[k].parameters()])


@pytest.mark.parametrize(
    "options", [{}, {"gradient_method": "layerwise"}, {"compare_at": "features"}]
)
@pytest.mark.parametrize("name", ["imtl-g", "upgrad", "gradnorm", "db-mtl", "trimmed-mean"])
def test_a_task_whose_loss_is_a_million_times_smaller_keeps_its_digits(name, options):
    """From the second step on, when it is known by how much a task's gradient is shorter."""
    if "compare_at" in options and BALANCERS[name].needs is not Needs.GRAMIAN:
        pytest.skip("means nothing for it")
    scale = 1.0  # at which the shortest gradient underflows
    scaler = torch.amp.GradScaler("cpu", init_scale=scale)
    net, balancer = Unequal(), build(name)
    other_net, other = copy.deepcopy(net), copy.deepcopy(balancer)
    for turn in range(3):
        for module in (net, other_net, balancer, other):
            module.zero_grad()
        wanted = step(other_net, other, None, **options)
        got = step(net, balancer, torch.float16, scaler=scaler, **options)
        if turn == 0:
            continue
        assert not got.overflow
        if wanted.weights is not None:
            relative = got.weights / wanted.weights - 1
            assert relative.abs().max() < 0.03, (got.weights, wanted.weights)
        if wanted.gramian is not None:
            assert (got.gramian.diagonal() / wanted.gramian.diagonal() - 1).abs().max() < 0.03
        assert distance(flat(net) / scale, flat(other_net)) < _SENSITIVE.get(name, 0.03)
        for k in range(3):
            assert distance(of_own(net, k) / scale, of_own(other_net, k)) < 0.03


def test_a_task_that_overflows_by_its_factor_starts_again_from_one():
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    net, balancer = Net(), build("upgrad")
    balancer.task_scales = {"task 0": 24}
    assert step(net, balancer, torch.float16, scaler=scaler).overflow
    assert not all(p.grad.isfinite().all() for p in net.trunk.parameters())  # the scaler sees it
    net.zero_grad()
    assert not step(net, balancer, torch.float16, scaler=scaler).overflow


@pytest.mark.parametrize("how", ["state_dict", "deepcopy", "pickle"])
@pytest.mark.parametrize("name", ["upgrad", "imtl-g", "nash-mtl", "moco"])
def test_the_factors_of_tasks_are_part_of_a_balancers_state(name, how):
    net, balancer = Unequal(), build(name)
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    step(net, balancer, torch.float16, scaler=scaler)
    assert any(balancer.task_scales.values())
    if how == "state_dict":
        other = build(name)
        other.load_state_dict(balancer.state_dict())
    else:
        other = (
            copy.deepcopy(balancer) if how == "deepcopy" else pickle.loads(pickle.dumps(balancer))
        )
    assert other.task_scales == balancer.task_scales
    found = []
    for module in (balancer, other):
        net.zero_grad()
        step(net, module, torch.float16, scaler=scaler)
        found.append(flat(net))
    assert torch.equal(*found)


def test_a_state_without_factors_of_tasks_begins_with_none():
    balancer = build("upgrad")
    without = balancer.state_dict()
    balancer.task_scales = {"task 0": 24}
    balancer.load_state_dict(without)
    assert balancer.task_scales == {}
