"""`backward` on a GPU: every method, precision, way and kind of graph."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jointrain.balancing import BALANCERS, Equal, GradDrop, Needs, UPGrad, backward
from jointrain.errors import InvalidInputError
from tests.cuda import _gpu as gpu
from tests.cuda._gpu import DEVICE, METHODS, Net, distance, exact_products, flat  # noqa: F401

pytestmark = gpu.needs_gpu

CLOSE = 1e-4  # of a gradient's length: float32 against float64, through a method's solver


@pytest.mark.parametrize("trunk", gpu.TRUNKS)
@pytest.mark.parametrize("name", METHODS)
def test_the_update_is_that_of_float64_on_the_cpu(name, trunk):
    net, exact = gpu.pair(trunk)
    balancer, reference = gpu.build(name).to(DEVICE), gpu.build(name)
    for number in range(3):
        found = gpu.step(net, balancer, number, gradient_method="per_task")
        wanted = gpu.step(exact, reference, number, gradient_method="per_task")
        assert distance(flat(net), flat(exact)) < CLOSE
        if wanted.weights is not None:
            assert distance(found.weights.double(), wanted.weights.double()) < CLOSE
        if any(True for _ in balancer.parameters()):
            assert distance(flat(balancer), flat(reference)) < CLOSE
        assert all(p.grad is None or p.grad.device == p.device for p in net.parameters())


def _by_gradients(name: str) -> bool:
    return BALANCERS[name].needs in (Needs.GRAMIAN, Needs.JACOBIAN)


@pytest.mark.parametrize("way", ["auto", "batched", "ghost", "layerwise"])
@pytest.mark.parametrize("name", [n for n in METHODS if _by_gradients(n) and n != "graddrop"])
def test_all_ways_give_what_a_pass_per_task_gives(name, way):
    found = []
    for chosen in ("per_task", way):
        net = Net("conv").to(DEVICE)
        balancer = gpu.build(name).to(DEVICE)
        for number in range(2):
            result = gpu.step(net, balancer, number, gradient_method=chosen)
        found.append(flat(net))
    assert distance(found[1], found[0]) < CLOSE
    if way == "auto" and DEVICE == "cuda" and not BALANCERS[name].extra_batches:
        assert result.gradient_method == "batched"


@pytest.mark.parametrize("place", ["features", "last_shared_layer"])
@pytest.mark.parametrize("name", ["upgrad", "mgda", "nash-mtl", "gradnorm"])
def test_comparing_at_another_place(name, place):
    net, exact = gpu.pair()
    results = [
        gpu.step(one, gpu.build(name).to(where), 0, compare_at=place)
        for one, where in ((net, DEVICE), (exact, "cpu"))
    ]
    assert distance(flat(net), flat(exact)) < CLOSE
    torch.testing.assert_close(results[0].gramian, results[1].gramian, rtol=1e-4, atol=1e-6)


# --- half precision ------------------------------------------------------------------------------


_AWAY = {"graddrop": 0.1, "trimmed-mean": 0.1}  # docs/engine.md, Precision


@pytest.mark.parametrize("kind", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", METHODS)
def test_autocast_and_a_scaler(name, kind):
    dtype = getattr(torch, kind)
    scaler = torch.amp.GradScaler(DEVICE, init_scale=2.0**10, enabled=kind == "float16")
    net, plain = Net().to(DEVICE), Net().to(DEVICE)
    balancer, reference = gpu.build(name).to(DEVICE), gpu.build(name).to(DEVICE)
    optimizer = torch.optim.SGD(net.parameters(), 0.0)
    for number in range(2):
        gpu.step(plain, reference, number)
        gpu.step(net, balancer, number, dtype, scaler=scaler)
        scaler.unscale_(optimizer)
        assert distance(flat(net), flat(plain)) < _AWAY.get(name, 0.03)
        scaler.step(optimizer)
        scaler.update()


@pytest.mark.parametrize("name", METHODS)
def test_an_infinite_loss_halves_the_scale_and_skips_the_step(name):
    scaler = torch.amp.GradScaler(DEVICE, init_scale=2.0**10, growth_interval=1000)
    net = Net().to(DEVICE)
    balancer = gpu.build(name).to(DEVICE)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    before = copy.deepcopy(net.state_dict())
    losses = net.losses(0, torch.float16)
    losses["b"] = losses["b"] * torch.inf
    result = backward(
        losses,
        balancer,
        scaler=scaler,
        extra=lambda: net.losses(1),
        train=lambda: net.losses(0),
        held_out=lambda: net.losses(2),
    )
    assert result.overflow
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 2.0**9
    assert all(torch.equal(x, before[key]) for key, x in net.state_dict().items())


def test_tasks_of_very_unequal_size_in_float16():
    net, exact = gpu.pair()
    scaler = torch.amp.GradScaler(DEVICE, init_scale=2.0**10)
    balancer, reference = UPGrad(), UPGrad()
    sizes = dict(zip(gpu.TASKS, (1.0, 1e-6, 1e-2, 1.0), strict=True))
    for number in range(3):
        net.zero_grad()
        exact.zero_grad()
        small = {k: v * sizes[k] for k, v in net.losses(number, torch.float16).items()}
        found = backward(small, balancer, scaler=scaler)
        wanted = backward({k: v * sizes[k] for k, v in exact.losses(number).items()}, reference)
    scale = scaler.get_scale()
    assert found.gramian is not None
    ratio = found.gramian.diagonal() / wanted.gramian.diagonal()
    assert ratio.sub(1).abs().max() < 0.05
    assert distance(flat(net) / scale, flat(exact)) < 0.03


# --- kinds of graph ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["equal", "upgrad", "nash-mtl", "gradnorm", "excess-mtl"])
def test_a_trunk_compiled_by_inductor(name):
    net, plain = Net().to(DEVICE), Net().to(DEVICE)
    found = []
    with torch._functorch.config.patch(donated_buffer=False):
        net.trunk = torch.compile(net.trunk)
        for one in (net, plain):
            balancer = gpu.build(name).to(DEVICE)
            for number in range(2):
                gpu.step(one, balancer, number)
            found.append(flat(one))
    assert distance(*found) < CLOSE


@pytest.mark.parametrize("name", METHODS)
def test_a_checkpointed_trunk(name):
    if name == "graddrop":
        pytest.skip("draws parameter by parameter, in the order of the passes")
    found = []
    for checkpointed in (True, False):
        net = Net(checkpointed=checkpointed).to(DEVICE)
        balancer = gpu.build(name).to(DEVICE)
        for number in range(2):
            gpu.step(net, balancer, number)
        found.append(flat(net))
    assert distance(*found) < CLOSE


class Waves(nn.Module):
    """A layer with complex weights between real ones."""

    def __init__(self, *, pairs: bool) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(12, 8, 2, generator=generator)
        self.weight = nn.Parameter(start if pairs else torch.view_as_complex(start))
        torch.manual_seed(0)
        self.heads = nn.ModuleList(nn.Linear(8, 1) for _ in gpu.TASKS)
        self.x = torch.randn(20, 12, generator=generator)

    def losses(self, number: int, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
        del dtype
        weight = self.weight if self.weight.is_complex() else torch.view_as_complex(self.weight)
        z = (self.x.to(weight.device).roll(number, 0).to(weight.dtype) @ weight).abs()
        return {
            task: (head(z) - 2 * k).square().mean()
            for k, (task, head) in enumerate(zip(gpu.TASKS, self.heads, strict=True))
        }


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in METHODS
        if BALANCERS[name].needs not in (Needs.HELD_OUT, Needs.NEARBY) and name != "graddrop"
    ],
)
def test_complex_parameters_count_as_pairs(name):
    found = []
    for pairs in (False, True):
        net = Waves(pairs=pairs).to(DEVICE)
        gpu.step(net, gpu.build(name).to(DEVICE), 0)
        g = [p.grad for p in net.parameters()]
        found.append(
            torch.cat([(torch.view_as_real(x) if x.is_complex() else x).flatten() for x in g])
        )
    assert distance(*found) < CLOSE


@pytest.mark.parametrize("name", ["upgrad", "graddrop", "equal", "trimmed-mean"])
def test_sparse_tables(name):
    found = []
    for sparse in (True, False):
        torch.manual_seed(0)
        table = nn.Embedding(50, 6, sparse=sparse).to(DEVICE)
        heads = nn.ModuleList(nn.Linear(6, 1) for _ in range(3)).to(DEVICE)
        index = torch.randint(0, 50, (30,), generator=torch.Generator().manual_seed(1)).to(DEVICE)
        z = table(index).tanh()
        losses = [(head(z) - k).square().mean() for k, head in enumerate(heads)]
        backward(losses, BALANCERS[name]())
        g = table.weight.grad
        found.append(g.to_dense() if g.is_sparse else g)
    assert distance(*found) < CLOSE


def test_gradients_that_are_not_finite_are_skipped():
    net = Net().to(DEVICE)

    def losses() -> dict[str, Tensor]:
        return net.losses(0) | {"bad": (0 * net.features(0)).sum().sqrt()}

    with pytest.raises(InvalidInputError, match="NaN or infinite though the losses are finite"):
        backward(losses(), UPGrad())
    net.zero_grad()
    assert backward(losses(), UPGrad(), non_finite="skip").skipped == ("bad",)
    found = flat(net)
    gpu.step(net, UPGrad(), 0)
    assert distance(found, flat(net)) < 1e-6


def test_accumulated_batches_equal_one():
    net, whole = Net().to(DEVICE), Net().to(DEVICE)
    balancer = UPGrad()
    for part in (slice(0, 16), slice(16, 32)):
        half = copy.copy(net)
        half.batches = [(x[part], y[:, part]) for x, y in net.batches]
        losses = {k: v / 2 for k, v in half.losses(0).items()}
        backward(losses, balancer, accumulate="exact")
    gpu.step(whole, UPGrad(), 0)
    assert distance(flat(net), flat(whole)) < CLOSE


# --- draws ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in METHODS if BALANCERS[n].random])
def test_draws_can_be_repeated(name):
    found = []
    for seed in (0, 0, 1):
        torch.rand(seed + 3, device=DEVICE)  # what others draw makes no difference
        net = Net().to(DEVICE)
        balancer = gpu.build(name, seed=seed)
        for number in range(2):
            gpu.step(net, balancer.to(DEVICE), number)
        found.append(flat(net))
    assert torch.equal(found[0], found[1])
    if name in ("graddrop", "rgw", "rlw"):  # the others draw orders, or only when asked to
        assert not torch.equal(found[0], found[2])


def test_a_state_goes_over_devices():
    net, exact = gpu.pair()
    balancer, reference = GradDrop(), GradDrop()
    gpu.step(net, balancer, 0, gradient_method="per_task")
    reference.load_state_dict(balancer.state_dict())
    gpu.step(net, balancer, 1, gradient_method="per_task")
    gpu.step(exact, reference, 1, gradient_method="per_task")
    assert distance(flat(net), flat(exact)) < CLOSE


# --- recomputations and memory -------------------------------------------------------------------


def _deep(t: int, width: int = 1024, layers: int = 8) -> tuple[list[nn.Module], Any]:
    torch.manual_seed(0)
    blocks = [nn.Sequential(nn.Linear(width, width), nn.Tanh()).to(DEVICE) for _ in range(layers)]
    heads = [nn.Linear(width, 1).to(DEVICE) for _ in range(t)]
    x = torch.randn(64, width, device=DEVICE)

    def losses() -> list[Tensor]:
        z = x
        for block in blocks:
            z = torch.utils.checkpoint.checkpoint(block, z, use_reentrant=False)
        return [(head(z) - k).square().mean() for k, head in enumerate(heads)]

    return blocks, losses


def _peak_of(way: Callable[[list[Tensor]], Any], values: list[Tensor]) -> int:
    """Return the bytes that a step takes at its peak beyond what was there."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    way(values)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


