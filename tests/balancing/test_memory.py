"""What a step holds at a time: of gradients, and of what checkpoints compute anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.checkpoint import checkpoint

from jointrain.balancing import UPGrad, backward


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of the tensors that are made within it and not gone yet."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: dict[int, tuple[StorageWeakRef, int]] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {x.untyped_storage()._cdata for x in tree_leaves(args) if isinstance(x, Tensor)}
        for x in tree_leaves(found):
            if isinstance(x, Tensor) and x.untyped_storage()._cdata not in given:
                storage = x.untyped_storage()
                self.sizes[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        gone = [key for key, (storage, _) in self.sizes.items() if storage.expired()]
        for key in gone:
            del self.sizes[key]
        self.peak = max(self.peak, sum(size for _, size in self.sizes.values()))
        return found


class Network:
    """A trunk of checkpointed or plain blocks of so many layers, and a linear head per task."""

    def __init__(self, t: int, *, checkpointed: bool, blocks: int = 6, depth: int = 2) -> None:
        torch.manual_seed(0)
        width = 96
        self.blocks = [
            nn.Sequential(*(m for _ in range(depth) for m in (nn.Linear(width, width), nn.Tanh())))
            for _ in range(blocks)
        ]
        self.heads = [nn.Linear(width, 1) for _ in range(t)]
        self.x = torch.randn(4, width)
        self.checkpointed = checkpointed
        self.largest = 4 * width * (width + 1)  # bytes of a layer
        self.in_all = blocks * depth * self.largest

    def losses(self) -> list[Tensor]:
        z = self.x
        for block in self.blocks:
            z = checkpoint(block, z, use_reentrant=False) if self.checkpointed else block(z)
        return [(head(z) - k).square().mean() for k, head in enumerate(self.heads)]


@pytest.mark.parametrize("checkpointed, depth, held", [(False, 1, 1), (True, 1, 1), (True, 2, 2)])
def test_layer_by_layer_the_gradients_of_one_layer_or_checkpoint_are_held(
    checkpointed, depth, held
):
    t = 16
    net = Network(t, checkpointed=checkpointed, depth=depth)
    losses = net.losses()
    with LiveMemory() as memory:
        backward(losses, UPGrad(), gradient_method="layerwise")
    of_rows = t * net.largest * held
    assert of_rows < memory.peak < 1.25 * of_rows
    assert net.in_all < memory.peak  # that of all parameters' gradients is no more


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_method": "per_task"},
        {"gradient_method": "layerwise"},
        {"gradient_method": "batched"},
        {"compare_at": "features"},
        {"compare_at": "last_shared_layer"},
    ],
)
def test_one_checkpointed_block_is_held_computed_anew(options):
    t = 5
    net = Network(t, checkpointed=True)
    losses = net.losses()
    alive: list[StorageWeakRef] = []
    most = 0

    def note(module: nn.Module, args: Any, output: Tensor) -> None:
        nonlocal most
        alive.append(StorageWeakRef(output.untyped_storage()))
        alive[:] = [storage for storage in alive if not storage.expired()]
        most = max(most, len(alive))

    for block in net.blocks:
        for layer in (block[0], block[1], block[2]):
            layer.register_forward_hook(note)
    backward(losses, UPGrad(), **options)
    assert 0 < most <= 3


def test_a_checkpoint_with_parts_of_several_tasks_is_held_once():
    t = 5
    net = Network(t, checkpointed=False, blocks=1)
    alive: list[StorageWeakRef] = []

    def whole(x: Tensor) -> tuple[Tensor, ...]:
        z = net.blocks[0](x)
        alive.append(StorageWeakRef(z.untyped_storage()))
        return tuple(head(z).tanh() for head in net.heads)

    outputs = checkpoint(whole, net.x, use_reentrant=False)
    losses = [y.square().mean() for y in outputs]
    alive.clear()
    most = 0

    def count(*_: Any) -> None:
        nonlocal most
        most = max(most, sum(not storage.expired() for storage in alive))

    for head in net.heads:
        head.register_forward_hook(count)
    backward(losses, UPGrad(), gradient_method="per_task")
    assert most == 1
