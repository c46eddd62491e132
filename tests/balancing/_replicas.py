"""One small problem for several processes, and what one process makes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from jointrain import HardSharing, Task, TensorData, Trainer
from jointrain.balancing import BALANCERS, Balancer, Needs, UPGrad, backward
from jointrain.balancing.engine import _ranks
from jointrain.errors import InvalidInputError

TASKS = ("a", "b", "c")
ROWS = 32


class Net(nn.Module):
    """A trunk and a head for each task."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
        self.scale = nn.Parameter(torch.ones(1))  # of which only one process has a shard
        self.heads = nn.ModuleDict({task: nn.Linear(8, 1) for task in TASKS})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        z = self.trunk[2:](self.trunk[:2](x) * self.scale)
        return {task: head(z)[:, 0] for task, head in self.heads.items()}


def data(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, 6, generator=generator)
    y = torch.randn(ROWS, 3, generator=generator) * torch.tensor([1.0, 3.0, 10.0])
    return x, y


def losses_of(
    network: nn.Module, x: Tensor, y: Tensor, tasks: tuple[str, ...] = TASKS
) -> dict[str, Tensor]:
    output = network(x)
    return {task: (output[task] - y[:, TASKS.index(task)]).square().mean() for task in tasks}


def part(tensor: Tensor) -> Tensor:
    """Return this process's rows of equally many."""
    return tensor.chunk(dist.get_world_size())[dist.get_rank()]


def build(name: str) -> Balancer:
    return BALANCERS[name](**getattr(BALANCERS[name], "example", {}))


def train(
    name: str,
    wrap: Callable[[nn.Module], nn.Module] | None = None,
    *,
    alone: bool = False,
    steps: int = 2,
    **options: Any,
) -> Tensor:
    """Return the parameters after a few steps, on this process's rows or, `alone`, on all."""
    network = Net()
    model = network if wrap is None else wrap(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.02)
    balancer = build(name)
    mine = (lambda x: x) if alone else part
    if alone:
        options["process_group"] = None
    elif isinstance(model, DistributedDataParallel) and wrap is not WRAPPERS["found"]:
        options["module"] = model  # spares looking for it
    for step in range(steps):
        batch, second, third = (list(map(mine, data(3 * step + i))) for i in range(3))
        closures: dict[str, Any] = {}
        if balancer.extra_batches:
            closures["extra"] = lambda second=second: losses_of(model, *second)
        if balancer.needs in (Needs.HELD_OUT, Needs.NEARBY):
            closures["train"] = lambda batch=batch: losses_of(model, *batch)
        if balancer.needs is Needs.HELD_OUT:
            closures["held_out"] = lambda third=third: losses_of(model, *third)
        optimizer.zero_grad()
        backward(losses_of(model, *batch), balancer, **closures, **options)
        optimizer.step()
        if balancer.wants_after_step:
            with torch.no_grad():
                balancer.after_step(torch.stack(list(losses_of(model, *batch).values())))
    return flat(network)


def flat(network: nn.Module) -> Tensor:
    return torch.cat([whole(p.detach()).flatten() for p in network.parameters()])


