"""One small problem for several processes, and what one process makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from jointrain.balancing import BALANCERS, Balancer, Needs, backward

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
        z = self.trunk(x) * self.scale
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
        if balancer.needs is Needs.HELD_OUT:
            closures["train"] = lambda batch=batch: losses_of(model, *batch)
            closures["held_out"] = lambda third=third: losses_of(model, *third)
        optimizer.zero_grad()
        backward(losses_of(model, *batch), balancer, **closures, **options)
        optimizer.step()
        if balancer.wants_after_step:
            with torch.no_grad():
                balancer.after_step(torch.stack(list(losses_of(model, *batch).values())))
    return flat(network)


def flat(network: nn.Module) -> Tensor:
    whole = [p.full_tensor() if isinstance(p, DTensor) else p for p in network.parameters()]
    return torch.cat([p.detach().flatten() for p in whole])


def shard(network: nn.Module) -> nn.Module:
    """Shard two layers of the trunk by themselves and all that is left together."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for layer in (network.trunk[0], network.trunk[2]):
        fully_shard(layer, mesh=mesh)
    return fully_shard(network, mesh=mesh)


WRAPPERS: dict[str, Callable[[nn.Module], nn.Module] | None] = {
    "plain": None,
    "ddp": DistributedDataParallel,
    "found": lambda net: DistributedDataParallel(net),
    "find_unused": lambda net: DistributedDataParallel(net, find_unused_parameters=True),
    "static_graph": lambda net: DistributedDataParallel(net, static_graph=True),
    "sharded": shard,
    "bucket_view": lambda net: DistributedDataParallel(net, gradient_as_bucket_view=True),
}


def distance(name: str, wrapper: str) -> tuple[float, float]:
    """Return how far the processes' result is from one process's, and how far from each other.

    Relative to how far the parameters have moved.
    """
    alone = train(name, alone=True)
    moved = float((alone - flat(Net())).abs().max())
    found = train(name, WRAPPERS[wrapper])
    return float((found - alone).abs().max()) / moved, spread(found)


def spread(values: Tensor) -> float:
    """Return the largest difference between this process's values and those of the first."""
    first = values.clone()
    dist.broadcast(first, 0)
    largest = (values - first).abs().max()
    dist.all_reduce(largest, dist.ReduceOp.MAX)
    return float(largest)


def distances(names: list[str], wrapper: str) -> dict[str, tuple[float, float] | str]:
    """Return the distances of all methods, or what they have raised."""
    found: dict[str, tuple[float, float] | str] = {}
    for name in names:
        try:
            found[name] = distance(name, wrapper)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found
