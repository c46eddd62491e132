"""Methods that take gradients at moved weights: what they leave as it was, and what they refuse."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from jointrain import HardSharing, Task, TensorData, Trainer
from jointrain.balancing import (
    FAMO,
    FMTL,
    SAMO,
    Equal,
    MoDo,
    Static,
    Uncertainty,
    UPGrad,
    backward,
    balancer_from_name,
)
from jointrain.errors import InvalidInputError
from jointrain.integrations import BalancedLoss

METHODS = {"samo": lambda: SAMO("upgrad", radius=0.1), "f-mtl": lambda: FMTL("upgrad", radius=0.1)}
MADE = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)


class Noisy(nn.Module):
    """Dropout, and running statistics that each forward pass moves."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(
            nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.5), nn.Tanh(), nn.Linear(16, 8)
        )
        self.heads = nn.ModuleList(nn.Linear(8, 1) for _ in range(2))
        self.x, self.y = torch.randn(32, 4), torch.randn(2, 32)
        self.passes: list[torch.Tensor] = []

    def forward(self) -> list[torch.Tensor]:
        return self.losses()

    def losses(self) -> list[torch.Tensor]:
        z = self.trunk[2](self.trunk[:2](self.x))
        self.passes.append(z.detach() == 0)
        z = self.trunk[3:](z)
        pairs = zip(self.heads, self.y, strict=True)
        return [(head(z)[:, 0] - y).square().mean() for head, y in pairs]


def test_all_passes_draw_the_same_and_leave_the_state_of_one():
    net, one = Noisy(), Noisy()
    torch.manual_seed(7)
    one.losses()
    after = torch.rand(3)
    for way in ("function", "train="):
        net.load_state_dict(Noisy().state_dict())
        net.passes.clear()
        torch.manual_seed(7)
        if way == "function":
            backward(net.losses, METHODS["samo"]())
        else:
            backward(net.losses(), METHODS["samo"](), train=net.losses)
            net.passes.pop(0)  # of the losses that were handed over; the others are alike
        assert len(net.passes) == (2 * 3 + 1)
        assert all(torch.equal(net.passes[0], mask) for mask in net.passes)
        assert torch.equal(torch.rand(3), after)
        for (name, buffer), wanted in zip(net.named_buffers(), one.buffers(), strict=True):
            assert torch.equal(buffer, wanted), name
        net.zero_grad()


@MADE
def test_weights_come_back_to_the_bit(make):
    net = Noisy()
    before = copy.deepcopy(list(net.parameters()))
    backward(net.losses, make())
    assert all(map(torch.equal, net.parameters(), before))


@MADE
@pytest.mark.parametrize("fails", range(2, 6))
def test_they_come_back_where_the_losses_fail_at_the_moved_weights(make, fails):
    net = Noisy()
    before = copy.deepcopy(list(net.parameters()))
    calls = 0

    def losses():
        nonlocal calls
        calls += 1
        if calls == fails:
            net.losses()
            raise RuntimeError("broken")
        return net.losses()

    try:
        backward(losses, make())
    except RuntimeError:
        assert calls == fails
    assert all(map(torch.equal, net.parameters(), before))
    wanted = Noisy()
    wanted.losses()
    assert all(map(torch.equal, net.buffers(), wanted.buffers()))
    assert not torch.nn.modules.module._global_forward_pre_hooks


@MADE
def test_within_autocast_the_moved_weights_are_what_counts(make):
    """Autocast keeps what it has cast once until its outermost block ends."""
    found = []
    for inside in (True, False):
        net, balancer = Noisy(), make()
        net.trunk[1] = net.trunk[2] = nn.Identity()

        def losses(net=net):
            with torch.autocast("cpu", torch.bfloat16):
                return [x.float() for x in net.losses()]

        if inside:
            with torch.autocast("cpu", torch.bfloat16):
                backward(net.losses, balancer)
        else:
            backward(losses, balancer)
        found.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    plain = Noisy()
    plain.trunk[1] = plain.trunk[2] = nn.Identity()
    backward(plain.losses(), UPGrad())
    plain = torch.cat([p.grad.flatten() for p in plain.parameters()])
    away = (found[0] - found[1]).norm()
    assert away < 0.1 * (found[1] - plain).norm()


@pytest.mark.parametrize("name", ["famo", "uncertainty", "gradnorm", "graddrop", "pivrg"])
def test_what_the_aggregating_method_keeps_goes_on(name):
    net, balancer = Noisy(), SAMO(name)
    optimizer = torch.optim.SGD([*net.parameters(), *balancer.parameters()], lr=0.1)
    before = copy.deepcopy(balancer.state_dict())
    for _ in range(3):
        optimizer.zero_grad()
        backward(net.losses, balancer)
        optimizer.step()
        if balancer.wants_after_step:
            balancer.after_step(torch.stack(net.losses()).detach())
        if balancer.wants_end_epoch:
            balancer.end_epoch()
    state = balancer.state_dict()
    assert any(key not in before or not torch.equal(before[key], state[key]) for key in state)
    other = SAMO(name)
    other.load_state_dict(state)
    assert other.state_dict().keys() == state.keys()
    for key, value in state.items():
        torch.testing.assert_close(other.state_dict()[key], value, equal_nan=True, msg=key)