def shard(network: nn.Module, **policies: Any) -> nn.Module:
    """Shard two layers of the trunk by themselves and all that is left together."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (network.trunk[0], network.trunk[2]):
        fully_shard(layer, mesh=mesh, **policies)
    return fully_shard(network, mesh=mesh, **policies)


def shard_in_half_precision(network: nn.Module, reduced: torch.dtype = torch.float32) -> nn.Module:
    """Shard so that gathered parameters are in bfloat16."""
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=reduced)
    return shard(network, mp_policy=policy)


def shard_offloaded(network: nn.Module) -> nn.Module:
    """Shard so that the shards lie on the CPU wherever is computed."""
    return shard(network, offload_policy=CPUOffloadPolicy(pin_memory=False))


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module] | None] = {
    "plain": None,
    "ddp": DistributedDataParallel,
    "found": lambda net: DistributedDataParallel(net),
    "find_unused": lambda net: DistributedDataParallel(net, find_unused_parameters=True),
    "static_graph": lambda net: DistributedDataParallel(net, static_graph=True),
    "sharded": shard,
    "sharded, bf16": shard_in_half_precision,
    "sharded, bf16, sent in bf16": partial(shard_in_half_precision, reduced=torch.bfloat16),
    "sharded, offloaded": shard_offloaded,
    "bucket_view": lambda net: DistributedDataParallel(net, gradient_as_bucket_view=True),
}


def distance(name: str, wrapper: str, **options: Any) -> tuple[float, float]:
    """Return how far the processes' result is from one process's, and how far from each other.

    Relative to how far the parameters have moved.
    """
    alone = train(name, alone=True, **options)
    moved = float((alone - flat(Net())).abs().max())
    found = train(name, WRAPPERS[wrapper], **options)
    return float((found - alone).abs().max()) / moved, spread(found)


def from_plain_passes(names: list[str], wrapper: str) -> dict[str, float | str]:
    """Return how far methods' gradients are from what they make of a plain pass for each task.

    Those passes go through the same wrapped network, and a method is shown their gradients as
    those of losses that are linear in the parameters, by one process.
    """
    found: dict[str, float | str] = {}
    for name in names:
        network, batch = Net(), tuple(map(part, data(0)))
        model = WRAPPERS[wrapper](network)  # type: ignore[misc]
        rows = []
        for task in TASKS:
            network.zero_grad()
            losses_of(model, *batch)[task].backward()
            rows.append([None if p.grad is None else whole(p.grad) for p in network.parameters()])
        network.zero_grad()
        losses = losses_of(model, *batch)
        values = torch.stack([loss.detach().float() for loss in losses.values()])
        dist.all_reduce(values)
        places = [nn.Parameter(whole(p.detach())) for p in network.parameters()]
        linear = {}
        for task, value, row in zip(TASKS, values / dist.get_world_size(), rows, strict=True):
            pairs = [(p, g) for p, g in zip(places, row, strict=True) if g is not None and g.any()]
            total = torch.stack([(p * g).sum() for p, g in pairs]).sum()
            linear[task] = total - total.detach() + value
        try:
            backward(losses, build(name), module=model)
            backward(linear, build(name), process_group=None)
        except InvalidInputError as error:
            found[name] = str(error)
            continue
        ours = torch.cat([whole(p.grad).flatten() for p in network.parameters()])
        theirs = torch.cat([p.grad.flatten() for p in places])
        found[name] = float((ours - theirs).abs().max() / theirs.abs().max())
    return found


def rounding_seen(wrapper: str) -> list[float]:
    """Return the rounding of the Gramian that a method goes by."""
    seen = []

    class Seeing(UPGrad):
        def weights(self, gramian: Tensor, losses: Tensor) -> Tensor:
            seen.append(self.rounding)
            return super().weights(gramian, losses)

    model = WRAPPERS[wrapper](Net())  # type: ignore[misc]
    backward(losses_of(model, *map(part, data(0))), Seeing(), module=model)
    return seen


def whole(tensor: Tensor) -> Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def spread(values: Tensor) -> float:
    """Return the largest difference between this process's values and those of the first."""
    first = values.clone()
    dist.broadcast(first, 0)
    largest = (values - first).abs().max()
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return float(largest)


def distances(
    names: list[str], wrapper: str, options: dict[str, Any] | None = None
) -> dict[str, tuple[float, float] | str]:
    """Return the distances of all methods, or what they have raised."""
    found: dict[str, tuple[float, float] | str] = {}
    for name in names:
        try:
            found[name] = distance(name, wrapper, **(options or {}))
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


# --- steps that are not the same everywhere ------------------------------------------------------


def gradients(network: nn.Module) -> Tensor:
    return torch.cat([torch.zeros(p.numel()) if p.grad is None else p.grad.flatten().clone()
                      for p in network.parameters()])  # fmt: skip


