"""ConsMTL against plain autograd, and by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from jointrain import HardSharing, Task, TensorData, Trainer
from jointrain.balancing import SAMO, ConsMTL, FairGrad, backward, balancer_from_name
from jointrain.errors import InvalidInputError
from jointrain.training._sharding import check_shardable
from tests.balancing._weigh_by_position import GRADIENT_METHODS


class Net(nn.Module):
    """A trunk and a head of two layers for each of three tasks, in float64."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.trunk = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 1)) for _ in range(3)
        )
        self.double()
        self.x, self.y = torch.randn(8, 4).double(), torch.randn(3, 8).double()

    def losses(self, z=None, heads=range(3)):
        z = self.trunk(self.x) if z is None else z
        return [(1 + k) * (self.heads[k](z)[:, 0] - self.y[k]).square().mean() for k in heads]


def wanted(net, strength, limit, weights):
    """Return the gradients of each head as the authors' code takes them."""
    z = net.trunk(net.x)
    losses = net.losses(z)
    sent = [torch.autograd.grad(loss, z, create_graph=True)[0] for loss in losses]
    joint = sum(float(w) * d for w, d in zip(weights, sent, strict=True)).detach()
    found = []
    for head, loss, d in zip(net.heads, losses, sent, strict=True):
        own = list(head.parameters())
        extra = -strength * torch.dot(d.flatten(), joint.flatten())
        first = torch.autograd.grad(loss, own, retain_graph=True)
        second = torch.autograd.grad(extra, own, retain_graph=True, allow_unused=True)
        first, second = (
            torch.cat([torch.zeros(p.numel()).double() if g is None else g.flatten()
                       for g, p in zip(row, own, strict=True)])
            for row in (first, second)
        )  # fmt: skip
        second = second * min(1.0, float(limit * first.norm() / second.norm()))
        found.append(first + second)
    return found


def flat(module):
    return torch.cat([p.grad.flatten() for p in module.parameters()])


