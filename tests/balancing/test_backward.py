"""What `backward` reports, how it fits into a training loop, and what it refuses."""

from __future__ import annotations

import copy
import gc
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from jointrain.balancing import (
    MGDA,
    Balancer,
    BilevelWeighting,
    Direction,
    Equal,
    GramianWeighting,
    JacobianAggregation,
    backward,
)
from jointrain.balancing._checks import (
    check_choice,
    check_count,
    check_number,
    check_positive,
    check_vector,
)
from jointrain.balancing._task_losses import TaskLosses
from jointrain.errors import InvalidInputError
from tests.balancing._networks import NETWORKS, mlp

# gradients of several calls add up in these tests
backward = partial(backward, accumulate="per-batch")


class Lengths(GramianWeighting):
    """Weigh by the gradients' lengths."""

    name = "lengths"

    def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
        return gramian.diagonal().sqrt() + losses


class Halves(JacobianAggregation):
    """Take half the sum."""

    name = "halves"

    def aggregate(self, blocks, losses):
        return Direction([b.sum(0) / 2 for b in blocks], torch.full((len(losses),), 0.5))


def gradients(net: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}


def assert_same(net: nn.Module, wanted: dict[str, Tensor], factor: float = 1.0, **tol) -> None:
    got = gradients(net)
    assert got.keys() == wanted.keys()
    for name, g in got.items():
        torch.testing.assert_close(g, factor * wanted[name], **tol)


# --- what is reported ----------------------------------------------------------------------------


def test_it_says_what_it_did():
    x = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    losses = {"a": x[0] ** 2 + x[1], "b": -x[0] + 3 * x[1], "c": x[1] * 1.0}
    step = backward(losses, Lengths())
    assert step.tasks == ("a", "b", "c")
    assert step.gramian.tolist() == [[5, 1, 1], [1, 10, 3], [1, 3, 1]]
    assert step.losses.tolist() == [3, 5, 2]
    assert step.conflicts == []
    assert step.weight_of("c") == pytest.approx(3.0)
    with pytest.raises(InvalidInputError, match="'d' took no part"):
        step.weight_of("d")


def test_conflicts_are_pairs_of_tasks_by_name():
    x = nn.Parameter(torch.ones(2))
    step = backward({"a": x[0] * 1, "b": -x[0] + x[1], "c": x.sum()}, MGDA())
    assert step.conflicts == [("a", "b")]
    assert backward({"a": x[0] * 1, "b": x.sum()}, Equal()).conflicts is None


def test_a_method_without_weights_has_none():
    class NoWeights(Halves):
        def aggregate(self, blocks, losses):
            return Direction([b[0] for b in blocks])

    x = nn.Parameter(torch.ones(2))
    step = backward([x.sum(), x.prod()], NoWeights())
    assert step.weights is None
    with pytest.raises(InvalidInputError, match="no weighted sum"):
        step.weight_of("0")


def test_losses_may_be_a_vector_a_list_or_a_mapping():
    got = []
    for form in (lambda a, b: torch.stack([a, b]), lambda a, b: [a, b], lambda a, b: {0: a, 1: b}):
        x = nn.Parameter(torch.tensor([1.0, 2.0]))
        backward(form(x.square().sum(), x.prod()), MGDA())
        got.append(x.grad)
    assert torch.equal(got[0], got[1])
    assert torch.equal(got[0], got[2])


def test_the_way_is_reported_and_small_limits_lead_layer_by_layer():
    _, losses = mlp(t=4)
    assert backward(losses(), MGDA()).gradient_method == "batched"
    _, losses = mlp(t=4, n=4000)
    assert backward(losses(), MGDA()).gradient_method == "per_task"
    _, losses = mlp()
    assert backward(losses(), MGDA()).gradient_method == "per_task"
    assert backward(losses(), MGDA(), gradient_method="per_task").gradient_method == "per_task"
    assert backward(losses(), MGDA(), gradient_method="ghost").ghost_layers == 2
    assert backward(losses(), MGDA(), memory_limit=100).gradient_method == "layerwise"
    _, losses = NETWORKS["multi_input"]()
    assert backward(losses(), MGDA()).gradient_method == "per_task, a graph of its own for each"