def step_of_unequal_rows(name: str, wrapped: bool, left_out: bool = True) -> tuple[float, float]:
    """Return the distances where processes have unlike numbers of rows, and lack tasks.

    Those are left out of the losses; or one process alone lacks one, and has a loss of 0 rows.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    bounds = [0, 5, *(5 + (ROWS - 5) * i // (size - 1) for i in range(1, size))]
    x, y = data(0)
    mine = slice(bounds[rank], bounds[rank + 1])
    # the first process has no label of b, the last one none of c
    lacked = {0: "b"} | ({size - 1: "c"} if left_out else {})
    tasks = tuple(t for t in TASKS if t != lacked.get(rank))
    end = bounds[-2] if left_out else None
    there = {"a": slice(None), "b": slice(5, None), "c": slice(None, end)}

    one = Net()
    output = one(x)
    losses = {t: (output[t] - y[:, i])[there[t]].square().mean() for i, t in enumerate(TASKS)}
    backward(losses, build(name), process_group=None)

    network = Net()
    model = DistributedDataParallel(network, find_unused_parameters=True) if wrapped else network
    losses = losses_of(model, x[mine], y[mine], tasks if left_out else TASKS)
    count = len(x[mine])
    found = backward(
        losses, build(name), module=model, rows={t: count if t in tasks else 0 for t in TASKS}
    )
    assert found.tasks == ("a", "b", "c") or set(found.tasks) == set(TASKS)
    away = gradients(network) - gradients(one)
    return float(away.abs().max() / gradients(one).abs().max()), spread(gradients(network))


def step_with_a_process_without_tasks() -> tuple[float, float]:
    """Return the distances where the last process has no loss at all."""
    last = dist.get_rank() == dist.get_world_size() - 1
    network, one = Net(), Net()
    x, y = data(0)
    backward(losses_of(one, x, y), build("upgrad"), process_group=None)
    losses = {} if last else losses_of(network, x, y)
    backward(losses, build("upgrad"), module=network)
    away = gradients(network) - gradients(one)
    return float(away.abs().max() / gradients(one).abs().max()), spread(gradients(network))


def message_of(case: str) -> str:
    """Return what a step raises that processes can't take together."""
    first = dist.get_rank() == 0
    network = Net()
    x, y = map(part, data(0))
    losses = losses_of(network, x, y)
    options: dict[str, Any] = {}
    name = "upgrad"
    if case.startswith("an own gradient is NaN"):
        name = "moco" if "moco" in case else name
        if first:
            network.heads["b"].register_forward_hook(
                lambda head, _, output: output + (head.weight * 0).square().sum().sqrt()
            )
        wrapped = shard(network) if "shards" in case else DistributedDataParallel(network)
        losses = losses_of(wrapped, x, y)
    if case == "other weights" and not first:
        with torch.no_grad():
            network.trunk[0].weight.add_(1)
    if case == "other tasks, no module" and first:
        del losses["b"]
    if case == "other tasks, guided heads":
        name, options["module"] = "consmtl", network
        if first:
            del losses["b"]
    if case == "one fails" and first:
        losses["b"] = losses["b"].detach()
    if case == "other method" and first:
        name = "mgda"
    if case == "rows on one" and first:
        options["rows"] = 16
    if case == "a loss is NaN" and first:
        losses["a"] = losses["a"] * float("nan")
    try:
        backward(losses, build(name), **options)
    except InvalidInputError as error:
        return str(error)
    return "nothing"


def seeds_of_their_own() -> tuple[float, float]:
    """Return how far apart processes end whose balancers draw from other seeds and state."""
    network = Net()
    balancer = BALANCERS["graddrop"](seed=dist.get_rank())
    for seed in range(2):
        network.zero_grad()
        backward(losses_of(network, *map(part, data(seed))), balancer)
    other = Net()
    famo = BALANCERS["famo"](TASKS)
    famo.logits += dist.get_rank()
    backward(losses_of(other, *map(part, data(0))), famo)
    return spread(gradients(network)), spread(gradients(other))


