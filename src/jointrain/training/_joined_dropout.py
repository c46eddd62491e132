"""Dropout of batches that several processes share: masks are those that one process would draw."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointrain.networks import rows_drawn_for

_OFF = "_off_for_joined_rows"


def join_dropout(network: nn.Module) -> None:
    """Let torch's dropout layers draw for all rows of a batch, as `jointrain.networks.Dropout`."""
    for layer in network.modules():
        if type(layer) is nn.Dropout:
            layer.register_forward_pre_hook(_before)
            layer.register_forward_hook(_after)


def part_dropout(networks: Iterable[nn.Module]) -> None:
    """Undo `join_dropout`, also in copies."""
    for network in networks:
        for layer in network.modules():
            for hooks in (layer._forward_pre_hooks, layer._forward_hooks):
                for key in [key for key, hook in hooks.items() if hook in (_before, _after)]:
                    del hooks[key]


def _before(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
    (inputs,) = arguments
    if layer.training and inputs.ndim and rows_drawn_for(len(inputs)) is not None:
        layer.training = False
        setattr(layer, _OFF, True)


def _after(layer: nn.Module, _: tuple[Any, ...], output: Tensor) -> Tensor | None:
    if not layer.__dict__.pop(_OFF, False):
        return None
    layer.training = True
    assert isinstance(layer, nn.Dropout)
    rows = rows_drawn_for(len(output))
    assert rows is not None
    with torch.no_grad():
        factors = functional.dropout(output.new_ones(rows.total, *output.shape[1:]), layer.p)
    return output * factors[rows.index.to(output.device)]