def test_tasks_may_be_absent_and_losses_have_names():
    net, balancer = Noisy(), SAMO(FAMO(["a", "b"]))
    one = backward(lambda: dict(zip("ab", net.losses(), strict=True)), balancer)
    assert one.tasks == ("a", "b")
    net.zero_grad()
    other = backward(lambda: {"b": net.losses()[1]}, balancer)
    assert other.tasks == ("b",)
    assert net.heads[0].weight.grad is None


def test_a_compiled_network_moves_its_statistics_once():
    net, one = Noisy(), Noisy()
    one.losses()
    net.compile(backend="aot_eager")
    with torch._functorch.config.patch(donated_buffer=False):
        backward(net, SAMO("equal"), shared=net.trunk)
    for (name, buffer), wanted in zip(net.named_buffers(), one.buffers(), strict=True):
        torch.testing.assert_close(buffer, wanted, msg=name)


# --- what is refused -----------------------------------------------------------------------------


def test_losses_that_can_not_be_computed_again_are_refused():
    with pytest.raises(
        InvalidInputError, match=r"^SAMO takes gradients at moved weights.*backward\(lambda: "
    ):
        backward(Noisy().losses(), SAMO())


def test_a_function_serves_every_method():
    net = Noisy()
    assert backward(net.losses, Equal()).weights.tolist() == [1, 1]
    assert len(net.passes) == 1


@pytest.mark.parametrize(
    "given, message",
    [
        ("equall", "`balancer` must be one of .*did you mean 'equal'"),
        ("modo", "`balancer` must be one of .*got 'modo'"),
        ("auto-lambda", "`balancer` must be one of .*got 'auto-lambda'"),
        (MoDo(), "`balancer` must be a LossWeighting or .*without further batches, got MoDo"),
        (3, r"`balancer` must be a LossWeighting or .*got 3\. SAMO\(\"upgrad\"\) is one"),
        (SAMO(), "`balancer` must be a LossWeighting or .*got SAMO"),
    ],
)
def test_what_can_not_aggregate_is_refused(given, message):
    with pytest.raises(InvalidInputError, match=message):
        SAMO(given)


def test_objects_aggregate_with_their_own_hyper_parameters():
    net = Noisy()
    assert backward(net.losses, SAMO(Static([2.0, 1.0]))).weights.tolist() == [2.0, 1.0]
    assert balancer_from_name("samo", balancer="upgrad").balancer.name == "upgrad"


@MADE
def test_accumulated_batches_inputs_and_options_of_other_kinds_are_refused(make):
    net = Noisy()
    with pytest.raises(
        InvalidInputError, match=r"not exact with .*computes a batch's losses again"
    ):
        backward(net.losses, make(), accumulate="exact")
    with pytest.raises(InvalidInputError, match="refresh_every=2` means nothing"):
        backward(net.losses, make(), refresh_every=2)
    net.x.requires_grad_()
    with pytest.raises(InvalidInputError, match="cannot give an input its gradient"):
        backward(net.losses, make())
    assert all(p.grad is None for p in net.parameters())


@MADE
def test_frameworks_that_carry_losses_refuse_it(make):
    with pytest.raises(InvalidInputError, match="computes a step's losses again"):
        BalancedLoss(make())


# --- in training ---------------------------------------------------------------------------------


def trainer(balancer, **options):
    torch.manual_seed(0)
    net = HardSharing(
        nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.2)),
        {"a": nn.Linear(16, 1), "b": nn.Linear(16, 1)},
    )
    tasks = [Task.regression("a"), Task.regression("b")]
    return Trainer(net, tasks, balancer=balancer, epochs=3, batch_size=16, **options)


def rows():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 4, generator=generator)
    return TensorData(x, {"a": x[:, 0], "b": x[:, 1] - x[:, 2]})


@pytest.mark.parametrize("inner", ["fairgrad", "famo", "uncertainty"])
def test_the_trainer_takes_it(inner):
    made = [trainer(SAMO(inner, radius=0.05)) for _ in range(2)]
    for one in made:
        one.fit(rows())
        assert one.history[-1].training["a"] < one.history[0].training["a"]
    for mine, theirs in zip(
        made[0].network.state_dict().values(), made[1].network.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs)


def test_the_trainer_refuses_it_with_accumulated_batches():
    with pytest.raises(InvalidInputError, match="`accumulate` is not exact with SAMO"):
        trainer(SAMO(), accumulate=2).fit(rows())


def test_uncertainty_learns_through_it():
    balancer = SAMO(Uncertainty(["a", "b"]))
    before = copy.deepcopy(list(balancer.parameters()))
    trainer(balancer).fit(rows())
    assert not all(map(torch.equal, balancer.parameters(), before))