def two_groups() -> float:
    """Return how far each pair's gradients are from those of the pair on its own."""
    rank = dist.get_rank()
    pairs = [dist.new_group([0, 1]), dist.new_group([2, 3])]
    mine = pairs[rank // 2]
    network, one = Net(), Net()
    model = DistributedDataParallel(network, process_group=mine)
    x, y = data(rank // 2)
    backward(losses_of(one, x, y), build("upgrad"), process_group=None)
    half = slice(None, ROWS // 2) if rank % 2 == 0 else slice(ROWS // 2, None)
    backward(losses_of(model, x[half], y[half]), build("upgrad"))
    return float((gradients(network) - gradients(one)).abs().max())


def accumulated() -> tuple[float, float]:
    """Return the distances of two batches accumulated without sending in between."""
    network, one = Net(), Net()
    model = DistributedDataParallel(network)
    balancer = build("upgrad")
    joined = [torch.cat(both) for both in zip(data(0), data(1), strict=True)]
    backward(losses_of(one, *joined), build("upgrad"), process_group=None)
    for seed in range(2):
        with model.no_sync() if seed == 0 else contextlib.nullcontext():
            losses = losses_of(model, *map(part, data(seed)))
            halves = {task: loss / 2 for task, loss in losses.items()}
            backward(halves, balancer, accumulate="exact")
    away = gradients(network) - gradients(one)
    return float(away.abs().max() / gradients(one).abs().max()), spread(gradients(network))


class Towers(nn.Module):
    """Two layers of one shape, which the first task takes in another order than the others."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.trunk = nn.ModuleList([nn.Linear(6, 3), nn.Tanh(), nn.Linear(6, 3)])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        first, second = (self.trunk[k](x).tanh() for k in (0, 2))
        found = {"a": first * second.sin(), "b": second * first.exp(), "c": second * first.cos()}
        return {task: value.square().mean() for task, value in found.items()}


def reloaded(wrapper: str, several: bool) -> tuple[float, float]:
    """Return how far a loaded balancer that keeps gradients is from the one that was saved.

    Args:
        wrapper: What is around the network.
        several: Whether the tasks of a step come in batches of their own.
    """
    network = Towers()
    model = WRAPPERS[wrapper](network)  # type: ignore[misc]
    x = part(data(0)[0])

    def step(balancer: Balancer, *batches: str) -> Tensor:
        network.zero_grad()
        for tasks in batches:
            losses = model(x)
            mine = {task: losses[task] for task in tasks}
            backward(mine, balancer, module=model, accumulate="exact" if several else None)
        return torch.cat([whole(p.grad).flatten() for p in network.parameters()])

    saved = build("moco")
    saved.bind(TASKS)
    step(saved, "abc")
    loaded = build("moco")
    loaded.load_state_dict(saved.state_dict())
    mine = "cb" if "sharded" in wrapper else "bc"[dist.get_rank()]
    batches = ("b", "c") if several else (mine,)
    found, wanted = step(loaded, *batches), step(saved, *batches)
    return float((found - wanted).abs().max() / wanted.abs().max()), spread(found)


def held_back(kind: str) -> tuple[float, float, int]:
    """Return the distances of two batches of which the first is under `no_sync`, and what it sends.

    Args:
        kind: "the wrapper", if that sends with the second batch; "a task is lacking" and "skip", if
            the engine does.
    """
    network, one = Net(), Net()
    model = DistributedDataParallel(network)
    ranks = _ranks.ranks_of(dist.group.WORLD)
    sent = []
    for seed in range(2):
        options: dict[str, Any] = {"non_finite": "skip"} if seed and kind == "skip" else {}
        lacking = seed == 1 and kind == "a task is lacking" and dist.get_rank() == 1
        before = ranks.sent
        with model.no_sync() if seed == 0 else contextlib.nullcontext():
            losses = losses_of(model, *map(part, data(seed)))
            if lacking:
                losses["a"] = losses["a"] * 0
            rows = dict.fromkeys(TASKS, ROWS // 2) | ({"a": 0} if lacking else {})
            backward(losses, build("equal"), module=model, rows=rows, **options)
        sent.append(ranks.sent - before)
        x, y = data(seed)
        whole_batch = losses_of(one, x, y)
        if seed == 1 and kind == "a task is lacking":
            half = slice(None, ROWS // 2)
            whole_batch["a"] = losses_of(one, x[half], y[half])["a"]
        backward(whole_batch, build("equal"), process_group=None)
    away = gradients(network) - gradients(one)
    return float(away.abs().max() / gradients(one).abs().max()), spread(gradients(network)), sent[0]


def factors_in_float16(name: str) -> tuple[list[float], float]:
    """Return how far each head and the trunk are from one process's in float32, and the spread.

    The gradients differ by a million, so that without a factor per task float16 keeps few digits
    of the shortest (IMTL-G's update is then 22 % off). Each part is compared relative to its size.
    """
    x, y = data(0)
    factors = (1e-5, 1e-3, 1.0)  # the first is small already

    def scaled(model: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        losses = losses_of(model, x, y).items()
        return {task: loss * f for (task, loss), f in zip(losses, factors, strict=True)}

    one, network = Net(), Net()
    model = DistributedDataParallel(network)
    alone, balancer = build(name), build(name)
    scaler = torch.amp.GradScaler("cpu", init_scale=1.0)
    for _ in range(3):  # the factors are known from the second step on
        one.zero_grad()
        network.zero_grad()
        backward(scaled(one, x, y), alone, process_group=None)
        with torch.autocast("cpu", torch.float16):
            losses = scaled(model, part(x), part(y))
        step = backward(losses, balancer, scaler=scaler, module=model)
        assert not step.overflow
    away = [
        float((gradients(mine) - gradients(theirs)).norm() / gradients(theirs).norm())
        for mine, theirs in [
            (network.trunk, one.trunk),
            *((network.heads[task], one.heads[task]) for task in TASKS),
        ]
    ]
    return away, spread(gradients(network))


def sparse_tables(name: str) -> tuple[float, float]:
    """Return the distances where a table has sparse gradients and processes look up other rows.

    And a parameter has one that is sparse in all its dimensions.
    """

    def network() -> nn.ModuleDict:
        torch.manual_seed(0)
        return nn.ModuleDict(
            {
                "table": nn.Embedding(10, 4, sparse=True),
                "head": nn.Linear(4, 2),
                "other": nn.Linear(1, 3, bias=False),
            }
        )

    def losses(net: nn.ModuleDict, index: Tensor, y: Tensor) -> dict[str, Tensor]:
        output = net["head"](net["table"](index).tanh())
        bias = net["other"].weight.gather(0, index[:, None] % 3, sparse_grad=True)
        output = output + bias
        return {"a": (output[:, 0] - y).square().mean(), "b": (output[:, 1] + y).square().mean()}

    index, y = torch.arange(8) % 6, torch.linspace(-1, 1, 8)
    one, several = network(), network()
    backward(losses(one, index, y), build(name), process_group=None)
    backward(losses(several, part(index), part(y)), build(name))
    assert several["table"].weight.grad.is_sparse == one["table"].weight.grad.is_sparse
    ours, theirs = (
        torch.cat([(p.grad.to_dense() if p.grad.is_sparse else p.grad).flatten()
                   for p in net.parameters()])
        for net in (several, one)
    )  # fmt: skip
    return float((ours - theirs).abs().max() / theirs.abs().max()), spread(ours)


def penalised(wrapped: bool) -> tuple[float, float]:
    """Return the distances of a step with a penalty."""
    network, one = Net(), Net()
    model = DistributedDataParallel(network) if wrapped else network
    found = []
    for name in ("equal", "upgrad"):
        for net, outer, batch, group in (
            (one, one, data(0), None), (network, model, list(map(part, data(0))), "auto")
        ):  # fmt: skip
            net.zero_grad()
            backward(
                losses_of(outer, *batch), build(name), process_group=group,
                penalty=net.trunk[0].weight.square().sum(),
            )  # fmt: skip
        found.append(float((gradients(network) - gradients(one)).abs().max()))
    return max(found), spread(gradients(network))


def messages(name: str) -> list[tuple[str, int]]:
    """Return the collective calls of a step after the first, and the bytes that each is handed."""
    network = DistributedDataParallel(Net())
    balancer = build(name)
    for seed in range(2):
        network.zero_grad()
        losses = losses_of(network, *map(part, data(seed)))
        found = []
        with contextlib.ExitStack() as stack:
            for call in ("all_gather", "all_reduce", "all_gather_object", "broadcast_object_list"):
                stack.enter_context(_noted(call, found))
            backward(losses, balancer, module=network)
    return found


@contextlib.contextmanager
def _noted(call: str, found: list[tuple[str, int]]) -> Iterator[None]:
    before = getattr(dist, call)

    def noting(*arguments: Any, **options: Any) -> Any:
        tensors = [x for x in arguments if isinstance(x, Tensor)]
        found.append((call, sum(x.numel() * x.element_size() for x in tensors)))
        return before(*arguments, **options)

    setattr(dist, call, noting)
    yield
    setattr(dist, call, before)


# --- gradients that are sent during the pass ------------------------------------------------------


def in_small_buckets(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what the function does where every parameter is sent by itself."""
    with mock.patch.object(_ranks, "_EARLY", 0):
        return function(*arguments)


def sums_of_any_order() -> tuple[float, int]:
    """Return how far sums are off whose terms come in another order on each process.

    And how many were under way when a third of the terms were still missing everywhere.
    """
    rank, size = dist.get_rank(), dist.get_world_size()
    kinds = [torch.float32, torch.float64, torch.complex64]
    like = [torch.empty(k + 1, 2, dtype=kinds[k // 10]) for k in range(30)]
    early = _ranks.EarlySums(_ranks.ranks_of(dist.group.WORLD), like)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(rank)).tolist()
    for place in order:
        if place % 7 != rank:  # which has no gradient here
            early.take(place, torch.full_like(like[place], rank + place))
    dist.barrier()
    under_way = len(early._works)
    for place in range(20, 30):
        early.take(place, torch.full_like(like[place], place).to_sparse())
    off = 0.0
    for place, total in enumerate(early.finished()):
        terms = [(r if place < 20 else 0) + place for r in range(size)]
        wanted = sum(x for r, x in enumerate(terms) if place >= 20 or place % 7 != r)
        assert total.dtype == like[place].dtype
        off = max(off, float((total - wanted).abs().max()))
    return off, under_way


class Averaged(torch.autograd.Function):
    """Hands its input on, and averages its gradient over the processes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total / dist.get_world_size()


def sent_before_the_last(case: str) -> tuple[int, float, float]:
    """Return how many sums begin before the last gradient is there, and the distances."""
    network, one = Net(), Net()
    found: list[tuple[str, int]] = []
    before = []
    backward(losses_of(one, *data(0)), process_group=None, accumulate="per-batch")
    last = network.trunk[0].weight
    last.register_hook(lambda g: 3 * g if case == "a hook" else None)
    last.register_hook(lambda g: before.append(len(found)))
    if case == "a hook":
        one.trunk[0].weight.grad *= 3
    x, y = map(part, data(0))
    if case == "an operation that sends":
        x = Averaged.apply(x.requires_grad_())
    losses = losses_of(network, x, y)
    rows = ROWS // dist.get_world_size()
    if case == "a task is lacked":
        losses = losses_of(network, *data(0))
        if dist.get_rank() == 0:
            del losses["b"]
        one.zero_grad()
        backward(losses_of(one, *data(0)), process_group=None)
    with mock.patch.object(_ranks, "_EARLY", 0), _noted("all_reduce", found):
        backward(
            losses, module=network, rows=rows, non_finite="skip" if case == "skip" else "raise"
        )
    away = gradients(network) - gradients(one)
    return before[0], float(away.abs().max()), spread(gradients(network))


def trainer_message() -> str:
    x = torch.randn(8, 6)
    net = HardSharing(nn.Linear(6, 4), {"a": nn.Linear(4, 1)})
    try:
        Trainer(net, [Task.regression("a")], epochs=1).fit(TensorData(x, {"a": x[:, 0]}))
    except InvalidInputError as error:
        return str(error)
    return "nothing"