# --- cheaper variants ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mlp", "conv", "attention", "sequences", "checkpointed"])
def test_at_features_weighs_by_the_gradients_there(kind):
    torch.manual_seed(0)
    net, losses = NETWORKS[kind]()
    seen: list[Tensor] = []
    handle = net.trunk.register_forward_hook(lambda _m, _i, out: seen.append(out))
    values = losses()
    z = seen[-1]
    handle.remove()
    if kind == "sequences":
        z = None
    step = backward(values, Lengths(), compare_at="features", retain_graph=True)
    got = gradients(net)
    if z is not None and kind != "checkpointed":
        flat = torch.stack(
            [torch.autograd.grad(v, z, retain_graph=True)[0].flatten() for v in values.values()]
        )
        torch.testing.assert_close(step.gramian, flat @ flat.T)
    net.zero_grad()
    total = sum(w * v for w, v in zip(step.weights, values.values(), strict=True))
    shared = list(net.trunk.parameters())
    for p, g in zip(shared, torch.autograd.grad(total, shared, retain_graph=True), strict=True):
        name = next(n for n, q in net.named_parameters() if q is p)
        torch.testing.assert_close(got[name], g)
    sum(values.values()).backward()
    for name, g in gradients(net).items():
        if "heads" in name:
            torch.testing.assert_close(got[name], g)


def test_at_the_last_shared_layer_weighs_by_its_gradients():
    torch.manual_seed(0)
    net, losses = mlp()
    values = losses()
    last = net.trunk[2].weight
    rows = torch.stack(
        [torch.autograd.grad(v, last, retain_graph=True)[0].flatten() for v in values.values()]
    )
    step = backward(values, Lengths(), compare_at="last_shared_layer")
    torch.testing.assert_close(step.gramian, rows @ rows.T)
    assert step.gradient_method == "last_shared_layer"
    assert net.trunk[0].weight.grad is not None


def test_at_features_needs_a_boundary():
    _, losses = NETWORKS["tied"]()
    with pytest.raises(InvalidInputError, match="Name them with `features=`"):
        backward(losses(), MGDA(), compare_at="features")


def test_reused_weights_are_renewed_when_other_tasks_come():
    _, losses = mlp()
    balancer = Lengths()
    ways = []
    for names in (["task 0", "task 1"], ["task 0", "task 1"], ["task 0", "task 2"], ["task 0"]):
        found = losses()
        backward_step = backward({n: found[n] for n in names}, balancer, refresh_every=10)
        ways.append(backward_step.gradient_method)
    assert ways[:2] == ["per_task", "reused"]
    assert ways[2] == "per_task"


# --- in a training loop --------------------------------------------------------------------------


def scaler_with(scale: float) -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", init_scale=scale)


@pytest.mark.parametrize("balancer", [Equal(), Lengths(), MGDA(), Halves()])
@pytest.mark.parametrize(
    "options", [{}, {"compare_at": "features"}, {"gradient_method": "layerwise"}]
)
def test_gradients_are_scaled_as_the_scaler_would(balancer, options):
    if "compare_at" in options and not isinstance(balancer, GramianWeighting):
        options = {}
    torch.manual_seed(0)
    net, losses = mlp()
    plain = backward(losses(), balancer, **options)
    wanted = gradients(net)
    net.zero_grad()
    step = backward(losses(), balancer, scaler=scaler_with(1024.0), **options)
    assert_same(net, wanted, 1024.0)
    torch.testing.assert_close(step.weights, plain.weights)
    if step.gramian is not None:
        torch.testing.assert_close(step.gramian, plain.gramian)


