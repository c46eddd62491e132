"""Losses of one batch computed several times, as if once: same draws, no trace in buffers."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook


class Draws:
    """The states of torch's random numbers, on the CPU and on CUDA, at the time of its making."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        on_cuda = torch.cuda.is_available() and torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        self._cuda = torch.cuda.get_rng_state_all() if on_cuda else []

    def restore(self) -> None:
        """Let random numbers go on from there."""
        torch.set_rng_state(self._cpu)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)


@contextlib.contextmanager
def as_before(draws: Draws) -> Iterator[None]:
    """Within the block numbers are drawn as from `draws` on; nothing that it changes is left.

    That is the state of the random numbers, and the buffers of all modules that are called, such
    as the running statistics of BatchNorm: they are set back to the bit.
    """
    after = Draws()
    kept: list[tuple[nn.Module, str, Tensor, Tensor]] = []
    seen: set[int] = set()

    def keep(module: nn.Module, inputs: Any) -> None:  # noqa: ARG001
        if id(module) in seen:
            return
        for part in module.modules():
            seen.add(id(part))
            for name, buffer in part._buffers.items():
                if buffer is not None:
                    kept.append((part, name, buffer, buffer.detach().clone()))

    draws.restore()
    handle = register_module_forward_pre_hook(keep)
    try:
        with warnings.catch_warnings():
            # a compiled module calls the hook once more, which is of no account
            warnings.filterwarnings("ignore", message="Using `torch.compile.module.` when there")
            yield
    finally:
        handle.remove()
        after.restore()
        for part, name, buffer, value in kept:
            part._buffers[name] = buffer
            # past autograd, for which the value that a graph saved has not changed
            buffer.data.copy_(value)
