"""A process group of one rank on a GPU: NCCL moves what the balancers send."""

from __future__ import annotations

import copy
import os
import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.cuda import _gpu as gpu
from tests.cuda._gpu import DEVICE, Net, distance, exact_products  # noqa: F401

pytestmark = gpu.needs_gpu

NAMES = ["equal", "uncertainty", "upgrad", "mgda", "gradnorm", "graddrop", "excess-mtl", "famo"]


@pytest.fixture(scope="module", autouse=True)
def group() -> Iterator[None]:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
    os.environ |= address
    if DEVICE == "cuda":
        torch.cuda.set_device(0)
    dist.init_process_group("nccl" if DEVICE == "cuda" else "gloo", rank=0, world_size=1)
    yield
    dist.destroy_process_group()
    for name in address:
        del os.environ[name]


class Whole(nn.Module):
    """The network as one module: DDP and `fully_shard` see to calls of it."""

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net

    def forward(self, number: int, dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
        return self.net.losses(number, dtype)


class Wrapped(nn.Module):
    """What `gpu.step` takes for a network."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def losses(self, number: int, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = self.module(number, dtype)
        return found


def _flat(net: nn.Module) -> torch.Tensor:
    found = []
    for p in net.parameters():
        g = p.grad
        assert g is not None
        found.append((g.full_tensor() if hasattr(g, "full_tensor") else g).flatten())
    return torch.cat(found)


@pytest.mark.parametrize("wrapper", ["plain", "ddp", "fully_shard"])
@pytest.mark.parametrize("name", NAMES)
def test_one_rank_is_one_process(name, wrapper):
    reference = Net().to(DEVICE)
    net: nn.Module = copy.deepcopy(reference)
    if wrapper == "ddp":
        net = Wrapped(nn.parallel.DistributedDataParallel(Whole(net)))
    elif wrapper == "fully_shard":
        from torch.distributed.fsdp import fully_shard

        inner = Whole(net)
        fully_shard(inner.net.trunk)
        fully_shard(inner)
        net = Wrapped(inner)
    ours, theirs = gpu.build(name).to(DEVICE), gpu.build(name).to(DEVICE)
    for number in range(2):
        gpu.step(net, ours, number, gradient_method="per_task")
        gpu.step(reference, theirs, number, gradient_method="per_task", process_group=None)
        assert distance(_flat(net), _flat(reference)) < 1e-5