@pytest.mark.parametrize("balancer", [Lengths(), Halves()])
def test_an_overflow_of_scaled_gradients_is_left_to_the_scaler(balancer):
    net, losses = mlp()
    net.float()
    net.trunk.register_forward_hook(lambda _m, _i, out: out.double())
    net.trunk.register_forward_pre_hook(lambda _m, args: (args[0].float(),))
    net.heads.double()
    large = {name: 1e3 * loss for name, loss in losses().items()}
    step = backward(large, balancer, scaler=scaler_with(3e38))
    assert step.overflow
    assert not all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_bf16_autocast_equals_one_pass_per_task_of_the_same_graph():
    torch.manual_seed(0)
    net, _ = mlp(n=16)
    net.float()
    x, y = torch.randn(16, 5), torch.randn(3, 16)

    def losses() -> list[Tensor]:
        with torch.autocast("cpu", torch.bfloat16):
            z = net.trunk(x)
            found = [h(z).squeeze(-1) for h in net.heads]
        return [functional.mse_loss(o.float(), t) for o, t in zip(found, y, strict=True)]

    results = []
    for gradient_method in ("auto", "per_task", "batched", "ghost", "layerwise"):
        net.zero_grad()
        step = backward(losses(), MGDA(), gradient_method=gradient_method)
        results.append(gradients(net))
        assert all(p.grad.dtype == torch.float32 for p in net.parameters())
        torch.testing.assert_close(step.weights.sum(), torch.tensor(1.0, dtype=torch.float64))
    for other in results[1:]:
        for name, g in other.items():
            torch.testing.assert_close(g, results[0][name], rtol=0.05, atol=0.02)


@pytest.fixture
def compiled():
    """Return a network, its losses by a given trunk, and the compiled trunk."""
    torch.manual_seed(0)
    net, _ = mlp()
    x, y = torch.randn(6, 5, dtype=torch.float64), torch.randn(3, 6, dtype=torch.float64)

    def losses(trunk) -> list[Tensor]:
        z = trunk(x)
        return [functional.mse_loss(h(z).squeeze(-1), t) for h, t in zip(net.heads, y, strict=True)]

    torch.compiler.reset()
    yield net, losses, torch.compile(net.trunk, backend="aot_eager")
    torch.compiler.reset()


@pytest.mark.parametrize("balancer", [Lengths(), Halves(), Equal()])
def test_a_compiled_trunk_gives_the_same(compiled, balancer):
    net, losses, trunk = compiled
    backward(losses(net.trunk), balancer)
    wanted = gradients(net)
    with torch._functorch.config.patch(donated_buffer=False):
        for gradient_method in ("auto", "per_task", "batched", "layerwise"):
            net.zero_grad()
            backward(losses(trunk), balancer, gradient_method=gradient_method)
            assert_same(net, wanted)


@pytest.mark.parametrize("dynamic", [True, None])
@pytest.mark.parametrize("part", ["trunk", "outputs", "losses"])
@pytest.mark.parametrize("balancer", [Lengths(), Halves(), Equal()])
def test_compiled_parts_take_batches_of_any_size(compiled, part, dynamic, balancer):
    """With ``dynamic=None`` torch compiles anew for the second size, for any from then on."""
    net, _, _ = compiled
    batches: dict[int, Tensor] = {}

    def outputs(x: Tensor, trunk=net.trunk) -> list[Tensor]:
        z = trunk(x)
        return [head(z).squeeze(-1) for head in net.heads]

    def losses(x: Tensor, outputs=outputs) -> list[Tensor]:
        return [(out - k * x[:, 0]).square().mean() for k, out in enumerate(outputs(x))]

    options = {"backend": "aot_eager", "dynamic": dynamic}
    functions = {
        "trunk": lambda x: losses(x, partial(outputs, trunk=trunk)),
        "outputs": lambda x: losses(x, of_outputs),
        "losses": torch.compile(losses, **options),
    }
    trunk = torch.compile(net.trunk, **options)
    of_outputs = torch.compile(outputs, **options)
    for n in (6, 1, 9, 6):
        x = batches.setdefault(n, torch.randn(n, 5, dtype=torch.float64))
        net.zero_grad()
        backward(losses(x), balancer)
        wanted = gradients(net)
        with torch._functorch.config.patch(donated_buffer=False):
            for gradient_method in ("auto", "batched", "layerwise"):
                net.zero_grad()
                shared = None if part == "trunk" else net.trunk
                found = functions[part](x)
                backward(found, balancer, gradient_method=gradient_method, shared=shared)
                assert_same(net, wanted)


