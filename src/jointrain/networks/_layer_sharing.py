"""Layer sharing: each task has a network of its own in which named layers are the same ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from jointrain.errors import InvalidInputError
from jointrain.networks._network import Network, Part
from jointrain.networks._stages import check_layers


class LayerSharing(Network):
    """Each task runs a trunk of its own; the layers named are one and the same in all trunks.

    For trunks that can't be cut into stages, such as Hugging Face transformers, and for sharing
    that is no prefix: the embeddings and the last layer, or all but the normalisation layers.

    Args:
        trunk: Any module; each task gets a copy of what is not shared.
        heads: Each task's head.
        share: Names of the layers to share, as in ``trunk.named_modules()``; a name stands for all
            that the layer holds.
        split_at: Instead: share every layer that is registered before this one.

    Shape:
        forward: inputs as the trunk takes them -> [b, o] for each task.

    Raises:
        InvalidInputError: A layer is unknown, or not just one of `share` and `split_at` is given.

    Cost: one pass through the whole trunk for each task in the step; `HardSharing` with `split_at`
        passes the shared layers once, where the trunk can be cut.

    Source: R. Caruana, "Multitask Learning", Machine Learning 28, 1997, section 2.
    Differs from the source: any layers, not only the lower ones.

    Examples:
        >>> import torch
        >>> trunk = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4))
        >>> heads = {"a": nn.Linear(4, 1), "b": nn.Linear(4, 3)}
        >>> network = LayerSharing(trunk, heads, split_at="2")
        >>> sum(p.numel() for p in network.shared_parameters())
        54
    """

    def __init__(
        self,
        trunk: nn.Module,
        heads: Mapping[str, nn.Module],
        *,
        share: Sequence[str] | None = None,
        split_at: str | None = None,
    ) -> None:
        super().__init__(heads)
        if (share is None) == (split_at is None):
            raise InvalidInputError("give either `share` or `split_at`, one of them")
        if split_at is not None:
            check_layers(trunk, [split_at])
            share = _before(trunk, split_at)
        else:
            check_layers(trunk, share or (), "share")
        self.share = tuple(share or ())
        kept: dict[int, Any] = {}
        for name in self.share:
            for module in trunk.get_submodule(name).modules():
                kept[id(module)] = module
                kept.update((id(p), p) for p in module.parameters(recurse=False))
        if split_at is not None:
            # what the containers around the split hold by themselves, such as a class token
            path = split_at.split(".")
            for depth in range(len(path)):
                holder = trunk.get_submodule(".".join(path[:depth]))
                kept.update((id(p), p) for p in holder.parameters(recurse=False))
        self.trunks = nn.ModuleList(
            trunk if index == 0 else copy.deepcopy(trunk, dict(kept)) for index in range(len(heads))
        )

    def features(self, inputs: Any, tasks: Sequence[str]) -> dict[str, Any]:
        """Return what each task's trunk gives."""
        return {name: self.trunks[self.index_of(name)](inputs) for name in tasks}

    def parts(self) -> list[Part]:
        """Return the shared layers, and the rest of each task's trunk."""
        first = self.trunks[0]
        everyone = self.task_names
        counts: dict[int, int] = {}
        for trunk in self.trunks:
            for parameter in trunk.parameters():
                counts[id(parameter)] = counts.get(id(parameter), 0) + 1
        alone = len(everyone) == 1
        named = {id(p) for name in self.share for p in first.get_submodule(name).parameters()}
        shared = [p for p in first.parameters() if (id(p) in named if alone else counts[id(p)] > 1)]
        common = {id(p) for p in shared}
        parts = [
            Part(("shared layers", name), everyone, first.get_submodule(name))
            for name in self.share
            if any(True for _ in first.get_submodule(name).parameters())
        ]
        rest = tuple(p for p in shared if id(p) not in named)
        if rest:
            parts.append(Part(("shared layers", "loose parameters"), everyone, parameters=rest))
        for name, trunk in zip(everyone, self.trunks, strict=True):
            own = tuple(p for p in trunk.parameters() if id(p) not in common)
            parts.append(Part(("trunks", name), (name,), trunk, own, own=True))
        return parts


def _before(trunk: nn.Module, name: str) -> list[str]:
    """Return the layers registered before the named one, without those that hold it."""
    path = name.split(".")
    names = []
    for depth, last in enumerate(path):
        prefix = path[:depth]
        for child, _ in trunk.get_submodule(".".join(prefix)).named_children():
            if child == last:
                break
            names.append(".".join([*prefix, child]))
    return names