def assert_same(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("strength, limit", [(1e-3, 0.1), (1.0, 0.1), (50.0, 0.5), (1.0, 0.0)])
def test_heads_get_what_plain_autograd_gives_and_the_trunk_fairgrads_update(strength, limit):
    net, fair = Net(), Net()
    step = backward(net.losses(), ConsMTL(strength=strength, limit=limit))
    expected = backward(fair.losses(), FairGrad(alpha=2.0))
    assert_same(step.weights, expected.weights)
    assert_same(step.gramian @ step.weights, step.weights.rsqrt())
    assert_same(flat(net.trunk), flat(fair.trunk))
    heads = wanted(Net(), strength, limit, step.weights)
    changed = [float((flat(h) - flat(f)).norm() / flat(f).norm())
               for h, f in zip(net.heads, fair.heads, strict=True)]  # fmt: skip
    if strength == 1e-3:
        assert all(0 < c < limit for c in changed)  # none is cut
    else:
        assert changed == pytest.approx([limit] * 3)  # all are
    for head, row in zip(net.heads, heads, strict=True):
        assert_same(flat(head), row)


def test_by_hand():
    """Losses a z and b z send a and b: 2 and 1. w solves G w = w^(-1/2), so w_a = w_b / 4."""
    z, a, b = (nn.Parameter(torch.tensor([x]).double()) for x in (1.0, 2.0, 1.0))
    step = backward([(a * z).sum(), (b * z).sum()], ConsMTL(strength=0.1, limit=1.0))
    w = 1.5 ** (-2 / 3)
    joint = 2 * w / 4 + w
    # the agreement of a with the joint gradient is a times it, and grows by it as a does
    found = [*step.weights.tolist(), *(float(p.grad) for p in (z, a, b))]
    assert found == pytest.approx([w / 4, w, joint, 1 - 0.1 * joint, 1 - 0.1 * joint], rel=1e-7)


def test_a_small_step_of_the_heads_brings_gradients_closer_to_the_joint_one():
    def agreement(net, joint):
        z = net.trunk(net.x)
        sent = [torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in net.losses(z)]
        return torch.stack([(d * joint).sum() for d in sent])

    found = {}
    for limit in (0.0, 1.0):
        net = Net()
        step = backward(net.losses(), ConsMTL(strength=100.0, limit=limit))
        z = net.trunk(net.x).detach().requires_grad_()
        (joint,) = torch.autograd.grad(
            sum(w * v for w, v in zip(step.weights, net.losses(z), strict=True)), z
        )
        before = agreement(net, joint)
        with torch.no_grad():
            for p in net.heads.parameters():
                p -= 1e-4 * p.grad
        found[limit] = agreement(net, joint) - before
    assert (found[1.0] > found[0.0]).all()


@pytest.mark.parametrize(
    "options",
    [
        *({"gradient_method": method} for method in GRADIENT_METHODS),
        {"memory_limit": 1},
        {"non_finite": "skip"},
        {"retain_graph": True},
        {"scaler": torch.amp.GradScaler("cpu", init_scale=2.0**10)},
    ],
)
def test_the_way_to_the_gradients_changes_nothing(options):
    one, other = Net(), Net()
    scale = 2.0**10 if "scaler" in options else 1.0
    for _ in range(2):  # from the second step on each task has a factor of its own
        one.zero_grad()
        other.zero_grad()
        backward(one.losses(), ConsMTL())
        backward(other.losses(), ConsMTL(), **options)
        assert_same(flat(other) / scale, flat(one))


def test_features_that_are_named_are_those_that_are_found():
    one, other = Net(), Net()
    backward(one.losses(), ConsMTL())
    z = other.trunk(other.x)
    backward(other.losses(z), ConsMTL(), features=z)
    assert_same(flat(other), flat(one))


def test_at_the_features_weights_differ_and_heads_follow_them():
    net = Net()
    step = backward(net.losses(), ConsMTL(), compare_at="features")
    for head, row in zip(net.heads, wanted(Net(), 1.0, 0.1, step.weights), strict=True):
        assert_same(flat(head), row)


def test_heads_may_be_checkpoints():
    one, other = Net(), Net()
    backward(one.losses(), ConsMTL())
    z = other.trunk(other.x)
    outputs = [checkpoint(head, z, use_reentrant=False) for head in other.heads]
    losses = [(1 + k) * (outputs[k][:, 0] - other.y[k]).square().mean() for k in range(3)]
    backward(losses, ConsMTL())
    assert_same(flat(other), flat(one))


def test_tasks_with_batches_of_their_own_agree_at_the_shared_parameters():
    net, other = Net(), Net()
    step = backward([net.losses(heads=[k])[0] for k in range(3)], ConsMTL(strength=0.01, limit=1.0))
    shared = list(other.trunk.parameters())
    losses = [other.losses(heads=[k])[0] for k in range(3)]
    rows = [torch.autograd.grad(v, shared, create_graph=True) for v in losses]
    sent = [torch.cat([g.flatten() for g in row]) for row in rows]
    joint = sum(float(w) * d for w, d in zip(step.weights, sent, strict=True)).detach()
    for k, head in enumerate(other.heads):
        own = list(head.parameters())
        total = losses[k] - 0.01 * torch.dot(sent[k], joint)
        row = torch.autograd.grad(total, own, retain_graph=True, allow_unused=True)
        assert_same(flat(net.heads[k]), torch.cat([g.flatten() for g in row]))


def test_a_task_may_be_absent_and_one_that_is_alone_is_not_guided():
    net, fair, balancer = Net(), Net(), ConsMTL()
    a, _, c = net.losses()
    backward({"a": a, "c": c}, balancer)
    assert net.heads[1][0].weight.grad is None
    net.zero_grad()
    z, other = net.trunk(net.x), fair.trunk(fair.x)
    backward({"b": net.losses(z)[1]}, balancer, features=z)
    backward({"b": fair.losses(other)[1]}, FairGrad(), features=other)
    assert_same(flat(net.heads[1]), flat(fair.heads[1]))


def test_an_input_of_a_head_is_not_guided():
    net, fair = Net(), Net()
    found = []
    for one, balancer in ((net, ConsMTL()), (fair, FairGrad())):
        inputs = torch.ones(8, dtype=torch.float64, requires_grad=True)
        a, b, c = one.losses()
        z = one.trunk(one.x)
        a = (one.heads[0](z)[:, 0] * inputs - one.y[0]).square().mean()
        b, c = one.losses(z)[1:]
        backward([a, b, c], balancer)
        found.append(inputs.grad)
    assert_same(*found)
    assert float((flat(net.heads) - flat(fair.heads)).abs().max()) > 0


def rooted(net):
    """Return losses of which the second has a gradient, and no second derivative."""
    z = net.trunk(net.x)
    a, b, c = net.losses(z)
    return {"a": a, "b": b + (net.heads[1](z) * 0).pow(1.5).sum(), "c": c}


def test_a_second_derivative_that_is_not_finite_is_named_or_left_out():
    net, other = Net(), Net()
    with pytest.raises(InvalidInputError, match=r"\['b'\] are NaN or infinite"):
        backward(rooted(net), ConsMTL())
    assert net.trunk[0].weight.grad is None
    found = backward(rooted(net), ConsMTL(), non_finite="skip")
    assert found.skipped == ("b",)
    losses = rooted(other)
    del losses["b"]
    backward(losses, ConsMTL())
    for p, q in zip(net.parameters(), other.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None)
        if p.grad is not None:
            assert_same(p.grad, q.grad)


def test_a_second_derivative_that_is_not_finite_is_left_to_a_scaler():
    net = Net()
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    found = backward(rooted(net), ConsMTL(), scaler=scaler)
    assert found.overflow
    assert not all(p.grad.isfinite().all() for p in net.heads[1].parameters())


class Once(torch.autograd.Function):
    """The square, differentiable once."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g


def test_what_it_cannot_do_is_refused():
    net = Net()
    with pytest.raises(InvalidInputError, match="`refresh_every=2` is not for ConsMTL"):
        backward(net.losses(), ConsMTL(), refresh_every=2)
    with pytest.raises(InvalidInputError, match='`accumulate="exact"` is not exact with ConsMTL'):
        backward(net.losses(), ConsMTL(), accumulate="exact")
    z = net.trunk[0](net.x)  # a head that takes another layer's output, too
    losses = net.losses(z.tanh())
    losses[0] = losses[0] + (net.heads[0](z)[:, 0]).square().mean()
    with pytest.raises(InvalidInputError, match="ConsMTL needs the tensors that all tasks' own"):
        backward(losses, ConsMTL())
    z = net.trunk(net.x)
    losses = net.losses(z)
    losses[0] = Once.apply(net.heads[0](z)).mean()
    with pytest.raises(InvalidInputError, match="an operation of them can be only once: Once is"):
        backward(losses, ConsMTL())
    net.heads[0] = torch.compile(net.heads[0], backend="aot_eager")
    with (
        torch._functorch.config.patch(donated_buffer=False),
        pytest.raises(InvalidInputError, match="an operation of them can be only once: torch"),
    ):
        backward(net.losses(), ConsMTL())
    assert all(p.grad is None for p in net.parameters())


def test_sharpness_aware_methods_cannot_aggregate_by_it():
    with pytest.raises(InvalidInputError, match="`balancer` must be one of"):
        SAMO("consmtl")
    with pytest.raises(InvalidInputError, match="`balancer` must be a LossWeighting"):
        SAMO(ConsMTL())


# --- the Trainer ---------------------------------------------------------------------------------


def trainer(count=3, **options):
    torch.manual_seed(0)
    x = torch.randn(32, 4)
    names = [f"t{k}" for k in range(count)]
    data = TensorData(x, {name: x @ torch.randn(4) for name in names})
    net = HardSharing(
        nn.Sequential(nn.Linear(4, 8), nn.Tanh()), {name: nn.Linear(8, 1) for name in names}
    )
    made = Trainer(
        net,
        [Task.regression(name) for name in names],
        balancer=balancer_from_name("consmtl"),
        epochs=2,
        batch_size=8,
        **options,
    )
    return made, data


def test_the_trainer_trains_by_it():
    made, data = trainer()
    made.fit(data)
    assert made.history[-1].training["t0"] < made.history[0].training["t0"]


def test_the_trainer_refuses_what_is_not_exact():
    with pytest.raises(InvalidInputError, match="`accumulate` is not exact with ConsMTL, which di"):
        trainer(accumulate=2)
    with pytest.raises(
        InvalidInputError, match="which compiled ones can't be; leave out `compile`"
    ):
        trainer(compile=True)
    with pytest.raises(InvalidInputError, match=r"heads are grouped; .* with `group_from=None`"):
        trainer(count=20)
    made, _ = trainer()
    with pytest.raises(InvalidInputError, match="ConsMTL, which differentiates heads twice, can't"):
        check_shardable("fsdp", made.network, made.settings, made.schedule, made.balancer)