class OnlyOnce(torch.autograd.Function):
    """What a compiled part does that may overwrite what it saved, and one that can't be batched."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, gradient):
        if torch._C._autograd._get_current_graph_task_keep_graph():
            raise RuntimeError("compiled with non-empty donated buffers")
        return gradient * 2


def test_a_trunk_compiled_for_a_single_pass_is_explained():
    net, _ = mlp()

    def losses() -> list[Tensor]:
        z = OnlyOnce.apply(net.trunk(torch.ones(6, 5, dtype=torch.float64)))
        return [h(z).square().mean() for h in net.heads]

    with pytest.raises(InvalidInputError, match=r"donated_buffer = False"):
        backward(losses(), MGDA())
    assert backward(losses(), MGDA(), compare_at="features").gradient_method == "features"
    backward(losses(), Equal())


def test_post_accumulate_hooks_run_once_a_step():
    net, losses = mlp()
    calls = []
    weight = net.trunk[0].weight
    weight.register_post_accumulate_grad_hook(lambda p: calls.append(p.grad is not None))
    backward(losses(), MGDA())
    assert calls == [True]


def test_weights_are_reported_anew_where_the_losses_are_used_again():
    x = nn.Parameter(torch.ones(2))
    losses = TaskLosses(["a", "b"], x * 2)
    for _ in range(2):
        step = backward(losses, Equal(), retain_graph=True)
        assert step.weights.tolist() == [1.0, 1.0]


def test_no_gradient_shares_memory_with_another():
    a, b = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    backward([(a + b).sum(), (a + b).square().sum(), a.sum() * 0.5], Lengths())
    a.grad.zero_()
    assert b.grad.abs().sum() > 0
    c = nn.Parameter(torch.ones(()))
    d = nn.Parameter(torch.ones(()))
    backward([c * 1, d * 1], Equal())
    backward([c.view(()), d.view(())], Lengths())
    c.grad.zero_()
    assert float(d.grad) != 0


def test_the_graph_is_freed_and_kept_when_asked():
    for kept in (True, False):
        for balancer in (Equal(), Lengths(), Halves()):
            _, losses = mlp()
            values = losses()
            backward(values, balancer, retain_graph=kept)
            if kept:
                backward(values, balancer)
            else:
                with pytest.raises(RuntimeError, match="second time"):
                    sum(values.values()).backward()


def test_nothing_is_kept_alive_by_the_result():
    net, losses = mlp()
    step = backward(losses(), MGDA())
    gc.collect()
    assert not step.losses.requires_grad
    assert not step.weights.requires_grad
    assert copy.deepcopy(step).tasks == step.tasks
    assert net.trunk[0].weight.grad.grad_fn is None


def test_tasks_that_share_nothing_get_their_own_gradients():
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    for balancer in (MGDA(), Halves()):
        a.grad = b.grad = None
        step = backward([a.sum(), 3 * b.sum()], balancer)
        assert step.gradient_method == "nothing shared"
        assert b.grad.tolist() == [3, 3]


def test_one_task_alone_gets_its_plain_gradient():
    for balancer in (MGDA(), Halves(), Lengths(), Equal()):
        x = nn.Parameter(torch.ones(2))
        backward({"a": x.square().sum()}, balancer)
        assert x.grad.tolist() == [2, 2]


def test_task_parameters_named_as_own_are_the_only_ones_that_get_a_gradient():
    net, losses = mlp()
    shared, first = list(net.trunk.parameters()), list(net.heads[0].parameters())
    backward(losses(), MGDA(), shared=shared, own=first)
    assert net.heads[0].weight.grad is not None
    assert net.heads[1].weight.grad is None


def test_a_parameter_left_out_of_shared_gets_the_sum():
    torch.manual_seed(0)
    net, losses = NETWORKS["mlp"]()
    sum(losses().values()).backward()
    wanted = gradients(net)
    for options in ({}, {"refresh_every": 2}, {"refresh_every": 2}):
        net.zero_grad()
        backward(losses(), MGDA(), shared=net.trunk[0].parameters(), **options)
        torch.testing.assert_close(net.trunk[2].weight.grad, wanted["trunk.2.weight"])
        torch.testing.assert_close(net.heads[0].weight.grad, wanted["heads.0.weight"])


def test_features_give_the_shared_parameters():
    torch.manual_seed(0)
    net, losses = mlp()
    outs: list[Tensor] = []
    net.trunk.register_forward_hook(lambda _m, _i, out: outs.append(out))
    backward(losses(), Lengths())
    wanted = gradients(net)
    net.zero_grad()
    values = losses()
    backward(values, Lengths(), features=outs[-1])
    assert_same(net, wanted)


# --- two batches, held-out data ------------------------------------------------------------------


def test_two_further_batches_give_the_cross_gramian():
    class Cross(GramianWeighting):
        name = "cross"
        extra_batches = 2

        def weights(self, gramian, losses):
            self.seen = gramian
            return torch.tensor([0.25, 0.75])

    x = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    head = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))
    scales = iter([1.0, 2.0])

    def extra() -> dict[str, Tensor]:
        s = next(scales)
        return {"a": s * x[0] * 1, "b": s * x.sum() * head, "more": x.sum()}

    balancer = Cross()
    step = backward({"a": x[0] * 5, "b": x.sum() * head}, balancer, extra=extra)
    assert balancer.seen.tolist() == [[2, 4], [4, 16]]
    assert x.grad.tolist() == [0.25 * 5 + 0.75 * 2, 0.75 * 2]
    assert float(head.grad) == 3
    assert step.weights.tolist() == [0.25, 0.75]

    class One(Cross):
        extra_batches = 1

    scales = iter([3.0])
    one = One()
    backward({"a": x[0] * 5, "b": x.sum() * head}, one, extra=extra)
    assert one.seen.tolist() == [[15, 30], [6, 24]]
    with pytest.raises(InvalidInputError, match="needs 2 more"):
        backward({"a": x[0] * 5, "b": x.sum()}, Cross())
    with pytest.raises(InvalidInputError, match="no loss for the tasks"):
        backward({"a": x[0] * 5, "z": x.sum()}, One(), extra=lambda: {"a": x.sum()})


def test_a_bilevel_method_sees_both_data_sets_and_may_add_a_direction():
    class Bilevel(BilevelWeighting):
        name = "bilevel"

        def weights(self, problem):
            (g,) = problem.gradient(problem.held_out().sum())
            with problem.shifted([g], -0.5):
                self.moved = problem.train().detach()
            problem.add_gradient([torch.ones_like(g)])
            problem.add_gradient([torch.ones_like(g)])
            return torch.tensor([2.0, 3.0])

    x = nn.Parameter(torch.tensor([1.0, 1.0]))

    def train() -> list[Tensor]:
        return [x[0] ** 2, x[1] ** 2]

    balancer = Bilevel()
    step = backward(train(), balancer, train=train, held_out=lambda: [x.sum(), x.sum()])
    assert balancer.moved.tolist() == [0, 0]
    assert x.tolist() == [1, 1]
    assert x.grad.tolist() == [2 * 2 + 2, 3 * 2 + 2]
    assert step.gradient_method == "held out"
    with pytest.raises(InvalidInputError, match="Pass `held_out=`"):
        backward(train(), Bilevel())


# --- what is refused -----------------------------------------------------------------------------


@pytest.fixture
def x() -> nn.Parameter:
    return nn.Parameter(torch.ones(2))


def test_refuses_no_losses():
    with pytest.raises(InvalidInputError, match="at least one loss"):
        backward([])


def test_refuses_losses_that_are_no_scalars(x):
    with pytest.raises(InvalidInputError, match=r"task 'b' must be a scalar tensor, got \(2,\)"):
        backward({"a": x.sum(), "b": x * 1})
    with pytest.raises(InvalidInputError, match="must be a scalar tensor, got float"):
        backward([x.sum(), 1.0])
    with pytest.raises(InvalidInputError, match="must be a vector"):
        backward(x.outer(x))


def test_refuses_whole_numbers(x):
    with pytest.raises(InvalidInputError, match="floating-point"):
        backward([x.sum(), torch.tensor(1)])


def test_refuses_a_loss_without_graph(x):
    with pytest.raises(InvalidInputError, match="task 'b' has no graph"):
        backward({"a": x.sum(), "b": x.sum().detach()})


def test_refuses_losses_on_different_devices(x):
    meta = nn.Parameter(torch.ones((), device="meta"))
    with pytest.raises(InvalidInputError, match="on one device"):
        backward([x.sum(), meta * 1])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named_or_skipped(x, value):
    losses = {"a": x.sum(), "b": x.sum() * value, "c": x.prod()}
    with pytest.raises(InvalidInputError, match="loss of task 'b'"):
        backward(losses, MGDA())
    step = backward(losses, MGDA(), non_finite="skip")
    assert step.skipped == ("b",)
    assert step.tasks == ("a", "c")
    assert step.weight_of("b") == 0.0
    assert torch.isfinite(x.grad).all()
    x.grad = None
    none = backward({"b": x.sum() * value}, MGDA(), non_finite="skip")
    assert none.skipped == ("b",)
    assert x.grad is None


@pytest.mark.parametrize("balancer", [MGDA(), Halves()])
def test_a_gradient_that_is_not_finite_is_named_or_skipped(balancer):
    x = nn.Parameter(torch.tensor([0.0, 1.0]))

    def losses() -> dict[str, Tensor]:
        return {"a": x.sum(), "root": x[0].sqrt() + x[1], "c": x[1] * 2}

    with pytest.raises(InvalidInputError, match=r"\['root'\] are NaN or infinite"):
        backward(losses(), balancer)
    assert x.grad is None
    step = backward(losses(), balancer, non_finite="skip")
    assert step.skipped == ("root",)
    assert torch.isfinite(x.grad).all()


def test_refuses_features_that_a_loss_does_not_depend_on(x):
    z, other = x * 2, x * 3
    with pytest.raises(InvalidInputError, match="Loss 1 doesn't depend on `features`"):
        backward([z.sum(), other.sum()], MGDA(), features=z)
    with pytest.raises(InvalidInputError, match="without graph"):
        backward([z.sum(), z.prod()], MGDA(), features=z.detach())
    y = z * 2
    with pytest.raises(InvalidInputError, match="computed from another"):
        backward([z.sum(), y.sum()], MGDA(), features=[z, y])


def test_refuses_a_parameter_that_is_shared_and_own(x):
    with pytest.raises(InvalidInputError, match="shared and as a task's own"):
        backward([x.sum(), x.prod()], MGDA(), shared=[x], own=[x])


def test_refuses_shared_parameters_that_no_loss_reaches(x):
    with pytest.raises(InvalidInputError, match="No loss reaches"):
        backward([x.sum(), x.prod()], MGDA(), shared=[nn.Parameter(torch.ones(3))])


def test_an_empty_list_says_that_nothing_is_shared(x):
    parameter = nn.Parameter(torch.tensor([1.0, 2.0]))
    losses = [parameter.sum(), parameter.square().sum()]
    backward(losses, MGDA(), shared=[])
    assert parameter.grad.tolist() == [3.0, 5.0]
    with pytest.raises(InvalidInputError, match="No loss reaches"):
        backward([parameter.sum(), parameter.prod()], MGDA(), shared=iter(()))


def test_refuses_what_is_no_parameter(x):
    with pytest.raises(InvalidInputError, match="computed from others"):
        backward([x.sum(), x.prod()], MGDA(), shared=[x * 2])
    with pytest.raises(InvalidInputError, match="must hold parameters, got str"):
        backward([x.sum(), x.prod()], MGDA(), shared=["x"])


def test_refuses_what_is_no_balancer(x):
    with pytest.raises(InvalidInputError, match="must be a Balancer"):
        backward([x.sum(), x.prod()], "mgda")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"gradient_method": "fast"}, "`gradient_method` must be one of"),
        ({"compare_at": "feature"}, "did you mean 'features'"),
        ({"non_finite": "ignore"}, "`non_finite` must be one of"),
        ({"refresh_every": 0}, "`refresh_every` must be an integer of at least 1"),
    ],
)
def test_refuses_unknown_options(x, options, message):
    with pytest.raises(InvalidInputError, match=message):
        backward([x.sum(), x.prod()], MGDA(), **options)


def test_refuses_reentrant_checkpoints():
    net, _ = mlp()
    inputs = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    z = checkpoint(net.trunk, inputs, use_reentrant=True)
    with pytest.raises(InvalidInputError, match="use_reentrant=False"):
        backward([h(z).sum() for h in net.heads], MGDA())


def test_refuses_unknown_tasks_of_a_method_with_state(x):
    class Remembers(Equal):
        task_state = True

    balancer: Balancer = Remembers()
    balancer.bind(["size", "weight"])
    with pytest.raises(InvalidInputError, match="did you mean 'size'"):
        backward({"sizes": x.sum()}, balancer)
    with pytest.raises(InvalidInputError, match="it can't be bound to"):
        balancer.bind(["size"])
    with pytest.raises(InvalidInputError, match="each once"):
        Remembers().bind(["a", "a"])
    with pytest.raises(InvalidInputError, match="Got 3 tasks"):
        balancer.present(3)


def test_hyper_parameters_are_checked():
    assert check_number(1, "a") == 1.0
    assert check_vector([1, 2], "v").tolist() == [1, 2]
    with pytest.raises(InvalidInputError, match=r"`a` must be a number in \(0, inf\], got 0"):
        check_positive(0, "a")
    with pytest.raises(InvalidInputError, match=r"in \[0, 1\), got 1"):
        check_number(1, "a", low=0, high=1, strict_high=True)
    with pytest.raises(InvalidInputError, match="integer of at least 1"):
        check_count(0, "n")
    with pytest.raises(InvalidInputError, match="one of"):
        check_choice("l3", "kind", ["l1", "l2"])
    with pytest.raises(InvalidInputError, match="sequence of numbers"):
        check_vector("ab", "v")
    with pytest.raises(InvalidInputError, match="one number per task"):
        check_vector([], "v")
    with pytest.raises(InvalidInputError, match="finite numbers of at least 0"):
        check_vector([-1.0], "v", low=0)


@pytest.mark.parametrize("options", [{"compare_at": "features"}, {"refresh_every": 4}])
@pytest.mark.parametrize("balancer", [Equal(), Halves()])
def test_refuses_options_that_mean_nothing_for_the_method(x, balancer, options):
    with pytest.raises(InvalidInputError, match="means nothing for"):
        backward([x.sum(), x.prod()], balancer, **options)


def test_refuses_names_that_are_written_alike(x):
    with pytest.raises(InvalidInputError, match=r"Two keys of `losses` are written '1'"):
        backward({1: x.sum(), "1": x.prod()}, MGDA())


def test_modules_stand_for_their_parameters():
    torch.manual_seed(0)
    net, losses = mlp()
    wanted = backward(losses(), Lengths(), shared=net.trunk.parameters()).gramian
    for shared in (net.trunk, [net.trunk], [net.trunk[0], *net.trunk[2].parameters()]):
        found = backward(losses(), Lengths(), shared=shared, own=net.heads).gramian
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("balancer", [Equal(), MGDA(), Halves()])
def test_a_graph_that_was_used_up_is_explained(balancer):
    _, losses = mlp()
    values = losses()
    sum(values.values()).backward()
    with pytest.raises(InvalidInputError, match="used up by a backward pass before"):
        backward(values, balancer)


def test_a_transform_of_torch_func_is_refused(x):
    def loss(v):
        backward([(x * v).sum(), (x * v).prod()], MGDA())
        return v.sum()

    with pytest.raises(InvalidInputError, match="within a transform of torch"):
        torch.func.grad(loss)(torch.ones(2))


def test_a_loss_weighting_fills_only_what_own_and_shared_name():
    net, losses = mlp()
    backward(losses(), Equal(), own=net.heads[0].parameters())
    assert net.trunk[0].weight.grad is not None
    assert net.heads[0].weight.grad is not None
    assert net.heads[1].weight.grad is None
    net.zero_grad()
    backward(losses(), Equal(), shared=net.trunk[0], own=net.heads[0])
    assert net.trunk[2].weight.grad is None
    assert net.trunk[0].weight.grad is not None