@pytest.mark.parametrize("way, more", [("per_task", 0), ("auto", 0), ("layerwise", 1)])
@pytest.mark.parametrize("t", [3, 16])
def test_how_often_a_checkpoint_is_computed_anew(t, way, more):
    blocks, losses = _deep(t, width=64, layers=3)
    values = losses()
    calls = [0] * len(blocks)
    for i, block in enumerate(blocks):

        def count(*_: Any, i: int = i) -> None:
            calls[i] += 1

        block[0].register_forward_hook(count)
    backward(values, UPGrad(), gradient_method=way)
    assert calls == [t + more] * len(blocks)


@pytest.mark.skipif(DEVICE != "cuda", reason="the caching allocator's figures")
@pytest.mark.parametrize("t", [3, 16])
def test_memory_with_checkpoints(t):
    """A loop keeps one gradient; ours those of all tasks, or of one layer; no further blocks."""
    blocks, losses = _deep(t)
    parameters = [p for block in blocks for p in block.parameters()]
    in_all = 4 * sum(p.numel() for p in parameters)
    layer = in_all / len(blocks)

    def loop(values: list[Tensor]) -> None:
        for k, loss in enumerate(values):
            loss.backward(retain_graph=k + 1 < t)

    ways: dict[str, Callable[[list[Tensor]], Any]] = {
        "loop": loop,
        "per_task": lambda values: backward(values, UPGrad(), gradient_method="per_task"),
        "layerwise": lambda values: backward(values, UPGrad(), gradient_method="layerwise"),
        "equal": lambda values: backward(values, Equal()),
    }
    peaks = {}
    for name, way in ways.items():
        for p in parameters:
            p.grad = None
        values = losses()
        peaks[name] = _peak_of(way, values)
        del values
    print({name: round(peak / layer, 2) for name, peak in peaks.items()}, "x a layer's gradient")
    assert peaks["equal"] < 1.1 * peaks["loop"]
    assert peaks["per_task"] < peaks["loop"] + 1.1 * t * in_all
    assert peaks["layerwise"] < max(peaks["loop"], 1.25 * t * layer) + 2 * layer
